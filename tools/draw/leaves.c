/* How is a leaf photographed? On some ground, beside others, in some light, with some camera; none
   of that depends on the species. */
#include <math.h>

#include "draw.h"

static void place_leaf(struct pose *pose, int size, struct point light, struct rng *r)
{
    pose->light = light;
    pose->at.x = (0.5 + 0.06 * normal(r)) * size;
    pose->at.y = (0.5 + 0.06 * normal(r)) * size;
    pose->length = between(r, 0.64, 1.0) * size;
    pose->turn = 0.55 * normal(r);
    pose->tilt = clamp(0.25 * normal(r), -0.7, 0.7);
    pose->tilt_axis = between(r, 0, 3.14159);
}

/* Parts of other leaves reach in from outside, of any species. */
static void scatter_others(struct picture *p, struct point light, struct rng *r)
{
    int n = uniform(r) < 0.55 ? 0 : 1 + below(r, 2);
    for (int i = 0; i < n; i++) {
        struct pose pose;
        place_leaf(&pose, p->size, light, r);
        double turn = between(r, 0, 6.283), far = between(r, 0.68, 0.8) * p->size;
        pose.turn = between(r, 0, 6.283);
        pose.at.x = 0.5 * p->size + far * cos(turn);
        pose.at.y = 0.5 * p->size + far * sin(turn);
        pose.length *= 0.8;
        draw_leaf(p, below(r, N_SPECIES), &pose, r);
    }
}

/* A twig or a stem of grass in front of everything. */
static void lay_twig(struct picture *p, struct point light, struct rng *r)
{
    struct mask m = mask_new(p->size);
    double turn = between(r, 0, 6.283), off = between(r, -0.3, 0.3) * p->size;
    double width = between(r, 0.008, 0.022) * p->size, half = 0.5 * p->size;
    double bend = 0.12 * normal(r), tone = uniform(r);
    struct point last = {0, 0};
    for (int i = 0; i <= 16; i++) {
        double t = (i / 8.0 - 1) * 1.5 * half, side = off + bend * t * t / half;
        struct point to = {half + t * cos(turn) - side * sin(turn),
                           half + t * sin(turn) + side * cos(turn)};
        if (i)
            stroke(&m, last, to, width, width, 1);
        last = to;
    }
    struct colour c =
        blend((struct colour){0.35, 0.23, 0.14}, (struct colour){0.6, 0.6, 0.3}, tone);
    int dx = (int)lround(-0.025 * light.x * p->size), dy = (int)lround(-0.025 * light.y * p->size);
    for (int y = 0; y < p->size; y++)
        for (int x = 0; x < p->size; x++) {
            int fx = x - dx, fy = y - dy;
            if (fx >= 0 && fy >= 0 && fx < p->size && fy < p->size)
                p->px[y * p->size + x] =
                    scaled(p->px[y * p->size + x], 1 - 0.45 * m.v[fy * p->size + fx]);
        }
    for (int i = 0; i < p->size * p->size; i++)
        p->px[i] = blend(p->px[i], c, m.v[i]);
    mask_free(&m);
}

/* Sun and shade: a gradient, the shadow of something outside, the colour of the hour. */
static void shine(struct picture *p, struct point light, struct rng *r)
{
    double slope = between(r, 0, 0.5), bright = between(r, 0.7, 1.2), warm = 0.09 * normal(r);
    double shade = uniform(r) < 0.65 ? 0 : between(r, 0.15, 0.4), width = between(r, 0.1, 0.5);
    double zoom = between(r, 1, 3);
    uint32_t seed = (uint32_t)(mix_bits(r->state++) >> 32);
    for (int y = 0; y < p->size; y++)
        for (int x = 0; x < p->size; x++) {
            double u = (x + 0.5) / p->size - 0.5, v = (y + 0.5) / p->size - 0.5;
            double lit = bright * (1 + slope * (u * light.x + v * light.y));
            lit *= 1 - shade * ramp(-width, width, noise(zoom * u, zoom * v, seed, 2));
            struct colour *c = p->px + y * p->size + x;
            *c = (struct colour){c->r * lit * (1 + warm), c->g * lit, c->b * lit * (1 - warm)};
        }
}

/* Out of focus a little, contrast, and the noise of the sensor. */
static void expose(struct picture *p, struct rng *r)
{
    double focus = between(r, 0, 0.0022) * p->size, contrast = between(r, 0.8, 1.2);
    double grain = between(r, 0.003, 0.016), fade = between(r, 0, 0.06);
    blur_picture(p, focus);
    for (int i = 0; i < p->size * p->size; i++) {
        double *c = &p->px[i].r, common = normal(r);
        for (int k = 0; k < 3; k++) {
            double own = normal(r);
            c[k] = 0.45 + contrast * (c[k] - 0.45) + fade + grain * (0.7 * common + 0.5 * own);
        }
    }
}

static void draw_leaves(struct picture *p, int class_id, struct rng *r)
{
    double sun = between(r, 0, 6.283), low = between(r, 0.3, 0.9);
    struct point light = {low * cos(sun), low * sin(sun)};
    struct pose pose;
    draw_ground(p, r);
    scatter_others(p, light, r);
    place_leaf(&pose, p->size, light, r);
    draw_leaf(p, class_id, &pose, r);
    if (uniform(r) < 0.15)
        lay_twig(p, light, r);
    shine(p, light, r);
    expose(p, r);
}

const struct kind leaves_kind = {.name = "leaves",
                                 .what = "leaves of six trees, photographed anywhere",
                                 .n_classes = N_SPECIES,
                                 .default_size = 160,
                                 .classes = species_names,
                                 .draw = draw_leaves,
                                 .quality_low = 60,
                                 .quality_high = 95};
