/* What does a leaf of each species look like, and how is one painted? Outlines are half drawings
   from the base (0, 0) to the tip (0, 1), mirrored with small differences; the finished leaf is
   bent, tilted and seen in perspective. Colours are the same for all species: only the shape tells.
 */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"

enum {
    MAX_LANDMARKS = 24,
    N_HALF = 240,           /* points of half an outline */
    N_OUTLINE = 2 * N_HALF, /* counting both sides */
    MAX_VEINS = 1024,
    MAX_BLADES = 7,
    MAX_HOLES = 4
};

struct species {
    const char *name;
    double scale, centre;  /* so that leaves are about equally large, and centred */
    double stalk;          /* its length */
    double teeth, n_teeth; /* their depth; how many on one side */
    double wave;           /* depth of the waves of the margin */
    int n_leaflets;
    int n_side;       /* pairs of side veins; 0: a fan of veins from the base */
    double rise;      /* angle between them and the main vein */
    const char *half; /* landmarks x,y from base to tip: s sharp, r rounded, v a main vein ends */
};

static const struct species table[N_SPECIES] = {
    {"birch", 0.95, 0.40, 0.3, 0.042, 15, 0.01, 1, 7, 0.85,
     "s.01,0 r.22,.01 r.39,.15 r.38,.3 r.22,.58 r.10,.82 r.03,.93 s0,1"},
    {"chestnut", 0.64, 0.22, 0.5, 0.02, 20, 0.01, 7, 11, 0.75,
     "s.008,0 r.03,.15 r.11,.42 r.21,.7 r.17,.88 r.04,.94 s0,1"},
    {"ginkgo", 0.82, 0.48, 0.5, 0, 0, 0.028, 1, 0, 0,
     "s.012,0 r.05,.12 r.30,.36 r.72,.5 r.74,.7 r.6,.88 r.38,.98 r.16,1.02 r.03,.96 "
     "r.02,.75 s0,.62"},
    {"maple", 0.78, 0.42, 0.55, 0, 0, 0.008, 1, 5, 0.8,
     "s.01,0 r.12,-.06 s.28,-.09 r.34,-.03 v.5,0 r.42,.09 s.33,.14 s.56,.21 r.58,.29 "
     "s.7,.36 r.69,.42 v.86,.56 r.64,.53 s.58,.66 r.46,.56 r.2,.43 r.26,.62 s.36,.78 "
     "r.22,.75 s.17,.86 r.10,.84 v0,1.04"},
    {"oak", 0.98, 0.5, 0.12, 0, 0, 0.01, 1, 6, 0.9,
     "s.012,0 r.06,.01 r.06,.1 r.2,.15 r.2,.25 r.05,.27 r.3,.32 r.33,.44 r.06,.43 "
     "r.37,.5 r.4,.65 r.09,.6 r.36,.72 r.34,.86 r.10,.79 r.23,.92 r.17,1.02 r.06,.97 "
     "r0,1.02"},
    {"willow", 1.25, 0.5, 0.1, 0.008, 40, 0.008, 1, 12, 0.7,
     "s.008,0 r.06,.09 r.095,.28 r.1,.5 r.07,.75 r.02,.93 s0,1"},
};

const char *const species_names[N_SPECIES] = {"birch", "chestnut", "ginkgo",
                                              "maple", "oak",      "willow"};

struct landmark {
    char kind;
    double x, y;
};

static int read_landmarks(const char *text, struct landmark *mark)
{
    int n = 0;
    for (; *text && n < MAX_LANDMARKS; n++) {
        char *end;
        mark[n].kind = *text;
        mark[n].x = strtod(text + 1, &end);
        mark[n].y = strtod(end + 1, &end);
        text = end + strspn(end, " ");
    }
    return n;
}

/* How the flat leaf lies in space before the camera. */
struct view {
    const struct pose *pose;
    double scale, centre, sway, curl_x, curl_y, twist, crumple;
    double ct, st, ca, sa, cos_tilt, sin_tilt; /* of the pose's angles */
    uint32_t seed;
};

struct vein {
    struct point a, b;
    double wa, wb;
};

struct blade {
    struct point outline[N_OUTLINE];
    struct vein veins[MAX_VEINS];
    int n_veins;
};

struct coat {
    struct colour main, other, rim, vein;
    double rim_width, mottle, spots, gloss, relief, grain;
    uint32_t seed;
};

static struct point mid(struct point a, struct point b)
{
    return (struct point){(a.x + b.x) / 2, (a.y + b.y) / 2};
}

static double height(const struct view *v, double x, double y)
{
    return v->curl_x * x * x + v->curl_y * y * y + v->twist * x * y +
           v->crumple * noise(2.5 * x, 2.5 * y, v->seed, 2);
}

static struct point seen(const struct view *v, struct point p)
{
    const struct pose *o = v->pose;
    double x = p.x * v->scale, y = (p.y - v->centre) * v->scale;
    double z = height(v, x, y);
    x += v->sway * y * y;
    double px = x * v->ct - y * v->st, py = x * v->st + y * v->ct;
    double along = px * v->ca + py * v->sa, across = py * v->ca - px * v->sa;
    double far = across * v->sin_tilt + z * v->cos_tilt;
    across = across * v->cos_tilt - z * v->sin_tilt;
    double size = o->length / (1 + 0.35 * far);
    return (struct point){o->at.x + size * (along * v->ca - across * v->sa),
                          o->at.y - size * (along * v->sa + across * v->ca)};
}

/* Back onto the leaf, as if it were flat. */
static struct point touched(const struct view *v, double px, double py)
{
    const struct pose *o = v->pose;
    double x = (px - o->at.x) / o->length, y = (o->at.y - py) / o->length;
    double along = x * v->ca + y * v->sa, across = (y * v->ca - x * v->sa) / v->cos_tilt;
    x = along * v->ca - across * v->sa;
    y = along * v->sa + across * v->ca;
    struct point p = {x * v->ct + y * v->st, y * v->ct - x * v->st};
    p.x -= v->sway * p.y * p.y;
    return p;
}

/* Straight lines through sharp landmarks, parabolas around the others. */
static int rounded(const struct landmark *mark, int n, struct point *out)
{
    int n_out = 0;
    for (int i = 0; i < n; i++) {
        struct point p = {mark[i].x, mark[i].y};
        if (mark[i].kind != 'r' || i == 0 || i == n - 1) {
            out[n_out++] = p;
            continue;
        }
        struct point before = {mark[i - 1].x, mark[i - 1].y};
        struct point after = {mark[i + 1].x, mark[i + 1].y};
        struct point a = mid(before, p), b = mid(p, after);
        for (int j = 0; j <= 8; j++) {
            double t = j / 8.0, u = 1 - t;
            out[n_out++] = (struct point){u * u * a.x + 2 * u * t * p.x + t * t * b.x,
                                          u * u * a.y + 2 * u * t * p.y + t * t * b.y};
        }
    }
    return n_out;
}

/* N_HALF points at equal distances. */
static void resample(const struct point *p, int n, struct point *out)
{
    double total = 0, done = 0;
    for (int i = 1; i < n; i++)
        total += hypot(p[i].x - p[i - 1].x, p[i].y - p[i - 1].y);
    for (int i = 1, k = 0; i < n; i++) {
        double step = hypot(p[i].x - p[i - 1].x, p[i].y - p[i - 1].y);
        for (; k < N_HALF && (k * total / (N_HALF - 1) <= done + step || i == n - 1); k++) {
            double t = step > 0 ? clamp((k * total / (N_HALF - 1) - done) / step, 0, 1) : 0;
            out[k] = (struct point){p[i - 1].x + t * (p[i].x - p[i - 1].x),
                                    p[i - 1].y + t * (p[i].y - p[i - 1].y)};
        }
        done += step;
    }
}

/* Teeth that point to the tip, every third a large one, and waves. */
static void serrate(const struct species *s, struct point *p, uint32_t seed)
{
    struct point smooth[N_HALF];
    memcpy(smooth, p, sizeof smooth);
    for (int i = 1; i + 1 < N_HALF; i++) {
        double t = i / (N_HALF - 1.0);
        double dx = smooth[i + 1].x - smooth[i - 1].x, dy = smooth[i + 1].y - smooth[i - 1].y;
        double length = hypot(dx, dy) + 1e-9;
        double place = t * s->n_teeth + 0.3 * noise(5 * t, 0.5, seed, 1);
        double large = place - floor(place), small = 3 * place - floor(3 * place);
        double ends = fmin(1, 8 * fmin(t, 1 - t));
        double out = s->teeth * (0.7 * large + 0.3 * small - 0.5) * ends +
                     s->wave * noise(9 * t, 1.5, seed, 2) * ends;
        p[i].x = smooth[i].x + out * dy / length;
        p[i].y = smooth[i].y - out * dx / length;
    }
}

static void add_vein(struct blade *b, struct point from, struct point to, double wa, double wb)
{
    if (b->n_veins < MAX_VEINS)
        b->veins[b->n_veins++] = (struct vein){from, to, wa, wb};
}

/* A vein from a to b that bows sideways by bow of its length. */
static void add_bow(struct blade *b, struct point from, struct point to, double bow, double wa,
                    double wb)
{
    enum { PARTS = 6 };
    struct point last = from;
    for (int i = 1; i <= PARTS; i++) {
        double t = (double)i / PARTS, side = 4 * bow * t * (1 - t);
        struct point p = {from.x + t * (to.x - from.x) - side * (to.y - from.y),
                          from.y + t * (to.y - from.y) + side * (to.x - from.x)};
        add_vein(b, last, p, wa + (wb - wa) * (i - 1) / PARTS, wa + (wb - wa) * t);
        last = p;
    }
}

/* How far it is from p to the margin in the direction of angle (0: up, positive: right). */
static double reach(const struct blade *b, struct point p, double angle)
{
    double dx = sin(angle), dy = cos(angle), best = 2;
    for (int i = 0; i < N_OUTLINE; i++) {
        struct point a = b->outline[i], c = b->outline[(i + 1) % N_OUTLINE];
        double ex = c.x - a.x, ey = c.y - a.y, det = dx * ey - dy * ex;
        if (fabs(det) < 1e-12)
            continue;
        double t = ((a.x - p.x) * ey - (a.y - p.y) * ex) / det;
        double u = ((a.x - p.x) * dy - (a.y - p.y) * dx) / det;
        if (t > 0.01 && t < best && u >= 0 && u <= 1)
            best = t;
    }
    return best;
}

/* A main vein with side veins to the margin. */
static void grow_vein(struct blade *b, const struct species *s, struct point from, struct point to,
                      double width, struct rng *r)
{
    double bow = 0.02 * normal(r), length = hypot(to.x - from.x, to.y - from.y);
    double heading = atan2(to.x - from.x, to.y - from.y);
    add_bow(b, from, to, bow, width, 0.3 * width);
    for (int i = 0; i < s->n_side; i++)
        for (int side = -1; side <= 1; side += 2) {
            double t = (i + 0.6 + 0.25 * side + 0.15 * normal(r)) / (s->n_side + 0.8);
            double angle = heading + side * (s->rise + 0.06 * normal(r));
            struct point p = {from.x + t * (to.x - from.x), from.y + t * (to.y - from.y)};
            double far = fmin(0.95 * reach(b, p, angle), 0.6 * length);
            struct point end = {p.x + far * sin(angle), p.y + far * cos(angle)};
            add_bow(b, p, end, side * 0.08, 0.5 * width * (1.2 - t), 0.15 * width);
        }
}

static void grow_blade(struct blade *b, const struct species *s, struct rng *r)
{
    struct landmark drawn[MAX_LANDMARKS], mark[MAX_LANDMARKS];
    int n = read_landmarks(s->half, drawn);
    double width = 1 + 0.1 * normal(r), notch = between(r, -0.12, 0.3);
    width = clamp(width, 0.8, 1.25);
    for (int side = 0; side < 2; side++) {
        struct point curve[MAX_LANDMARKS * 9], half[N_HALF];
        double own = width * (1 + 0.04 * normal(r));
        uint32_t seed = (uint32_t)(mix_bits(r->state++) >> 32);
        memcpy(mark, drawn, sizeof mark);
        for (int i = 1; i + 1 < n; i++) {
            double room = 0.13 * fmin(0.2, mark[i].x);
            mark[i].x = mark[i].x * own + room * normal(r);
            mark[i].y += room * normal(r);
        }
        if (s->n_side == 0) /* the notch of the fan: deep, shallow or none */
            for (int i = n - 2; i < n; i++)
                mark[i].y += notch;
        resample(curve, rounded(mark, n, curve), half);
        serrate(s, half, seed);
        for (int i = 0; i < N_HALF; i++)
            if (side == 0)
                b->outline[i] = half[i];
            else
                b->outline[N_OUTLINE - 1 - i] = (struct point){-half[i].x, half[i].y};
    }
    struct point base = {0, 0};
    double thick = 0.022;
    if (s->n_side == 0)
        for (int i = 0; i < 56; i++) {
            double angle = (i - 27.5) / 27.5 * 0.85;
            double far = 0.98 * reach(b, (struct point){0, 0.06}, angle);
            struct point start = {0.25 * sin(angle) * 0.1, 0.03};
            struct point end = {far * sin(angle), 0.06 + far * cos(angle)};
            add_bow(b, start, end, 0.05 * normal(r), 0.012, 0.006);
        }
    for (int i = 0; i < n; i++)
        for (int side = -1; drawn[i].kind == 'v' && side <= 1; side += 2) {
            struct point to = {side * 0.96 * width * drawn[i].x, 0.96 * drawn[i].y};
            if (drawn[i].x > 0 || side > 0)
                grow_vein(b, s, base, to, thick, r);
        }
    if (s->n_side > 0 && drawn[n - 1].kind != 'v')
        grow_vein(b, s, base, (struct point){0, 0.98}, thick, r);
}

/* Leaflets spread around the end of the stalk, the outer ones smaller. */
static void spread(struct blade *b, int which, int n, struct rng *r)
{
    double at = which - (n - 1) / 2.0, angle = at * (n == 7 ? 0.62 : 0.72) + 0.06 * normal(r);
    double size = 1 - 0.035 * at * at * (n == 7 ? 1 : 2) + 0.04 * normal(r);
    double c = size * cos(angle), s = size * sin(angle);
    for (int i = 0; i < N_OUTLINE; i++) {
        struct point p = b->outline[i];
        b->outline[i] = (struct point){c * p.x + s * p.y, c * p.y - s * p.x};
    }
    for (int i = 0; i < b->n_veins; i++) {
        struct vein *v = b->veins + i;
        v->a = (struct point){c * v->a.x + s * v->a.y, c * v->a.y - s * v->a.x};
        v->b = (struct point){c * v->b.x + s * v->b.y, c * v->b.y - s * v->b.x};
    }
}

/* Summer to winter; what a leaf has on it comes from neighbours in this row. */
static struct coat choose_coat(struct rng *r)
{
    static const struct colour season[] = {
        {0.13, 0.29, 0.08}, {0.20, 0.38, 0.10}, {0.30, 0.46, 0.13}, {0.47, 0.55, 0.16},
        {0.72, 0.66, 0.18}, {0.82, 0.62, 0.14}, {0.82, 0.46, 0.12}, {0.72, 0.24, 0.10},
        {0.50, 0.12, 0.11}, {0.45, 0.28, 0.14}, {0.60, 0.45, 0.26}, {0.36, 0.24, 0.15},
    };
    int n = (int)(sizeof season / sizeof *season), main = below(r, n);
    int other = main + below(r, 5) - 2, rim = main + below(r, 4);
    struct coat c;
    c.main = season[main];
    c.other = season[other < 0 ? 0 : other >= n ? n - 1 : other];
    c.rim = season[rim >= n ? n - 1 : rim];
    double light = between(r, 0.8, 1.2), pale = between(r, 0.1, 0.6);
    c.main = scaled(c.main, light);
    c.vein = blend(c.main, (struct colour){0.86, 0.84, 0.55}, pale);
    if (uniform(r) < 0.3)
        c.vein = blend(c.main, (struct colour){0.25, 0.15, 0.08}, pale);
    c.rim_width = between(r, 0, 0.9);
    c.mottle = between(r, 0.1, 0.9);
    c.spots = uniform(r) < 0.6 ? 0 : between(r, 0.1, 0.5);
    c.gloss = uniform(r) < 0.4 ? between(r, 0.1, 0.45) : 0;
    c.relief = between(r, 0.2, 0.9);
    c.grain = between(r, 0.03, 0.1);
    if (uniform(r) < 0.2) { /* the pale underside */
        c.main = blend(c.main, (struct colour){0.62, 0.62, 0.50}, 0.4);
        c.other = blend(c.other, (struct colour){0.62, 0.62, 0.50}, 0.4);
        c.gloss = 0;
        c.relief = -c.relief;
    }
    c.seed = (uint32_t)(mix_bits(r->state++) >> 32);
    return c;
}

static struct colour mean_around(const struct picture *p, struct point at)
{
    struct colour sum = {0, 0, 0};
    int n = 0, reach = p->size / 4;
    for (int y = (int)at.y - reach; y < at.y + reach; y++)
        for (int x = (int)at.x - reach; x < at.x + reach; x++)
            if (x >= 0 && y >= 0 && x < p->size && y < p->size) {
                struct colour c = p->px[y * p->size + x];
                sum = (struct colour){sum.r + c.r, sum.g + c.g, sum.b + c.b};
                n++;
            }
    return scaled(sum, n ? 1.0 / n : 0);
}

static double contrast(struct colour a, struct colour b)
{
    return fabs(a.r - b.r) + fabs(a.g - b.g) + fabs(a.b - b.b);
}

static void paint_blade(struct picture *p, const struct blade *b, const struct view *v,
                        const struct coat *c, const struct mask *alpha)
{
    const struct pose *o = v->pose;
    double unit = o->length * v->scale;
    struct mask veins = mask_new(p->size), ridge = mask_new(p->size), inner = mask_new(p->size);
    for (int i = 0; i < b->n_veins; i++) {
        const struct vein *w = b->veins + i;
        stroke(&veins, seen(v, w->a), seen(v, w->b), w->wa * unit, w->wb * unit, 1);
    }
    size_t n = (size_t)p->size * (size_t)p->size;
    memcpy(ridge.v, veins.v, n * sizeof *veins.v);
    memcpy(inner.v, alpha->v, n * sizeof *veins.v);
    blur_mask(&ridge, 0.012 * o->length);
    blur_mask(&inner, 0.035 * o->length);
    for (int y = 1; y + 1 < p->size; y++)
        for (int x = 1; x + 1 < p->size; x++) {
            size_t i = (size_t)y * (size_t)p->size + (size_t)x;
            if (alpha->v[i] <= 0)
                continue;
            struct point q = touched(v, x + 0.5, y + 0.5);
            double cloud = noise(3 * q.x, 3 * q.y, c->seed, 3);
            double fine = noise(15 * q.x, 15 * q.y, c->seed + 1, 2);
            struct colour k = blend(c->main, c->other, c->mottle * ramp(-0.5, 0.7, cloud));
            double edge = 1 - ramp(0.5, 1, inner.v[i] + 0.15 * fine);
            k = blend(k, c->rim, c->rim_width * edge);
            double spot = noise(11 * q.x, 11 * q.y, c->seed + 2, 2);
            k = blend(k, (struct colour){0.22, 0.13, 0.07}, c->spots * ramp(0.45, 0.8, spot));
            k = blend(k, c->vein, 0.75 * veins.v[i]);
            /* Light on the slope of the leaf and of its veins. */
            double e = 0.02, here = height(v, q.x, q.y);
            double sx = (height(v, q.x + e, q.y) - here) / e;
            double sy = (height(v, q.x, q.y + e) - here) / e;
            double nx = -(sx * v->ct - sy * v->st), ny = sx * v->st + sy * v->ct;
            nx -= c->relief * (ridge.v[i + 1] - ridge.v[i - 1]);
            ny -= c->relief * (ridge.v[i + (size_t)p->size] - ridge.v[i - (size_t)p->size]);
            double lit = (0.75 + nx * o->light.x + ny * o->light.y) / sqrt(1 + nx * nx + ny * ny);
            k = scaled(k, clamp(0.35 + 0.85 * lit, 0.25, 1.6) * (1 + c->grain * fine));
            double shine = c->gloss * ramp(0.85, 1.25, lit + 0.1 * fine);
            k = blend(k, (struct colour){0.95, 0.97, 1}, shine);
            p->px[i] = blend(p->px[i], k, alpha->v[i]);
        }
    mask_free(&veins);
    mask_free(&ridge);
    mask_free(&inner);
}

/* Eaten by insects: round, uneven, at the margin or inside. */
struct hole {
    struct point at;
    double radius;
};

static int choose_holes(struct hole *holes, const struct blade *b, const struct view *v,
                        struct rng *r)
{
    int n = uniform(r) < 0.6 ? 0 : 1 + below(r, MAX_HOLES);
    for (int i = 0; i < n; i++) {
        struct point p = b->outline[below(r, N_OUTLINE)];
        double in = uniform(r) < 0.6 ? 1 : between(r, 0.2, 0.8);
        holes[i].at = seen(v, (struct point){p.x * in, v->centre + (p.y - v->centre) * in});
        holes[i].radius = between(r, 0.012, 0.045) * v->pose->length;
    }
    return n;
}

static void eat(struct mask *m, const struct hole *holes, int n, uint32_t seed)
{
    for (int i = 0; i < n; i++)
        for (int y = 0; y < m->size; y++)
            for (int x = 0; x < m->size; x++) {
                double dx = x + 0.5 - holes[i].at.x, dy = y + 0.5 - holes[i].at.y;
                double radius = holes[i].radius;
                if (fabs(dx) > 2 * radius + 2 || fabs(dy) > 2 * radius + 2)
                    continue;
                double uneven = noise(2 * dx / radius, 2 * dy / radius, seed + (uint32_t)i, 2);
                m->v[y * m->size + x] *=
                    clamp(hypot(dx, dy) - radius * (1 + 0.4 * uneven) + 0.5, 0, 1);
            }
}

static void outline_of(struct mask *m, const struct blade *b, const struct view *v)
{
    struct point p[N_OUTLINE];
    for (int i = 0; i < N_OUTLINE; i++)
        p[i] = seen(v, b->outline[i]);
    fill_polygon(m, p, N_OUTLINE);
}

/* What lies under m gets darker, away from the light. */
static void cast_shadow(struct picture *p, const struct mask *m, struct point light, double far,
                        double dark)
{
    struct mask s = mask_new(p->size);
    int dx = (int)lround(-light.x * far), dy = (int)lround(-light.y * far);
    for (int y = 0; y < p->size; y++)
        for (int x = 0; x < p->size; x++) {
            int fx = x - dx, fy = y - dy;
            if (fx >= 0 && fy >= 0 && fx < p->size && fy < p->size)
                s.v[y * p->size + x] = m->v[fy * p->size + fx];
        }
    blur_mask(&s, 0.35 * far);
    for (int i = 0; i < p->size * p->size; i++)
        p->px[i] = scaled(p->px[i], 1 - dark * s.v[i]);
    mask_free(&s);
}

void draw_leaf(struct picture *p, int species, const struct pose *pose, struct rng *r)
{
    const struct species *s = table + species;
    struct view v = {.pose = pose,
                     .centre = s->centre,
                     .ct = cos(pose->turn),
                     .st = sin(pose->turn),
                     .ca = cos(pose->tilt_axis),
                     .sa = sin(pose->tilt_axis),
                     .cos_tilt = cos(pose->tilt),
                     .sin_tilt = sin(pose->tilt)};
    double size = between(r, 0.92, 1.08);
    v.scale = s->scale * size;
    v.sway = 0.15 * normal(r);
    v.curl_x = 0.3 * normal(r);
    v.curl_y = 0.25 * normal(r);
    v.twist = 0.25 * normal(r);
    v.crumple = between(r, 0.01, 0.07);
    v.seed = (uint32_t)(mix_bits(r->state++) >> 32);
    struct colour below_it = mean_around(p, pose->at);
    struct coat coat = choose_coat(r);
    for (int i = 0; i < 9 && contrast(coat.main, below_it) < 0.4; i++)
        coat = choose_coat(r);
    int n = s->n_leaflets > 1 && uniform(r) < 0.5 ? s->n_leaflets - 2 : s->n_leaflets;

    struct blade *blades = allocate(MAX_BLADES, sizeof *blades);
    struct mask one = mask_new(p->size), all = mask_new(p->size), stalk = mask_new(p->size);
    for (int i = 0; i < n; i++) {
        grow_blade(blades + i, s, r);
        if (n > 1)
            spread(blades + i, i, n, r);
        outline_of(&all, blades + i, &v);
    }
    struct hole holes[MAX_HOLES];
    int n_holes = choose_holes(holes, blades, &v, r);
    eat(&all, holes, n_holes, v.seed);

    /* The stalk, bent, as long as it was left. */
    double length = s->stalk * between(r, 0.3, 1.1), bend = 0.25 * normal(r);
    double thick = between(r, 0.02, 0.032) * pose->length;
    struct point last = seen(&v, (struct point){0, 0.01});
    for (int i = 1; i <= 12; i++) {
        double t = i / 12.0;
        struct point to = seen(&v, (struct point){bend * length * t * t, -length * t});
        stroke(&stalk, last, to, thick, i == 12 ? 1.5 * thick : thick, 1);
        last = to;
    }
    for (int i = 0; i < p->size * p->size; i++)
        all.v[i] = fmax(fmin(all.v[i], 1), stalk.v[i]);
    double far = between(r, 0.015, 0.07) * pose->length, dark = between(r, 0.3, 0.75);
    cast_shadow(p, &all, pose->light, far, dark);
    struct colour wood = blend(coat.vein, (struct colour){0.40, 0.25, 0.15}, uniform(r));
    for (int i = 0; i < p->size * p->size; i++)
        p->px[i] = blend(p->px[i], wood, stalk.v[i]);
    for (int i = 0; i < n; i++) {
        /* The outer leaflets first, so that the middle one lies on top. */
        int k = i % 2 ? n - 1 - i / 2 : i / 2;
        mask_clear(&one);
        outline_of(&one, blades + k, &v);
        eat(&one, holes, n_holes, v.seed);
        if (n > 1)
            cast_shadow(p, &one, pose->light, 0.4 * far, 0.4 * dark);
        paint_blade(p, blades + k, &v, &coat, &one);
    }
    mask_free(&one);
    mask_free(&all);
    mask_free(&stalk);
    free(blades);
}
