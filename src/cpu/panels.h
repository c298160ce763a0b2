/* Pixels times a constant matrix, 32 columns of it at a time: what fused kernels are made of. In
   fp32, bf16 or 8 bits, with AVX-512 or in AMX tiles, sums in fp32 or 32-bit integers. x86 only. */
#ifndef GR_CPU_PANELS_H
#define GR_CPU_PANELS_H

#include "cpu/int8.h"

enum { PANEL = 32 };

/* What multiplies. */
enum panel_unit {
    PANEL_NONE, /* this processor cannot */
    PANEL_F32,
    PANEL_BF16, /* pairs of bf16 in vectors */
    PANEL_INT8, /* fours of 8-bit integers in vectors */
    PANEL_TILES /* bf16 in AMX tiles */
};
/* The fastest one here for x in bf16, or in fp32. */
enum panel_unit panels_get_unit(bool bf16);
/* Whether there is PANEL_INT8, and nothing faster. */
bool panels_have_int8(void);

/* y = x w + b; x has k columns, w and b n. Or a sum of such products, one for each tap of a window,
   where x begins at another place for each. */
enum { PANEL_TAPS = 9 };
struct panels {
    int64_t k, n, taps;
    int64_t tap[PANEL_TAPS]; /* bytes from where x is said to begin; for the user to fill in */
    enum panel_unit unit;
    int64_t depth; /* rows of w in one tile */
    void *w;  /* fp32: (panel, tap, k, 32). bf16: (panel, tap, k / 2 rounded up, 32, 2), for tiles
                 (panel, k / depth, tap, 2, depth / 2, 16, 2). 8 bits: (panel, k / 4, 32, 4) */
    float *b; /* (panel, 32) */
    /* 8 bits: each sum is multiplied by this before b is added; where it begins, and what is done
       to four numbers of x at once, so that signed ones count as unsigned. */
    float *scale;   /* (panel, 32) */
    int32_t *start; /* (panel, 32) */
    uint32_t flip;
};
/* `w` is (n, k, taps), b may be NULL. */
enum graft_status panels_init(struct panels *p, enum panel_unit unit, int64_t k, int64_t n,
                              int64_t taps, const float *w, const float *b,
                              struct graft_error *err);
/* The weights of a convolution, for which gr_is_const_conv holds, with at most so many taps. */
enum graft_status panels_init_conv(struct panels *p, enum panel_unit unit, const struct gr_case *c,
                                   struct graft_error *err);
/* In 8 bits a convolution with one tap, for which int8_suits and gr_is_const_conv hold. q: what its
   tail needs, to be cleared also on failure. */
enum graft_status panels_init_int8(struct panels *p, const struct gr_case *c,
                                   struct int8_product *q, struct graft_error *err);
void panels_clear(struct panels *p); /* may be called twice */
size_t panels_get_weights_size(const struct panels *p);
/* Whether m rows of x with k columns can be multiplied. */
bool panels_suit(enum panel_unit unit, int64_t m, int64_t k);

/* What becomes of the sums: y = min(max(sum + add, low), high), or gelu(sum). Steps: bytes from row
   to row. To 8 bits y is rounded, and low and high must be within them. */
struct panel_tail {
    void *y; /* of the panel's first column, as add */
    int64_t y_step;
    enum gr_dtype y_dtype;
    const void *add; /* NULL: nothing */
    int64_t add_step;
    enum gr_dtype
        add_dtype;   /* that of x, or where y is fp32 that; with x in 8 bits GR_I8 or GR_U8 */
    float add_scale; /* add is multiplied by it, with x in 8 bits */
    bool gelu;       /* not with tiles, and not in 8 bits */
    float low, high;
    int64_t n;            /* columns that are stored, at most 32 */
    const int32_t *place; /* of each row of sums: row of y, or -1; NULL: all in turn. Of tiles only,
                             with y in bf16 */
};
/* m rows of x times a panel. y must not overlap x; it may be `add` itself. */
void panels_run(const struct panels *p, int64_t panel, int64_t m, const void *x, int64_t x_step,
                const struct panel_tail *t);

/* A thread's tiles: they are set up for one matrix at a time, and put back in the end as others may
   count on them. Nothing for other units. */
struct tiles_state {
    uint8_t bytes[64];
};
void panels_begin(enum panel_unit unit, struct tiles_state *before);
void panels_enter(const struct panels *p);
void panels_end(enum panel_unit unit, const struct tiles_state *before);

#endif
