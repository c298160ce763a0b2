/* From the bytes of a picture file to the network's input, in one go: only the part of the picture
   that the crop needs is decoded and resized.

   Geometry equals torchvision.transforms on Pillow images:
   - SHORTEST: short side to resize_to, long side to int(resize_to * long / short) (Resize), then
     the centre width x height (CenterCrop: offset int(round((h - H) / 2.0)), halves to even;
     a smaller picture is padded with pad_value, (H - h) / 2 rows above, the rest below).
   - STRETCH: width x height.
   - LETTERBOX: the side that fills its box is exact, the other rounds half up (at least 1);
     (W - w) / 2 columns of padding on the left, the rest on the right; above and below likewise.
   Alpha is resized like a plane of its own, not multiplied into the colours; it is 255 where a
   picture has none and where it is padded. Only PNG and WebP are asked for it.
   Grey is Pillow's 'L' of the final RGB pixels: (19595 R + 38470 G + 7471 B + 32768) >> 16. */
#ifndef GR_DATA_PREPROCESS_H
#define GR_DATA_PREPROCESS_H

#include "data/augment.h"
#include "data/image.h"
#include "data/resize.h"
#include "graft.h"

/* Scratch, reused from picture to picture; zeroed is empty. One per thread. */
struct gr_preprocessor {
    struct gr_image image;
    struct gr_resizer resizer;
    uint8_t *pixels; /* the last result as 8-bit RGB, width*height*3, before normalising */
    size_t pixels_cap;
    int width, height;
    struct gr_image_limits limits; /* all 0: the defaults */
    struct gr_augmenter augmenter;
};

void gr_preprocessor_clear(struct gr_preprocessor *pp);

/* ARG with the setting that makes no sense (sizes 1..16384, std not 0, pad 0..255, ...). */
enum graft_status gr_preprocess_check(const struct graft_preprocess *p, struct graft_error *err);

/* Planes of the result: 3, 1 for GRAFT_GREY, 4 for GRAFT_RGBA. */
int gr_preprocess_channels(const struct graft_preprocess *p);

/* `out`: (C,H,W) floats. `info` (may be NULL) is set as soon as the header could be read. After
   success pp->pixels holds the 8-bit RGB pixels. `p` must have passed gr_preprocess_check. */
enum graft_status gr_preprocess_picture(struct gr_preprocessor *pp, const void *bytes, size_t size,
                                        const struct graft_preprocess *p, float *out,
                                        struct gr_image_info *info, struct graft_error *err);

/* One augmented view. Where `a` crops, its box straight to width x height takes the place of the
   preprocessing's own geometry. With the preset NONE the result equals gr_preprocess_picture's.
   `a` must have passed gr_augment_check. */
enum graft_status gr_preprocess_view(struct gr_preprocessor *pp, const void *bytes, size_t size,
                                     const struct graft_preprocess *p, const struct gr_augment *a,
                                     struct gr_view view, float *out, struct gr_image_info *info,
                                     struct graft_error *err);

/* The same as gr_preprocess_picture from the caller's upright RGB pixels, rows `stride` bytes
 * apart. */
enum graft_status gr_preprocess_pixels(struct gr_preprocessor *pp, const uint8_t *rgb, int width,
                                       int height, size_t stride, const struct graft_preprocess *p,
                                       float *out, struct graft_error *err);

/* For the naive "nearest pixels" baseline: the last result's 8-bit pixels as grey, averaged over
   16 x 16 areas (at least one pixel each), rounded to nearest. */
#define GR_THUMB_SIDE 16
#define GR_THUMB_SIZE (GR_THUMB_SIDE * GR_THUMB_SIDE)
void gr_preprocess_thumb(const struct gr_preprocessor *pp, uint8_t thumb[GR_THUMB_SIZE]);

#endif
