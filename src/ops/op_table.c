/* Which operators are there? */
#include "core/op.h"

const struct gr_op *const gr_op_table[] = {NULL};
