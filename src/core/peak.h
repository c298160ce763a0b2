/* How fast this machine is at most: the roof under which every step stays. */
#ifndef GR_CORE_PEAK_H
#define GR_CORE_PEAK_H

#include "base/error.h"
#include <stddef.h>

enum { GR_PEAK_SIZES = 6 };

struct gr_peaks {
    int threads;
    double fp32, bf16, int8;     /* operations a second, a multiply-add is two */
    size_t size[GR_PEAK_SIZES];  /* bytes that each thread goes over again and again, rising */
    double bytes[GR_PEAK_SIZES]; /* read or written a second */
};

/* Lets so many threads work at once, for `seconds` at each figure: multiply-adds in registers, then
   reading and updating blocks of memory. Each thread counts with its best moment, so that others on
   the machine spoil little; all of them are added up. In cpu/peak.c. */
enum graft_status gr_cpu_measure(int threads, double seconds, struct gr_peaks *p,
                                 struct graft_error *err);

/* Seconds that so much work takes at least: the operations at their peak, or the bytes as fast as a
   block that holds them goes past, whatever is longer. */
static inline double gr_peaks_least(const struct gr_peaks *p, double flops_a_second, double flops,
                                    double bytes)
{
    int i = 0;
    while (i + 1 < GR_PEAK_SIZES && bytes / p->threads > (double)p->size[i])
        i++;
    const double compute = flops / flops_a_second, move = bytes / p->bytes[i];
    return compute > move ? compute : move;
}

#endif
