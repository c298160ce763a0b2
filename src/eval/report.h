/* What is said about a finished job, and its files. */
#ifndef GR_EVAL_REPORT_H
#define GR_EVAL_REPORT_H

#include "base/bytes.h"
#include "base/error.h"
#include "eval/compare.h"
#include "eval/metrics.h"
#include "train/head.h"
#include <stdbool.h>

struct gr_report_method {
    const char *name;                 /* "transfer (head only)" */
    const struct gr_metrics *metrics; /* all methods on the same examples */
    bool compared;                    /* against the baseline method */
    struct gr_paired vs_baseline;     /* a = baseline, b = this method */
};

/* Everything is borrowed. Strings may be NULL where there is nothing to say; names and paths may
   hold any bytes. */
struct gr_report {
    const char *data_name;
    const char *const *class_names; /* (n_classes) */
    size_t n_classes;
    size_t n_train, n_val, n_test, n_unreadable;
    const char *evaluated_on; /* "test", "val" */
    const char *source_name, *source_sha256, *source_licence, *source_arch;
    const char *cut;        /* name of the value the features are taken from */
    const char *preprocess; /* one line */
    const struct gr_head_report *head;
    uint64_t seed;
    const struct gr_report_method *methods;
    size_t n_methods;
    size_t chosen; /* the method whose predictions follow and that was written */
    enum gr_verdict verdict;
    const char *verdict_text;
    const char *const *paths; /* (n) */
    const int *y;             /* (n) */
    const float *probs;       /* (n, n_classes) */
    size_t n;
    const char *const *notes;
    size_t n_notes;
};

/* The table for the terminal: method, accuracy, interval, balanced accuracy, macro-F1. */
void gr_report_table(const struct gr_report *r, struct gr_buf *b);

/* The text of metrics.json; freed with gr_free. */
enum graft_status gr_report_json(const struct gr_report *r, char **text, struct graft_error *err);
/* Each writes one file under its name only when it is complete. The same report gives the same
   bytes. */
enum graft_status gr_report_write_json(const struct gr_report *r, const char *path,
                                       struct graft_error *err);
enum graft_status gr_report_write_predictions(const struct gr_report *r, const char *path,
                                              struct graft_error *err);
enum graft_status gr_report_write_confusion(const struct gr_report *r, const char *path,
                                            struct graft_error *err);
enum graft_status gr_report_write_html(const struct gr_report *r, const char *path,
                                       struct graft_error *err);
enum graft_status gr_report_write_card(const struct gr_report *r, const char *path,
                                       struct graft_error *err);
/* metrics.json, predictions.csv, confusion.csv, report.html and MODEL_CARD.md in dir, which is
   created. */
enum graft_status gr_report_write_all(const struct gr_report *r, const char *dir,
                                      struct graft_error *err);

/* Writes what was gathered, if nothing failed, and clears b. */
enum graft_status gr_report_flush(struct gr_buf *b, const char *path, struct graft_error *err);
/* What the chosen method predicts for example i. */
static inline int gr_report_predicted(const struct gr_report *r, size_t i)
{
    return r->methods[r->chosen].metrics->predicted[i];
}

#endif
