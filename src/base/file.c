/* How are files read whole and written safely? */
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a regular file; anything else (folder, fifo, device) is refused before it can block. */
static int open_regular(const char *path, struct stat *st, enum graft_status *s,
                        struct graft_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        *s = gr_error_errno(err, path, "cannot open");
        return -1;
    }
    if (fstat(fd, st)) {
        *s = gr_error_errno(err, path, "cannot stat");
    } else if (!S_ISREG(st->st_mode)) {
        *s = gr_error(err, GRAFT_E_IO, "%s: not a regular file", path);
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

enum graft_status gr_map_open(const char *path, struct gr_map *map, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct stat st;
    int fd = open_regular(path, &st, &s, err);
    if (fd < 0)
        return s;
    map->data = (const uint8_t *)"";
    map->size = 0;
    if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            s = gr_error_errno(err, path, "cannot map");
        } else {
            map->data = p;
            map->size = (size_t)st.st_size;
        }
    }
    close(fd);
    return s;
}

void gr_map_close(struct gr_map *map)
{
    if (map->size)
        munmap((void *)(uintptr_t)map->data, map->size);
    map->data = NULL;
    map->size = 0;
}

enum graft_status gr_file_read(const char *path, size_t limit, uint8_t **data, size_t *cap,
                               size_t *size, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct stat st;
    int fd = open_regular(path, &st, &s, err);
    if (fd < 0)
        return s;
    size_t want = (size_t)st.st_size, got = 0;
    if (want > limit) {
        s = gr_error(err, GRAFT_E_LIMIT, "%s: %zu bytes, limit is %zu", path, want, limit);
        goto out;
    }
    if (!*data || *cap < want) {
        gr_free(*data);
        *cap = 0;
        *data = gr_alloc(want);
        if (!*data) {
            s = gr_error_nomem(err);
            goto out;
        }
        *cap = want;
    }
    while (got < want) {
        ssize_t n = read(fd, *data + got, want - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            s = gr_error_errno(err, path, "cannot read");
            goto out;
        }
        if (n == 0)
            break; /* it shrank under us: what is there is what we read */
        got += (size_t)n;
    }
    *size = got;
out:
    close(fd);
    return s;
}

enum graft_status gr_outfile_open(struct gr_outfile *o, const char *path, struct graft_error *err)
{
    enum graft_status s;
    memset(o, 0, sizeof *o);
    o->path = gr_strdup(path);
    int fd = -1;
    /* not mkstemp: its files are 0600, and asking for the umask changes it under other threads */
    for (unsigned i = 0; fd < 0 && i < 1000; i++) {
        gr_free(o->tmp);
        o->tmp = gr_sprintf("%s.%ld-%u.tmp", path, (long)getpid(), i);
        if (!o->path || !o->tmp) {
            s = gr_error_nomem(err);
            goto fail;
        }
        fd = open(o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0) {
        s = gr_error_errno(err, path, "cannot create");
        goto fail;
    }
    if (!(o->f = fdopen(fd, "wb"))) {
        s = gr_error_errno(err, path, "cannot create");
        close(fd);
        unlink(o->tmp);
        goto fail;
    }
    return GRAFT_OK;
fail:
    gr_free(o->path);
    gr_free(o->tmp);
    memset(o, 0, sizeof *o);
    return s;
}

static enum graft_status flush(struct gr_outfile *o, struct graft_error *err)
{
    if (!fflush(o->f)) {
        if (!ferror(o->f))
            return GRAFT_OK;
        errno = EIO; /* an earlier write failed; its errno is long gone */
    }
    return gr_error_errno(err, o->path, "cannot write");
}

enum graft_status gr_outfile_push(struct gr_outfile *o, struct graft_error *err)
{
    enum graft_status s = flush(o, err);
    if (s)
        gr_outfile_abort(o);
    else
        sync_file_range(fileno(o->f), 0, 0, SYNC_FILE_RANGE_WRITE);
    return s;
}

enum graft_status gr_outfile_commit(struct gr_outfile *o, struct graft_error *err)
{
    enum graft_status s = flush(o, err);
    if (!s && fsync(fileno(o->f)))
        s = gr_error_errno(err, o->path, "cannot write");
    if (!s && rename(o->tmp, o->path))
        s = gr_error_errno(err, o->path, "cannot rename into place");
    if (!s) {
        fclose(o->f);
        o->f = NULL;
    }
    gr_outfile_abort(o);
    return s;
}

void gr_outfile_abort(struct gr_outfile *o)
{
    if (o->f) {
        fclose(o->f);
        unlink(o->tmp);
    }
    gr_free(o->path);
    gr_free(o->tmp);
    memset(o, 0, sizeof *o);
}

enum graft_status gr_file_write(const char *path, const void *data, size_t size,
                                struct graft_error *err)
{
    struct gr_outfile o;
    enum graft_status s = gr_outfile_open(&o, path, err);
    if (s)
        return s;
    if (size)
        fwrite(data, 1, size, o.f);
    return gr_outfile_commit(&o, err);
}

enum graft_status gr_mkdir(const char *path, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    char *p = gr_strdup(path);
    if (!p)
        return gr_error_nomem(err);
    for (char *q = p; !s && *q; q++) {
        if (q == p || (q[1] && q[1] != '/') || *q == '/')
            continue;
        char after = q[1]; /* q is the last letter of a component */
        q[1] = 0;
        if (mkdir(p, 0777) && !(errno == EEXIST && gr_is_dir(p)))
            s = gr_error_errno(err, p, "cannot create folder");
        q[1] = after;
    }
    if (!s && !gr_is_dir(path) && mkdir(path, 0777))
        s = gr_error_errno(err, path, "cannot create folder");
    gr_free(p);
    return s;
}

bool gr_is_dir(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool gr_is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

char *gr_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return gr_sprintf("%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

const char *gr_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *gr_path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return gr_strdup(".");
    return gr_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}
