/* What should somebody know who is handed the model? (MODEL_CARD.md) */
#include "eval/escape.h"
#include "eval/report.h"

static void line(struct gr_buf *b, const char *what, const char *s)
{
    if (!s || !*s)
        return;
    gr_buf_printf(b, "- %s: ", what);
    gr_put_markdown(b, s);
    gr_buf_puts(b, "\n");
}

enum graft_status gr_report_write_card(const struct gr_report *r, const char *path,
                                       struct graft_error *err)
{
    struct gr_buf b;
    gr_buf_init(&b, 0);
    gr_buf_puts(&b, "# Classifier: ");
    gr_put_markdown(&b, r->data_name ? r->data_name : "");
    gr_buf_printf(&b,
                  "\n\nAn image classifier for %zu classes, made by transfer learning with "
                  "graft.\n\n## Made from\n\n",
                  r->n_classes);
    line(&b, "Model", r->source_name);
    line(&b, "Architecture", r->source_arch);
    line(&b, "SHA-256 of the weights", r->source_sha256);
    line(&b, "Licence", r->source_licence ? r->source_licence : "not stated by the source");
    line(&b, "Features taken from", r->cut);
    line(&b, "Preprocessing (stored in the model)", r->preprocess);
    line(&b, "Head", r->head ? r->head->summary : NULL);
    gr_buf_printf(&b,
                  "- Data: %zu training, %zu validation, %zu test examples, %zu unreadable; seed "
                  "%llu\n\n## Classes\n\n| class | precision | recall | F1 | examples |\n"
                  "|---|---|---|---|---|\n",
                  r->n_train, r->n_val, r->n_test, r->n_unreadable, (unsigned long long)r->seed);
    for (size_t c = 0; c < r->n_classes; c++) {
        const struct gr_class_metrics *k = &r->methods[r->chosen].metrics->classes[c];
        gr_buf_puts(&b, "| ");
        gr_put_markdown(&b, r->class_names[c]);
        gr_buf_printf(&b, " | %.3f | %.3f | %.3f | %zu |\n", k->precision, k->recall, k->f1,
                      k->support);
    }
    gr_buf_printf(&b, "\n## Measured on %zu examples", r->n);
    if (r->evaluated_on) {
        gr_buf_puts(&b, " of ");
        gr_put_markdown(&b, r->evaluated_on);
    }
    gr_buf_puts(&b, "\n\n| method | accuracy | 95 % interval | balanced accuracy | macro-F1 |\n"
                    "|---|---|---|---|---|\n");
    for (size_t i = 0; i < r->n_methods; i++) {
        const struct gr_metrics *m = r->methods[i].metrics;
        gr_buf_puts(&b, "| ");
        gr_put_markdown(&b, r->methods[i].name);
        gr_buf_printf(&b, " | %.3f | %.3f - %.3f | %.3f | %.3f |\n", m->accuracy, m->accuracy_ci.lo,
                      m->accuracy_ci.hi, m->balanced_accuracy, m->macro_f1);
    }
    gr_buf_puts(&b, "\n");
    if (r->verdict_text) {
        gr_buf_puts(&b, "Verdict: ");
        gr_put_markdown(&b, r->verdict_text);
        gr_buf_puts(&b, "\n\n");
    }
    gr_buf_puts(&b, "## Limits\n\nThe figures hold for pictures like those it was measured on. "
                    "It always names one of its classes, also for a picture of none of them.\n");
    if (r->n_notes)
        gr_buf_puts(&b, "\n");
    for (size_t i = 0; i < r->n_notes; i++)
        line(&b, "Note", r->notes[i]);
    return gr_report_flush(&b, path, err);
}
