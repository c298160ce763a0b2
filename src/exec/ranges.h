/* Ranges of values, for plans in int8: what is beyond is clipped. */
#ifndef GR_EXEC_RANGES_H
#define GR_EXEC_RANGES_H

#include "core/kernel.h"
#include "exec/plan.h"

struct gr_range {
    char *value; /* its name in the graph; owned */
    float high;  /* > 0 */
    bool below;  /* it goes down to -high, else to 0 */
};

struct gr_ranges {
    struct gr_range *items; /* ascending by name */
    size_t n;
};

void gr_ranges_clear(struct gr_ranges *r);
const struct gr_range *gr_ranges_find(const struct gr_ranges *r, const char *value);
void gr_ranges_sort(struct gr_ranges *r);
struct gr_quant gr_range_quant(const struct gr_range *r);

/* Which values of the graph (ranged: one place for each) a plan in int8 reads in 8 bits. */
enum graft_status gr_plan_find_ranged(const struct gr_graph *g, const struct gr_shape *input_shapes,
                                      const struct gr_plan_options *options, bool *ranged,
                                      struct graft_error *err);

/* What was seen of one value; a zeroed one has seen nothing. */
enum { GR_RANGE_BINS = 4096 };
struct gr_histogram {
    double count[GR_RANGE_BINS]; /* of |x| in [i, i + 1) * width; exact zeros are not counted */
    float width;                 /* a power of two; 0: all were 0 */
    bool below;                  /* some x < 0 */
};
/* Values that are not finite are left out. */
void gr_histogram_add(struct gr_histogram *h, const float *x, size_t n);
/* The bound that makes the mean square error least: of clipping, as counted, and of rounding, as if
   even within each step (the error model of Banner, Nahshan, Soudry 2019, with the histogram in
   place of a fitted density). 1 where all were 0. */
float gr_histogram_bound(const struct gr_histogram *h);

/* The network in fp32, watched: one look after the other, then the ranges of all that plans in int8
   read in 8 bits. The graph is only read, and must outlive it. */
struct gr_calibrator;
enum graft_status gr_calibrator_new(const struct gr_graph *g, const struct gr_shape *input_shapes,
                                    struct gr_calibrator **c, struct graft_error *err);
void gr_calibrator_free(struct gr_calibrator *c);
/* inputs[i]: as for gr_exec_run. */
enum graft_status gr_calibrator_look(struct gr_calibrator *c, const void *const *inputs,
                                     struct graft_error *err);
/* Values that were 0 throughout, or far too large or small, have none. To be cleared also on
   failure. */
enum graft_status gr_calibrator_get_ranges(const struct gr_calibrator *c, struct gr_ranges *r,
                                           struct graft_error *err);

#endif
