/* Augmentation of pictures: what a training example looks like in an epoch is a pure function of
   (seed, epoch, index). All of it works on 8-bit RGB, as torchvision does on Pillow images. */
#ifndef GR_DATA_AUGMENT_H
#define GR_DATA_AUGMENT_H

#include "data/image.h"
#include "data/resize.h"

enum gr_augment_preset {
    GR_AUGMENT_NONE,
    GR_AUGMENT_SHIFT,  /* shift by up to an eighth of the side either way, flip */
    GR_AUGMENT_LIGHT,  /* crop of 35..100 % of the area, flip, weak colour jitter */
    GR_AUGMENT_TRIVIAL /* crop of 8..100 %, flip, TrivialAugmentWide, erasing (10 %) */
};

/* Probabilities 0..1; an operation with probability or strength 0 is left out. */
struct gr_augment {
    double crop_area[2];  /* random resized crop: fraction of the picture; both 1: no crop */
    double crop_ratio[2]; /* width / height */
    double flip;          /* left and right */
    double shift;         /* up to this fraction of the side each way; what it uncovers is filled */
    double rotate;        /* up to so many degrees either way, about the centre */
    double brightness, contrast, saturation; /* factor 1 - b .. 1 + b */
    double hue;                              /* shift of at most so many turns (0..0.5) */
    double grey;
    double blur, blur_sigma[2]; /* Gaussian; sigma in pixels */
    double noise;               /* standard deviation in levels of 255 */
    double jpeg;
    int jpeg_quality[2];
    bool trivial;                                /* TrivialAugmentWide, 31 magnitudes */
    double erase, erase_area[2], erase_ratio[2]; /* height / width */
    uint8_t fill[3];                             /* RGB of erased and uncovered pixels */
};

void gr_augment_init(struct gr_augment *a, enum gr_augment_preset preset);
/* "none", "shift", "light", "trivial". */
enum graft_status gr_augment_find(const char *name, enum gr_augment_preset *preset,
                                  struct graft_error *err);
enum graft_status gr_augment_check(const struct gr_augment *a, struct graft_error *err);
bool gr_augment_crops(const struct gr_augment *a);

/* Which view of which example: its random numbers. */
struct gr_view {
    uint64_t seed;
    int64_t epoch, index;
};

/* The part of a width x height picture that this view shows (all of it where nothing is cropped);
   torchvision's RandomResizedCrop.get_params. It is then resized by gr_augment_resize. */
struct gr_rect gr_augment_crop(const struct gr_augment *a, struct gr_view view, int width,
                               int height);
/* crop, then resize to out_width x out_height; `image` must contain `box`. */
enum graft_status gr_augment_resize(struct gr_resizer *rs, const struct gr_image *image,
                                    struct gr_rect box, enum graft_filter filter, uint8_t *out,
                                    int out_width, int out_height, struct graft_error *err);

/* Scratch, reused; zeroed is empty. One per thread. */
struct gr_augmenter {
    uint8_t *scratch, *jpeg;
    size_t scratch_cap, jpeg_cap;
    struct gr_image image;
};
void gr_augmenter_clear(struct gr_augmenter *g);
/* Everything but the crop, in place on rows of width RGB pixels without gaps. */
enum graft_status gr_augment_pixels(const struct gr_augment *a, struct gr_augmenter *g,
                                    struct gr_view view, uint8_t *rgb, int width, int height,
                                    struct graft_error *err);

#endif
