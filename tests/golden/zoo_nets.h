/* Networks of tests/golden/zoo_nets.txt: weights made by the formula of zoo_golden.py. */
#ifndef TEST_ZOO_NETS_H
#define TEST_ZOO_NETS_H

#include "core/tensor.h"
#include <stdio.h>

struct golden_net {
    char title[64];
    int64_t height, width;
    struct gr_weights weights;
    double *out;
    size_t n_out;
};

/* The numbers in [0,1) that stand for tensor `name`: splitmix64 of (FNV-1a of the name + index). */
void golden_uniform(const char *name, float *v, size_t n, double scale, double shift);
/* Adds one tensor made by the formula. */
void golden_add(struct gr_weights *w, const char *name, int rank, const int64_t *dim);
/* Reads the next network of the file; false at its end. */
bool golden_read(FILE *f, struct golden_net *net);
void golden_clear(struct golden_net *net);

#endif
