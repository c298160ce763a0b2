/* How is a PNG read? */
#include "base/bytes.h"
#include "data/image_formats.h"
#include <png.h>
#include <string.h>

/* The chunks before the pixels are walked here, not by libpng: only the size and the orientation
   matter. A file cut short is found by the decoder. */
enum graft_status gr_png_probe(const uint8_t *p, size_t size, struct gr_image_info *info,
                               struct graft_error *err)
{
    struct gr_reader r;
    gr_reader_init(&r, p, size);
    gr_read_bytes(&r, 8);
    uint32_t length = gr_read_u32be(&r);
    const uint8_t *type = gr_read_bytes(&r, 4);
    uint32_t w = gr_read_u32be(&r), h = gr_read_u32be(&r);
    uint8_t depth = gr_read_u8(&r), color = gr_read_u8(&r);
    gr_read_bytes(&r, 3 + 4);
    if (r.failed || length != 13 || memcmp(type, "IHDR", 4))
        return gr_error(err, GRAFT_E_FORMAT, "no IHDR chunk at the start");
    if (w == 0 || h == 0 || w > INT32_MAX || h > INT32_MAX)
        return gr_error(err, GRAFT_E_FORMAT, "size %ux%u", w, h);
    static const uint8_t channels[7] = {1, 0, 3, 1, 2, 0, 4};
    if (color > 6 || !channels[color] || (depth & (depth - 1)) || depth == 0 || depth > 16)
        return gr_error(err, GRAFT_E_FORMAT, "colour type %d with %d bits", color, depth);
    int exif = 0, xmp = 0;
    while (gr_reader_left(&r) >= 12) {
        length = gr_read_u32be(&r);
        type = gr_read_bytes(&r, 4);
        const uint8_t *data = gr_read_bytes(&r, length);
        gr_read_bytes(&r, 4);
        if (r.failed || !memcmp(type, "IEND", 4))
            break;
        if (!memcmp(type, "eXIf", 4))
            exif = gr_exif_orientation(data, length);
        else if (!memcmp(type, "iTXt", 4) && length > 18 &&
                 !memcmp(data, "XML:com.adobe.xmp", 18) && !xmp)
            xmp = gr_xmp_orientation(data + 18, length - 18);
    }
    info->stored_width = (int)w;
    info->stored_height = (int)h;
    info->channels = channels[color];
    info->orientation = exif ? exif : xmp ? xmp : 1;
    return GRAFT_OK;
}

struct input {
    struct gr_reader r;
    char text[200];
};

static void on_error(png_structp png, png_const_charp text)
{
    struct input *in = png_get_error_ptr(png);
    snprintf(in->text, sizeof in->text, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    struct input *in = png_get_io_ptr(png);
    const uint8_t *from = gr_read_bytes(&in->r, n);
    if (!from)
        png_error(png, "the file ends early");
    memcpy(to, from, n);
}

enum graft_status gr_png_decode(const uint8_t *p, size_t size, const struct gr_image_info *info,
                                struct gr_rect window, struct gr_image *image,
                                struct graft_error *err)
{
    (void)window; /* inflating is the cost; storing all rows is simple */
    int w = info->stored_width, h = info->stored_height;
    /* Deflate shrinks to 1/1032 at best; the smallest row is a filter byte and w bits. */
    uint64_t least = ((uint64_t)w / 8 * (unsigned)info->channels + 1) * (uint64_t)h / 1032;
    if (least > size)
        return gr_error(err, GRAFT_E_FORMAT, "%dx%d pixels cannot be in %zu bytes", w, h, size);
    enum graft_status s = gr_image_reserve(image, w, h, err);
    if (!s && image->alpha)
        s = gr_image_reserve_scratch(image, 4 * (size_t)w * (size_t)h, err);
    if (s)
        return s;
    uint8_t *const rows = image->alpha ? image->scratch : image->rgb;

    struct input in;
    gr_reader_init(&in.r, p, size);
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &in, on_error, on_warning);
    if (!png)
        return gr_error_nomem(err);
    png_infop pi = png_create_info_struct(png);
    if (!pi) {
        png_destroy_read_struct(&png, NULL, NULL);
        return gr_error_nomem(err);
    }
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_read_struct(&png, &pi, NULL);
        return gr_error(err, GRAFT_E_FORMAT, "%s", in.text);
    }
    /* Neither colour management nor transparency nor text concerns us. */
    static const png_byte ignored[] = "tRNS\0gAMA\0cHRM\0sRGB\0iCCP\0sBIT\0bKGD\0hIST\0pHYs\0sPLT\0"
                                      "tIME\0tEXt\0zTXt\0iTXt\0eXIf\0oFFs\0pCAL\0sCAL\0sTER";
    const int skip = image->alpha; /* transparency does concern us then */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, ignored + 5 * skip,
                                (int)(sizeof ignored / 5) - skip);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_user_limits(png, (png_uint_32)w, (png_uint_32)h);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_QUIET_USE);
    png_set_read_fn(png, &in, on_read);
    png_read_info(png, pi);
    int color = png_get_color_type(png, pi);
    if (color == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    else if (!(color & PNG_COLOR_MASK_COLOR)) {
        png_set_expand_gray_1_2_4_to_8(png);
        png_set_gray_to_rgb(png);
    }
    png_set_strip_16(png);
    if (image->alpha) {
        if (png_get_valid(png, pi, PNG_INFO_tRNS))
            png_set_tRNS_to_alpha(png);
        png_set_add_alpha(png, 255, PNG_FILLER_AFTER); /* where there is none */
    } else {
        png_set_strip_alpha(png);
    }
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, pi);
    const size_t stride = image->alpha ? 4 * (size_t)w : image->stride;
    if (png_get_rowbytes(png, pi) != stride)
        png_error(png, "unexpected row size");
    for (int pass = 0; pass < passes; pass++) {
        for (int y = 0; y < h; y++)
            png_read_row(png, rows + (size_t)y * stride, NULL);
    }
    png_destroy_read_struct(&png, &pi, NULL);
    if (image->alpha)
        gr_image_take_alpha(image, rows, w, h, 0, 0);
    return GRAFT_OK;
}
