/* Where is the source model that comes with graft? */
#include "base/error.h"
#include "base/events.h"
#include "base/file.h"
#include "job/job.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "graft-base.onnx"

static bool try_path(char *path, size_t size, const char *dir, const char *middle)
{
    int n = snprintf(path, size, "%s/%s" NAME, dir, middle);
    return n > 0 && (size_t)n < size && gr_is_file(path);
}

/* In `file`'s folder or one above it: an installed tree may be moved. */
static bool try_near(char *path, size_t size, const char *file)
{
    char dir[PATH_MAX];
    if (!realpath(file, dir))
        return false;
    for (int up = 0; up < 5; up++) {
        char *slash = strrchr(dir, '/');
        if (!slash || slash == dir)
            return false;
        *slash = 0;
        if (try_path(path, size, dir, "share/graft/") || try_path(path, size, dir, "models/"))
            return true;
    }
    return false;
}

enum graft_status graft_base_model(char *path, size_t size, struct graft_error *err)
{
    const char *given = getenv("GRAFT_BASE");
    Dl_info here;
    if (given && *given) {
        int n = snprintf(path, size, "%s", given);
        if (n > 0 && (size_t)n < size && gr_is_file(path))
            return GRAFT_OK;
        return gr_error(err, GRAFT_E_IO, "%s: the model that $GRAFT_BASE names is not there",
                        given);
    }
    /* The library's own file; of a program only the word it was called by is known that way. */
    if (dladdr((const void *)(uintptr_t)&graft_base_model, &here) && here.dli_fname &&
        strchr(here.dli_fname, '/') && try_near(path, size, here.dli_fname))
        return GRAFT_OK;
    if (try_near(path, size, "/proc/self/exe") ||
        try_path(path, size, "/usr/local", "share/graft/") ||
        try_path(path, size, "/usr", "share/graft/"))
        return GRAFT_OK;
    return gr_error(err, GRAFT_E_IO,
                    NAME
                    " was found neither near the program nor in /usr/share/graft; name a source "
                    "model with --from, or that file with $GRAFT_BASE");
}

void gr_job_tell_base(const char *path, const struct graft_events *ev)
{
    gr_note(ev, "source", "%s, which comes with graft (--from MODEL takes another)",
            gr_path_base(path));
}
