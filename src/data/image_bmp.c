/* How is a Windows or OS/2 bitmap read? */
#include "base/bytes.h"
#include "data/image_formats.h"
#include <string.h>

enum { RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3, ALPHABITFIELDS = 6 };

struct header {
    int width, height, bits;
    bool top_down;
    uint32_t compression, n_colors, data;
    uint32_t mask[3];
    uint8_t palette[256][3]; /* R G B; black beyond what the file gives */
};

static enum graft_status read_header(const uint8_t *p, size_t size, struct header *h,
                                     struct graft_error *err)
{
    struct gr_reader r;
    memset(h, 0, sizeof *h);
    gr_reader_init(&r, p, size);
    gr_read_bytes(&r, 10);
    h->data = gr_read_u32le(&r);
    uint32_t header_size = gr_read_u32le(&r);
    int64_t w, y;
    size_t entry = 4;
    if (header_size == 12) {
        w = gr_read_u16le(&r);
        y = gr_read_u16le(&r);
        gr_read_u16le(&r);
        h->bits = gr_read_u16le(&r);
        entry = 3;
    } else if (header_size >= 40 && header_size <= 124) {
        w = (int32_t)gr_read_u32le(&r);
        y = (int32_t)gr_read_u32le(&r);
        gr_read_u16le(&r);
        h->bits = gr_read_u16le(&r);
        h->compression = gr_read_u32le(&r);
        gr_read_bytes(&r, 12);
        h->n_colors = gr_read_u32le(&r);
        gr_read_u32le(&r);
        size_t more = header_size - 40;
        /* The masks are part of long headers and follow short ones. */
        if (more >= 12 || h->compression == BITFIELDS || h->compression == ALPHABITFIELDS) {
            for (int c = 0; c < 3; c++)
                h->mask[c] = gr_read_u32le(&r);
            more = more >= 12 ? more - 12 : 0;
        }
        gr_read_bytes(&r, more);
    } else {
        return gr_error(err, GRAFT_E_FORMAT, "header of %u bytes", header_size);
    }
    if (r.failed)
        return gr_error(err, GRAFT_E_FORMAT, "ends in its header (%zu bytes)", size);
    h->top_down = y < 0;
    y = y < 0 ? -y : y;
    if (w <= 0 || y <= 0 || y > INT32_MAX)
        return gr_error(err, GRAFT_E_FORMAT, "size %lldx%lld", (long long)w, (long long)y);
    h->width = (int)w;
    h->height = (int)y;
    int b = h->bits;
    uint32_t c = h->compression;
    if (b != 1 && b != 4 && b != 8 && b != 16 && b != 24 && b != 32)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "%d bits per pixel", b);
    if (!(c == RAW || (c == RLE8 && b == 8) || (c == RLE4 && b == 4) ||
          ((c == BITFIELDS || c == ALPHABITFIELDS) && (b == 16 || b == 24 || b == 32))))
        return gr_error(err, GRAFT_E_UNSUPPORTED, "compression %u with %d bits per pixel", c, b);
    if (b <= 8) {
        size_t n = h->n_colors ? h->n_colors : (size_t)1 << b;
        size_t most = gr_reader_left(&r) / entry;
        n = n > 256 ? 256 : n;
        n = n > most ? most : n;
        for (size_t i = 0; i < n; i++) {
            const uint8_t *e = gr_read_bytes(&r, entry);
            for (int k = 0; k < 3; k++)
                h->palette[i][k] = e[2 - k];
        }
    }
    bool no_masks = !h->mask[0] && !h->mask[1] && !h->mask[2];
    if (c == RAW || no_masks) {
        static const uint32_t rgb555[3] = {0x7c00, 0x3e0, 0x1f};
        static const uint32_t rgb888[3] = {0xff0000, 0xff00, 0xff};
        memcpy(h->mask, b == 16 ? rgb555 : rgb888, sizeof h->mask);
    }
    if (h->data > size)
        return gr_error(err, GRAFT_E_FORMAT, "pixels at offset %u of %zu bytes", h->data, size);
    return GRAFT_OK;
}

enum graft_status gr_bmp_probe(const uint8_t *p, size_t size, struct gr_image_info *info,
                               struct graft_error *err)
{
    struct header h;
    enum graft_status s = read_header(p, size, &h, err);
    if (s)
        return s;
    info->stored_width = h.width;
    info->stored_height = h.height;
    info->channels = h.bits <= 8 ? 1 : 3;
    return GRAFT_OK;
}

static void put_index(uint8_t *q, const struct header *h, int index)
{
    memcpy(q, h->palette[index], 3);
}

/* Pixels as run lengths, lines from the bottom; what is not set is colour 0. */
static void read_rle(struct gr_reader *r, const struct header *h, struct gr_image *image)
{
    int x = 0, y = 0, w = h->width;
    for (int i = 0; i < h->height; i++) {
        for (int k = 0; k < w; k++)
            put_index(image->rgb + (size_t)i * image->stride + 3 * (size_t)k, h, 0);
    }
    while (y < h->height) {
        int n = gr_read_u8(r), v = gr_read_u8(r);
        uint8_t *row = image->rgb + (size_t)(h->top_down ? y : h->height - 1 - y) * image->stride;
        if (r->failed)
            return;
        if (n > 0) {
            for (int i = 0; i < n && x < w; i++, x++)
                put_index(row + 3 * (size_t)x, h, h->bits == 8 ? v : i & 1 ? v & 15 : v >> 4);
        } else if (v == 0) {
            x = 0;
            y++;
        } else if (v == 1) {
            return;
        } else if (v == 2) {
            x += gr_read_u8(r);
            y += gr_read_u8(r);
            if (x > w)
                x = w;
        } else {
            size_t n_bytes = h->bits == 8 ? (size_t)v : ((size_t)v + 1) / 2;
            const uint8_t *b = gr_read_bytes(r, n_bytes);
            if (!b)
                return;
            for (int i = 0; i < v && x < w; i++, x++) {
                int index = h->bits == 8 ? b[i] : i & 1 ? b[i / 2] & 15 : b[i / 2] >> 4;
                put_index(row + 3 * (size_t)x, h, index);
            }
            if (n_bytes & 1)
                gr_read_u8(r);
        }
    }
}

static void read_row(const uint8_t *p, const struct header *h, uint8_t *q)
{
    int bits = h->bits, shift[3], w = h->width;
    uint32_t most[3];
    for (int c = 0; c < 3 && bits > 8; c++) {
        shift[c] = h->mask[c] ? __builtin_ctz(h->mask[c]) : 0;
        most[c] = h->mask[c] ? h->mask[c] >> shift[c] : 1;
    }
    for (int x = 0; x < w; x++, q += 3) {
        if (bits <= 8) {
            int at = x * bits; /* below 2^31: width is at most a million here */
            put_index(q, h, p[at / 8] >> (8 - bits - at % 8) & ((1 << bits) - 1));
            continue;
        }
        uint32_t v = 0;
        for (int i = 0; i < bits / 8; i++)
            v |= (uint32_t)*p++ << 8 * i;
        for (int c = 0; c < 3; c++)
            q[c] = (uint8_t)((uint64_t)((v & h->mask[c]) >> shift[c]) * 255 / most[c]);
    }
}

enum graft_status gr_bmp_decode(const uint8_t *p, size_t size, const struct gr_image_info *info,
                                struct gr_rect window, struct gr_image *image,
                                struct graft_error *err)
{
    (void)info;
    (void)window; /* decoding is a copy */
    struct header h;
    struct gr_reader r;
    enum graft_status s = read_header(p, size, &h, err);
    if (s)
        return s;
    gr_reader_init(&r, p, size);
    gr_read_bytes(&r, h.data);
    bool rle = h.compression == RLE8 || h.compression == RLE4;
    uint64_t stride = ((uint64_t)h.width * (unsigned)h.bits + 31) / 32 * 4;
    uint64_t need = rle ? 0 : stride * (uint64_t)h.height;
    /* The last row's padding may be missing. */
    if (!rle && gr_reader_left(&r) + 3 < need)
        return gr_error(err, GRAFT_E_FORMAT, "cut short: %zu bytes of pixels, %llu needed",
                        gr_reader_left(&r), (unsigned long long)need);
    /* Two bytes make at most 255 pixels, or skip as many rows. */
    if (rle && (uint64_t)h.width * (uint64_t)h.height / 65536 > size)
        return gr_error(err, GRAFT_E_FORMAT, "%dx%d pixels in %zu bytes", h.width, h.height, size);
    s = gr_image_reserve(image, h.width, h.height, err);
    if (s)
        return s;
    if (rle) {
        read_rle(&r, &h, image);
        return GRAFT_OK;
    }
    size_t row = ((size_t)h.width * (size_t)h.bits + 7) / 8;
    for (int y = 0; y < h.height; y++) {
        const uint8_t *b = gr_read_bytes(&r, row);
        if (!b)
            return gr_error(err, GRAFT_E_FORMAT, "cut short in row %d of %d", y, h.height);
        size_t pad = (size_t)stride - row;
        gr_read_bytes(&r, gr_reader_left(&r) < pad ? gr_reader_left(&r) : pad);
        int to = h.top_down ? y : h.height - 1 - y;
        read_row(b, &h, image->rgb + (size_t)to * image->stride);
    }
    return GRAFT_OK;
}
