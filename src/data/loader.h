/* Reads and preprocesses picture files in worker threads, ahead of whoever computes, and gives them
   out in batches in the order of the list. The result does not depend on the number of workers. A
   file that cannot be read is an item with an error; it never stops the others. */
#ifndef GR_DATA_LOADER_H
#define GR_DATA_LOADER_H

#include "base/events.h"
#include "base/hash.h"
#include "data/preprocess.h"

#define GR_LOADER_MAX_FILE ((size_t)1 << 30)

struct gr_loader_options {
    const char *const *paths;       /* borrowed until close */
    const struct gr_source *source; /* gives the bytes under `paths`; NULL: they are files */
    size_t n;
    const struct graft_preprocess *preprocess; /* copied */
    const struct gr_augment *augment;          /* copied; NULL: pictures as they are */
    const struct gr_view *views;               /* one per path, with `augment`; borrowed */
    size_t batch;
    int workers;                       /* 0: one per processor that we may use */
    int depth;                         /* batches in memory at once; 0: enough for the workers */
    size_t max_file;                   /* bytes; 0: GR_LOADER_MAX_FILE */
    struct gr_image_limits limits;     /* all 0: the defaults */
    const struct graft_events *events; /* for cancelling; may be NULL */
    /* Called in a worker, several at once, after a file was read and hashed: false when its pixels
       are not needed (a cache has the features). NULL: all are wanted. */
    bool (*wanted)(void *user, size_t index, struct gr_hash content);
    void *user;
};

struct gr_item {
    size_t index;                 /* in paths */
    enum graft_status status;     /* of reading and decoding */
    char message[256];            /* why not, without the path; else "" */
    bool have_content;            /* the file could be read, so the next four are known */
    struct gr_hash content;       /* of its bytes */
    enum gr_format format;        /* as sniffed */
    size_t size;                  /* bytes */
    int width, height;            /* upright; 0 when the header could not be read */
    bool wanted;                  /* as the callback said */
    int row;                      /* in the batch's x; -1: not decoded (bad or not wanted) */
    uint8_t thumb[GR_THUMB_SIZE]; /* of a decoded one */
};

struct gr_batch {
    struct gr_item *items; /* in the order of paths */
    size_t n;
    const float *x; /* (rows,C,H,W): the decoded ones in order, without gaps */
    size_t rows;
};

struct gr_loader;

enum graft_status gr_loader_open(const struct gr_loader_options *options, struct gr_loader **loader,
                                 struct graft_error *err);

/* The next batch, lent until the next call or close; *batch NULL after the last. CANCELLED when the
   events say so, NOMEM when a worker ran out of memory. */
enum graft_status gr_loader_next(struct gr_loader *loader, const struct gr_batch **batch,
                                 struct graft_error *err);

/* Stops the workers, each at the end of its picture. NULL is fine. */
void gr_loader_close(struct gr_loader *loader);

#endif
