/* Python pickles read as data: values come out; nothing is ever imported or called. A name that a
   pickle would import is a GLOBAL, what it would construct is an OBJECT holding the arguments. */
#ifndef GR_FORMATS_PICKLE_H
#define GR_FORMATS_PICKLE_H

#include "base/arena.h"
#include "base/error.h"
#include <stdbool.h>

enum gr_pkl_kind {
    GR_PKL_NONE,
    GR_PKL_BOOL,
    GR_PKL_INT,
    GR_PKL_LONG, /* an integer of more than 64 bits: its little-endian bytes */
    GR_PKL_FLOAT,
    GR_PKL_STR,
    GR_PKL_BYTES,
    GR_PKL_TUPLE,
    GR_PKL_LIST,
    GR_PKL_SET,
    GR_PKL_DICT,   /* also collections.OrderedDict; v holds key, value, key, value, ... */
    GR_PKL_GLOBAL, /* s is "module.name" */
    GR_PKL_OBJECT,
    GR_PKL_PERSID /* something stored outside of the pickle, under the name pid */
};

/* Values may be shared and cyclic: whoever walks them needs a budget. */
struct gr_pkl {
    enum gr_pkl_kind kind;
    union {
        int64_t i; /* BOOL, INT */
        double f;
        struct {
            const char *s; /* STR, BYTES, LONG: borrowed from the input, no NUL at the end;
                              GLOBAL: with a NUL */
            size_t n;
        };
        struct {
            struct gr_pkl **v; /* TUPLE, LIST, SET, DICT */
            size_t n_v, cap_v;
        };
        struct gr_pkl *pid;
        struct gr_pkl_object *obj;
    };
};

struct gr_pkl_object {
    struct gr_pkl *callable; /* what would have been called: a GLOBAL, as a rule */
    struct gr_pkl *args;     /* a TUPLE */
    struct gr_pkl *state;    /* handed to it afterwards (BUILD), or NULL */
    struct gr_pkl *items;    /* a LIST or DICT put into it afterwards, or NULL */
};

struct gr_pickle {
    struct gr_arena arena; /* owns all values */
    struct gr_pkl *root;
    size_t used;             /* bytes up to and with the STOP */
    size_t n_values;         /* never more than `used` */
    struct gr_pkl **globals; /* each name once, in the order of appearance */
    size_t n_globals, cap_globals;
    struct gr_pkl **persids; /* every PERSID */
    size_t n_persids, cap_persids;
};

/* Reads one pickle of protocol 2 to 5. `data` is borrowed until gr_pickle_clear. On failure *p is
   empty. */
enum graft_status gr_pickle_read(struct gr_pickle *p, const void *data, size_t size,
                                 struct graft_error *err);
void gr_pickle_clear(struct gr_pickle *p);

/* The value of a string key, the last one set; NULL when absent or when d is no DICT. */
struct gr_pkl *gr_pkl_get(const struct gr_pkl *d, const char *key);
/* v is the string s. */
bool gr_pkl_is_str(const struct gr_pkl *v, const char *s);
/* "a list of 3", "an object of torch.nn.Linear", "'text'" into text, printable, cut to size;
   returns text. */
const char *gr_pkl_print(const struct gr_pkl *v, char *text, size_t size);

#endif
