/* A copy between two arrangements of the same elements. */
#ifndef GR_CPU_STRIDED_H
#define GR_CPU_STRIDED_H

#include <stddef.h>
#include <stdint.h>

enum { STRIDED_MAX_RANK = 10 };

struct strided {
    int rank; /* after joining dimensions that lie together; dim[rank - 1] is the inner loop */
    int64_t dim[STRIDED_MAX_RANK], src[STRIDED_MAX_RANK], dst[STRIDED_MAX_RANK]; /* elements */
    int64_t src_offset, dst_offset, count;
    size_t elem_size; /* 1, 2, 4 or 8 */
};

/* Strides and offsets in elements; source strides may be 0 or negative. */
void strided_init(struct strided *s, int rank, const int64_t *dim, const int64_t *src_stride,
                  int64_t src_offset, const int64_t *dst_stride, int64_t dst_offset,
                  size_t elem_size);
void strided_run(const struct strided *s, const void *src, void *dst);

#endif
