/* How long does fitting a logistic head on given features take?

   graft.h has no function for features that did not come from pictures, so this driver alone uses
   a private header; the tool and every other benchmark go through graft.h.
   usage: head X.f32 Y.i32 N D CLASSES LAMBDA [MOST_ITERATIONS]      prints seconds (of the clock,
   of all processors), loss, iterations as JSON */
#include "train/head.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *load(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    void *p = malloc(size);
    bool ok = f && p && fread(p, 1, size, f) == size;
    if (f)
        fclose(f);
    if (ok)
        return p;
    fprintf(stderr, "%s: cannot read %zu bytes\n", path, size);
    free(p);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 7 || argc > 8)
        return fprintf(stderr, "usage: head X.f32 Y.i32 N D CLASSES LAMBDA [MOST_ITERATIONS]\n"), 2;
    size_t n = strtoull(argv[3], NULL, 10), d = strtoull(argv[4], NULL, 10),
           n_classes = strtoull(argv[5], NULL, 10);
    struct gr_head_options o;
    struct gr_head head = {0};
    struct gr_head_report report;
    struct graft_error err;
    double began, used;
    float *x = load(argv[1], n * d * sizeof *x);
    int *y = load(argv[2], n * sizeof *y), code = 1;
    if (!x || !y)
        goto out;
    gr_head_options_init(&o);
    o.lambda = strtod(argv[6], NULL);
    if (argc == 8)
        o.max_iterations = atoi(argv[7]);
    began = seconds(CLOCK_MONOTONIC);
    used = seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (gr_head_fit(&o, x, y, n, d, n_classes, NULL, NULL, &head, &report, &err)) {
        fprintf(stderr, "%s\n", err.message);
        goto out;
    }
    printf("{\"seconds\": %.6f, \"processor_seconds\": %.6f, \"loss\": %.12g, \"iterations\": %d, "
           "\"converged\": %s}\n",
           seconds(CLOCK_MONOTONIC) - began, seconds(CLOCK_PROCESS_CPUTIME_ID) - used, report.loss,
           report.iterations, report.converged ? "true" : "false");
    code = 0;
out:
    gr_head_free(&head);
    free(x);
    free(y);
    return code;
}
