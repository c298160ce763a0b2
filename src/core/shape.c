/* What sizes does a tensor have? */
#include "core/shape.h"
#include <stdarg.h>
#include <stdio.h>

struct gr_shape gr_shape_of(int rank, ...)
{
    struct gr_shape s = {.rank = rank};
    va_list ap;
    va_start(ap, rank);
    for (int i = 0; i < rank; i++)
        s.dim[i] = va_arg(ap, int);
    va_end(ap);
    return s;
}

struct gr_shape gr_shape_from(int rank, const int64_t *dim)
{
    struct gr_shape s = {.rank = rank};
    for (int i = 0; i < rank; i++)
        s.dim[i] = dim[i];
    return s;
}

int64_t gr_shape_count_range(const struct gr_shape *s, int from, int to)
{
    int64_t n = 1;
    bool zero = false;
    for (int i = from; i < to; i++) {
        if (s->dim[i] < 0)
            return -1;
        if (s->dim[i] == 0) {
            zero = true;
            continue;
        }
        if (__builtin_mul_overflow(n, s->dim[i], &n) || n > GR_MAX_COUNT)
            return -1;
    }
    return zero ? 0 : n;
}

int64_t gr_shape_count(const struct gr_shape *s)
{
    return gr_shape_count_range(s, 0, s->rank);
}

bool gr_shape_equal(const struct gr_shape *a, const struct gr_shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

const char *gr_shape_print(const struct gr_shape *s, char *text)
{
    char *p = text, *end = text + GR_SHAPE_TEXT;
    p += snprintf(p, (size_t)(end - p), "(");
    for (int i = 0; i < s->rank; i++)
        p += s->dim[i] < 0
                 ? snprintf(p, (size_t)(end - p), "%s?", i ? "," : "")
                 : snprintf(p, (size_t)(end - p), "%s%lld", i ? "," : "", (long long)s->dim[i]);
    snprintf(p, (size_t)(end - p), ")");
    return text;
}

enum graft_status gr_shape_broadcast(const struct gr_shape *a, const struct gr_shape *b,
                                     struct gr_shape *out, struct graft_error *err)
{
    struct gr_shape o = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 1; i <= o.rank; i++) {
        int64_t x = i <= a->rank ? a->dim[a->rank - i] : 1;
        int64_t y = i <= b->rank ? b->dim[b->rank - i] : 1;
        if (x != y && x != 1 && y != 1) {
            char ta[GR_SHAPE_TEXT], tb[GR_SHAPE_TEXT];
            return gr_error(err, GRAFT_E_SHAPE, "shapes %s and %s cannot be broadcast together",
                            gr_shape_print(a, ta), gr_shape_print(b, tb));
        }
        o.dim[o.rank - i] = x == 1 ? y : x;
    }
    *out = o;
    return GRAFT_OK;
}

int gr_axis(int64_t axis, int rank)
{
    if (axis < -rank || axis >= rank)
        return -1;
    return (int)(axis < 0 ? axis + rank : axis);
}
