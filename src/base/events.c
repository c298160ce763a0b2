/* How does a long job speak while it runs? */
#include "base/events.h"
#include <stdio.h>
#include <time.h>

static void tell(const struct graft_events *ev, enum graft_level level, const char *topic,
                 const char *fmt, va_list ap) GR_PRINTF(4, 0);

static void tell(const struct graft_events *ev, enum graft_level level, const char *topic,
                 const char *fmt, va_list ap)
{
    char text[2048];
    if (!ev || !ev->note)
        return;
    vsnprintf(text, sizeof text, fmt, ap);
    ev->note(ev->user, level, topic, text);
}

void gr_note(const struct graft_events *ev, const char *topic, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell(ev, GRAFT_NOTE, topic, fmt, ap);
    va_end(ap);
}

void gr_warn(const struct graft_events *ev, const char *topic, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell(ev, GRAFT_WARNING, topic, fmt, ap);
    va_end(ap);
}

void gr_progress(const struct graft_events *ev, const char *topic, int64_t done, int64_t total,
                 const char *unit)
{
    if (ev && ev->progress)
        ev->progress(ev->user, topic, done, total, unit);
}

bool gr_cancelled(const struct graft_events *ev, struct graft_error *err)
{
    if (!ev || !ev->cancelled || !ev->cancelled(ev->user))
        return false;
    gr_error(err, GRAFT_E_CANCELLED, "interrupted");
    return true;
}

double gr_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
