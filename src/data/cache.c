/* How are features kept on disk, so that no picture is computed twice? */
#include "data/cache.h"
#include "base/file.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_MAP_SIZE ((size_t)64 << 20)
#define VALUE_MAGIC    0x32465247u /* "GRF2" */

/* The record that tells our database from somebody else's. Keys of features are 32 bytes. */
static const char mark_key[] = "graft feature cache", mark_value[] = "1";

/* Then: the message (message_size bytes, a multiple of 4) and the floats. */
struct value {
    uint64_t check; /* of the key and all that follows: LMDB has no checksums */
    uint32_t magic;
    uint16_t status, format;
    uint32_t n_features, message_size;
    int32_t width, height;
    uint8_t thumb[GR_THUMB_SIZE];
};

struct gr_cache {
    char *path;
    MDB_env *env;
    MDB_dbi db;
    size_t max_size;
    pthread_rwlock_t lock; /* transactions share it; changing the map size needs it alone */
};

char *gr_cache_default_path(void)
{
    const char *p = getenv("GRAFT_CACHE");
    if (p && *p)
        return gr_strdup(p);
    p = getenv("XDG_CACHE_HOME");
    if (p && *p == '/')
        return gr_path_join(p, "graft");
    p = getenv("HOME");
    return p && *p ? gr_path_join(p, ".cache/graft") : NULL;
}

static enum graft_status lmdb_error(struct graft_error *err, const struct gr_cache *c,
                                    const char *what, int code)
{
    if (code == ENOMEM)
        return gr_error_nomem(err);
    if (code == MDB_INVALID || code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND ||
        code == MDB_VERSION_MISMATCH || code == MDB_INCOMPATIBLE || code == MDB_PANIC)
        return gr_error(err, GRAFT_E_FORMAT,
                        "feature cache %s: damaged or not a feature cache (%s); delete the folder "
                        "to start anew",
                        c->path, mdb_strerror(code));
    return gr_error(err, GRAFT_E_IO, "feature cache %s: %s: %s", c->path, what, mdb_strerror(code));
}

/* Sets the map size while no transaction of this process is open. 0: as another process set it. */
static int set_map_size(struct gr_cache *c, size_t size)
{
    pthread_rwlock_wrlock(&c->lock);
    int code = mdb_env_set_mapsize(c->env, size);
    pthread_rwlock_unlock(&c->lock);
    return code;
}

/* Begins a transaction with the lock held; both end in end_txn. */
static int begin_txn(struct gr_cache *c, unsigned flags, MDB_txn **txn)
{
    int code = MDB_MAP_RESIZED;
    for (int i = 0; i < 100 && code == MDB_MAP_RESIZED; i++) {
        pthread_rwlock_rdlock(&c->lock);
        code = mdb_txn_begin(c->env, NULL, flags, txn);
        if (!code)
            return 0;
        pthread_rwlock_unlock(&c->lock);
        if (code == MDB_MAP_RESIZED && set_map_size(c, 0))
            break;
    }
    return code;
}

static int end_txn(struct gr_cache *c, MDB_txn *txn, bool commit)
{
    int code = 0;
    if (commit)
        code = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    pthread_rwlock_unlock(&c->lock);
    return code;
}

/* Doubles the map. */
static enum graft_status grow(struct gr_cache *c, size_t seen, struct graft_error *err)
{
    MDB_envinfo info;
    mdb_env_info(c->env, &info);
    if (info.me_mapsize > seen)
        return GRAFT_OK; /* another thread was faster */
    if (info.me_mapsize >= c->max_size)
        return gr_error(err, GRAFT_E_LIMIT, "feature cache %s: full at its limit of %zu bytes",
                        c->path, c->max_size);
    size_t size = info.me_mapsize * 2;
    int code = set_map_size(c, size < c->max_size ? size : c->max_size);
    return code ? lmdb_error(err, c, "cannot grow", code) : GRAFT_OK;
}

/* A database file that was cut short would end the process with SIGBUS when its missing pages are
   read. As zeroes they are an error instead. Pages that were never written may be missing too. */
static enum graft_status fill_missing_pages(struct gr_cache *c, struct graft_error *err)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_filehandle_t fd;
    struct stat st;
    mdb_env_info(c->env, &info);
    mdb_env_stat(c->env, &stat);
    mdb_env_get_fd(c->env, &fd);
    if (fstat(fd, &st))
        return gr_error_errno(err, c->path, "cannot stat");
    off_t want = (off_t)((info.me_last_pgno + 1) * stat.ms_psize);
    if (st.st_size < want && fallocate(fd, 0, st.st_size, want - st.st_size))
        return gr_error_errno(err, c->path, "cannot fill missing pages");
    return GRAFT_OK;
}

static enum graft_status check_mark(struct gr_cache *c, struct graft_error *err)
{
    MDB_txn *txn = NULL;
    MDB_stat stat;
    MDB_val key = {sizeof mark_key, (void *)(uintptr_t)mark_key}, value;
    int code = begin_txn(c, 0, &txn);
    if (code)
        return lmdb_error(err, c, "cannot open", code);
    code = mdb_dbi_open(txn, NULL, 0, &c->db);
    if (!code)
        code = mdb_stat(txn, c->db, &stat);
    if (!code)
        code = mdb_get(txn, c->db, &key, &value);
    if (!code && (value.mv_size != sizeof mark_value ||
                  memcmp(value.mv_data, mark_value, sizeof mark_value)))
        code = MDB_VERSION_MISMATCH;
    bool fresh = code == MDB_NOTFOUND && stat.ms_entries == 0;
    if (fresh) {
        value = (MDB_val){sizeof mark_value, (void *)(uintptr_t)mark_value};
        code = mdb_put(txn, c->db, &key, &value, 0);
    } else if (code == MDB_NOTFOUND) {
        code = MDB_INCOMPATIBLE;
    }
    int ended = end_txn(c, txn, !code);
    code = code ? code : ended;
    return code ? lmdb_error(err, c, "cannot open", code) : GRAFT_OK;
}

enum graft_status gr_cache_open(const char *path, uint64_t max_size, struct gr_cache **cache,
                                struct graft_error *err)
{
    enum graft_status s = gr_mkdir(path, err);
    if (s)
        return s;
    struct gr_cache *c = gr_alloc_zero(1, sizeof *c);
    if (!c)
        return gr_error_nomem(err);
    pthread_rwlock_init(&c->lock, NULL);
    c->max_size = max_size ? (size_t)max_size : (size_t)GR_CACHE_MAX_SIZE;
    c->path = gr_strdup(path);
    if (!c->path) {
        s = gr_error_nomem(err);
        goto out;
    }
    int code = mdb_env_create(&c->env);
    if (!code) /* LMDB takes the size of the file where that is larger */
        code = mdb_env_set_mapsize(c->env,
                                   c->max_size < FIRST_MAP_SIZE ? c->max_size : FIRST_MAP_SIZE);
    /* The data of each commit reach the disk, the root may lag one commit behind. */
    if (!code)
        code = mdb_env_open(c->env, path, MDB_NOTLS | MDB_NOMETASYNC, 0666);
    if (code) {
        s = lmdb_error(err, c, "cannot open", code);
        goto out;
    }
    int dead;
    mdb_reader_check(c->env, &dead); /* slots of killed processes */
    s = fill_missing_pages(c, err);
    if (!s)
        s = check_mark(c, err);
out:
    if (s)
        gr_cache_close(c);
    else
        *cache = c;
    return s;
}

void gr_cache_close(struct gr_cache *c)
{
    if (!c)
        return;
    if (c->env)
        mdb_env_close(c->env);
    pthread_rwlock_destroy(&c->lock);
    gr_free(c->path);
    gr_free(c);
}

static uint64_t checksum(const struct gr_cache_key *key, MDB_val v)
{
    struct value h;
    const size_t skip = sizeof h.check;
    return gr_hash_bytes((const uint8_t *)v.mv_data + skip, v.mv_size - skip).lo ^ key->model.lo ^
           key->content.hi;
}

/* A value that is damaged, or that another version wrote, is as good as none. */
static bool read_header(const struct gr_cache_key *key, MDB_val v, size_t n_features,
                        struct value *h)
{
    if (v.mv_size < sizeof *h)
        return false;
    memcpy(h, v.mv_data, sizeof *h);
    size_t want = h->status ? 0 : n_features, longest = sizeof((struct gr_cache_entry *)0)->message;
    return h->magic == VALUE_MAGIC && h->format <= GR_FORMAT_GIF && h->n_features == want &&
           h->message_size <= longest &&
           v.mv_size == sizeof *h + h->message_size + want * sizeof(float) &&
           h->check == checksum(key, v); /* last: only now the size is believed */
}

static bool unpack(const struct gr_cache_key *key, MDB_val v, struct gr_cache_entry *entry,
                   float *features, size_t n_features)
{
    struct value h;
    if (!read_header(key, v, n_features, &h))
        return false;
    const uint8_t *rest = (const uint8_t *)v.mv_data + sizeof h;
    entry->status = (enum graft_status)h.status;
    entry->format = (enum gr_format)h.format;
    entry->width = h.width;
    entry->height = h.height;
    memcpy(entry->thumb, h.thumb, sizeof h.thumb);
    size_t n = h.message_size < sizeof entry->message ? h.message_size : sizeof entry->message - 1;
    memcpy(entry->message, rest, n);
    entry->message[n] = 0;
    if (h.n_features)
        memcpy(features, rest + h.message_size, h.n_features * sizeof(float));
    return true;
}

bool gr_cache_has(struct gr_cache *c, struct gr_cache_key key, size_t n_features)
{
    MDB_txn *txn = NULL;
    MDB_val k = {sizeof key, &key}, v;
    struct value h;
    if (begin_txn(c, MDB_RDONLY, &txn))
        return false;
    bool found = mdb_get(txn, c->db, &k, &v) == 0 && read_header(&key, v, n_features, &h);
    end_txn(c, txn, false);
    return found;
}

enum graft_status gr_cache_get(struct gr_cache *c, struct gr_cache_key key,
                               struct gr_cache_entry *entry, float *features, size_t n_features,
                               bool *found, struct graft_error *err)
{
    MDB_txn *txn = NULL;
    MDB_val k = {sizeof key, &key}, v;
    int code = begin_txn(c, MDB_RDONLY, &txn);
    if (code)
        return lmdb_error(err, c, "cannot read", code);
    code = mdb_get(txn, c->db, &k, &v);
    bool have = !code && unpack(&key, v, entry, features, n_features);
    end_txn(c, txn, false);
    if (code && code != MDB_NOTFOUND)
        return lmdb_error(err, c, "cannot read", code);
    *found = have;
    return GRAFT_OK;
}

static int put(struct gr_cache *c, MDB_txn *txn, const struct gr_cache_put *p)
{
    size_t text = strlen(p->entry->message), message_size = (text + 3) / 4 * 4;
    struct value h = {.magic = VALUE_MAGIC,
                      .status = (uint16_t)p->entry->status,
                      .format = (uint16_t)p->entry->format,
                      .n_features = (uint32_t)p->n_features,
                      .message_size = (uint32_t)message_size,
                      .width = p->entry->width,
                      .height = p->entry->height};
    memcpy(h.thumb, p->entry->thumb, sizeof h.thumb);
    struct gr_cache_key key = p->key;
    MDB_val k = {sizeof key, &key};
    MDB_val v = {sizeof h + message_size + p->n_features * sizeof(float), NULL};
    int code = mdb_put(txn, c->db, &k, &v, MDB_RESERVE);
    if (code)
        return code;
    uint8_t *q = v.mv_data;
    memcpy(q, &h, sizeof h);
    memset(q + sizeof h, 0, message_size);
    memcpy(q + sizeof h, p->entry->message, text);
    if (p->n_features)
        memcpy(q + sizeof h + message_size, p->features, p->n_features * sizeof(float));
    h.check = checksum(&key, v);
    memcpy(q, &h.check, sizeof h.check);
    return 0;
}

enum graft_status gr_cache_put_batch(struct gr_cache *c, const struct gr_cache_put *puts, size_t n,
                                     struct graft_error *err)
{
    for (size_t i = 0; i < n; i++) {
        bool bad = puts[i].entry->status != GRAFT_OK;
        if (bad != (puts[i].n_features == 0) || puts[i].n_features > UINT32_MAX / sizeof(float))
            return gr_error(err, GRAFT_E_ARG, "feature cache: %zu features with status %s",
                            puts[i].n_features, graft_status_name(puts[i].entry->status));
    }
    for (;;) {
        MDB_txn *txn = NULL;
        MDB_envinfo info;
        int code = begin_txn(c, 0, &txn);
        if (code)
            return lmdb_error(err, c, "cannot write", code);
        mdb_env_info(c->env, &info);
        for (size_t i = 0; i < n && !code; i++)
            code = put(c, txn, &puts[i]);
        int ended = end_txn(c, txn, !code);
        code = code ? code : ended;
        if (!code)
            return GRAFT_OK;
        if (code != MDB_MAP_FULL)
            return lmdb_error(err, c, "cannot write", code);
        enum graft_status s = grow(c, info.me_mapsize, err);
        if (s)
            return s;
    }
}

enum graft_status gr_cache_stat(struct gr_cache *c, struct gr_cache_stat *out,
                                struct graft_error *err)
{
    MDB_stat stat;
    mdb_filehandle_t fd;
    struct stat st;
    MDB_txn *txn = NULL;
    int code = begin_txn(c, MDB_RDONLY, &txn);
    if (code)
        return lmdb_error(err, c, "cannot read", code);
    code = mdb_stat(txn, c->db, &stat);
    end_txn(c, txn, false);
    if (code)
        return lmdb_error(err, c, "cannot read", code);
    mdb_env_get_fd(c->env, &fd);
    if (fstat(fd, &st))
        return gr_error_errno(err, c->path, "cannot stat");
    out->n_entries = stat.ms_entries - 1; /* without the mark */
    out->bytes = (uint64_t)st.st_size;
    return GRAFT_OK;
}
