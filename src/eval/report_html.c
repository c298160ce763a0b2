/* How does the report look in a browser? (one file: no scripts, nothing loaded from anywhere) */
#include "eval/escape.h"
#include "eval/report.h"
#include <math.h>

/* More classes than this give a list of the commonest mix-ups instead of a matrix. */
#define MAX_MATRIX   40
#define MAX_MIX_UPS  40
#define MAX_MISTAKES 25

static const char style[] =
    ":root{--bg:#fff;--fg:#1c1c1c;--soft:#666;--line:#ddd;--hit:34,139,84;--miss:208,64,48}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#16181b;--fg:#e6e6e6;--soft:#9a9a9a;"
    "--line:#34383d}}\n"
    "body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;"
    "max-width:60em;margin:2em auto;padding:0 1em}\n"
    "h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}\n"
    "table{border-collapse:collapse}th,td{padding:.25em .7em;border-bottom:1px solid var(--line);"
    "text-align:right;font-variant-numeric:tabular-nums}\n"
    "th:first-child,td:first-child,.t td,.t th{text-align:left;overflow-wrap:anywhere}\n"
    ".w{overflow-x:auto}.v{font-size:1.15em;font-weight:600}.s{color:var(--soft)}"
    "tr.c td{font-weight:600}\n"
    "svg{max-width:100%;height:auto}svg text{fill:var(--soft);font-size:11px}"
    "svg path{fill:none;stroke:currentColor;stroke-width:1.5}svg circle{fill:currentColor}\n";

static void cell(struct gr_buf *b, const char *s)
{
    gr_buf_puts(b, "<td>");
    gr_put_html(b, s);
    gr_buf_puts(b, "</td>");
}

static void fact(struct gr_buf *b, const char *what, const char *s)
{
    if (!s || !*s)
        return;
    gr_buf_printf(b, "<tr><td>%s</td><td>", what);
    gr_put_html(b, s);
    gr_buf_puts(b, "</td></tr>\n");
}

static void headline(struct gr_buf *b, const struct gr_report *r)
{
    gr_buf_puts(b, "<div class=w><table><tr><th>method</th><th>accuracy</th><th>95 % interval</th>"
                   "<th>balanced</th><th>95 % interval</th><th>macro-F1</th><th>95 % interval</th>"
                   "<th>top 5</th><th>log loss</th><th>ECE</th><th>against baseline</th></tr>\n");
    for (size_t i = 0; i < r->n_methods; i++) {
        const struct gr_report_method *m = &r->methods[i];
        const struct gr_metrics *x = m->metrics;
        char p[32] = "";
        gr_buf_puts(b, i == r->chosen ? "<tr class=c>" : "<tr>");
        cell(b, m->name);
        gr_buf_printf(b, "<td>%.3f</td><td>%.3f &ndash; %.3f</td>", x->accuracy, x->accuracy_ci.lo,
                      x->accuracy_ci.hi);
        gr_buf_printf(b, "<td>%.3f</td><td>%.3f &ndash; %.3f</td>", x->balanced_accuracy,
                      x->balanced_ci.lo, x->balanced_ci.hi);
        gr_buf_printf(b, "<td>%.3f</td><td>%.3f &ndash; %.3f</td>", x->macro_f1, x->f1_ci.lo,
                      x->f1_ci.hi);
        if (isnan(x->top5))
            gr_buf_puts(b, "<td></td>");
        else
            gr_buf_printf(b, "<td>%.3f</td>", x->top5);
        gr_buf_printf(b, "<td>%.3f</td><td>%.3f</td>", x->log_loss, x->ece);
        if (m->compared)
            gr_p_text(m->vs_baseline.p, p, sizeof p);
        cell(b, p);
        gr_buf_puts(b, "</tr>\n");
    }
    gr_buf_puts(b, "</table></div>\n<p class=s>Accuracy: Wilson interval. Balanced accuracy (mean "
                   "recall of the classes present) and macro-F1: bootstrap percentiles. Against "
                   "baseline: exact McNemar test.</p>\n");
}

static void per_class(struct gr_buf *b, const struct gr_report *r)
{
    gr_buf_puts(b, "<h2>Classes</h2>\n<div class=w><table><tr><th>class</th><th>precision</th>"
                   "<th>recall</th><th>F1</th><th>examples</th></tr>\n");
    for (size_t c = 0; c < r->n_classes; c++) {
        const struct gr_class_metrics *k = &r->methods[r->chosen].metrics->classes[c];
        gr_buf_puts(b, "<tr>");
        cell(b, r->class_names[c]);
        gr_buf_printf(b, "<td>%.3f</td><td>%.3f</td><td>%.3f</td><td>%zu</td></tr>\n", k->precision,
                      k->recall, k->f1, k->support);
    }
    gr_buf_puts(b, "</table></div>\n");
}

static void matrix(struct gr_buf *b, const struct gr_report *r)
{
    const struct gr_metrics *m = r->methods[r->chosen].metrics;
    gr_buf_puts(b, "<h2>Confusion matrix</h2>\n<p class=s>Rows: true class. Columns: predicted. "
                   "Colour: share of the row.</p>\n<div class=w><table><tr><th></th>");
    for (size_t c = 0; c < r->n_classes; c++) {
        gr_buf_puts(b, "<th>");
        gr_put_html(b, r->class_names[c]);
        gr_buf_puts(b, "</th>");
    }
    gr_buf_puts(b, "</tr>\n");
    for (size_t t = 0; t < r->n_classes; t++) {
        gr_buf_puts(b, "<tr>");
        cell(b, r->class_names[t]);
        for (size_t c = 0; c < r->n_classes; c++) {
            size_t n = m->confusion[t * r->n_classes + c], all = m->classes[t].support;
            gr_buf_printf(b, "<td style=\"background:rgba(var(--%s),%.2f)\">%zu</td>",
                          t == c ? "hit" : "miss", all ? 0.85 * (double)n / (double)all : 0, n);
        }
        gr_buf_puts(b, "</tr>\n");
    }
    gr_buf_puts(b, "</table></div>\n");
}

/* The largest off-diagonal counts, in the order of the matrix among equals. */
static void mix_ups(struct gr_buf *b, const struct gr_report *r)
{
    const struct gr_metrics *m = r->methods[r->chosen].metrics;
    size_t cells = r->n_classes * r->n_classes, last_n = SIZE_MAX, last_at = 0;
    gr_buf_puts(b, "<h2>Commonest mix-ups</h2>\n<table class=t><tr><th>true</th><th>predicted</th>"
                   "<th>examples</th></tr>\n");
    for (int shown = 0; shown < MAX_MIX_UPS; shown++) {
        size_t best_n = 0, best_at = 0;
        for (size_t i = 0; i < cells; i++) {
            size_t n = i % (r->n_classes + 1) ? m->confusion[i] : 0;
            if (n > best_n && (n < last_n || (n == last_n && i > last_at))) {
                best_n = n;
                best_at = i;
            }
        }
        if (best_n == 0)
            break;
        gr_buf_puts(b, "<tr>");
        cell(b, r->class_names[best_at / r->n_classes]);
        cell(b, r->class_names[best_at % r->n_classes]);
        gr_buf_printf(b, "<td>%zu</td></tr>\n", best_n);
        last_n = best_n;
        last_at = best_at;
    }
    gr_buf_puts(b, "</table>\n");
}

/* The wrong answers with the smallest probability of the right one. */
static void mistakes(struct gr_buf *b, const struct gr_report *r)
{
    size_t worst[MAX_MISTAKES], n_worst = 0;
    for (size_t i = 0; i < r->n; i++) {
        size_t at = n_worst;
        float p = r->probs[i * r->n_classes + (size_t)r->y[i]];
        if (gr_report_predicted(r, i) == r->y[i])
            continue;
        while (at > 0 && p < r->probs[worst[at - 1] * r->n_classes + (size_t)r->y[worst[at - 1]]])
            at--;
        if (at == MAX_MISTAKES)
            continue;
        if (n_worst < MAX_MISTAKES)
            n_worst++;
        for (size_t k = n_worst - 1; k > at; k--)
            worst[k] = worst[k - 1];
        worst[at] = i;
    }
    gr_buf_puts(b, "<h2>Worst mistakes</h2>\n");
    if (n_worst == 0) {
        gr_buf_puts(b, "<p>none</p>\n");
        return;
    }
    gr_buf_puts(b, "<div class=w><table class=t><tr><th>file</th><th>true</th><th>predicted</th>"
                   "<th>p(true)</th><th>p(predicted)</th></tr>\n");
    for (size_t k = 0; k < n_worst; k++) {
        size_t i = worst[k];
        const float *p = r->probs + i * r->n_classes;
        int predicted = gr_report_predicted(r, i);
        gr_buf_puts(b, "<tr>");
        cell(b, r->paths[i]);
        cell(b, r->class_names[r->y[i]]);
        cell(b, r->class_names[predicted]);
        gr_buf_printf(b, "<td>%.4f</td><td>%.4f</td></tr>\n", (double)p[r->y[i]],
                      (double)p[predicted]);
    }
    gr_buf_puts(b, "</table></div>\n");
}

static void cv_curve(struct gr_buf *b, const struct gr_head_report *h)
{
    const double left = 50, top = 10, width = 480, height = 180;
    double lo = INFINITY, hi = -INFINITY;
    if (h->n_curve < 2)
        return;
    for (int i = 0; i < h->n_curve; i++) {
        lo = fmin(lo, h->curve[i].loss);
        hi = fmax(hi, h->curve[i].loss);
    }
    double x0 = log10(h->curve[0].lambda), x1 = log10(h->curve[h->n_curve - 1].lambda);
    gr_buf_printf(b,
                  "<h2>Choice of the penalty</h2>\n<p class=s>Held-out log loss over lambda, "
                  "%d-fold; strong penalty left, chosen lambda filled.</p>\n"
                  "<svg viewBox=\"0 0 560 230\" width=\"560\" role=\"img\" "
                  "aria-label=\"held-out log loss over lambda\"><path d=\"",
                  h->folds);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < h->n_curve; i++) {
            double x = left + width * (log10(h->curve[i].lambda) - x0) / (x1 - x0);
            double y = top + height * (hi > lo ? (hi - h->curve[i].loss) / (hi - lo) : 0.5);
            if (pass == 0)
                gr_buf_printf(b, "%c%.1f %.1f", i ? 'L' : 'M', x, y);
            else
                gr_buf_printf(b,
                              "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\"><title>lambda %.3g: "
                              "%.4f, accuracy %.3f</title></circle>\n",
                              x, y, h->curve[i].lambda == h->lambda ? 6 : 2, h->curve[i].lambda,
                              h->curve[i].loss, h->curve[i].accuracy);
        }
        if (pass == 0)
            gr_buf_puts(b, "\"/>\n");
    }
    gr_buf_printf(b,
                  "<text x=\"0\" y=\"14\">%.3f</text><text x=\"0\" y=\"194\">%.3f</text>"
                  "<text x=\"50\" y=\"220\">%.3g</text>"
                  "<text x=\"530\" y=\"220\" text-anchor=\"end\">%.3g</text></svg>\n",
                  hi, lo, h->curve[0].lambda, h->curve[h->n_curve - 1].lambda);
}

enum graft_status gr_report_write_html(const struct gr_report *r, const char *path,
                                       struct graft_error *err)
{
    struct gr_buf b;
    gr_buf_init(&b, 0);
    gr_buf_puts(&b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                    "<meta name=\"viewport\" content=\"width=device-width\">"
                    "<meta name=\"color-scheme\" content=\"light dark\">\n<title>graft: ");
    gr_put_html(&b, r->data_name ? r->data_name : "");
    gr_buf_printf(&b, "</title>\n<style>\n%s</style></head><body>\n<h1>", style);
    gr_put_html(&b, r->data_name ? r->data_name : "report");
    gr_buf_puts(&b, "</h1>\n<p class=v>");
    gr_put_html(&b, r->verdict_text ? r->verdict_text : "");
    gr_buf_puts(&b, "</p>\n");
    gr_buf_printf(&b,
                  "<p>%zu classes; %zu train, %zu val, %zu test, %zu unreadable; seed %llu. "
                  "Measured on %zu examples",
                  r->n_classes, r->n_train, r->n_val, r->n_test, r->n_unreadable,
                  (unsigned long long)r->seed, r->n);
    if (r->evaluated_on) {
        gr_buf_puts(&b, " of ");
        gr_put_html(&b, r->evaluated_on);
    }
    gr_buf_puts(&b, ".</p>\n");
    headline(&b, r);
    per_class(&b, r);
    if (r->n_classes <= MAX_MATRIX)
        matrix(&b, r);
    else
        mix_ups(&b, r);
    mistakes(&b, r);
    if (r->head)
        cv_curve(&b, r->head);
    gr_buf_puts(&b, "<h2>Made from</h2>\n<table class=t>\n");
    fact(&b, "model", r->source_name);
    fact(&b, "architecture", r->source_arch);
    fact(&b, "licence", r->source_licence);
    fact(&b, "SHA-256", r->source_sha256);
    fact(&b, "cut", r->cut);
    fact(&b, "preprocessing", r->preprocess);
    fact(&b, "head", r->head ? r->head->summary : NULL);
    gr_buf_puts(&b, "</table>\n");
    for (size_t i = 0; i < r->n_notes; i++) {
        gr_buf_puts(&b, i ? "<li>" : "<h2>Notes</h2>\n<ul><li>");
        gr_put_html(&b, r->notes[i]);
        gr_buf_puts(&b, i + 1 < r->n_notes ? "</li>\n" : "</li></ul>\n");
    }
    gr_buf_puts(&b, "</body></html>\n");
    return gr_report_flush(&b, path, err);
}
