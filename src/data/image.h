/* Pictures from bytes to 8-bit RGB, upright. The pixels equal Pillow's
   ImageOps.exif_transpose(Image.open(f)).convert('RGB'): alpha and palette transparency are dropped
   (not composited), CMYK is taken as Adobe writes it (inverted), animations give their first frame.

   Where we differ on purpose:
   - 16-bit grey PNG: the high byte is taken; Pillow clips every value above 255 to white.
   - BMP: any bit masks are read, and run-length data may end early (the rest is colour 0), where
     Pillow refuses.
   - PNG: a damaged ancillary chunk is skipped, where Pillow refuses. ImageMagick's orientation in
     "Raw profile type exif" text is not read.
   - JPEG: data that ends in the middle of a scan is refused even if an end marker follows. */
#ifndef GR_DATA_IMAGE_H
#define GR_DATA_IMAGE_H

#include "base/error.h"
#include "data/sniff.h"
#include <stdint.h>

struct gr_rect {
    int x, y, width, height;
};

struct gr_image_limits {
    int64_t max_pixels; /* width * height */
    int max_side;       /* width and height each */
};
#define GR_IMAGE_MAX_PIXELS 178956970 /* as Pillow refuses */
#define GR_IMAGE_MAX_SIDE   1000000

/* What the header says. */
struct gr_image_info {
    enum gr_format format;
    int width, height;               /* upright, as a person sees it */
    int stored_width, stored_height; /* before orientation */
    int orientation;                 /* 1..8 as in EXIF; 1 where none is given */
    int channels;                    /* stored: 1 grey or palette, 2, 3, 4 */
};

/* Decoded pixels: rows of `stride` bytes, interleaved R G B. Zeroed is empty; buffers grow and are
   reused by the next decode. At least GR_IMAGE_SLACK bytes past the last row may be read. */
struct gr_image {
    uint8_t *rgb;
    size_t stride, cap;
    int width, height;           /* of what is in rgb */
    int x0, y0;                  /* where that lies in the upright picture */
    int full_width, full_height; /* of the upright picture */
    bool alpha;                  /* set by the caller: the alpha plane, thrice, for the colours */
    uint8_t *scratch;            /* for the decoders */
    size_t scratch_cap;
};
#define GR_IMAGE_SLACK 64

void gr_image_clear(struct gr_image *image);

/* Reads the header only. FORMAT: not a picture or a broken header; LIMIT: larger than allowed
   (`limits` NULL: the values above), or absurdly large for the size of the file. */
enum graft_status gr_image_probe(const void *bytes, size_t size,
                                 const struct gr_image_limits *limits, struct gr_image_info *info,
                                 struct graft_error *err);

/* Which formats can hold alpha that is decoded; everything else is opaque. */
static inline bool gr_format_has_alpha(enum gr_format format)
{
    return format == GR_FORMAT_PNG || format == GR_FORMAT_WEBP;
}

/* Decodes at least `window` (in the upright picture, inside it; NULL: all) and possibly more; where
   the result lies is said in image->x0, y0. Pixels inside the window equal those of a whole decode
   bit for bit. On failure the pixels are undefined and the buffers remain owned by `image`. With
   image->alpha only for formats that have it. */
enum graft_status gr_image_decode(const void *bytes, size_t size, const struct gr_rect *window,
                                  const struct gr_image_limits *limits, struct gr_image *image,
                                  struct graft_error *err);

/* Copies the part `window` of the caller's width x height RGB pixels, rows `stride` bytes apart. */
enum graft_status gr_image_from_pixels(struct gr_image *image, const uint8_t *rgb, int width,
                                       int height, size_t stride, struct gr_rect window,
                                       struct graft_error *err);

#endif
