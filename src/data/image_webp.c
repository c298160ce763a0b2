/* How is a WebP read? Of an animation, the first frame on a black canvas. */
#include "base/bytes.h"
#include "data/image_formats.h"
#include <string.h>
#include <webp/decode.h>

struct parts {
    int canvas_width, canvas_height; /* 0: no VP8X header, the picture is the canvas */
    const uint8_t *frame;            /* first frame of an animation; NULL: the file itself */
    size_t frame_size;
    int frame_x, frame_y, frame_width, frame_height;
    int exif, xmp;
};

static int read_u24(struct gr_reader *r)
{
    const uint8_t *p = gr_read_bytes(r, 3);
    return p ? p[0] | p[1] << 8 | p[2] << 16 : 0;
}

static void read_parts(const uint8_t *p, size_t size, struct parts *parts)
{
    struct gr_reader r;
    memset(parts, 0, sizeof *parts);
    gr_reader_init(&r, p, size);
    gr_read_bytes(&r, 12);
    while (gr_reader_left(&r) >= 8) {
        const uint8_t *type = gr_read_bytes(&r, 4);
        uint32_t n = gr_read_u32le(&r);
        const uint8_t *data = gr_read_bytes(&r, n);
        if (!data)
            return;
        if (n & 1)
            gr_read_u8(&r);
        struct gr_reader c;
        gr_reader_init(&c, data, n);
        if (!memcmp(type, "VP8X", 4) && n >= 10 && !parts->canvas_width) {
            gr_read_bytes(&c, 4);
            parts->canvas_width = read_u24(&c) + 1;
            parts->canvas_height = read_u24(&c) + 1;
        } else if (!memcmp(type, "ANMF", 4) && n >= 16 && !parts->frame) {
            parts->frame_x = 2 * read_u24(&c);
            parts->frame_y = 2 * read_u24(&c);
            parts->frame_width = read_u24(&c) + 1;
            parts->frame_height = read_u24(&c) + 1;
            parts->frame = data + 16;
            parts->frame_size = n - 16;
        } else if (!memcmp(type, "EXIF", 4) && !parts->exif) {
            parts->exif = gr_exif_orientation(data, n);
        } else if (!memcmp(type, "XMP ", 4) && !parts->xmp) {
            parts->xmp = gr_xmp_orientation(data, n);
        }
    }
}

enum graft_status gr_webp_probe(const uint8_t *p, size_t size, struct gr_image_info *info,
                                struct graft_error *err)
{
    struct parts parts;
    WebPBitstreamFeatures f;
    VP8StatusCode code = WebPGetFeatures(p, size, &f);
    if (code != VP8_STATUS_OK)
        return gr_error(err, GRAFT_E_FORMAT, "damaged header (libwebp code %d)", (int)code);
    uint32_t riff = p[4] | p[5] << 8 | p[6] << 16 | (uint32_t)p[7] << 24;
    if (riff > size - 8)
        return gr_error(err, GRAFT_E_FORMAT, "cut short: %zu bytes, the header says %llu", size,
                        riff + 8ull);
    read_parts(p, size, &parts);
    if (f.has_animation) {
        if (!parts.frame)
            return gr_error(err, GRAFT_E_FORMAT, "an animation without a first frame");
        if (parts.frame_x > parts.canvas_width - parts.frame_width ||
            parts.frame_y > parts.canvas_height - parts.frame_height)
            return gr_error(err, GRAFT_E_FORMAT, "a frame %dx%d at %d,%d on a canvas of %dx%d",
                            parts.frame_width, parts.frame_height, parts.frame_x, parts.frame_y,
                            parts.canvas_width, parts.canvas_height);
    }
    info->stored_width = f.has_animation ? parts.canvas_width : f.width;
    info->stored_height = f.has_animation ? parts.canvas_height : f.height;
    info->channels = f.has_alpha ? 4 : 3;
    info->orientation = parts.exif ? parts.exif : parts.xmp ? parts.xmp : 1;
    return GRAFT_OK;
}

enum graft_status gr_webp_decode(const uint8_t *p, size_t size, const struct gr_image_info *info,
                                 struct gr_rect window, struct gr_image *image,
                                 struct graft_error *err)
{
    (void)window; /* libwebp's cropping is not exact at the edges */
    struct parts parts;
    WebPBitstreamFeatures f;
    read_parts(p, size, &parts);
    bool animated = WebPGetFeatures(p, size, &f) == VP8_STATUS_OK && f.has_animation;
    if (animated) {
        p = parts.frame;
        size = parts.frame_size;
    }
    VP8StatusCode code = WebPGetFeatures(p, size, &f);
    if (code != VP8_STATUS_OK)
        return gr_error(err, GRAFT_E_FORMAT, "damaged frame (libwebp code %d)", (int)code);
    int w = animated ? parts.frame_width : info->stored_width;
    int h = animated ? parts.frame_height : info->stored_height;
    if (f.width != w || f.height != h)
        return gr_error(err, GRAFT_E_FORMAT, "a frame of %dx%d, its header says %dx%d", f.width,
                        f.height, w, h);
    enum graft_status s = gr_image_reserve(image, info->stored_width, info->stored_height, err);
    if (s)
        return s;
    size_t total = image->stride * (size_t)image->height, skip = 0;
    if (animated) {
        memset(image->rgb, 0, total);
        skip = (size_t)parts.frame_y * image->stride + 3 * (size_t)parts.frame_x;
    }
    if (image->alpha) {
        const size_t rgba = 4 * (size_t)w;
        s = gr_image_reserve_scratch(image, rgba * (size_t)h, err);
        if (s)
            return s;
        if (!WebPDecodeRGBAInto(p, size, image->scratch, rgba * (size_t)h, (int)rgba))
            return gr_error(err, GRAFT_E_FORMAT, "damaged or cut short (%zu bytes)", size);
        gr_image_take_alpha(image, image->scratch, w, h, animated ? parts.frame_x : 0,
                            animated ? parts.frame_y : 0);
        return GRAFT_OK;
    }
    if (!WebPDecodeRGBInto(p, size, image->rgb + skip, total - skip, (int)image->stride))
        return gr_error(err, GRAFT_E_FORMAT, "damaged or cut short (%zu bytes)", size);
    return GRAFT_OK;
}
