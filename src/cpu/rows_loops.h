/* The loops themselves, for whoever has said #define ROWS_LOOPS and for which processor. Vectors
   are taken apart for the processor of the function that they stand in before functions are cloned
   or inlined, so target_clones does not do here. */
#include "cpu/lanes.h"
#include "cpu/rows.h"

enum { BLOCK = 4 * LANES, TILE = 64 };

/* Columns at..width that fill no register. */
TRAIN_INLINE void apply_few(enum gr_dtype t, const struct rows *r, int64_t row, int64_t at)
{
    for (int64_t c = at; c < r->width; c++) {
        int64_t i = row * r->width + c;
        float v = (train_load(t, r->x, i) - r->shift[c]) * r->a[c] + r->b[c];
        if (r->residual)
            v += train_load(t, r->residual, i);
        v = v < r->lo ? r->lo : v;
        v = v > r->hi ? r->hi : v;
        train_store(t, r->out, i, v);
    }
}

TRAIN_INLINE void apply_any(enum gr_dtype t, bool residual, const struct rows *r)
{
    int64_t whole = r->width / LANES * LANES;
    const lanes lo = r->lo - (lanes){0}, hi = r->hi - (lanes){0};
    for (int64_t row = r->first; row < r->last; row++) {
        for (int64_t c = 0; c < whole; c += LANES) {
            int64_t i = row * r->width + c;
            lanes v, a, b, shift, more;
            lanes_load(t, &v, r->x, i);
            lanes_load(GR_F32, &shift, r->shift, c);
            lanes_load(GR_F32, &a, r->a, c);
            lanes_load(GR_F32, &b, r->b, c);
            v = (v - shift) * a + b;
            if (residual) {
                lanes_load(t, &more, r->residual, i);
                v += more;
            }
            lanes_mask below = v < lo;
            lanes_choose(&v, &below, &lo);
            lanes_mask above = v > hi;
            lanes_choose(&v, &above, &hi);
            lanes_store(t, r->out, i, &v);
        }
        apply_few(t, r, row, whole);
    }
}

static void apply_rows(enum gr_dtype t, const struct rows *r)
{
    if (t == GR_BF16 && r->residual)
        apply_any(GR_BF16, true, r);
    else if (t == GR_BF16)
        apply_any(GR_BF16, false, r);
    else if (r->residual)
        apply_any(GR_F32, true, r);
    else
        apply_any(GR_F32, false, r);
}

TRAIN_INLINE void stats_block(enum gr_dtype t, const struct rows *r, int64_t top, int64_t end,
                              int64_t c0, int n)
{
    lanes s[4] = {{0}}, q[4] = {{0}}, shift[4];
    for (int k = 0; k < n; k++)
        lanes_load(GR_F32, &shift[k], r->shift, c0 + k * LANES);
    for (int64_t row = top; row < end; row++)
        for (int k = 0; k < n; k++) {
            lanes d;
            lanes_load(t, &d, r->x, row * r->width + c0 + k * LANES);
            d -= shift[k];
            s[k] += d;
            q[k] += d * d;
        }
    for (int k = 0; k < n; k++)
        for (int i = 0; i < LANES; i++) {
            r->sum[c0 + k * LANES + i] += s[k][i];
            r->product[c0 + k * LANES + i] += q[k][i];
        }
}

TRAIN_INLINE void stats_any(enum gr_dtype t, const struct rows *r)
{
    for (int64_t top = r->first; top < r->last; top += TILE) {
        int64_t end = top + TILE < r->last ? top + TILE : r->last, c = 0;
        for (; c + BLOCK <= r->width; c += BLOCK)
            stats_block(t, r, top, end, c, 4);
        for (; c + LANES <= r->width; c += LANES)
            stats_block(t, r, top, end, c, 1);
        for (; c < r->width; c++)
            for (int64_t row = top; row < end; row++) {
                double d = (double)(train_load(t, r->x, row * r->width + c) - r->shift[c]);
                r->sum[c] += d;
                r->product[c] += d * d;
            }
    }
}

static void stats_rows(enum gr_dtype t, const struct rows *r)
{
    if (t == GR_BF16)
        stats_any(GR_BF16, r);
    else
        stats_any(GR_F32, r);
}

/* The gradient before the activation, of one number and of a register full. */
TRAIN_INLINE float masked(enum gr_dtype t, enum slope slope, const struct rows *r, int64_t i,
                          int64_t c)
{
    float g = train_load(t, r->dy, i);
    if (slope == SLOPE_ONE)
        return g;
    float y = slope == SLOPE_BY_Y ? train_load(t, r->y, i)
                                  : (train_load(t, r->x, i) - r->shift[c]) * r->a[c] + r->b[c];
    return y > r->lo && y < r->hi ? g : 0;
}

TRAIN_INLINE void masked_lanes(enum gr_dtype t, enum slope slope, const struct rows *r, int64_t i,
                               int64_t c, const lanes *x, lanes *g)
{
    lanes_load(t, g, r->dy, i);
    if (slope == SLOPE_ONE)
        return;
    lanes y, b, shift;
    if (slope == SLOPE_BY_Y) {
        lanes_load(t, &y, r->y, i);
    } else {
        lanes_load(GR_F32, &y, r->a, c);
        lanes_load(GR_F32, &b, r->b, c);
        lanes_load(GR_F32, &shift, r->shift, c);
        y = (*x - shift) * y + b;
    }
    lanes_mask inside = y > r->lo; /* one by one: the compiler takes both at once apart */
    lanes_keep(g, &inside);
    inside = y < r->hi;
    lanes_keep(g, &inside);
}

/* Sums of the gradient and of its product with x - shift; the gradient itself, where wanted. */
TRAIN_INLINE void reduce_block(enum gr_dtype t, enum slope slope, bool store, const struct rows *r,
                               int64_t top, int64_t end, int64_t c0, int n)
{
    lanes s[4] = {{0}}, q[4] = {{0}}, shift[4];
    for (int k = 0; k < n; k++)
        lanes_load(GR_F32, &shift[k], r->shift, c0 + k * LANES);
    for (int64_t row = top; row < end; row++)
        for (int k = 0; k < n; k++) {
            int64_t c = c0 + k * LANES, i = row * r->width + c;
            lanes x, g;
            lanes_load(t, &x, r->x, i);
            masked_lanes(t, slope, r, i, c, &x, &g);
            s[k] += g;
            q[k] += g * (x - shift[k]);
            if (store)
                lanes_store(t, r->out_residual, i, &g);
        }
    for (int k = 0; k < n; k++)
        for (int i = 0; i < LANES; i++) {
            r->sum[c0 + k * LANES + i] += s[k][i];
            r->product[c0 + k * LANES + i] += q[k][i];
        }
}

TRAIN_INLINE void reduce_any(enum gr_dtype t, enum slope slope, bool store, const struct rows *r)
{
    for (int64_t top = r->first; top < r->last; top += TILE) {
        int64_t end = top + TILE < r->last ? top + TILE : r->last, c = 0;
        for (; c + BLOCK <= r->width; c += BLOCK)
            reduce_block(t, slope, store, r, top, end, c, 4);
        for (; c + LANES <= r->width; c += LANES)
            reduce_block(t, slope, store, r, top, end, c, 1);
        for (; c < r->width; c++)
            for (int64_t row = top; row < end; row++) {
                int64_t i = row * r->width + c;
                float g = masked(t, slope, r, i, c);
                r->sum[c] += (double)g;
                r->product[c] += (double)(g * (train_load(t, r->x, i) - r->shift[c]));
                if (store)
                    train_store(t, r->out_residual, i, g);
            }
    }
}

/* The gradient is kept for the residual only where the activation is told by y. */
TRAIN_INLINE void reduce_type(enum gr_dtype t, enum slope slope, const struct rows *r)
{
    if (slope == SLOPE_ONE)
        reduce_any(t, SLOPE_ONE, false, r);
    else if (slope == SLOPE_BY_X)
        reduce_any(t, SLOPE_BY_X, false, r);
    else if (r->out_residual)
        reduce_any(t, SLOPE_BY_Y, true, r);
    else
        reduce_any(t, SLOPE_BY_Y, false, r);
}

static void reduce_rows(enum gr_dtype t, enum slope slope, const struct rows *r)
{
    if (t == GR_BF16)
        reduce_type(GR_BF16, slope, r);
    else
        reduce_type(GR_F32, slope, r);
}

TRAIN_INLINE void back_any(enum gr_dtype t, enum slope slope, bool by_x, const struct rows *r)
{
    int64_t whole = r->width / LANES * LANES;
    for (int64_t row = r->first; row < r->last; row++) {
        int64_t at = row * r->width;
        for (int64_t c = 0; c < whole; c += LANES) {
            lanes g, d, x = {0}, by, more;
            if (by_x || slope == SLOPE_BY_X)
                lanes_load(t, &x, r->x, at + c);
            masked_lanes(t, slope, r, at + c, c, &x, &g);
            lanes_load(GR_F32, &d, r->a, c);
            d *= g;
            if (by_x) {
                lanes_load(GR_F32, &by, r->by_x, c);
                lanes_load(GR_F32, &more, r->summand, c);
                d += by * x + more;
            }
            if (r->out)
                lanes_store(t, r->out, at + c, &d);
            if (r->out_residual)
                lanes_store(t, r->out_residual, at + c, &g);
        }
        for (int64_t c = whole; c < r->width; c++) {
            float g = masked(t, slope, r, at + c, c), d = r->a[c] * g;
            if (by_x)
                d += r->by_x[c] * train_load(t, r->x, at + c) + r->summand[c];
            if (r->out)
                train_store(t, r->out, at + c, d);
            if (r->out_residual)
                train_store(t, r->out_residual, at + c, g);
        }
    }
}

TRAIN_INLINE void back_type(enum gr_dtype t, enum slope slope, const struct rows *r)
{
    if (slope == SLOPE_BY_X && r->by_x)
        back_any(t, SLOPE_BY_X, true, r);
    else if (slope == SLOPE_BY_X)
        back_any(t, SLOPE_BY_X, false, r);
    else if (slope == SLOPE_BY_Y && r->by_x)
        back_any(t, SLOPE_BY_Y, true, r);
    else if (slope == SLOPE_BY_Y)
        back_any(t, SLOPE_BY_Y, false, r);
    else if (r->by_x)
        back_any(t, SLOPE_ONE, true, r);
    else
        back_any(t, SLOPE_ONE, false, r);
}

static void back_rows(enum gr_dtype t, enum slope slope, const struct rows *r)
{
    if (t == GR_BF16)
        back_type(GR_BF16, slope, r);
    else
        back_type(GR_F32, slope, r);
}

TRAIN_INLINE void add_any(enum gr_dtype t, int64_t n, const void *a, const void *b, void *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        lanes u, v;
        lanes_load(t, &u, a, i);
        lanes_load(t, &v, b, i);
        u += v;
        lanes_store(t, y, i, &u);
    }
    for (; i < n; i++)
        train_store(t, y, i, train_load(t, a, i) + train_load(t, b, i));
}

static void add(enum gr_dtype t, int64_t n, const void *a, const void *b, void *y)
{
    if (t == GR_BF16)
        add_any(GR_BF16, n, a, b, y);
    else
        add_any(GR_F32, n, a, b, y);
}

const struct rows_loops ROWS_LOOPS = {apply_rows, stats_rows, reduce_rows, back_rows, add};
