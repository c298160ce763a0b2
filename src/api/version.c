/* What does this library call itself and its statuses? */
#include "graft.h"

const char *graft_version(void)
{
    return "0.1.0";
}

const char *graft_status_name(enum graft_status status)
{
    static const char *const names[] = {
        [GRAFT_OK] = "ok",
        [GRAFT_E_ARG] = "argument",
        [GRAFT_E_NOMEM] = "out of memory",
        [GRAFT_E_IO] = "input/output",
        [GRAFT_E_FORMAT] = "format",
        [GRAFT_E_LIMIT] = "limit",
        [GRAFT_E_UNSUPPORTED] = "unsupported",
        [GRAFT_E_SHAPE] = "shape",
        [GRAFT_E_COMPUTE] = "compute",
        [GRAFT_E_CANCELLED] = "cancelled",
        [GRAFT_E_CHECK] = "data check",
        [GRAFT_E_GATE] = "gate",
    };
    if ((unsigned)status >= sizeof names / sizeof *names)
        return "unknown";
    return names[status];
}
