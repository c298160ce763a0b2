/* How is a JPEG read? Settings equal Pillow's: slow integer DCT, fancy upsampling. */
#include "base/mem.h"
#include "data/image_formats.h"
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>

/* A scan can cost a pass over the whole picture and a few bytes of file. */
#define MAX_SCANS 500

/* ---- the header, without libjpeg ---- */

struct markers {
    bool progressive, arithmetic;
    size_t data; /* offset of the first scan's header */
};

static enum graft_status read_markers(const uint8_t *p, size_t size, struct gr_image_info *info,
                                      struct markers *m, struct graft_error *err)
{
    bool have_frame = false;
    int exif = 0, xmp = 0;
    size_t at = 2;
    memset(m, 0, sizeof *m);
    for (;;) {
        while (at < size && p[at] != 0xff) /* libjpeg skips strangers between segments too */
            at++;
        while (at < size && p[at] == 0xff)
            at++;
        if (at >= size)
            return gr_error(err, GRAFT_E_FORMAT, "ends in its header (%zu bytes)", size);
        int code = p[at++];
        if (code == 0 || code == 0x01 || (code >= 0xd0 && code <= 0xd8))
            continue; /* no length follows */
        if (code == 0xd9)
            return gr_error(err, GRAFT_E_FORMAT, "ends without a picture");
        if (size - at < 2)
            return gr_error(err, GRAFT_E_FORMAT, "ends in its header (%zu bytes)", size);
        size_t n = (size_t)p[at] << 8 | p[at + 1];
        if (n < 2 || n > size - at)
            return gr_error(err, GRAFT_E_FORMAT, "segment %02x of %zu bytes, %zu are left", code, n,
                            size - at);
        const uint8_t *b = p + at + 2;
        size_t left = n - 2;
        if (code == 0xda) {
            m->data = at;
            break;
        }
        if (code >= 0xc0 && code <= 0xcf && code != 0xc4 && code != 0xc8 && code != 0xcc) {
            if (left < 6)
                return gr_error(err, GRAFT_E_FORMAT, "frame header of %zu bytes", left);
            if (b[0] != 8)
                return gr_error(err, GRAFT_E_UNSUPPORTED, "%d bits per sample, only 8 are read",
                                b[0]);
            info->stored_height = b[1] << 8 | b[2];
            info->stored_width = b[3] << 8 | b[4];
            info->channels = b[5];
            m->progressive = code == 0xc2 || code == 0xca;
            m->arithmetic = code >= 0xc9;
            have_frame = true;
        } else if (code == 0xe1 && left >= 6 && !memcmp(b, "Exif\0\0", 6)) {
            if (!exif)
                exif = gr_exif_orientation(b, left);
        } else if (code == 0xe1 && left >= 29 && !memcmp(b, "http://ns.adobe.com/xap/1.0/", 29)) {
            if (!xmp)
                xmp = gr_xmp_orientation(b + 29, left - 29);
        }
        at += n;
    }
    if (!have_frame)
        return gr_error(err, GRAFT_E_FORMAT, "a scan comes before the frame header");
    if (info->channels != 1 && info->channels != 3 && info->channels != 4)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "%d components", info->channels);
    info->orientation = exif ? exif : xmp ? xmp : 1;
    return GRAFT_OK;
}

enum graft_status gr_jpeg_probe(const uint8_t *p, size_t size, struct gr_image_info *info,
                                struct graft_error *err)
{
    struct markers m;
    return read_markers(p, size, info, &m, err);
}

/* ---- libjpeg's hooks ---- */

struct session {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    size_t size;
    jmp_buf escape;
    char text[JMSG_LENGTH_MAX];
};

static _Noreturn void fail(struct session *s, const char *text)
{
    snprintf(s->text, sizeof s->text, "%s", text);
    longjmp(s->escape, 1);
}

static void on_error(j_common_ptr c)
{
    struct session *s = c->client_data;
    c->err->format_message(c, s->text);
    longjmp(s->escape, 1);
}

static void on_message(j_common_ptr c, int level)
{
    /* Most warnings are harmless oddities. This one means that pixels are missing. */
    if (level < 0 && c->err->msg_code == JWRN_HIT_MARKER)
        fail(c->client_data, "data ends in the middle of the picture");
}

static void on_output(j_common_ptr c)
{
    (void)c;
}

static void source_nothing(j_decompress_ptr d)
{
    (void)d;
}

static boolean source_fill(j_decompress_ptr d)
{
    struct session *s = d->client_data;
    char text[100];
    snprintf(text, sizeof text, "the file ends early (%zu bytes)", s->size);
    fail(s, text);
}

static void source_skip(j_decompress_ptr d, long n)
{
    if (n <= 0)
        return;
    if ((size_t)n > d->src->bytes_in_buffer)
        source_fill(d);
    d->src->next_input_byte += n;
    d->src->bytes_in_buffer -= (size_t)n;
}

static void on_progress(j_common_ptr c)
{
    struct session *s = c->client_data;
    if (s->d.input_scan_number > MAX_SCANS)
        fail(s, "more than 500 scans");
}

/* ---- decoding ---- */

/* As Pillow's cmyk2rgb on inverted (Adobe) values. */
static void cmyk_to_rgb(const uint8_t *p, uint8_t *q, int n)
{
    for (int i = 0; i < n; i++, p += 4, q += 3) {
        int white = p[3]; /* stored is 255 - K */
        for (int c = 0; c < 3; c++) {
            int ink = (255 - p[c]) * white + 128;
            q[c] = (uint8_t)(white - (((ink >> 8) + ink) >> 8));
        }
    }
}

/* True where an end marker follows the first scan: then the file is not cut short, and rows after
   the window need not be looked at. */
static bool has_end(const uint8_t *p, size_t size, size_t from)
{
    for (size_t i = size; i >= from + 2; i--) {
        if (p[i - 1] == 0xd9 && p[i - 2] == 0xff)
            return true;
    }
    return false;
}

/* The window that libjpeg is asked for: upsampling looks one sample sideways, and sees a border
   where there is none at the edges of what is decoded, so whole blocks are added around. */
static struct gr_rect widen(struct gr_rect w, int mcu_w, int mcu_h, int full_w, int full_h)
{
    int x0 = w.x / mcu_w * mcu_w - mcu_w, y0 = w.y / mcu_h * mcu_h - mcu_h;
    int x1 = w.x + w.width + 2 * mcu_w, y1 = w.y + w.height;
    x0 = x0 < 0 ? 0 : x0;
    y0 = y0 < 0 ? 0 : y0;
    x1 = x1 > full_w ? full_w : x1;
    y1 = y1 > full_h ? full_h : y1;
    return (struct gr_rect){x0, y0, x1 - x0, y1 - y0};
}

enum graft_status gr_jpeg_decode(const uint8_t *p, size_t size, const struct gr_image_info *info,
                                 struct gr_rect window, struct gr_image *image,
                                 struct graft_error *err)
{
    struct markers m;
    struct gr_image_info again;
    enum graft_status status = read_markers(p, size, &again, &m, err);
    if (status)
        return status;
    int fw = info->stored_width, fh = info->stored_height;
    /* A Huffman-coded block takes at least one bit of the file. */
    uint64_t blocks = (uint64_t)((fw + 7) / 8) * (uint64_t)((fh + 7) / 8);
    if (!m.arithmetic && blocks / 8 > size)
        return gr_error(err, GRAFT_E_FORMAT, "%dx%d pixels cannot be in %zu bytes", fw, fh, size);

    struct session s = {.size = size};
    struct jpeg_decompress_struct *d = &s.d;
    d->err = jpeg_std_error(&s.errors);
    d->client_data = &s;
    s.errors.error_exit = on_error;
    s.errors.emit_message = on_message;
    s.errors.output_message = on_output;
    if (setjmp(s.escape)) {
        jpeg_destroy_decompress(d);
        return gr_error(err, GRAFT_E_FORMAT, "%s", s.text);
    }
    jpeg_create_decompress(d);
    s.source = (struct jpeg_source_mgr){.next_input_byte = p,
                                        .bytes_in_buffer = size,
                                        .init_source = source_nothing,
                                        .fill_input_buffer = source_fill,
                                        .skip_input_data = source_skip,
                                        .resync_to_restart = jpeg_resync_to_restart,
                                        .term_source = source_nothing};
    d->src = &s.source;
    s.progress.progress_monitor = on_progress;
    d->progress = &s.progress;
    jpeg_read_header(d, TRUE);
    if ((int)d->image_width != fw || (int)d->image_height != fh)
        fail(&s, "two frame headers that differ");
    bool cmyk = d->num_components == 4;
    d->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(d);

    struct gr_rect r = {0, 0, fw, fh};
    if (has_end(p, size, m.data))
        r = widen(window, 8 * d->max_h_samp_factor, 8 * d->max_v_samp_factor, fw, fh);
    if (r.width < fw) {
        JDIMENSION x = (JDIMENSION)r.x, w = (JDIMENSION)r.width;
        jpeg_crop_scanline(d, &x, &w);
        r.x = (int)x;
        r.width = (int)w;
    }
    status = gr_image_reserve(image, r.width, r.height, err);
    if (!status && cmyk)
        status = gr_image_reserve_scratch(image, 4 * (size_t)r.width, err);
    if (status)
        goto out;
    if (r.y > 0)
        jpeg_skip_scanlines(d, (JDIMENSION)r.y);
    for (int y = 0; y < r.height;) {
        JSAMPROW rows[8];
        if (cmyk) {
            rows[0] = image->scratch;
            jpeg_read_scanlines(d, rows, 1);
            cmyk_to_rgb(image->scratch, image->rgb + (size_t)y * image->stride, r.width);
            y++;
            continue;
        }
        int n = r.height - y < 8 ? r.height - y : 8;
        for (int i = 0; i < n; i++)
            rows[i] = image->rgb + (size_t)(y + i) * image->stride;
        y += (int)jpeg_read_scanlines(d, rows, (JDIMENSION)n);
    }
    image->x0 = r.x;
    image->y0 = r.y;
out:
    jpeg_destroy_decompress(d);
    return status;
}
