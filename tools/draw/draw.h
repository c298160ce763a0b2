/* What the drawing programs share: random numbers, noise, and shapes that become soft masks.
   Everything is a pure function of the seed; a picture is a square of linear RGB floats. */
#ifndef DRAW_H
#define DRAW_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};
struct point {
    double x, y;
};
struct colour {
    double r, g, b;
};
struct picture {
    int size;
    struct colour *px; /* size x size, 0..1, rows from the top */
};
struct mask {
    int size;
    double *v; /* how much of each pixel a shape covers, 0..1 */
};

/* One random number per statement: C does not say which argument is evaluated first. */
double uniform(struct rng *r);
double between(struct rng *r, double low, double high);
double normal(struct rng *r);
int below(struct rng *r, int n);
uint64_t mix_bits(uint64_t z);

static inline double clamp(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}
/* 0 below a, 1 above b, smooth between. */
static inline double ramp(double a, double b, double v)
{
    double t = clamp((v - a) / (b - a), 0, 1);
    return t * t * (3 - 2 * t);
}
static inline struct colour blend(struct colour a, struct colour b, double t)
{
    return (struct colour){a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}
static inline struct colour scaled(struct colour c, double f)
{
    return (struct colour){c.r * f, c.g * f, c.b * f};
}

/* Smooth noise, about -1..1, of n octaves. cells: distance to the nearest of one random point per
   unit square; *id says which one. */
double noise(double x, double y, uint32_t seed, int n_octaves);
double cells(double x, double y, uint32_t seed, uint32_t *id);

struct mask mask_new(int size);
void mask_free(struct mask *m);
void mask_clear(struct mask *m);
void fill_polygon(struct mask *m, const struct point *p, int n);
/* A stroke from a to b that narrows from width wa to wb, painted no fainter than before. */
void stroke(struct mask *m, struct point a, struct point b, double wa, double wb, double strength);
void blur_mask(struct mask *m, double radius);
void blur_picture(struct picture *p, double radius);

void *allocate(size_t n, size_t size); /* or ends the program */

/* A kind of task: its classes and how the picture of one of them is drawn. */
struct kind {
    const char *name, *what;
    int n_classes, default_size;
    const char *const *classes;
    void (*draw)(struct picture *p, int class_id, struct rng *r);
    int quality_low, quality_high; /* of the JPEG */
};
extern const struct kind leaves_kind, stripes_kind;

/* leaf.c: one leaf of a species, lit from the direction of light, into the picture. */
#define N_SPECIES 6
extern const char *const species_names[N_SPECIES];
struct pose {
    struct point at, light; /* middle of the leaf in pixels; direction that the light comes from */
    double length, turn, tilt, tilt_axis;
};
void draw_leaf(struct picture *p, int species, const struct pose *pose, struct rng *r);

/* ground.c: what the leaf lies on, over the whole picture. */
void draw_ground(struct picture *p, struct rng *r);

#endif
