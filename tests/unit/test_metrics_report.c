/* Do the report's files stay well-formed whatever names they hold? */
#include "base/file.h"
#include "base/mem.h"
#include "eval/escape.h"
#include "eval/report.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define SCRIPT "<script>alert('x')</script>&\""
#define BROKEN "caf\xe9 \xf0\x9f\x98\x80 \xed\xa0\x80 \xc0\xaf"
#define MENDED                                                                                     \
    "caf\xef\xbf\xbd \xf0\x9f\x98\x80 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "                       \
    "\xef\xbf\xbd\xef\xbf\xbd"

static const char *const classes[] = {SCRIPT, "a,b\n\"c\"|`*_[x](y)", BROKEN};
static const char *const paths[] = {"plain.jpg", "x,\"y\"\r\n" SCRIPT, BROKEN, "", " space ",
                                    "=1+1"};
static const char *const notes[] = {SCRIPT, "2 files\nskipped"};
static const int y[] = {0, 1, 2, 0, 1, 2};
static const float probs[] = {.9f, .05f, .05f, .2f, .3f, .5f, .1f, .1f, .8f,
                              .1f, .8f,  .1f,  0,   1,   0,   .4f, .3f, .3f};
static const float flat[18] = {.5f, .25f, .25f, .5f, .25f, .25f, .5f, .25f, .25f,
                               .5f, .25f, .25f, .5f, .25f, .25f, .5f, .25f, .25f};

struct fixture {
    struct gr_metrics metrics[2];
    struct gr_report_method methods[2];
    struct gr_head_report head;
    struct gr_report report;
    char dir[64];
};

static int setup(void **state)
{
    struct fixture *f = gr_alloc_zero(1, sizeof *f);
    gr_metrics_compute(flat, y, 6, 3, 0, &f->metrics[0], NULL);
    gr_metrics_compute(probs, y, 6, 3, 0, &f->metrics[1], NULL);
    f->methods[0] = (struct gr_report_method){.name = "majority class", .metrics = &f->metrics[0]};
    f->methods[1] = (struct gr_report_method){
        .name = "transfer (head only)",
        .metrics = &f->metrics[1],
        .compared = true,
        .vs_baseline = gr_compare(y, f->metrics[0].predicted, f->metrics[1].predicted, 6)};
    f->head = (struct gr_head_report){.lambda = 0.1,
                                      .c = 1,
                                      .folds = 5,
                                      .n_curve = 2,
                                      .curve = {{1, .9, .5}, {.1, .8, .6}},
                                      .summary = "logistic regression, C=1 (5-fold)"};
    f->report = (struct gr_report){.data_name = SCRIPT,
                                   .class_names = classes,
                                   .n_classes = 3,
                                   .n_train = 12,
                                   .n_test = 6,
                                   .evaluated_on = "test",
                                   .source_name = BROKEN,
                                   .head = &f->head,
                                   .methods = f->methods,
                                   .n_methods = 2,
                                   .chosen = 1,
                                   .verdict_text = "no evidence that transfer helps (p = 0.62)",
                                   .paths = paths,
                                   .y = y,
                                   .probs = probs,
                                   .n = 6,
                                   .notes = notes,
                                   .n_notes = 2};
    strcpy(f->dir, "/tmp/graft_report_XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    *state = f;
    return gr_report_write_all(&f->report, f->dir, NULL);
}

static int teardown(void **state)
{
    static const char *const names[] = {"metrics.json", "predictions.csv", "confusion.csv",
                                        "report.html", "MODEL_CARD.md"};
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        char *path = gr_path_join(f->dir, names[i]);
        unlink(path);
        gr_free(path);
    }
    int rc = rmdir(f->dir); /* nothing else was left there */
    gr_metrics_free(&f->metrics[0]);
    gr_metrics_free(&f->metrics[1]);
    gr_free(f);
    return rc;
}

static char *file_text(const struct fixture *f, const char *name)
{
    uint8_t *data = NULL;
    size_t cap = 0, size = 0;
    char *path = gr_path_join(f->dir, name);
    assert_int_equal(gr_file_read(path, 1 << 20, &data, &cap, &size, NULL), GRAFT_OK);
    char *text = gr_strndup((const char *)data, size);
    assert_int_equal(strlen(text), size);
    gr_free(path);
    gr_free(data);
    return text;
}

static void test_json(void **state)
{
    const struct fixture *f = *state;
    char *text = file_text(f, "metrics.json");
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    json_t *data = json_object_get(root, "data"), *methods = json_object_get(root, "methods");
    json_t *names = json_object_get(data, "classes");
    assert_string_equal(json_string_value(json_object_get(data, "name")), SCRIPT);
    assert_string_equal(json_string_value(json_array_get(names, 1)), classes[1]);
    assert_string_equal(json_string_value(json_array_get(names, 2)), MENDED);
    json_t *transfer = json_array_get(methods, 1);
    assert_true(json_real_value(json_object_get(transfer, "log_loss")) == f->metrics[1].log_loss);
    assert_true(json_is_null(json_object_get(transfer, "top5")));
    assert_true(strstr(text, "\"data\"") < strstr(text, "\"source\""));
    json_decref(root);
    gr_free(text);
}

/* Reads one RFC 4180 field; returns what follows it. */
static const char *csv_field(const char *p, char *out)
{
    if (*p != '"') {
        size_t n = strcspn(p, ",\r\n");
        memcpy(out, p, n);
        out[n] = 0;
        return p + n;
    }
    for (p++; *p; p++) {
        if (*p == '"' && *++p != '"')
            break;
        *out++ = *p;
    }
    *out = 0;
    return p;
}

static void test_csv(void **state)
{
    const struct fixture *f = *state;
    char *text = file_text(f, "predictions.csv"), field[200];
    const char *p = text;
    for (int row = -1; row < 6; row++)
        for (int col = 0; col < 6; col++) {
            p = csv_field(p, field);
            char *mended = row < 0 ? NULL : gr_utf8_clean(paths[row]);
            char *label = row < 0 ? NULL : gr_utf8_clean(classes[y[row]]);
            if (row >= 0 && col == 0)
                assert_string_equal(field, mended);
            if (row >= 0 && col == 1)
                assert_string_equal(field, label);
            if (row < 0 && col == 5)
                assert_string_equal(field, "p:" MENDED);
            if (row >= 0 && col >= 3)
                assert_true((float)atof(field) == probs[3 * row + col - 3]);
            gr_free(mended);
            gr_free(label);
            if (col < 5) {
                assert_int_equal(*p, ',');
                p++;
            } else {
                assert_memory_equal(p, "\r\n", 2);
                p += 2;
            }
        }
    assert_int_equal(*p, 0);
    gr_free(text);
    text = file_text(f, "confusion.csv");
    assert_non_null(strstr(text, ",1,1,0\r\n")); /* class 0: one right, one taken for class 1 */
    gr_free(text);
}

/* Every '<' must open a tag of ours, and nothing is loaded from anywhere. */
static void test_html(void **state)
{
    static const char *const ours[] = {
        "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "h1",     "h2", "p", "div",
        "table",    "tr",   "th",   "td",   "svg",   "path",  "text", "circle", "ul", "li"};
    const struct fixture *f = *state;
    char *text = file_text(f, "report.html");
    for (const char *p = text; (p = strchr(p, '<')); p++) {
        const char *name = p + 1 + (p[1] == '/');
        bool known = false;
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            known |=
                !strncmp(name, ours[i], strlen(ours[i])) && strchr(" >/", name[strlen(ours[i])]);
        assert_true(known);
    }
    assert_null(strstr(text, "script>"));
    assert_null(strstr(text, "http"));
    assert_null(strstr(text, "src="));
    assert_non_null(strstr(text, "&#60;script&#62;alert(&#39;x&#39;)"));
    assert_non_null(strstr(text, "no evidence that transfer helps (p = 0.62)"));
    assert_non_null(strstr(text, MENDED));
    char *clean = gr_utf8_clean(text);
    assert_string_equal(clean, text);
    gr_free(clean);
    gr_free(text);
}

static void test_card(void **state)
{
    char *text = file_text(*state, "MODEL_CARD.md");
    assert_null(strstr(text, "<"));
    assert_non_null(strstr(text, "\\|\\`\\*\\_\\[x\\](y)"));
    assert_non_null(strstr(text, "Licence: not stated by the source"));
    assert_non_null(strstr(text, "- Note: 2 files skipped\n"));
    gr_free(text);
}

static void test_same_bytes_again(void **state)
{
    struct fixture *f = *state;
    char *before = file_text(f, "metrics.json"), *page = file_text(f, "report.html");
    assert_int_equal(gr_report_write_all(&f->report, f->dir, NULL), GRAFT_OK);
    char *after = file_text(f, "metrics.json"), *page_after = file_text(f, "report.html");
    assert_string_equal(before, after);
    assert_string_equal(page, page_after);
    gr_free(before);
    gr_free(after);
    gr_free(page);
    gr_free(page_after);
}

static void test_table(void **state)
{
    const struct fixture *f = *state;
    struct gr_buf b;
    gr_buf_init(&b, 0);
    gr_report_table(&f->report, &b);
    char *text = gr_buf_take(&b);
    assert_string_equal(text,
                        "                        accuracy   95 % interval   balanced   macro-F1\n"
                        "majority class             0.333     0.10 - 0.70      0.333      0.167\n"
                        "transfer (head only)       0.500     0.19 - 0.81      0.500      0.500\n");
    gr_free(text);
}

static void test_disk_errors_are_told(void **state)
{
    const struct fixture *f = *state;
    struct graft_error err;
    assert_int_equal(gr_report_write_json(&f->report, "/nonexistent/x.json", &err), GRAFT_E_IO);
    assert_int_equal(gr_report_write_html(&f->report, "/nonexistent/x.html", &err), GRAFT_E_IO);
    assert_int_equal(gr_report_write_predictions(&f->report, "/nonexistent/x.csv", &err),
                     GRAFT_E_IO);
}

/* Own allocations fail one after the other; nothing half-written may stay. */
static void test_out_of_memory(void **state)
{
    struct fixture *f = *state;
    enum graft_status st = GRAFT_E_NOMEM;
    for (uint64_t at = 1; st; at++) {
        struct graft_error err = {0};
        assert_true(at < 5000);
        gr_mem_fail_at(at);
        st = gr_report_write_all(&f->report, f->dir, &err);
        gr_mem_fail_at(0);
        assert_true(st == GRAFT_OK || st == GRAFT_E_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_card),
        cmocka_unit_test(test_same_bytes_again),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_disk_errors_are_told),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
