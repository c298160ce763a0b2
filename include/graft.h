/* graft: transfer learning in C.  SPDX-License-Identifier: Apache-2.0 */
#ifndef GRAFT_H
#define GRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GRAFT_API __attribute__((visibility("default")))
#else
#define GRAFT_API
#endif

/* ---- errors ------------------------------------------------------------------------------- */

enum graft_status {
    GRAFT_OK = 0,
    GRAFT_E_ARG,         /* the caller's argument or option is wrong */
    GRAFT_E_NOMEM,       /* out of memory */
    GRAFT_E_IO,          /* the operating system refused to read or write */
    GRAFT_E_FORMAT,      /* the file is wrong */
    GRAFT_E_LIMIT,       /* refused because of its size; limits are settings */
    GRAFT_E_UNSUPPORTED, /* the file is right and graft cannot do it */
    GRAFT_E_SHAPE,       /* shapes do not fit each other */
    GRAFT_E_COMPUTE,     /* the arithmetic failed (not finite, kernel failure) */
    GRAFT_E_CANCELLED,   /* the caller asked to stop; what was done is kept */
    GRAFT_E_CHECK,       /* the data check failed */
    GRAFT_E_GATE         /* a required figure was not reached */
};

/* Filled by a failing function, untouched by a successful one. Where a function takes one, NULL
   is allowed. */
struct graft_error {
    enum graft_status status;
    char message[1024]; /* one line, no newline: place: fact with both values */
};

/* "format", "shape", ...: one word for a status. */
GRAFT_API const char *graft_status_name(enum graft_status status);
GRAFT_API const char *graft_version(void);

/* ---- what a long job tells while it runs -------------------------------------------------- */

enum graft_level { GRAFT_NOTE, GRAFT_WARNING };

/* Callbacks, each may be NULL; called from the thread that called graft, except `cancelled`,
   which worker threads may call too. */
struct graft_events {
    void *user;
    void (*note)(void *user, enum graft_level level, const char *topic, const char *text);
    void (*progress)(void *user, const char *topic, int64_t done, int64_t total, const char *unit);
    bool (*cancelled)(void *user);
};

/* ---- preprocessing: from a decoded picture to the network's input ------------------------- */

enum graft_resize {
    GRAFT_RESIZE_SHORTEST, /* short side to resize_to, aspect kept, then centre crop */
    GRAFT_RESIZE_STRETCH,  /* straight to width x height */
    GRAFT_RESIZE_LETTERBOX /* aspect kept, whole picture inside, borders filled with pad_value */
};
enum graft_filter { GRAFT_NEAREST, GRAFT_BILINEAR, GRAFT_BICUBIC, GRAFT_LANCZOS, GRAFT_BOX };
enum graft_channels { GRAFT_RGB, GRAFT_BGR, GRAFT_GREY };

/* Pixels p in 0..255 become (p * scale - mean[c]) / std[c]. Resizing is Pillow's (antialiased,
   8-bit between the passes), in the way torchvision.transforms calls it on Pillow images. */
struct graft_preprocess {
    int width, height; /* of the network's input */
    enum graft_resize resize;
    int resize_to; /* short side in pixels, for GRAFT_RESIZE_SHORTEST */
    enum graft_filter filter;
    enum graft_channels channels; /* order in which planes are given to the network */
    double scale;
    double mean[3], std[3]; /* in the order of `channels` */
    int pad_value;          /* 0..255, for GRAFT_RESIZE_LETTERBOX and crops past the border */
};

#ifdef __cplusplus
}
#endif
#endif
