/* How is the first frame of a GIF read? */
#include "base/bytes.h"
#include "data/image_formats.h"
#include <string.h>

struct frame {
    int canvas_width, canvas_height;
    int x, y, width, height;
    bool interlaced;
    int background; /* index around the frame: the transparent one, or 0 */
    size_t data;    /* offset of the LZW code size */
    uint8_t palette[256][3];
};

static void skip_blocks(struct gr_reader *r)
{
    uint8_t n;
    while ((n = gr_read_u8(r)) > 0)
        gr_read_bytes(r, n);
}

static void read_palette(struct gr_reader *r, int flags, uint8_t palette[256][3])
{
    int n = 2 << (flags & 7);
    const uint8_t *p = gr_read_bytes(r, 3 * (size_t)n);
    memset(palette, 0, 256 * 3);
    if (p)
        memcpy(palette, p, 3 * (size_t)n);
}

static enum graft_status read_frame(const uint8_t *p, size_t size, struct frame *f,
                                    struct graft_error *err)
{
    struct gr_reader r;
    memset(f, 0, sizeof *f);
    for (int i = 0; i < 256; i++) /* a file without any palette is grey */
        memset(f->palette[i], i, 3);
    gr_reader_init(&r, p, size);
    gr_read_bytes(&r, 6);
    f->canvas_width = gr_read_u16le(&r);
    f->canvas_height = gr_read_u16le(&r);
    int flags = gr_read_u8(&r);
    gr_read_bytes(&r, 2);
    if (flags & 0x80)
        read_palette(&r, flags, f->palette);
    while (!r.failed) {
        int kind = gr_read_u8(&r);
        if (kind == ';')
            return gr_error(err, GRAFT_E_FORMAT, "ends without a frame");
        if (kind == '!') {
            int label = gr_read_u8(&r);
            const uint8_t *b = r.p;
            if (label == 0xf9 && gr_reader_left(&r) >= 5 && b[0] >= 4 && b[1] & 1)
                f->background = b[4];
            skip_blocks(&r);
        } else if (kind == ',') {
            f->x = gr_read_u16le(&r);
            f->y = gr_read_u16le(&r);
            f->width = gr_read_u16le(&r);
            f->height = gr_read_u16le(&r);
            flags = gr_read_u8(&r);
            f->interlaced = flags & 0x40;
            if (flags & 0x80)
                read_palette(&r, flags, f->palette);
            if (r.failed)
                break;
            /* As Pillow, and all browsers: a frame beyond the canvas makes it larger. */
            if (f->x + f->width > f->canvas_width)
                f->canvas_width = f->x + f->width;
            if (f->y + f->height > f->canvas_height)
                f->canvas_height = f->y + f->height;
            f->data = gr_reader_pos(&r);
            return GRAFT_OK;
        }
    }
    return gr_error(err, GRAFT_E_FORMAT, "ends before its first frame (%zu bytes)", size);
}

enum graft_status gr_gif_probe(const uint8_t *p, size_t size, struct gr_image_info *info,
                               struct graft_error *err)
{
    struct frame f;
    enum graft_status s = read_frame(p, size, &f, err);
    if (s)
        return s;
    info->stored_width = f.canvas_width;
    info->stored_height = f.canvas_height;
    info->channels = 1;
    return GRAFT_OK;
}

/* ---- LZW ---- */

#define N_CODES 4096

struct lzw {
    struct gr_reader *r;
    const uint8_t *block, *block_end; /* the sub-block in hand */
    uint32_t bits;
    int n_bits;
    uint16_t prefix[N_CODES];
    uint8_t last[N_CODES];
    uint8_t stack[N_CODES];
};

/* The next code, or -1 at the end of the data. */
static int next_code(struct lzw *z, int width)
{
    while (z->n_bits < width) {
        if (z->block == z->block_end) {
            size_t n = gr_read_u8(z->r);
            z->block = n ? gr_read_bytes(z->r, n) : NULL;
            if (!z->block)
                return -1;
            z->block_end = z->block + n;
        }
        z->bits |= (uint32_t)*z->block++ << z->n_bits;
        z->n_bits += 8;
    }
    int code = (int)(z->bits & ((1u << width) - 1));
    z->bits >>= width;
    z->n_bits -= width;
    return code;
}

/* Writes up to n indices; returns how many came. */
static size_t unpack(struct lzw *z, int min_width, uint8_t *out, size_t n)
{
    int clear = 1 << min_width, end = clear + 1, next = clear + 2, width = min_width + 1;
    int before = -1;
    uint8_t first = 0;
    size_t done = 0;
    while (done < n) {
        int code = next_code(z, width);
        if (code < 0 || code == end)
            break;
        if (code == clear) {
            next = clear + 2;
            width = min_width + 1;
            before = -1;
            continue;
        }
        if (code > next || (code == next && before < 0))
            break; /* refers to what is not there yet */
        size_t depth = 0;
        int c = code;
        if (code == next) { /* the string that is being defined: before + its own first */
            z->stack[depth++] = first;
            c = before;
        }
        while (c >= clear + 2) {
            z->stack[depth++] = z->last[c];
            c = z->prefix[c];
        }
        if (c >= clear)
            break;
        first = (uint8_t)c;
        z->stack[depth++] = first;
        if (before >= 0 && next < N_CODES) {
            z->prefix[next] = (uint16_t)before;
            z->last[next] = first;
            next++;
            if (next == 1 << width && width < 12)
                width++;
        }
        before = code;
        while (depth > 0 && done < n)
            out[done++] = z->stack[--depth];
    }
    return done;
}

enum graft_status gr_gif_decode(const uint8_t *p, size_t size, const struct gr_image_info *info,
                                struct gr_rect window, struct gr_image *image,
                                struct graft_error *err)
{
    (void)info;
    (void)window; /* GIFs are small */
    struct frame f;
    struct gr_reader r;
    enum graft_status s = read_frame(p, size, &f, err);
    if (s)
        return s;
    /* One code of 12 bits gives at most 4096 pixels. */
    size_t n = (size_t)f.width * (size_t)f.height;
    if (n / 4096 > size)
        return gr_error(err, GRAFT_E_FORMAT, "%dx%d pixels in %zu bytes", f.width, f.height, size);
    /* The canvas around the frame costs the file nothing; the caller's limit bounds it. */
    s = gr_image_reserve(image, f.canvas_width, f.canvas_height, err);
    if (!s)
        s = gr_image_reserve_scratch(image, n, err);
    if (s)
        return s;
    gr_reader_init(&r, p, size);
    gr_read_bytes(&r, f.data);
    int min_width = gr_read_u8(&r);
    if (min_width < 1 || min_width > 8)
        return gr_error(err, GRAFT_E_FORMAT, "LZW code size %d", min_width);
    struct lzw z = {.r = &r};
    size_t done = unpack(&z, min_width, image->scratch, n);
    if (done < n)
        return gr_error(err, GRAFT_E_FORMAT, "cut short or damaged: %zu of %zu pixels", done, n);

    for (int y = 0; y < f.canvas_height; y++) {
        uint8_t *q = image->rgb + (size_t)y * image->stride;
        for (int x = 0; x < f.canvas_width; x++)
            memcpy(q + 3 * (size_t)x, f.palette[f.background], 3);
    }
    static const struct {
        int first, step;
    } passes[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}, {0, 1}};
    const uint8_t *from = image->scratch;
    for (int pass = f.interlaced ? 0 : 4; pass < (f.interlaced ? 4 : 5); pass++) {
        for (int y = passes[pass].first; y < f.height; y += passes[pass].step) {
            uint8_t *q = image->rgb + (size_t)(f.y + y) * image->stride + 3 * (size_t)f.x;
            for (int x = 0; x < f.width; x++, q += 3)
                memcpy(q, f.palette[*from++], 3);
        }
    }
    return GRAFT_OK;
}
