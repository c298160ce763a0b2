/* Are folders and lists read as data/dataset.h says, split fairly and checked? */
#include "base/file.h"
#include "base/mem.h"
#include "data/dataset.h"
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

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

static const char *at(const char *name)
{
    static char path[500];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

/* A file below the root, its folders included. */
static void put(const char *name, const char *text)
{
    char path[500];
    snprintf(path, sizeof path, "%s", at(name));
    *strrchr(path, '/') = 0;
    assert_int_equal(gr_mkdir(path, NULL), GRAFT_OK);
    assert_int_equal(gr_file_write(at(name), text, strlen(text), NULL), GRAFT_OK);
}

/* Enough of a picture for sniffing; `content` tells one from another. */
static void put_picture(const char *name, int content)
{
    char text[100];
    snprintf(text, sizeof text, "\xff\xd8\xff picture %d", content);
    put(name, text);
}

static struct gr_dataset open_ok(const char *name)
{
    struct gr_dataset ds;
    struct graft_error err;
    if (gr_dataset_open(at(name), &ds, &err))
        fail_msg("%s", err.message);
    return ds;
}

static void open_fails(const char *name, enum graft_status want, const char *text)
{
    struct gr_dataset ds;
    struct graft_error err;
    assert_int_equal(gr_dataset_open(at(name), &ds, &err), want);
    if (!strstr(err.message, text))
        fail_msg("expected '%s' in: %s", text, err.message);
}

static const char *tail(const char *path)
{
    return path + strlen(root) + 1;
}

static bool any(const char *const *texts, size_t n, const char *part)
{
    for (size_t i = 0; i < n; i++) {
        if (strstr(texts[i], part))
            return true;
    }
    return false;
}

static void class_folders(void **state)
{
    (void)state;
    put_picture("d/bee/2.jpg", 1);
    put_picture("d/bee/10.jpg", 2);
    put_picture("d/bee/more/deep/1.jpg", 3);
    put_picture("d/Ant/x.jpg", 4);
    put("d/Ant/notes.txt", "no picture");
    put("d/Ant/empty.jpg", "");
    put("d/Ant/.DS_Store", "x");
    put("d/Ant/Thumbs.db", "x");
    put_picture("d/__MACOSX/x.jpg", 5);
    put("d/readme.txt", "hello");
    assert_int_equal(gr_mkdir(at("d/nothing"), NULL), GRAFT_OK);
    struct gr_dataset ds = open_ok("d");
    assert_int_equal(ds.n_classes, 2);
    assert_string_equal(ds.classes[0], "Ant"); /* bytes: capitals first */
    assert_string_equal(ds.classes[1], "bee");
    assert_int_equal(ds.n, 4);
    assert_string_equal(tail(ds.examples[0].path), "d/Ant/x.jpg");
    assert_string_equal(tail(ds.examples[1].path), "d/bee/10.jpg");
    assert_string_equal(tail(ds.examples[2].path), "d/bee/2.jpg");
    assert_string_equal(tail(ds.examples[3].path), "d/bee/more/deep/1.jpg");
    assert_int_equal(ds.examples[3].label, 1);
    assert_int_equal(ds.examples[0].format, GR_FORMAT_JPEG);
    assert_false(ds.splits_given);
    assert_int_equal(ds.n_bad, 2);
    assert_string_equal(ds.bad[0].why, "the file is empty");
    assert_int_equal(ds.n_hidden, 3);
    assert_true(any(ds.notes, ds.n_notes, "d/nothing: no pictures"));
    assert_true(any(ds.notes, ds.n_notes, "1 files beside"));
    gr_dataset_clear(&ds);
}

static void split_folders(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        char name[50];
        snprintf(name, sizeof name, "s/train/%s/%d.jpg", i % 2 ? "ants" : "bees", i);
        put_picture(name, i);
    }
    put_picture("s/valid/ants/9.jpg", 9);
    put_picture("s/valid/wasps/9.jpg", 10);
    struct gr_dataset ds = open_ok("s");
    assert_int_equal(ds.n_classes, 3);
    assert_true(ds.splits_given);
    assert_int_equal(ds.examples[0].split, GR_SPLIT_TRAIN);
    assert_int_equal(ds.examples[7].split, GR_SPLIT_VAL);
    assert_int_equal(ds.examples[7].label, 2);
    assert_int_equal(gr_dataset_split(&ds, 1, .1, .1, NULL), GRAFT_OK);
    assert_int_equal(ds.examples[0].split, GR_SPLIT_TRAIN);
    assert_int_equal(ds.examples[7].split, GR_SPLIT_TEST); /* val alone is the test part */
    struct gr_findings f;
    assert_int_equal(gr_dataset_check(&ds, NULL, &f, NULL), GRAFT_OK);
    struct gr_buf b;
    gr_buf_init(&b, 0);
    gr_findings_print(&f, &b);
    char *text = gr_buf_take(&b);
    assert_non_null(strstr(text, "warning: class 'bees' is missing in test\n"));
    assert_non_null(strstr(text, "warning: class 'wasps' is missing in train\n"));
    assert_non_null(strstr(text, "note: no test part"));
    gr_free(text);
    gr_findings_clear(&f);
    gr_dataset_clear(&ds);
    put_picture("s/val/ants/1.jpg", 11);
    open_fails("s", GRAFT_E_FORMAT, "'val' and 'valid' are the same split");
}

static void classes_named_like_splits(void **state)
{
    (void)state;
    put_picture("v/train/1.jpg", 1);
    put_picture("v/bus/1.jpg", 2);
    struct gr_dataset ds = open_ok("v"); /* vehicles, not a split */
    assert_int_equal(ds.n_classes, 2);
    assert_false(ds.splits_given);
    gr_dataset_clear(&ds);
    put_picture("only/test/bus/1.jpg", 1);
    ds = open_ok("only");
    assert_string_equal(ds.classes[0], "bus");
    assert_int_equal(ds.examples[0].split, GR_SPLIT_TEST);
    gr_dataset_clear(&ds);
}

static void unlabelled_and_single(void **state)
{
    (void)state;
    put_picture("p/b.jpg", 1);
    put_picture("p/a.png", 2);
    struct gr_dataset ds = open_ok("p");
    assert_int_equal(ds.n, 2);
    assert_int_equal(ds.n_classes, 0);
    assert_int_equal(ds.examples[0].label, -1);
    assert_string_equal(tail(ds.examples[0].path), "p/a.png");
    gr_dataset_clear(&ds);
    ds = open_ok("p/b.jpg");
    assert_int_equal(ds.n, 1);
    gr_dataset_clear(&ds);
    open_fails("absent", GRAFT_E_IO, "No such file");
    put("q/x.txt", "text");
    open_fails("q", GRAFT_E_FORMAT, "no picture in it; 1 other files");
}

static void links_and_loops(void **state)
{
    (void)state;
    put_picture("l/a/1.jpg", 1);
    put_picture("l/b/2.jpg", 2);
    assert_int_equal(symlink("..", at("l/a/up")), 0);
    assert_int_equal(symlink(".", at("l/b/self")), 0);
    assert_int_equal(symlink("nowhere", at("l/b/dangling.jpg")), 0);
    assert_int_equal(mkfifo(at("l/b/fifo.jpg"), 0600), 0);
    struct gr_dataset ds = open_ok("l");
    assert_int_equal(ds.n, 2);
    assert_int_equal(ds.n_bad, 4);
    gr_dataset_clear(&ds);
    char deep[400] = "deep/c";
    for (int i = 0; i < 40; i++)
        strcat(deep, "/d");
    strcat(deep, "/x.jpg");
    put_picture(deep, 1);
    put_picture("deep/c/y.jpg", 2);
    ds = open_ok("deep");
    assert_int_equal(ds.n, 1);
    assert_string_equal(ds.bad[0].why, "more than 32 folders deep");
    gr_dataset_clear(&ds);
}

static void csv(void **state)
{
    (void)state;
    put_picture("c/a.jpg", 1);
    put_picture("c/b, \"quoted\".jpg", 2);
    put_picture("c/sub/c.jpg", 3);
    put("c/list.csv", "\xef\xbb\xbf id ,FileName,label,split,group,weight\r\n"
                      "1,a.jpg,\"red\nrose\",train,g1,\r\n"
                      "\r\n"
                      "2,\"b, \"\"quoted\"\".jpg\",tulip,validation,,2.5\r\n"
                      "3,sub/c.jpg,,TEST,g1,1e0\r\n"
                      "4,missing.jpg,tulip,test,,");
    struct gr_dataset ds = open_ok("c/list.csv");
    assert_int_equal(ds.n, 3);
    assert_int_equal(ds.n_bad, 1);
    assert_int_equal(ds.n_classes, 2);
    assert_string_equal(ds.classes[0], "red\nrose");
    assert_string_equal(tail(ds.examples[1].path), "c/b, \"quoted\".jpg");
    assert_int_equal(ds.examples[1].split, GR_SPLIT_VAL);
    assert_true(ds.examples[1].weight == 2.5 && ds.examples[0].weight == 1);
    assert_null(ds.examples[1].group);
    assert_string_equal(ds.examples[2].group, "g1");
    assert_int_equal(ds.examples[2].label, -1);
    assert_true(ds.splits_given);
    gr_dataset_clear(&ds);
    put("c/semi.csv", "image;class\na.jpg;x\nsub/c.jpg;y\n");
    ds = open_ok("c/semi.csv");
    assert_int_equal(ds.n_classes, 2);
    gr_dataset_clear(&ds);
    put("c/t.tsv", "path\ttarget\na.jpg\t10\nsub/c.jpg\t9\n");
    ds = open_ok("c/t.tsv");
    assert_string_equal(ds.classes[0], "10");
    gr_dataset_clear(&ds);
}

static void csv_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no column file_name"},
        {"name,label\na,b\n", "no column file_name"},
        {"path,label,label\n", "columns 2 and 3 are both 'label'"},
        {"path,filename\n", "both give the file name"},
        {"path,label\n", "no rows"},
        {"path,label\nx,y,z\n", "line 2: 3 columns, the header has 2"},
        {"path,label\n\n\"x\ny\",z\nq\n", "line 5: 1 columns"},
        {"path,label\nx,\"y\n", "line 2: column 2: quote is never closed"},
        {"path,label\nx,\"y\"z\n", "line 2: column 2: 'z' after the closing quote"},
        {"path,split\nx,train\ny,tran\n", "line 3: column 'split': 'tran'"},
        {"path,split\nx,train\ny,\n", "line 3: column 'split': given in 1 rows and missing in 1"},
        {"path,weight\nx,-1\n", "line 2: column 'weight': '-1'"},
        {"path,weight\nx,1x\n", "line 2: column 'weight': '1x'"},
        {"path,label\n,y\n", "line 2: no file name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("e/list.csv", cases[i].text);
        open_fails("e/list.csv", GRAFT_E_FORMAT, cases[i].message);
    }
}

static void jsonl(void **state)
{
    (void)state;
    put_picture("j/train/a.jpg", 1);
    put_picture("j/train/b.jpg", 2);
    put_picture("j/test/c.jpg", 3);
    put("j/train/metadata.jsonl", "{\"file_name\": \"a.jpg\", \"label\": 3, \"box\": [1, 2]}\n\n"
                                  "{\"file_name\": \"b.jpg\", \"label\": \"cat\"}\r\n");
    put("j/test/metadata.csv", "file_name,label\nc.jpg,cat\n");
    struct gr_dataset ds = open_ok("j"); /* Hugging Face imagefolder with splits */
    assert_int_equal(ds.n, 3);
    assert_int_equal(ds.n_classes, 2);
    assert_string_equal(ds.classes[0], "3");
    assert_int_equal(ds.examples[0].split, GR_SPLIT_TEST); /* folders in byte order */
    gr_dataset_clear(&ds);
    put("j/x.jsonl", "{\"path\": \"a.jpg\"}\n{\"path\": \n");
    open_fails("j/x.jsonl", GRAFT_E_FORMAT, "line 2");
    put("j/x.jsonl", "{\"path\": \"train/a.jpg\", \"label\": {}}\n");
    open_fails("j/x.jsonl", GRAFT_E_FORMAT, "line 1: 'label' is not a text or number");
    put("j/x.jsonl", "{\"path\": \"a\", \"image\": \"b\"}\n");
    open_fails("j/x.jsonl", GRAFT_E_FORMAT, "two keys give the file name");
    put("j/x.jsonl", "[1]\n");
    open_fails("j/x.jsonl", GRAFT_E_FORMAT, "not a JSON object");
}

/* Fills ds by hand: n examples of each class, groups of `group` examples (0: none). */
static void fake(struct gr_dataset *ds, int n_classes, const int *n, int group)
{
    memset(ds, 0, sizeof *ds);
    int all = 0, k = 0;
    for (int c = 0; c < n_classes; c++)
        all += n[c];
    ds->n_classes = (size_t)n_classes;
    ds->n = (size_t)all;
    ds->classes = gr_alloc_zero((size_t)n_classes, sizeof *ds->classes);
    ds->examples = gr_alloc_zero((size_t)all, sizeof *ds->examples);
    assert_non_null(ds->classes);
    assert_non_null(ds->examples);
    for (int c = 0; c < n_classes; c++) {
        ds->classes[c] = "";
        for (int i = 0; i < n[c]; i++, k++) {
            char name[30];
            snprintf(name, sizeof name, "g%d-%d", c, group ? i / group : 0);
            ds->examples[k].label = c;
            ds->examples[k].path = "";
            ds->examples[k].group = group ? gr_arena_strdup(&ds->arena, name) : NULL;
        }
    }
}

static void count(const struct gr_dataset *ds, int label, int counts[GR_N_SPLITS])
{
    memset(counts, 0, GR_N_SPLITS * sizeof *counts);
    for (size_t i = 0; i < ds->n; i++)
        counts[ds->examples[i].split] += ds->examples[i].label == label;
}

static void stratified_split(void **state)
{
    (void)state;
    struct gr_dataset ds, again;
    const int n[] = {100, 37, 4, 3, 2, 1};
    int c[GR_N_SPLITS], differ = 0;
    fake(&ds, 6, n, 0);
    fake(&again, 6, n, 0);
    assert_int_equal(gr_dataset_split(&ds, 7, .1, .2, NULL), GRAFT_OK);
    static const int want[6][GR_N_SPLITS] = {{0, 70, 10, 20}, {0, 26, 4, 7}, {0, 2, 1, 1},
                                             {0, 1, 1, 1},    {0, 2, 0, 0},  {0, 1, 0, 0}};
    for (int k = 0; k < 6; k++) {
        count(&ds, k, c);
        assert_memory_equal(c, want[k], sizeof c);
    }
    assert_int_equal(gr_dataset_split(&again, 7, .1, .2, NULL), GRAFT_OK);
    for (size_t i = 0; i < ds.n; i++)
        assert_int_equal(ds.examples[i].split, again.examples[i].split);
    assert_int_equal(gr_dataset_split(&again, 8, .1, .2, NULL), GRAFT_OK);
    for (size_t i = 0; i < ds.n; i++)
        differ += ds.examples[i].split != again.examples[i].split;
    assert_true(differ > 20);
    assert_int_equal(gr_dataset_split(&ds, 7, 0, 0, NULL), GRAFT_OK);
    count(&ds, 0, c);
    assert_int_equal(c[GR_SPLIT_TRAIN], 100);
    assert_int_equal(gr_dataset_split(&ds, 7, .5, .5, NULL), GRAFT_E_ARG);
    assert_int_equal(gr_dataset_split(&ds, 7, -.1, .5, NULL), GRAFT_E_ARG);
    gr_dataset_clear(&ds);
    gr_dataset_clear(&again);
}

static void groups_stay_together(void **state)
{
    (void)state;
    const int n[] = {60, 30, 30};
    for (int group = 2; group <= 10; group += 4) {
        struct gr_dataset ds;
        int c[GR_N_SPLITS];
        fake(&ds, 3, n, group);
        assert_int_equal(gr_dataset_split(&ds, 3, .1, .1, NULL), GRAFT_OK);
        for (size_t i = 1; i < ds.n; i++) {
            if (!strcmp(ds.examples[i].group, ds.examples[i - 1].group))
                assert_int_equal(ds.examples[i].split, ds.examples[i - 1].split);
        }
        for (int k = 0; k < 3; k++) { /* even where a group is three times the fraction */
            count(&ds, k, c);
            assert_true(c[GR_SPLIT_TRAIN] > 0 && c[GR_SPLIT_VAL] > 0 && c[GR_SPLIT_TEST] > 0);
        }
        gr_dataset_clear(&ds);
    }
}

static void check_finds(void **state)
{
    (void)state;
    put_picture("k/train/Rose/1.jpg", 1);
    put_picture("k/train/Rose/2.jpg", 1);   /* duplicate */
    put_picture("k/train/rose/3.png", 2);   /* extension; case */
    put_picture("k/train/tulip/4.jpg", 1);  /* other label */
    put_picture("k/train/tulips/5.jpg", 3); /* nearly the same name */
    put_picture("k/train/class11/6.jpg", 4);
    put_picture("k/train/class12/7.jpg", 5); /* numbered on purpose */
    put_picture("k/test/rose/8.jpg", 2);     /* leak */
    put("k/test/rose/9.jpg", "text");
    struct gr_dataset ds = open_ok("k");
    struct gr_findings f;
    struct gr_buf b;
    for (int with_facts = 0; with_facts < 2; with_facts++) {
        struct gr_file_fact facts[8] = {0};
        assert_int_equal(ds.n, 8);
        if (with_facts) /* one that says that a file is damaged */
            facts[0] = (struct gr_file_fact){true, {1, 2}, GRAFT_E_FORMAT, "cut short"};
        assert_int_equal(gr_dataset_check(&ds, with_facts ? facts : NULL, &f, NULL), GRAFT_OK);
        gr_buf_init(&b, 0);
        gr_findings_print(&f, &b);
        char *text = gr_buf_take(&b);
        static const char *const wanted[] = {"error: the same picture has two labels: ",
                                             "note: classes 'Rose' and 'rose' are nearly",
                                             "note: classes 'tulip' and 'tulips' are nearly",
                                             "3.png: is a JPEG",
                                             "warning: class 'tulip' has only 1 example\n",
                                             "rose/9.jpg: not a picture"};
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            if (!strstr(text, wanted[i]))
                fail_msg("'%s' not in\n%s", wanted[i], text);
        }
        assert_null(strstr(text, "class11' and"));
        if (with_facts)
            assert_non_null(strstr(text, "8.jpg: cut short")); /* test comes before train */
        else
            assert_non_null(strstr(text, "error: the same picture is in two splits: "));
        assert_int_equal(strncmp(text, "error", 5), 0);
        assert_int_equal(f.n_errors, with_facts ? 1 : 2);
        gr_free(text);
        gr_findings_clear(&f);
    }
    gr_dataset_clear(&ds);
}

static void no_memory(void **state)
{
    (void)state;
    put_picture("m/train/a/1.jpg", 1);
    put_picture("m/train/b/2.jpg", 2);
    put("m/test/metadata.csv", "path,label,group\nx.jpg,a,g\n");
    put_picture("m/test/x.jpg", 3);
    for (uint64_t n = 1; n < 200; n++) {
        struct gr_dataset ds = {0};
        struct gr_findings f = {0};
        gr_mem_fail_at(n);
        enum graft_status s = gr_dataset_open(at("m"), &ds, NULL);
        if (!s)
            s = gr_dataset_split(&ds, 1, .1, .1, NULL);
        if (!s)
            s = gr_dataset_check(&ds, NULL, &f, NULL);
        gr_mem_fail_at(0);
        gr_findings_clear(&f);
        gr_dataset_clear(&ds);
        if (!s)
            return;
        assert_int_equal(s, GRAFT_E_NOMEM);
    }
    fail_msg("always out of memory");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(class_folders),
        TEST(split_folders),
        TEST(classes_named_like_splits),
        TEST(unlabelled_and_single),
        TEST(links_and_loops),
        TEST(csv),
        TEST(csv_errors),
        TEST(jsonl),
        TEST(stratified_split),
        TEST(groups_stay_together),
        TEST(check_finds),
        TEST(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
