/* The operations of augment.c, each on rows of w RGB pixels without gaps, in place. Except where
   said, the result is Pillow's as torchvision.transforms.functional calls it. */
#ifndef GR_DATA_AUGMENT_OPS_H
#define GR_DATA_AUGMENT_OPS_H

#include "data/augment.h"

void gr_pixels_flip(uint8_t *rgb, int w, int h);
/* Sets the rectangle (inside the picture) to fill. */
void gr_pixels_erase(uint8_t *rgb, int w, struct gr_rect r, const uint8_t fill[3]);
void gr_pixels_brightness(uint8_t *rgb, size_t n, double factor);
void gr_pixels_contrast(uint8_t *rgb, size_t n, double factor);
void gr_pixels_saturation(uint8_t *rgb, size_t n, double factor); /* 0: grey */
/* shift in turns; computed in floating point where Pillow rounds hue and saturation to 8 bits */
void gr_pixels_hue(uint8_t *rgb, size_t n, double shift);
void gr_pixels_posterize(uint8_t *rgb, size_t n, int bits);
void gr_pixels_solarize(uint8_t *rgb, size_t n, int threshold);
void gr_pixels_autocontrast(uint8_t *rgb, size_t n);
void gr_pixels_equalize(uint8_t *rgb, size_t n);
/* `scratch`: 3wh bytes */
void gr_pixels_sharpness(uint8_t *rgb, int w, int h, double factor, uint8_t *scratch);
/* Each pixel (x, y) takes the source at m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5] (of pixel
   centres), nearest; what lies outside becomes fill. */
void gr_pixels_affine(uint8_t *rgb, int w, int h, const double m[6], const uint8_t fill[3],
                      uint8_t *scratch);
/* Not Pillow's box approximation: the true kernel up to 3 sigma, borders mirrored. */
void gr_pixels_blur(uint8_t *rgb, int w, int h, double sigma, uint8_t *scratch);
/* Normally distributed (a sum of four uniform numbers), its own for every value. */
void gr_pixels_noise(uint8_t *rgb, size_t n, double sigma, uint64_t seed);
/* There and back through libjpeg, 4:2:0. */
enum graft_status gr_pixels_jpeg(struct gr_augmenter *g, uint8_t *rgb, int w, int h, int quality,
                                 struct graft_error *err);

#endif
