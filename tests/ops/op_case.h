/* One operator with inputs, from one line of text, to be run by its reference in double. */
#ifndef GR_TESTS_OP_CASE_H
#define GR_TESTS_OP_CASE_H

#include "core/op.h"

enum { OP_CASE_PORTS = 8 };

/* `Conv x=2,6,9,7 w=4,3,3,3 group=2 strides=2,1`: the operator, then inputs in order (one letter)
   and attributes:
     x=2,3        floating point (lower-case letter), spread over -1..1: an evenly spaced grid in
                  random order, so that no two elements are near each other, nor near one of another
                  input, nor near 0: kinks and ties are far from every element
     x=2,3@0:4   spread so over 0..4      x=3(1,0,2)  these values      l=(0.5)  a single number
     c=2,3?       random truth values
     I=[0,-1]     int64, constant; I=2,2[0,1,1,0] in that shape; I=<2> a single number
     I={0,-1}     int32, likewise          F=4(1,1,2,2)  constant floats
     -            an input left out        ->3  outputs                opset=11 instead of 17 */
struct op_case {
    struct gr_graph *g;
    const struct gr_node *node;
    int n_in, n_out;
    char letter[OP_CASE_PORTS]; /* of the inputs; lower-case: floating point, not constant */
    struct gr_ref in[OP_CASE_PORTS], out[OP_CASE_PORTS];
};

/* Both fail the running cmocka test, with `line`, where something is wrong. */
void op_case_open(struct op_case *c, const char *line);
/* out = the operator of in */
void op_case_run(struct op_case *c, const char *line);
void op_case_close(struct op_case *c);
/* -1 .. 1 */
double op_case_random(uint64_t *seed);

#endif
