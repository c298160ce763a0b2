/* Does the feature cache give back what was put in, to all threads and processes, and say so when
   it cannot? */
#include "base/file.h"
#include "base/mem.h"
#include "data/cache.h"
#include <ftw.h>
#include <lmdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define N_FLOATS 1000

static char root[] = "/tmp/graft-test-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    strcpy(root + strlen(root) - 6, "XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct gr_cache *open_ok(uint64_t limit)
{
    struct gr_cache *c = NULL;
    struct graft_error err;
    if (gr_cache_open(root, limit, &c, &err))
        fail_msg("%s", err.message);
    return c;
}

static struct gr_cache_key key_of(uint64_t i)
{
    return (struct gr_cache_key){{1, 2}, {i * 0x9e3779b97f4a7c15u, i}};
}

static enum graft_status put(struct gr_cache *c, uint64_t from, size_t n, struct graft_error *err)
{
    struct gr_cache_entry entry = {.width = 7, .height = 9, .format = GR_FORMAT_PNG};
    struct gr_cache_put *puts = gr_alloc_array(n, sizeof *puts);
    float *x = gr_alloc_array(n * N_FLOATS, sizeof *x);
    assert_non_null(puts);
    assert_non_null(x);
    memset(entry.thumb, 77, sizeof entry.thumb);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < N_FLOATS; k++)
            x[i * N_FLOATS + k] = (float)(from + i) + (float)k / N_FLOATS;
        puts[i] = (struct gr_cache_put){key_of(from + i), &entry, x + i * N_FLOATS, N_FLOATS};
    }
    enum graft_status s = gr_cache_put_batch(c, puts, n, err);
    gr_free(puts);
    gr_free(x);
    return s;
}

static bool get(struct gr_cache *c, uint64_t i)
{
    struct gr_cache_entry e = {0};
    struct graft_error err;
    static _Thread_local float x[N_FLOATS];
    bool found = false;
    if (gr_cache_get(c, key_of(i), &e, x, N_FLOATS, &found, &err))
        fail_msg("%s", err.message);
    assert_int_equal(found, gr_cache_has(c, key_of(i), N_FLOATS));
    if (found) {
        for (size_t k = 0; k < N_FLOATS; k++)
            assert_true(x[k] == (float)i + (float)k / N_FLOATS);
        assert_true(e.width == 7 && e.height == 9 && e.format == GR_FORMAT_PNG && !e.status);
        assert_true(e.thumb[0] == 77 && e.thumb[255] == 77);
    }
    return found;
}

static void round_trip(void **state)
{
    (void)state;
    struct graft_error err;
    struct gr_cache *c = open_ok(0);
    struct gr_cache_stat stat;
    assert_false(get(c, 1));
    assert_int_equal(put(c, 0, 10, &err), GRAFT_OK);
    assert_int_equal(put(c, 5, 10, &err), GRAFT_OK); /* replaces five */
    gr_cache_close(c);
    c = open_ok(0);
    for (uint64_t i = 0; i < 15; i++)
        assert_true(get(c, i));
    assert_false(get(c, 15));
    assert_int_equal(gr_cache_stat(c, &stat, &err), GRAFT_OK);
    assert_int_equal(stat.n_entries, 15);
    assert_true(stat.bytes > 15 * N_FLOATS * 4);
    bool found = true;
    float x[3] = {5, 5, 5};
    struct gr_cache_entry e;
    assert_int_equal(gr_cache_get(c, key_of(1), &e, x, 3, &found, &err), GRAFT_OK);
    assert_true(!found && x[0] == 5);
    assert_false(gr_cache_has(c, key_of(1), 3));

    const struct gr_cache_entry bad = {.status = GRAFT_E_FORMAT, .message = "JPEG: cut"};
    struct gr_cache_put p = {key_of(99), &bad, NULL, 0};
    assert_int_equal(gr_cache_put_batch(c, &p, 1, &err), GRAFT_OK);
    assert_int_equal(gr_cache_get(c, key_of(99), &e, x, 3, &found, &err), GRAFT_OK);
    assert_true(found && e.status == GRAFT_E_FORMAT);
    assert_string_equal(e.message, "JPEG: cut");
    p.n_features = 3;
    p.features = x;
    assert_int_equal(gr_cache_put_batch(c, &p, 1, &err), GRAFT_E_ARG);
    gr_cache_close(c);
    gr_cache_close(NULL);
}

static void grows_to_its_limit(void **state)
{
    (void)state;
    struct graft_error err;
    struct gr_cache *c = open_ok((uint64_t)100 << 20); /* above the first map of 64 MiB */
    uint64_t n = 0;
    enum graft_status s;
    while (!(s = put(c, n, 2000, &err)))
        n += 2000;
    assert_int_equal(s, GRAFT_E_LIMIT);
    assert_non_null(strstr(err.message, "full at its limit of 104857600 bytes"));
    assert_true(n >= 10000); /* two pages each: past 64 MiB at 8192 */
    assert_true(get(c, 0) && get(c, n - 1));
    assert_false(get(c, n)); /* none of the failed batch */
    gr_cache_close(c);
}

static void foreign_and_damaged(void **state)
{
    (void)state;
    struct graft_error err;
    struct gr_cache *c = NULL;
    char path[100], garbage[20000];
    snprintf(path, sizeof path, "%s/data.mdb", root);
    memset(garbage, 'x', sizeof garbage);
    assert_int_equal(gr_file_write(path, garbage, sizeof garbage, NULL), GRAFT_OK);
    assert_int_equal(gr_cache_open(root, 0, &c, &err), GRAFT_E_FORMAT);
    assert_non_null(strstr(err.message, "damaged or not a feature cache"));
    assert_null(c);
    unlink(path);

    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    MDB_val k = {3, "key"}, v = {5, "value"};
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, root, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &db), 0);
    assert_int_equal(mdb_put(txn, db, &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    assert_int_equal(gr_cache_open(root, 0, &c, &err), GRAFT_E_FORMAT); /* somebody else's */
    unlink(path);

    c = open_ok(0);
    assert_int_equal(put(c, 0, 500, &err), GRAFT_OK);
    gr_cache_close(c);
    for (long size = 4096; size < 2000000; size += 150000) { /* cut short: never SIGBUS */
        c = NULL;
        uint8_t *all = NULL;
        size_t cap = 0, n;
        assert_int_equal(gr_file_read(path, 1 << 24, &all, &cap, &n, &err), GRAFT_OK);
        assert_int_equal(truncate(path, size), 0);
        enum graft_status s = gr_cache_open(root, 0, &c, &err);
        assert_true(s == GRAFT_OK || s == GRAFT_E_FORMAT || s == GRAFT_E_IO);
        for (uint64_t i = 0; !s && i < 500; i++) {
            struct gr_cache_entry e;
            float x[N_FLOATS];
            bool found;
            s = gr_cache_get(c, key_of(i), &e, x, N_FLOATS, &found, &err);
        }
        gr_cache_close(c);
        assert_int_equal(gr_file_write(path, all, n, NULL), GRAFT_OK);
        gr_free(all);
    }
}

static void two_processes(void **state)
{
    (void)state;
    struct graft_error err;
    pid_t child[2];
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        if (child[i] == 0) { /* each grows the map of the other past 64 MiB */
            struct gr_cache *c = NULL;
            int bad = gr_cache_open(root, 0, &c, &err) != GRAFT_OK;
            for (uint64_t k = 0; k < 12 && !bad; k++)
                bad = put(c, 100000 * (uint64_t)(i + 1) + k * 500, 500, &err) != GRAFT_OK;
            for (uint64_t k = 0; k < 6000 && !bad; k++)
                bad = !gr_cache_has(c, key_of(100000 * (uint64_t)(i + 1) + k), N_FLOATS);
            gr_cache_close(c);
            _exit(bad);
        }
    }
    for (int i = 0; i < 2; i++) {
        int status;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    struct gr_cache *c = open_ok(0);
    assert_true(get(c, 100000) && get(c, 205999));
    gr_cache_close(c);
}

static void killed_while_writing(void **state)
{
    (void)state;
    struct graft_error err;
    for (int round = 0; round < 4; round++) {
        pid_t child = fork();
        if (child == 0) {
            struct gr_cache *c = NULL;
            if (gr_cache_open(root, 0, &c, &err))
                _exit(1);
            for (uint64_t k = 0;; k++)
                put(c, k % 1000 * 20, 20, &err);
        }
        usleep(30000 + 17000 * (useconds_t)round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        struct gr_cache *c = open_ok(0);
        for (uint64_t i = 0; i < 2000; i++) /* whole batches or nothing */
            assert_int_equal(get(c, i), get(c, i / 20 * 20));
        assert_int_equal(put(c, 5000, 5, &err), GRAFT_OK);
        gr_cache_close(c);
    }
}

/* A limit on the file size stands for a full disk. */
static void disk_full(void **state)
{
    (void)state;
    struct graft_error err;
    struct rlimit old, low;
    struct gr_cache *c = open_ok(0);
    assert_int_equal(put(c, 0, 20, &err), GRAFT_OK);
    getrlimit(RLIMIT_FSIZE, &old);
    low = old;
    low.rlim_cur = 1 << 20;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &low);
    enum graft_status s = put(c, 100, 2000, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(s, GRAFT_E_IO);
    assert_non_null(strstr(err.message, "cannot write"));
    assert_true(get(c, 19));
    assert_false(get(c, 100));
    assert_int_equal(put(c, 100, 20, &err), GRAFT_OK); /* room again: goes on */
    gr_cache_close(c);
}

struct job {
    struct gr_cache *c;
    uint64_t from;
};

static void *work(void *arg)
{
    struct job *j = arg;
    struct graft_error err;
    for (uint64_t k = 0; k < 8; k++) {
        if (put(j->c, j->from + 400 * k, 400, &err))
            return "put failed";
        for (uint64_t i = 0; i < 400; i += 7) {
            if (!get(j->c, j->from + 400 * k + i))
                return "not found";
        }
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    struct gr_cache *c = open_ok(0);
    pthread_t t[4];
    struct job j[4];
    for (int i = 0; i < 4; i++) { /* together past the first map */
        j[i] = (struct job){c, 10000 * (uint64_t)i};
        assert_int_equal(pthread_create(&t[i], NULL, work, &j[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *why;
        pthread_join(t[i], &why);
        assert_null(why);
    }
    gr_cache_close(c);
}

static void default_path(void **state)
{
    (void)state;
    setenv("GRAFT_CACHE", "/x/y", 1);
    char *p = gr_cache_default_path();
    assert_string_equal(p, "/x/y");
    gr_free(p);
    unsetenv("GRAFT_CACHE");
    setenv("XDG_CACHE_HOME", "/x", 1);
    p = gr_cache_default_path();
    assert_string_equal(p, "/x/graft");
    gr_free(p);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/h", 1);
    p = gr_cache_default_path();
    assert_string_equal(p, "/h/.cache/graft");
    gr_free(p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(round_trip),    TEST(grows_to_its_limit),       TEST(foreign_and_damaged),
        TEST(two_processes), TEST(killed_while_writing),     TEST(disk_full),
        TEST(threads),       cmocka_unit_test(default_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
