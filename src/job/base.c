/* Where is the source model that comes with graft? */
#include "base/error.h"
#include "base/file.h"
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

enum graft_status graft_base_model(char *path, size_t size, struct graft_error *err)
{
    const char *given = getenv("GRAFT_BASE");
    char dir[PATH_MAX];
    Dl_info here;
    if (given && *given) {
        int n = snprintf(path, size, "%s", given);
        if (n > 0 && (size_t)n < size && gr_is_file(path))
            return GRAFT_OK;
        return gr_error(err, GRAFT_E_IO, "%s: the model that $GRAFT_BASE names is not there",
                        given);
    }
    /* The program's or library's own file, and up from there: an installed tree may be moved. */
    if (dladdr((const void *)(uintptr_t)&graft_base_model, &here) && here.dli_fname &&
        realpath(here.dli_fname, dir)) {
        for (int up = 0; up < 5; up++) {
            char *slash = strrchr(dir, '/');
            if (!slash || slash == dir)
                break;
            *slash = 0;
            if (try_path(path, size, dir, "share/graft/") || try_path(path, size, dir, "models/"))
                return GRAFT_OK;
        }
    }
    if (try_path(path, size, "/usr/local", "share/graft/") ||
        try_path(path, size, "/usr", "share/graft/"))
        return GRAFT_OK;
    return gr_error(err, GRAFT_E_IO,
                    NAME
                    " was found neither near the program nor in /usr/share/graft; name a source "
                    "model with --from, or that file with $GRAFT_BASE");
}
