/* What does a caller get back from a job? */
#include "job/result.h"
#include "base/file.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The public struct first; everything it points to is in the arena. */
struct result {
    struct graft_result r;
    struct gr_arena arena;
};

static struct graft_metrics public_metrics(const struct gr_metrics *m)
{
    return (struct graft_metrics){
        .n = (int64_t)m->n,
        .accuracy = m->accuracy,
        .low = m->accuracy_ci.lo,
        .high = m->accuracy_ci.hi,
        .top5 = m->top5,
        .balanced_accuracy = m->balanced_accuracy,
        .macro_f1 = m->macro_f1,
        .log_loss = m->log_loss,
        .ece = m->ece,
    };
}

static enum graft_status add_table(const struct gr_report *r, struct result *p,
                                   struct graft_error *err)
{
    struct gr_buf b;
    gr_buf_init(&b, 0);
    gr_report_table(r, &b);
    char *text = gr_buf_take(&b);
    p->r.table = text ? gr_arena_strdup(&p->arena, text) : NULL;
    gr_free(text);
    return p->r.table ? GRAFT_OK : gr_error_nomem(err);
}

/* The text of metrics.json, as it was written. */
static enum graft_status add_json(const struct gr_report *r, struct result *p,
                                  struct graft_error *err)
{
    char *text = NULL;
    enum graft_status s = gr_report_json(r, &text, err);
    if (!s && !(p->r.json = gr_arena_strdup(&p->arena, text)))
        s = gr_error_nomem(err);
    gr_free(text);
    return s;
}

enum graft_status gr_result_new(const struct gr_report *r, const char *out, const char *dir,
                                struct graft_result **result, struct graft_error *err)
{
    struct result *p = gr_alloc_zero(1, sizeof *p);
    if (!p)
        return gr_error_nomem(err);
    struct graft_row *rows = gr_arena_alloc(&p->arena, r->n_methods * sizeof *rows);
    bool ok = rows != NULL;
    for (size_t i = 0; ok && i < r->n_methods; i++) {
        rows[i].method = gr_arena_strdup(&p->arena, r->methods[i].name);
        rows[i].metrics = public_metrics(r->methods[i].metrics);
        rows[i].p_value = r->methods[i].compared ? r->methods[i].vs_baseline.p : NAN;
        ok = rows[i].method != NULL;
    }
    p->r.rows = rows;
    p->r.n_rows = (int)r->n_methods;
    if (ok && out)
        ok = (p->r.out = gr_arena_strdup(&p->arena, out)) != NULL;
    if (ok && r->verdict_text)
        ok = (p->r.verdict = gr_arena_strdup(&p->arena, r->verdict_text)) != NULL;
    if (ok && dir) {
        char *report = gr_path_join(dir, "report.html");
        p->r.report = report ? gr_arena_strdup(&p->arena, report) : NULL;
        gr_free(report);
        ok = p->r.report != NULL;
    }
    enum graft_status s = ok ? add_table(r, p, err) : gr_error_nomem(err);
    if (!s)
        s = add_json(r, p, err);
    if (s)
        graft_result_free(&p->r);
    else
        *result = &p->r;
    return s;
}

void graft_result_free(struct graft_result *r)
{
    struct result *p = (struct result *)r;
    if (p) {
        gr_arena_clear(&p->arena);
        gr_free(p);
    }
}

enum graft_status gr_job_gate(const char *require, const struct gr_metrics *m,
                              struct graft_error *err)
{
    char *end;
    if (!require)
        return GRAFT_OK;
    const char *number = strncmp(require, "acc>=", 5) ? NULL : require + 5;
    double least = number ? strtod(number, &end) : 0;
    if (!number || end == number || *end || !(least >= 0 && least <= 1))
        return gr_error(err, GRAFT_E_ARG, "required is '%s', expected acc>=X with X from 0 to 1",
                        require);
    if (m && m->accuracy < least)
        return gr_error(err, GRAFT_E_GATE, "accuracy is %.4f, required is %s", m->accuracy,
                        require);
    return GRAFT_OK;
}

enum graft_status gr_job_check_out(const char *out, struct graft_error *err)
{
    char *dir = gr_path_dir(out);
    enum graft_status s = GRAFT_OK;
    if (!dir)
        s = gr_error_nomem(err);
    else if (!gr_is_dir(dir))
        s = gr_error(err, GRAFT_E_IO, "%s: there is no folder '%s'", out, dir);
    else if (gr_is_dir(out))
        s = gr_error(err, GRAFT_E_IO, "%s: is a folder", out);
    gr_free(dir);
    return s;
}
