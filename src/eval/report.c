/* How are the results of a job written as tables, JSON and CSV? */
#include "eval/report.h"
#include "base/file.h"
#include "base/mem.h"
#include "eval/escape.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void gr_report_table(const struct gr_report *r, struct gr_buf *b)
{
    int width = 22;
    for (size_t i = 0; i < r->n_methods; i++)
        if ((int)strlen(r->methods[i].name) > width)
            width = (int)strlen(r->methods[i].name);
    gr_buf_printf(b, "%-*s  accuracy   95 %% interval   balanced   macro-F1\n", width, "");
    for (size_t i = 0; i < r->n_methods; i++) {
        const struct gr_metrics *m = r->methods[i].metrics;
        gr_buf_printf(b, "%-*s     %.3f     %.2f - %.2f      %.3f      %.3f\n", width,
                      r->methods[i].name, m->accuracy, m->accuracy_ci.lo, m->accuracy_ci.hi,
                      m->balanced_accuracy, m->macro_f1);
    }
}

enum graft_status gr_report_flush(struct gr_buf *b, const char *path, struct graft_error *err)
{
    enum graft_status st =
        b->failed ? gr_error_nomem(err) : gr_file_write(path, b->data, b->size, err);
    gr_buf_clear(b);
    return st;
}

/* ---- JSON: every step of building may fail, which the object remembers as NULL ---- */

static json_t *text(const char *s)
{
    if (!s)
        return json_null();
    char *clean = gr_utf8_clean(s);
    json_t *j = clean ? json_string(clean) : NULL;
    gr_free(clean);
    return j;
}

static json_t *real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *whole(size_t v)
{
    return json_integer((json_int_t)v);
}

/* Moves value into object; *ok turns false when either could not be made. */
static void put(bool *ok, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        *ok = false;
}

static void add(bool *ok, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value))
        *ok = false;
}

static json_t *interval(bool *ok, struct gr_interval i)
{
    json_t *a = json_array();
    add(ok, a, real(i.lo));
    add(ok, a, real(i.hi));
    return a;
}

static json_t *method_json(bool *ok, const struct gr_report *r, const struct gr_report_method *m)
{
    const struct gr_metrics *x = m->metrics;
    json_t *o = json_object(), *classes = json_array();
    put(ok, o, "name", text(m->name));
    put(ok, o, "n", whole(x->n));
    put(ok, o, "right", whole(x->right));
    put(ok, o, "accuracy", real(x->accuracy));
    put(ok, o, "accuracy_ci95", interval(ok, x->accuracy_ci));
    put(ok, o, "top5", real(x->top5));
    put(ok, o, "balanced_accuracy", real(x->balanced_accuracy));
    put(ok, o, "balanced_accuracy_ci95", interval(ok, x->balanced_ci));
    put(ok, o, "macro_f1", real(x->macro_f1));
    put(ok, o, "macro_f1_ci95", interval(ok, x->f1_ci));
    put(ok, o, "log_loss", real(x->log_loss));
    put(ok, o, "ece", real(x->ece));
    if (m->compared) {
        put(ok, o, "right_where_baseline_wrong", whole(m->vs_baseline.only_b));
        put(ok, o, "wrong_where_baseline_right", whole(m->vs_baseline.only_a));
        put(ok, o, "p_vs_baseline", real(m->vs_baseline.p));
    }
    for (size_t c = 0; c < r->n_classes; c++) {
        const struct gr_class_metrics *k = &x->classes[c];
        json_t *row = json_object();
        put(ok, row, "class", text(r->class_names[c]));
        put(ok, row, "support", whole(k->support));
        put(ok, row, "predicted", whole(k->predicted));
        put(ok, row, "precision", real(k->precision));
        put(ok, row, "recall", real(k->recall));
        put(ok, row, "f1", real(k->f1));
        add(ok, classes, row);
    }
    put(ok, o, "classes", classes);
    return o;
}

static json_t *head_json(bool *ok, const struct gr_head_report *h)
{
    json_t *o = json_object(), *curve = json_array();
    put(ok, o, "summary", text(h->summary));
    put(ok, o, "lambda", h->lambda > 0 ? real(h->lambda) : json_null());
    put(ok, o, "c", h->lambda > 0 ? real(h->c) : json_null());
    put(ok, o, "folds", json_integer(h->folds));
    put(ok, o, "iterations", json_integer(h->iterations));
    put(ok, o, "converged", json_boolean(h->converged));
    put(ok, o, "loss", real(h->loss));
    for (int i = 0; i < h->n_curve; i++) {
        json_t *p = json_object();
        put(ok, p, "lambda", real(h->curve[i].lambda));
        put(ok, p, "log_loss", real(h->curve[i].loss));
        put(ok, p, "accuracy", real(h->curve[i].accuracy));
        add(ok, curve, p);
    }
    put(ok, o, "curve", curve);
    return o;
}

static json_t *report_json(bool *ok, const struct gr_report *r)
{
    json_t *o = json_object(), *data = json_object(), *source = json_object();
    json_t *classes = json_array(), *methods = json_array(), *notes = json_array();
    static const char *const verdicts[] = {"no difference", "helps", "hurts"};
    put(ok, data, "name", text(r->data_name));
    for (size_t c = 0; c < r->n_classes; c++)
        add(ok, classes, text(r->class_names[c]));
    put(ok, data, "classes", classes);
    put(ok, data, "train", whole(r->n_train));
    put(ok, data, "val", whole(r->n_val));
    put(ok, data, "test", whole(r->n_test));
    put(ok, data, "unreadable", whole(r->n_unreadable));
    put(ok, o, "data", data);
    put(ok, source, "name", text(r->source_name));
    put(ok, source, "sha256", text(r->source_sha256));
    put(ok, source, "licence", text(r->source_licence));
    put(ok, source, "architecture", text(r->source_arch));
    put(ok, source, "cut", text(r->cut));
    put(ok, source, "preprocess", text(r->preprocess));
    put(ok, o, "source", source);
    put(ok, o, "head", r->head ? head_json(ok, r->head) : json_null());
    put(ok, o, "seed", json_integer((json_int_t)r->seed));
    put(ok, o, "evaluated_on", text(r->evaluated_on));
    put(ok, o, "verdict", text(verdicts[r->verdict]));
    put(ok, o, "verdict_text", text(r->verdict_text));
    put(ok, o, "chosen", whole(r->chosen));
    for (size_t i = 0; i < r->n_methods; i++)
        add(ok, methods, method_json(ok, r, &r->methods[i]));
    put(ok, o, "methods", methods);
    for (size_t i = 0; i < r->n_notes; i++)
        add(ok, notes, text(r->notes[i]));
    put(ok, o, "notes", notes);
    return o;
}

enum graft_status gr_report_json(const struct gr_report *r, char **text_out,
                                 struct graft_error *err)
{
    bool ok = true;
    json_t *root = report_json(&ok, r);
    char *dump = root && ok ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    *text_out = dump ? gr_sprintf("%s\n", dump) : NULL;
    free(dump);
    json_decref(root);
    return *text_out ? GRAFT_OK : gr_error_nomem(err);
}

enum graft_status gr_report_write_json(const struct gr_report *r, const char *path,
                                       struct graft_error *err)
{
    char *dump = NULL;
    enum graft_status st = gr_report_json(r, &dump, err);
    if (!st)
        st = gr_file_write(path, dump, strlen(dump), err);
    gr_free(dump);
    return st;
}

/* ---- CSV (RFC 4180: lines end in CR LF) ---- */

static void csv_row_end(struct gr_buf *b, FILE *f, bool *failed)
{
    gr_buf_puts(b, "\r\n");
    *failed |= b->failed;
    if (!b->failed)
        fwrite(b->data, 1, b->size, f);
    b->size = 0;
}

enum graft_status gr_report_write_predictions(const struct gr_report *r, const char *path,
                                              struct graft_error *err)
{
    struct gr_outfile out;
    struct gr_buf b;
    bool failed = false;
    enum graft_status st = gr_outfile_open(&out, path, err);
    if (st)
        return st;
    gr_buf_init(&b, 0);
    gr_buf_puts(&b, "path,true,predicted");
    for (size_t c = 0; c < r->n_classes; c++) {
        char *name = gr_sprintf("p:%s", r->class_names[c]);
        gr_buf_puts(&b, ",");
        if (name)
            gr_put_csv(&b, name);
        failed |= !name;
        gr_free(name);
    }
    csv_row_end(&b, out.f, &failed);
    for (size_t i = 0; i < r->n; i++) {
        gr_put_csv(&b, r->paths[i]);
        gr_buf_puts(&b, ",");
        gr_put_csv(&b, r->class_names[r->y[i]]);
        gr_buf_puts(&b, ",");
        gr_put_csv(&b, r->class_names[gr_report_predicted(r, i)]);
        for (size_t c = 0; c < r->n_classes; c++)
            gr_buf_printf(&b, ",%.9g", (double)r->probs[i * r->n_classes + c]);
        csv_row_end(&b, out.f, &failed);
    }
    st = failed ? gr_error_nomem(err) : gr_outfile_commit(&out, err);
    gr_outfile_abort(&out);
    gr_buf_clear(&b);
    return st;
}

enum graft_status gr_report_write_confusion(const struct gr_report *r, const char *path,
                                            struct graft_error *err)
{
    const size_t *confusion = r->methods[r->chosen].metrics->confusion;
    struct gr_outfile out;
    struct gr_buf b;
    bool failed = false;
    enum graft_status st = gr_outfile_open(&out, path, err);
    if (st)
        return st;
    gr_buf_init(&b, 0);
    gr_buf_puts(&b, "true \\ predicted");
    for (size_t c = 0; c < r->n_classes; c++) {
        gr_buf_puts(&b, ",");
        gr_put_csv(&b, r->class_names[c]);
    }
    csv_row_end(&b, out.f, &failed);
    for (size_t t = 0; t < r->n_classes; t++) {
        gr_put_csv(&b, r->class_names[t]);
        for (size_t c = 0; c < r->n_classes; c++)
            gr_buf_printf(&b, ",%zu", confusion[t * r->n_classes + c]);
        csv_row_end(&b, out.f, &failed);
    }
    st = failed ? gr_error_nomem(err) : gr_outfile_commit(&out, err);
    gr_outfile_abort(&out);
    gr_buf_clear(&b);
    return st;
}

enum graft_status gr_report_write_all(const struct gr_report *r, const char *dir,
                                      struct graft_error *err)
{
    static const struct {
        const char *name;
        enum graft_status (*write)(const struct gr_report *, const char *, struct graft_error *);
    } files[] = {
        {"metrics.json", gr_report_write_json},
        {"predictions.csv", gr_report_write_predictions},
        {"confusion.csv", gr_report_write_confusion},
        {"report.html", gr_report_write_html},
        {"MODEL_CARD.md", gr_report_write_card},
    };
    enum graft_status st = gr_mkdir(dir, err);
    for (size_t i = 0; i < sizeof files / sizeof *files && !st; i++) {
        char *path = gr_path_join(dir, files[i].name);
        st = path ? files[i].write(r, path, err) : gr_error_nomem(err);
        gr_free(path);
    }
    return st;
}
