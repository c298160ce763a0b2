/* How are elements copied from one arrangement to another? */
#include "cpu/strided.h"
#include <string.h>

/* Less work than this is not worth waking other threads. */
enum { PARALLEL_BYTES = 1 << 15 };

void strided_init(struct strided *s, int rank, const int64_t *dim, const int64_t *src_stride,
                  int64_t src_offset, const int64_t *dst_stride, int64_t dst_offset,
                  size_t elem_size)
{
    int order[STRIDED_MAX_RANK], n = 0;
    *s = (struct strided){
        .src_offset = src_offset, .dst_offset = dst_offset, .count = 1, .elem_size = elem_size};
    for (int i = 0; i < rank; i++) {
        s->count *= dim[i];
        if (dim[i] == 1)
            continue;
        int at = n++; /* insertion by falling target stride */
        for (; at > 0 && dst_stride[order[at - 1]] < dst_stride[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (int i = 0; i < n; i++) {
        int d = order[i], last = s->rank - 1;
        if (s->rank && s->src[last] == src_stride[d] * dim[d] &&
            s->dst[last] == dst_stride[d] * dim[d]) {
            s->dim[last] *= dim[d];
            s->src[last] = src_stride[d];
            s->dst[last] = dst_stride[d];
        } else {
            s->dim[s->rank] = dim[d];
            s->src[s->rank] = src_stride[d];
            s->dst[s->rank++] = dst_stride[d];
        }
    }
    if (!s->rank) {
        s->rank = 1;
        s->dim[0] = s->src[0] = s->dst[0] = 1;
    }
    int last = s->rank - 1; /* a long inner loop is better than one that writes in order */
    if (last > 0 && s->dim[last] < 8 && s->dim[last - 1] > s->dim[last]) {
        int64_t d = s->dim[last], a = s->src[last], b = s->dst[last];
        s->dim[last] = s->dim[last - 1];
        s->src[last] = s->src[last - 1];
        s->dst[last] = s->dst[last - 1];
        s->dim[last - 1] = d;
        s->src[last - 1] = a;
        s->dst[last - 1] = b;
    }
}

#define COPY_LOOP(type)                                                                            \
    {                                                                                              \
        const type *x = src;                                                                       \
        type *y = dst;                                                                             \
        for (int64_t i = 0; i < n; i++)                                                            \
            y[i * sy] = x[i * sx];                                                                 \
    }

static void copy_row(size_t elem_size, int64_t n, const void *src, int64_t sx, void *dst,
                     int64_t sy)
{
    if (sx == 1 && sy == 1)
        memcpy(dst, src, (size_t)n * elem_size);
    else if (elem_size == 4)
        COPY_LOOP(uint32_t)
    else if (elem_size == 2)
        COPY_LOOP(uint16_t)
    else if (elem_size == 8)
        COPY_LOOP(uint64_t)
    else
        COPY_LOOP(uint8_t)
}

void strided_run(const struct strided *s, const void *src, void *dst)
{
    int last = s->rank - 1;
    int64_t inner = s->dim[last], size = (int64_t)s->elem_size;
    if (!s->count)
        return;
    /* One long row is cut so that all threads have something. */
    int64_t piece = s->rank > 1 || inner < 4096 ? inner : 4096;
    int64_t pieces = (inner + piece - 1) / piece, rows = s->count / inner * pieces;
#pragma omp parallel for if (s->count * size >= PARALLEL_BYTES) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        int64_t p = r % pieces, rest = r / pieces;
        int64_t from = s->src_offset + p * piece * s->src[last];
        int64_t to = s->dst_offset + p * piece * s->dst[last];
        for (int i = last - 1; i >= 0; i--) {
            from += rest % s->dim[i] * s->src[i];
            to += rest % s->dim[i] * s->dst[i];
            rest /= s->dim[i];
        }
        int64_t n = inner - p * piece < piece ? inner - p * piece : piece;
        copy_row(s->elem_size, n, (const char *)src + from * size, s->src[last],
                 (char *)dst + to * size, s->dst[last]);
    }
}
