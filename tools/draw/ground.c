/* What does the leaf lie on? Soil, paper, wood, stone, grass, sand, cloth or asphalt, from noise.
 */
#include <math.h>

#include "draw.h"

/* The random traits of one ground, so that no two are alike. */
struct ground {
    struct colour main, other;
    double a, b, c; /* three free numbers, 0..1 */
    uint32_t seed;
};

static struct colour soil(const struct ground *g, double x, double y)
{
    uint32_t id = 0;
    double crumbs = noise(9 * x, 9 * y, g->seed, 4), d = cells(14 * x, 14 * y, g->seed, &id);
    struct colour c = blend(g->main, g->other, 0.5 + 0.5 * crumbs);
    double stone = (id & 7) < 2 ? ramp(0.42, 0.3, d) : 0;
    c = blend(c, scaled((struct colour){0.5, 0.47, 0.42}, 0.6 + (id >> 24) / 400.0), 0.8 * stone);
    return scaled(c, 0.75 + 0.35 * noise(30 * x, 30 * y, g->seed + 1, 2));
}

static struct colour paper(const struct ground *g, double x, double y)
{
    double fibre = noise(40 * x, 40 * y, g->seed, 2), tone = noise(2 * x, 2 * y, g->seed, 3);
    struct colour c = scaled(g->main, 1 + 0.02 * fibre + 0.04 * tone);
    if (g->a < 0.5) { /* ruled, or squared */
        double step = 6 + 6 * g->b, u = fabs(remainder(y * step, 1)) / step;
        if (g->a < 0.25)
            u = fmin(u, fabs(remainder(x * step, 1)) / step);
        c = blend(c, g->other, 0.4 * ramp(0.006, 0.002, u));
    }
    return c;
}

static struct colour wood(const struct ground *g, double x, double y)
{
    double wide = 0.3 + 0.5 * g->a, plank = floor(y / wide), in = y / wide - plank;
    double shift = 37.7 * plank, warp = noise(0.9 * x + shift, 4 * y, g->seed, 3);
    double rings = sin(40 * (0.6 + g->b) * (y + 0.09 * warp) + shift);
    double fine = noise(6 * x + shift, 90 * y, g->seed + 3, 2);
    struct colour c = blend(g->main, g->other, clamp(0.45 + 0.3 * rings + 0.25 * fine, 0, 1));
    c = scaled(c, 1 + 0.12 * noise(shift, 0.5, g->seed, 1));
    return scaled(c, 0.35 + 0.65 * ramp(0, 0.035 / wide, fmin(in, 1 - in)));
}

static struct colour stone(const struct ground *g, double x, double y)
{
    uint32_t id = 0;
    double cloud = noise(3 * x, 3 * y, g->seed, 5), grain = noise(60 * x, 60 * y, g->seed + 1, 1);
    double crack = fabs(noise(2.2 * x, 2.2 * y, g->seed + 2, 4));
    struct colour c = blend(g->main, g->other, clamp(0.5 + 0.6 * cloud, 0, 1));
    if (g->a < 0.4) { /* slabs */
        cells(1.6 * x, 1.6 * y, g->seed + 5, &id);
        c = scaled(c, 0.85 + (id & 255) / 850.0);
    }
    return scaled(c, (1 + 0.1 * grain) * (0.6 + 0.4 * ramp(0, 0.03, crack)));
}

static struct colour sand(const struct ground *g, double x, double y)
{
    double waves = sin((12 + 14 * g->a) * (y + 0.12 * noise(1.5 * x, 1.5 * y, g->seed, 3)));
    double grain = noise(70 * x, 70 * y, g->seed + 1, 2);
    return scaled(blend(g->main, g->other, 0.5 + 0.3 * waves * g->b + 0.2 * grain),
                  0.95 + 0.15 * grain);
}

static struct colour cloth(const struct ground *g, double x, double y)
{
    double n = 24 + 30 * g->a, over = sin(3.14159 * n * x) * sin(3.14159 * n * y);
    double check = (fabs(remainder(3.1 * x, 1)) < 0.2) + (fabs(remainder(3.1 * y, 1)) < 0.2);
    struct colour c = g->b < 0.5 ? blend(g->main, g->other, 0.45 * check) : g->main;
    double fold = noise(1.5 * x, 1.5 * y, g->seed, 2);
    return scaled(c, 0.92 + 0.1 * over + 0.16 * fold + 0.05 * noise(50 * x, 50 * y, g->seed, 1));
}

static struct colour asphalt(const struct ground *g, double x, double y)
{
    uint32_t id = 0;
    double d = cells(26 * x, 26 * y, g->seed, &id);
    double light = (id & 255) / 255.0 * ramp(0.55, 0.3, d);
    struct colour c = blend(g->main, g->other, 0.8 * light);
    return scaled(c, 0.9 + 0.15 * noise(3 * x, 3 * y, g->seed, 3));
}

static struct colour moss(const struct ground *g, double x, double y)
{
    uint32_t id = 0;
    double warp = 0.06 * noise(9 * x, 9 * y, g->seed, 2);
    double d = cells(18 * (x + warp), 18 * (y - warp), g->seed + 1, &id);
    double cloud = noise(2 * x, 2 * y, g->seed, 2), fine = noise(45 * x, 45 * y, g->seed + 2, 2);
    struct colour c = blend(g->main, g->other, clamp(0.55 - 0.5 * d + 0.4 * cloud, 0, 1));
    return scaled(c, (1.15 - 0.6 * d) * (0.85 + (id & 255) / 850.0) * (1 + 0.3 * fine));
}

/* Blades of grass over moss. */
static void grow_grass(struct picture *p, const struct ground *g, struct rng *r)
{
    struct mask m = mask_new(p->size);
    double lean = between(r, -0.6, 0.6), s = p->size / 128.0;
    for (int layer = 0; layer < 6; layer++) {
        mask_clear(&m);
        for (int i = 0; i < 45; i++) {
            struct point a, b, c;
            a.x = between(r, -0.1, 1.1) * p->size;
            a.y = between(r, 0, 1.3) * p->size;
            double length = between(r, 15, 45) * s, turn = lean + 0.5 * normal(r);
            b.x = a.x + length * sin(turn);
            b.y = a.y - length * cos(turn);
            turn += 0.6 * normal(r);
            c.x = b.x + 0.6 * length * sin(turn);
            c.y = b.y - 0.6 * length * cos(turn);
            stroke(&m, a, b, 2.4 * s, 1.8 * s, 1);
            stroke(&m, b, c, 1.8 * s, 0.4 * s, 1);
        }
        double tone = between(r, 0, 1), light = 0.5 + 0.13 * layer;
        struct colour c = scaled(blend(g->main, g->other, tone), light);
        for (int i = 0; i < p->size * p->size; i++)
            p->px[i] = blend(scaled(p->px[i], 1 - 0.02 * layer), c, 0.9 * m.v[i]);
    }
    mask_free(&m);
}

void draw_ground(struct picture *p, struct rng *r)
{
    static const struct {
        struct colour (*at)(const struct ground *g, double x, double y);
        struct colour main[2], other[2]; /* each between two colours */
    } grounds[] = {
        {soil, {{0.20, 0.13, 0.08}, {0.34, 0.24, 0.16}}, {{0.38, 0.27, 0.17}, {0.48, 0.38, 0.28}}},
        {paper, {{0.93, 0.91, 0.86}, {0.86, 0.86, 0.84}}, {{0.35, 0.45, 0.70}, {0.6, 0.4, 0.4}}},
        {wood, {{0.52, 0.35, 0.20}, {0.75, 0.58, 0.38}}, {{0.35, 0.21, 0.11}, {0.58, 0.42, 0.27}}},
        {stone, {{0.42, 0.42, 0.42}, {0.62, 0.58, 0.54}}, {{0.60, 0.60, 0.62}, {0.75, 0.70, 0.6}}},
        {moss, {{0.12, 0.22, 0.05}, {0.25, 0.32, 0.10}}, {{0.35, 0.50, 0.12}, {0.45, 0.55, 0.20}}},
        {sand, {{0.72, 0.62, 0.45}, {0.80, 0.72, 0.58}}, {{0.58, 0.47, 0.32}, {0.66, 0.60, 0.5}}},
        {cloth, {{0.25, 0.30, 0.45}, {0.75, 0.70, 0.62}}, {{0.65, 0.20, 0.18}, {0.90, 0.88, 0.8}}},
        {asphalt, {{0.18, 0.18, 0.19}, {0.32, 0.32, 0.33}}, {{0.55, 0.54, 0.5}, {0.75, 0.7, 0.68}}},
        {moss, {{0.16, 0.28, 0.06}, {0.22, 0.34, 0.10}}, {{0.42, 0.58, 0.16}, {0.55, 0.60, 0.25}}},
    };
    int n = (int)(sizeof grounds / sizeof *grounds), which = below(r, n);
    struct ground g;
    double tone = uniform(r);
    g.main = blend(grounds[which].main[0], grounds[which].main[1], tone);
    tone = uniform(r);
    g.other = blend(grounds[which].other[0], grounds[which].other[1], tone);
    g.a = uniform(r);
    g.b = uniform(r);
    g.c = uniform(r);
    g.seed = (uint32_t)(mix_bits(r->state++) >> 32);
    double turn = between(r, 0, 6.283), zoom = between(r, 0.7, 1.5);
    double cx = cos(turn) * zoom / p->size, cy = sin(turn) * zoom / p->size;
    for (int y = 0; y < p->size; y++)
        for (int x = 0; x < p->size; x++)
            p->px[y * p->size + x] =
                grounds[which].at(&g, x * cx - y * cy + 20 * g.c, x * cy + y * cx + 20 * g.c);
    if (which == n - 1)
        grow_grass(p, &g, r);
}
