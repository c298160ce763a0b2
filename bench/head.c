/* How long does fitting a logistic head on given features take?

   graft.h has no function for features that did not come from pictures, so this driver alone uses
   a private header; the tool and every other benchmark go through graft.h.
   usage: head X.f32 Y.i32 N D CLASSES LAMBDA      prints seconds, loss, iterations as JSON */
#include "train/head.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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
    if (argc != 7)
        return fprintf(stderr, "usage: head X.f32 Y.i32 N D CLASSES LAMBDA\n"), 2;
    size_t n = strtoull(argv[3], NULL, 10), d = strtoull(argv[4], NULL, 10),
           n_classes = strtoull(argv[5], NULL, 10);
    struct gr_head_options o;
    struct gr_head head = {0};
    struct gr_head_report report;
    struct graft_error err;
    struct timespec a, b;
    float *x = load(argv[1], n * d * sizeof *x);
    int *y = load(argv[2], n * sizeof *y), code = 1;
    if (!x || !y)
        goto out;
    gr_head_options_init(&o);
    o.lambda = strtod(argv[6], NULL);
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (gr_head_fit(&o, x, y, n, d, n_classes, NULL, NULL, &head, &report, &err)) {
        fprintf(stderr, "%s\n", err.message);
        goto out;
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("{\"seconds\": %.6f, \"loss\": %.12g, \"iterations\": %d, \"converged\": %s}\n",
           (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9, report.loss,
           report.iterations, report.converged ? "true" : "false");
    code = 0;
out:
    gr_head_free(&head);
    free(x);
    free(y);
    return code;
}
