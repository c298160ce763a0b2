/* How functions fail: status codes, and messages that grow outwards with where it happened. */
#ifndef GR_BASE_ERROR_H
#define GR_BASE_ERROR_H

#include "graft.h"
#include <stdarg.h>

#define GR_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))

/* Sets the fact ("X has 4 channels, W expects 3") and returns `status`. `err` may be NULL. */
enum graft_status gr_error(struct graft_error *err, enum graft_status status, const char *fmt, ...)
    GR_PRINTF(3, 4);

/* Puts "where: " before the message and returns the status already in `err`. */
enum graft_status gr_error_in(struct graft_error *err, enum graft_status status, const char *fmt,
                              ...) GR_PRINTF(3, 4);

/* GRAFT_E_IO with "path: what: strerror(errno)"; ENOMEM becomes GRAFT_E_NOMEM. */
enum graft_status gr_error_errno(struct graft_error *err, const char *path, const char *what);

/* GRAFT_E_NOMEM with a fixed message. */
enum graft_status gr_error_nomem(struct graft_error *err);

#endif
