/* How is a failure reported? */
#include "base/error.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A message is one line, whatever the names in it. */
static void one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

enum graft_status gr_error(struct graft_error *err, enum graft_status status, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        err->status = status;
        va_start(ap, fmt);
        vsnprintf(err->message, sizeof err->message, fmt, ap);
        va_end(ap);
        one_line(err->message);
    }
    return status;
}

enum graft_status gr_error_in(struct graft_error *err, enum graft_status status, const char *fmt,
                              ...)
{
    if (err) {
        char fact[sizeof err->message];
        va_list ap;
        memcpy(fact, err->message, sizeof fact);
        va_start(ap, fmt);
        int n = vsnprintf(err->message, sizeof err->message, fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof err->message)
            snprintf(err->message + n, sizeof err->message - (size_t)n, ": %s", fact);
        one_line(err->message);
    }
    return status;
}

enum graft_status gr_error_errno(struct graft_error *err, const char *path, const char *what)
{
    int e = errno;
    return gr_error(err, e == ENOMEM ? GRAFT_E_NOMEM : GRAFT_E_IO, "%s: %s: %s", path, what,
                    strerror(e));
}

enum graft_status gr_error_nomem(struct graft_error *err)
{
    return gr_error(err, GRAFT_E_NOMEM, "out of memory");
}
