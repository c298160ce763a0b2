/* NumPy's .npy: a text header, then the elements. */
#ifndef GR_FORMATS_NPY_H
#define GR_FORMATS_NPY_H

#include "core/tensor.h"
#include <stdio.h>

/* Writes the header of a float32 array of rows x cols, always 128 bytes: where the number of rows
   is known only at the end, rewind and write it again. Rows follow as plain fwrite of cols floats
   (little-endian). Errors of the stream are found by gr_outfile_commit. */
void gr_npy_write_header(FILE *f, int64_t rows, int64_t cols);
void gr_npy_append(FILE *f, const float *row, int64_t cols);

/* Maps a file in C order and native byte order as a tensor. */
enum graft_status gr_npy_read(const char *path, struct gr_tensor *t, struct graft_error *err);

#endif
