/* How do shapes, lines and noise become pixels without jagged edges? */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"

uint64_t mix_bits(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double uniform(struct rng *r)
{
    return (double)(mix_bits(r->state++) >> 11) * 0x1p-53;
}

double between(struct rng *r, double low, double high)
{
    return low + (high - low) * uniform(r);
}

/* Near enough: the sum of four. */
double normal(struct rng *r)
{
    double sum = -2;
    for (int i = 0; i < 4; i++)
        sum += uniform(r);
    return sum * 1.7320508075688772;
}

int below(struct rng *r, int n)
{
    return (int)(uniform(r) * n);
}

void *allocate(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p) {
        fprintf(stderr, "draw_pictures: no memory for %zu x %zu bytes\n", n, size);
        exit(1);
    }
    return p;
}

static uint32_t lattice(int32_t x, int32_t y, uint32_t seed)
{
    uint32_t h = seed ^ (uint32_t)x * 0x8da6b343u ^ (uint32_t)y * 0xd8163841u;
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h = (h ^ (h >> 12)) * 0x297a2d39u;
    return h ^ (h >> 15);
}

static double corner(int32_t x, int32_t y, uint32_t seed)
{
    return lattice(x, y, seed) * 0x1p-31 - 1;
}

double noise(double x, double y, uint32_t seed, int n_octaves)
{
    double sum = 0, weight = 1, total = 0;
    for (int i = 0; i < n_octaves; i++) {
        double fx = floor(x), fy = floor(y), u = x - fx, v = y - fy;
        int32_t ix = (int32_t)fx, iy = (int32_t)fy;
        u = u * u * u * (u * (u * 6 - 15) + 10);
        v = v * v * v * (v * (v * 6 - 15) + 10);
        double top = corner(ix, iy, seed), bottom = corner(ix, iy + 1, seed);
        top += (corner(ix + 1, iy, seed) - top) * u;
        bottom += (corner(ix + 1, iy + 1, seed) - bottom) * u;
        sum += weight * (top + (bottom - top) * v);
        total += weight;
        weight *= 0.55;
        /* Turned between octaves, so that the grid does not show. */
        double nx = 1.6 * x + 1.2 * y + 7.3;
        y = -1.2 * x + 1.6 * y + 3.1;
        x = nx;
        seed = seed * 747796405u + 2891336453u;
    }
    return 1.4 * sum / total;
}

double cells(double x, double y, uint32_t seed, uint32_t *id)
{
    int32_t ix = (int32_t)floor(x), iy = (int32_t)floor(y);
    double best = 8;
    for (int32_t cy = iy - 1; cy <= iy + 1; cy++)
        for (int32_t cx = ix - 1; cx <= ix + 1; cx++) {
            uint32_t h = lattice(cx, cy, seed);
            double dx = cx + (h & 0xffff) / 65536.0 - x, dy = cy + (h >> 16) / 65536.0 - y;
            double d = dx * dx + dy * dy;
            if (d < best) {
                best = d;
                *id = h;
            }
        }
    return sqrt(best);
}

struct mask mask_new(int size)
{
    return (struct mask){size, allocate((size_t)size * (size_t)size, sizeof(double))};
}

void mask_free(struct mask *m)
{
    free(m->v);
    m->v = NULL;
}

void mask_clear(struct mask *m)
{
    memset(m->v, 0, (size_t)m->size * (size_t)m->size * sizeof *m->v);
}

struct crossing {
    double x;
    int turn;
};

static int by_x(const void *a, const void *b)
{
    double d = ((const struct crossing *)a)->x - ((const struct crossing *)b)->x;
    return (d > 0) - (d < 0);
}

static void add_span(double *row, int size, double from, double to, double weight)
{
    from = clamp(from, 0, size);
    to = clamp(to, 0, size);
    for (int x = (int)from; x < size && x < to; x++)
        row[x] += weight * (fmin(to, x + 1) - fmax(from, x));
}

/* Four lines per row of pixels, exact along the line; inside is where the outline winds around. */
void fill_polygon(struct mask *m, const struct point *p, int n)
{
    enum { LINES = 4, MAX = 512 };
    struct crossing cross[MAX];
    double top = m->size, bottom = 0;
    for (int i = 0; i < n; i++) {
        top = fmin(top, p[i].y);
        bottom = fmax(bottom, p[i].y);
    }
    int first = (int)(fmax(top, 0) * LINES), end = (int)(fmin(bottom, m->size) * LINES);
    for (int line = first; line < end; line++) {
        double y = (line + 0.5) / LINES;
        int n_cross = 0;
        for (int i = 0; i < n && n_cross < MAX; i++) {
            struct point a = p[i], b = p[i + 1 < n ? i + 1 : 0];
            if ((a.y <= y) != (b.y <= y))
                cross[n_cross++] = (struct crossing){a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x),
                                                     a.y < b.y ? 1 : -1};
        }
        qsort(cross, (size_t)n_cross, sizeof *cross, by_x);
        int winding = 0;
        for (int i = 0; i + 1 < n_cross; i++) {
            winding += cross[i].turn;
            if (winding)
                add_span(m->v + (size_t)(line / LINES) * (size_t)m->size, m->size, cross[i].x,
                         cross[i + 1].x, 1.0 / LINES);
        }
    }
}

void stroke(struct mask *m, struct point a, struct point b, double wa, double wb, double strength)
{
    double reach = fmax(wa, wb) / 2 + 1, dx = b.x - a.x, dy = b.y - a.y;
    double length2 = dx * dx + dy * dy + 1e-12;
    int x0 = (int)clamp(fmin(a.x, b.x) - reach, 0, m->size);
    int x1 = (int)clamp(fmax(a.x, b.x) + reach + 1, 0, m->size);
    int y0 = (int)clamp(fmin(a.y, b.y) - reach, 0, m->size);
    int y1 = (int)clamp(fmax(a.y, b.y) + reach + 1, 0, m->size);
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
            double px = x + 0.5 - a.x, py = y + 0.5 - a.y;
            double t = clamp((px * dx + py * dy) / length2, 0, 1);
            double width = wa + (wb - wa) * t, d = hypot(px - t * dx, py - t * dy);
            /* A line thinner than a pixel is a faint one. */
            double cover = clamp(0.5 + width / 2 - d, 0, fmin(1, width)) * strength;
            double *v = m->v + (size_t)y * (size_t)m->size + (size_t)x;
            *v = fmax(*v, cover);
        }
}

/* Three running means of a line of n values, step apart, come close to a Gaussian. */
static void blur_line(double *v, size_t step, int n, double radius, double *line)
{
    int k = (int)radius;
    double part = radius - k, scale = 1 / (2 * radius + 1);
    for (int pass = 0; pass < 3; pass++) {
        for (int i = 0; i < n; i++)
            line[i] = v[(size_t)i * step];
        double sum = line[0] * (k + 1);
        for (int j = 0; j < k; j++)
            sum += line[j < n ? j : n - 1];
        for (int i = 0; i < n; i++) {
            double before = line[i - k - 1 < 0 ? 0 : i - k - 1];
            double after = line[i + k + 1 >= n ? n - 1 : i + k + 1];
            sum += line[i + k >= n ? n - 1 : i + k] - before;
            v[(size_t)i * step] = fmax(0, (sum + part * (before + after)) * scale);
        }
    }
}

static void blur_plane(double *v, size_t step, int size, double radius)
{
    double *line = allocate((size_t)size, sizeof *line);
    for (int i = 0; i < size; i++)
        blur_line(v + (size_t)i * (size_t)size * step, step, size, radius, line);
    for (int i = 0; i < size; i++)
        blur_line(v + (size_t)i * step, (size_t)size * step, size, radius, line);
    free(line);
}

void blur_mask(struct mask *m, double radius)
{
    blur_plane(m->v, 1, m->size, radius);
}

void blur_picture(struct picture *p, double radius)
{
    blur_plane(&p->px->r, 3, p->size, radius);
    blur_plane(&p->px->g, 3, p->size, radius);
    blur_plane(&p->px->b, 3, p->size, radius);
}
