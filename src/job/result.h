/* What jobs give back and write beside their output. */
#ifndef GR_JOB_RESULT_H
#define GR_JOB_RESULT_H

#include "eval/report.h"
#include "job/pictures.h"

/* ---- result.c ---- */
/* Copies what the caller may look at. `dir` (may be NULL) holds metrics.json and report.html. */
enum graft_status gr_result_new(const struct gr_report *r, const char *out, const char *dir,
                                struct graft_result **result, struct graft_error *err);
/* `require` is NULL or "acc>=X". With m NULL only its form is checked (GRAFT_E_ARG). */
enum graft_status gr_job_gate(const char *require, const struct gr_metrics *m,
                              struct graft_error *err);

/* The folder that `out` goes to must be there before hours of work begin. */
enum graft_status gr_job_check_out(const char *out, struct graft_error *err);

/* ---- lineage.c ---- */
/* check.txt: what the data check found. */
enum graft_status gr_findings_write(const struct gr_findings *findings, const char *dir,
                                    struct graft_error *err);
/* graft.json: version, command, seed, hashes of model and data, split lists. */
enum graft_status gr_lineage_write(const char *dir, const char *command,
                                   const struct graft_data_options *o, const char *from,
                                   const char *sha256, const struct gr_network *net,
                                   const struct gr_pictures *p, struct graft_error *err);

/* ---- rescore.c ---- */
/* Reads the written file back and proves that it computes what was measured: its frozen part must
   have the same key as `net` (so its vectors are those at hand), and its head, run on the vectors x
   (n, width), must give `probs` (n, n_classes) to 1e-5. */
enum graft_status gr_job_rescore(const char *path, const struct gr_network *net,
                                 enum graft_precision precision, const float *x, size_t n,
                                 const float *probs, size_t n_classes, struct graft_error *err);
/* The same for a whole network: the written one must have the key of `scores`, with which the test
   pictures were measured, so its probabilities are those. */
enum graft_status gr_job_rescore_whole(const char *path, const struct gr_network *scores,
                                       enum graft_precision precision, struct graft_error *err);

#endif
