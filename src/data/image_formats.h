/* Between image.c and the decoders, one per format. `probe` fills stored_width, stored_height,
   orientation and channels; limits are checked by image.c between the two calls. `decode` fills
   rgb, width, height, x0, y0 in stored coordinates, at least `window` of them. */
#ifndef GR_DATA_IMAGE_FORMATS_H
#define GR_DATA_IMAGE_FORMATS_H

#include "data/image.h"

#define GR_DECODER(name)                                                                           \
    enum graft_status gr_##name##_probe(const uint8_t *p, size_t size, struct gr_image_info *info, \
                                        struct graft_error *err);                                  \
    enum graft_status gr_##name##_decode(const uint8_t *p, size_t size,                            \
                                         const struct gr_image_info *info, struct gr_rect window,  \
                                         struct gr_image *image, struct graft_error *err)
GR_DECODER(jpeg);
GR_DECODER(png);
GR_DECODER(webp);
GR_DECODER(bmp);
GR_DECODER(gif);

/* Makes room for width x height pixels and sets stride, width, height. */
enum graft_status gr_image_reserve(struct gr_image *image, int width, int height,
                                   struct graft_error *err);
/* `size` bytes at image->scratch. */
enum graft_status gr_image_reserve_scratch(struct gr_image *image, size_t size,
                                           struct graft_error *err);

/* The alpha of width x height RGBA pixels, thrice, as the pixels at x, y. */
void gr_image_take_alpha(struct gr_image *image, const uint8_t *rgba, int width, int height, int x,
                         int y);

/* The orientation 1..8 in an EXIF block that starts with the TIFF header, or in XMP text; 0 when
   there is none. */
int gr_exif_orientation(const uint8_t *p, size_t size);
int gr_xmp_orientation(const uint8_t *p, size_t size);

#endif
