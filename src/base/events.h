/* What a long job tells its caller while it runs (struct graft_events), and how it is stopped. */
#ifndef GR_BASE_EVENTS_H
#define GR_BASE_EVENTS_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

/* One line for the person: what was kept, guessed, skipped. `topic` is the subject in one word or
   path ("features", "head", "flowers/"). `ev` may be NULL. */
void gr_note(const struct graft_events *ev, const char *topic, const char *fmt, ...)
    GR_PRINTF(3, 4);
/* The same for something that the person should look at. */
void gr_warn(const struct graft_events *ev, const char *topic, const char *fmt, ...)
    GR_PRINTF(3, 4);
/* `done` of `total` `unit`s ("img"); cheap enough to call per batch. */
void gr_progress(const struct graft_events *ev, const char *topic, int64_t done, int64_t total,
                 const char *unit);
/* True once the caller wants to stop; sets GRAFT_E_CANCELLED in err. */
bool gr_cancelled(const struct graft_events *ev, struct graft_error *err);

/* Seconds of a monotonic clock. */
double gr_seconds(void);

#endif
