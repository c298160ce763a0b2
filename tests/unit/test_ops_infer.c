/* Do shape rules hold for old operator sets, odd sizes and hostile attributes? One line a case:
     Operator set | inputs | attributes | outputs
   An input is `type sizes`, sizes as 2x3 or - for a single number, and `= values` where constant;
   `_` is absent. Outputs likewise, or `!status part of the message`, after one `;` for each
   further output. A leading `_` leaves that output out. */
#include "base/mem.h"
#include "core/infer.h"
#include "core/op.h"
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const cases[] = {
    /* Conv */
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | | f32 1x4x6x6",
    "Conv 11 | f32 2x6x9x7 ; f32 4x3x3x3 | group=2 strides=[2,1] pads=[1,0,1,0] | f32 2x4x5x5",
    "Conv 11 | f32 1x1x9 ; f32 1x1x3 | dilations=[4] | f32 1x1x1",
    "Conv 11 | f32 1x1x9 ; f32 1x1x3 | dilations=[5] | !shape larger than the padded input",
    "Conv 11 | f32 1x2x4x5x6 ; f32 3x2x1x2x3 | | f32 1x3x4x4x4",
    "Conv 11 | f32 0x3x8x8 ; f32 4x3x3x3 | | f32 0x4x6x6",
    "Conv 11 | f32 1x3x7x8 ; f32 4x3x3x3 | auto_pad='SAME_UPPER' strides=[2,2] | f32 1x4x4x4",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | auto_pad='VALID' | f32 1x4x6x6",
    "Conv 11 | f32 1x4x8x8 ; f32 4x3x3x3 | | !shape X has 4 channels, W expects 3 x group 1",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | group=0 | !format 'group' is 0",
    "Conv 11 | f32 1x6x8x8 ; f32 3x3x3x3 | group=2 | !shape multiple of group 2",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | strides=[0,1] | !format 'strides' is 0",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | strides=[1] | !shape 'strides' has 1 numbers, expected "
    "2",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | pads=[-1,0,0,0] | !format 'pads' is -1",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | pads=[9223372036854775807,0,9223372036854775807,0] | "
    "!format 'pads' is",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | pads=[2147483648,2147483648,2147483648,2147483648] | "
    "!limit too large",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | dilations=[2147483648,1] | !shape larger than",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x0x3 | | !shape kernel 0",
    "Conv 11 | f32 1x3x0x8 ; f32 4x3x1x1 | | !shape size 0",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | kernel_shape=[5,5] | !shape 'kernel_shape' has 5",
    "Conv 11 | f32 3 ; f32 4 | | !shape rank",
    "Conv 11 | f32 - ; f32 - | | !shape rank",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 ; f32 5 | | !shape expected (4)",
    "Conv 11 | f32 1x3x8x8 ; f64 4x3x3x3 | | !format float64",
    "Conv 11 | i32 1x3x8x8 ; i32 4x3x3x3 | | !format floating",
    "Conv 11 | _ ; f32 4x3x3x3 | | !format missing",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | auto_pad='SOME' | !format 'SOME'",
    "Conv 11 | f32 1x3x8x8 ; f32 4x3x3x3 | size=3 | !format unknown attribute",
    "Conv 11 | f32 1x1x3 = 1 2 4 ; f32 1x1x2 = 1 10 ; f32 1 = 100 | pads=[1,0] | "
    "f32 1x1x3 = 110 121 142",
    "ConvTranspose 11 | f32 1x2x3x3 ; f32 2x4x3x3 | strides=[2,2] | f32 1x4x7x7",
    "ConvTranspose 11 | f32 1x2x3x3 ; f32 2x4x3x3 | strides=[2,2] output_shape=[10,8] "
    "output_padding=[1,1] | f32 1x4x10x8",
    "ConvTranspose 11 | f32 1x2x3x3 ; f32 2x4x3x3 | pads=[3,3,3,3] | !shape would have size -1",
    "ConvTranspose 11 | f32 1x2x3x3 ; f32 3x4x3x3 | | !shape X has 2 channels",
    "ConvTranspose 11 | f32 1x2x3x3 ; f32 2x4x3x3 | strides=[2147483648,2147483648] | !limit",
    /* pools */
    "MaxPool 12 | f32 1x1x4x4 | kernel_shape=[2,2] strides=[2,2] | f32 1x1x2x2",
    "MaxPool 12 | f32 1x1x5 | kernel_shape=[2] strides=[2] ceil_mode=1 | f32 1x1x3",
    "MaxPool 12 | f32 1x1x4 | kernel_shape=[1] strides=[4] ceil_mode=1 | f32 1x1x1",
    "MaxPool 12 | f32 1x1x4 | kernel_shape=[3] pads=[3,0] | !shape pads 3 and 0",
    "MaxPool 12 | f32 1x1x4 | kernel_shape=[5] | !shape larger",
    "MaxPool 12 | f32 1x1x4 | | !format empty",
    "MaxPool 12 | f32 1x1x4 | kernel_shape=[2,2] | !shape 'kernel_shape' has 2 numbers",
    "MaxPool 12 | f32 1x1x4 | kernel_shape=[2] | ; !unsupported Indices",
    "MaxPool 12 | f32 4 | kernel_shape=[2] | !shape rank 1",
    "AveragePool 11 | f32 1x1x3 = 1 2 4 | kernel_shape=[3] pads=[1,1] | f32 1x1x3 = 1.5 2.3333333 "
    "3",
    "AveragePool 11 | f32 1x1x3 = 1 2 4 | kernel_shape=[3] pads=[1,1] count_include_pad=1 | "
    "f32 1x1x3 = 1 2.3333333 2",
    "AveragePool 11 | f32 1x1x4 = 1 2 4 8 | kernel_shape=[3] strides=[2] ceil_mode=1 "
    "count_include_pad=1 | f32 1x1x2 = 2.3333333 6",
    "AveragePool 19 | f32 1x1x4 = 1 2 4 8 | kernel_shape=[2] dilations=[2] | f32 1x1x2 = 2.5 5",
    "GlobalAveragePool 1 | f32 2x3x0x4 | | !shape size 0",
    "GlobalAveragePool 1 | f32 2 | | !shape rank",
    "GlobalMaxPool 1 | f32 1x2x2 = -3 -4 -6 -5 | | f32 1x2x1 = -3 -5",
    /* products */
    "Gemm 7 | f32 2x3 ; f32 4x3 ; f32 4 | transB=1 | f32 2x4",
    "Gemm 7 | f32 2x3 ; f32 4x3 | | !shape cannot be multiplied",
    "Gemm 7 | f32 2x3 ; f32 3x4 ; f32 5x2x4 | | !shape C has shape",
    "Gemm 7 | f32 2x3x1 ; f32 3x4 | | !shape rank",
    "Gemm 7 | f32 2x0 = ; f32 0x1 = ; f32 - = 3 | beta=2.0 | f32 2x1 = 6 6",
    "MatMul 13 | f32 3 ; f32 3 | | f32 -",
    "MatMul 13 | f32 5x1x2x3 ; f32 4x3x6 | | f32 5x4x2x6",
    "MatMul 13 | f32 2x3 ; f32 3 | | f32 2",
    "MatMul 13 | f32 - ; f32 3 | | !shape rank 0",
    "MatMul 13 | f32 2x3 ; f32 2x3 | | !shape cannot be multiplied",
    "MatMul 13 | f32 1048576x1 ; f32 1x2097152 | | !limit too large",
    /* normalization */
    "BatchNormalization 7 | f32 1x2x1 = 3 5 ; f32 2 = 2 1 ; f32 2 = 0 1 ; f32 2 = 1 1 ; f32 2 = 4 "
    "4 "
    "| epsilon=0.0 spatial=1 momentum=0.5 | f32 1x2x1 = 2 3",
    "BatchNormalization 7 | f32 1x2x1 ; f32 2 ; f32 2 ; f32 2 ; f32 2 | spatial=0 | !unsupported",
    "BatchNormalization 15 | f32 1x2x1 ; f32 2 ; f32 2 ; f32 2 ; f32 2 | training_mode=1 | ; ; "
    "!unsupported training",
    "BatchNormalization 9 | f32 1x2x1 ; f32 2 ; f32 2 ; f32 2 ; f32 2 | | ; ; ; ; !unsupported",
    "BatchNormalization 9 | f32 1x2x1 ; f32 2 ; f32 2 ; f32 3 ; f32 2 | | !shape expected (2)",
    "BatchNormalization 9 | f32 2 ; f32 2 ; f32 2 ; f32 2 ; f32 2 | | !shape rank",
    "BatchNormalization 9 | f32 1x2x1 ; f32 2 ; f32 2 ; _ ; f32 2 | | !format missing",
    "LayerNormalization 17 | f32 2x3 ; f32 3 | axis=2 | !shape axis 2",
    "LayerNormalization 17 | f32 2x3 ; f32 2 | | !shape",
    "LayerNormalization 17 | f32 2x0 ; f32 0 | | f32 2x0 ; f32 2x1",
    "InstanceNormalization 6 | f32 2x3 ; f32 3 ; f32 3 | | !shape rank",
    "GroupNormalization 18 | f32 1x4x2 ; f32 2 ; f32 2 | num_groups=2 | f32 1x4x2",
    "GroupNormalization 21 | f32 1x4x2 ; f32 2 ; f32 2 | num_groups=2 | !shape expected (4)",
    "GroupNormalization 21 | f32 1x4x2 ; f32 4 ; f32 4 | num_groups=3 | !shape multiple of 3",
    "GroupNormalization 21 | f32 1x4x2 ; f32 4 ; f32 4 | num_groups=0 | !format 'num_groups' is 0",
    "LRN 13 | f32 1x3x2x2 | size=0 | !format 'size' is 0",
    "LRN 13 | f32 1x3x2x2 | | !format 'size' is missing",
    "LRN 13 | f32 1x2x1 = 1 2 | size=2147483648 alpha=0.0 | f32 1x2x1 = 1 2",
    /* elementwise */
    "Clip 6 | f32 3 = -1 0.5 7 | min=0.0 max=6.0 | f32 3 = 0 0.5 6",
    "Clip 6 | f32 3 = -1 0.5 7 ; f32 - = 0 | | !format expected 1",
    "Clip 11 | f32 3 = -1 0.5 7 ; _ ; f32 - = 6 | | f32 3 = -1 0.5 6",
    "Clip 11 | f32 3 ; f32 2 | | !shape single number",
    "Identity 14 | f32 1 = 1 | | _ !format output 0 is missing",
    "Identity 14 | f32 1 = 1 | | _ ; !format expected 1 to 1",
    "TopK 11 | f32 2 = 3 4 ; i64 1 = 1 | | f32 1 = 4 ; _",
    "LayerNormalization 17 | f32 1x2 = 1 3 ; f32 - = 1 | epsilon=0.0 | "
    "f32 1x2 = -1 1 ; _ ; f32 1x1 = 1",
    "Split 13 | f32 2 = 1 2 | | f32 1 = 1 ; _",
    "Relu 14 | f32 - = -2 | | f32 - = 0",
    "Elu 6 | f32 1 = -1 | alpha=2.0 | f32 1 = -1.26424112",
    "Gelu 20 | f32 2 = 1 -1 | | f32 2 = 0.841344746 -0.158655254",
    "Gelu 20 | f32 1 = 1 | approximate='tanh' | f32 1 = 0.841191991",
    "Gelu 19 | f32 1 | | !unsupported Gelu",
    "Mish 18 | f32 1 = 1 | | f32 1 = 0.865098388",
    "Sigmoid 13 | i32 2 | | !format floating",
    "Not 1 | f32 2 | | !format bool",
    "Round 11 | f32 4 = 0.5 1.5 2.5 -0.5 | | f32 4 = 0 2 2 0",
    "Add 7 | f32 2x1 ; f32 3 | | f32 2x3",
    "Add 7 | f32 2 ; f32 3 | | !shape broadcast",
    "Add 7 | f32 0 ; f32 1 | | f32 0",
    "Add 7 | f32 2 ; i64 2 | | !format int64",
    "Add 14 | u8 2 = 250 1 ; u8 - = 10 | | u8 2 = 4 11",
    "Add 7 | f32 1048576x1 ; f32 2097152 | | !limit too large",
    "Div 14 | i32 3 = 7 -7 1 ; i32 3 = 2 2 0 | | i32 3 = 3 -3 0",
    "Mod 10 | i32 2 = -7 7 ; i32 2 = 3 0 | | i32 2 = 2 0",
    "PRelu 7 | f32 2x3 ; f32 4x2x3 | | !shape slope",
    "Sum 8 | f32 2 = 1 2 ; f32 1 = 10 ; f32 2x1 = 100 200 | | f32 2x2 = 111 112 211 212",
    "Sum 8 | f32 2 ; _ | | !format input 1 is missing",
    "Where 9 | bool 2 = 1 0 ; f32 - = 1 ; f32 2 = 5 6 | | f32 2 = 1 6",
    "Dropout 7 | f32 2 = 1 2 | ratio=0.7 | f32 2 = 1 2 ; f32 2 = 1 1",
    "Dropout 12 | f32 2 = 1 2 ; f32 - = 0.7 | seed=1 | f32 2 = 1 2 ; bool 2 = 1 1",
    "Dropout 12 | f32 2 ; f32 - = 0.5 ; bool - = 1 | | !unsupported training",
    "Dropout 12 | f32 2 ; f32 - = 0.5 ; bool - | | !unsupported training",
    "Dropout 12 | f32 2 = 1 2 ; f32 - = 0.5 ; bool - = 0 | | f32 2 = 1 2",
    /* softmax: flattened before 13 */
    "Softmax 12 | f32 1x2x2 = 0 0 0 0 | | f32 1x2x2 = 0.25 0.25 0.25 0.25",
    "Softmax 13 | f32 1x2x2 = 0 0 0 0 | | f32 1x2x2 = 0.5 0.5 0.5 0.5",
    "Softmax 11 | f32 2x2 = 0 0 0 0 | axis=0 | f32 2x2 = 0.25 0.25 0.25 0.25",
    "Softmax 13 | f32 - | | !shape rank 0",
    "Softmax 13 | f32 2x3 | axis=2 | !shape axis 2",
    "Softmax 13 | f32 2x0 | | f32 2x0",
    /* reductions: axes became an input */
    "ReduceMean 11 | f32 2x2 = 1 2 3 4 | axes=[1] keepdims=0 | f32 2 = 1.5 3.5",
    "ReduceMean 18 | f32 2x2 = 1 2 3 4 ; i64 1 = -2 | | f32 1x2 = 2 3",
    "ReduceMean 18 | f32 2x2 ; i64 1 = 2 | | !shape axis 2",
    "ReduceMean 18 | f32 2x2 ; i64 2 = 0 -2 | | !format twice",
    "ReduceMean 18 | f32 2x2 ; i64 1 | | !unsupported only constants",
    "ReduceMean 11 | f32 2x2 | axes=[1,1] | !format twice",
    "ReduceSum 13 | f32 2x2 = 1 2 3 4 ; i64 0 = | noop_with_empty_axes=1 | f32 2x2 = 1 2 3 4",
    "ReduceSum 13 | f32 2x2 = 1 2 3 4 ; i64 0 = | keepdims=0 | f32 - = 10",
    "ReduceSum 13 | f32 0x2 = ; i64 1 = 0 | | f32 1x2 = 0 0",
    "ReduceL2 11 | f32 2 = 3 4 | | f32 1 = 5",
    "ArgMax 12 | f32 2x0 | axis=1 | !shape size 0",
    "ArgMax 12 | f32 3 = 1 7 7 | select_last_index=1 keepdims=0 | i64 - = 2",
    "ArgMin 12 | f32 - | | !shape axis 0",
    "TopK 1 | f32 3 = 1 7 5 | k=2 | f32 2 = 7 5 ; i64 2 = 1 2",
    "TopK 1 | f32 3 | | !shape K is -1",
    "TopK 11 | f32 3 ; i64 1 = 4 | | ; !shape K is 4",
    "TopK 11 | f32 3 ; i64 1 = 0 | | f32 0 ; i64 0",
    "TopK 11 | f32 3 ; i64 1 | | !unsupported",
    /* shapes */
    "Flatten 13 | f32 2x3x4 | axis=-1 | f32 6x4",
    "Flatten 13 | f32 - | axis=0 | f32 1x1",
    "Flatten 13 | f32 2x3 | axis=3 | !shape axis 3",
    "Reshape 13 | f32 2x3x4 ; i64 2 = 0 -1 | | f32 2x12",
    "Reshape 13 | f32 2x3x4 ; i64 2 = -1 -1 | | !format -1",
    "Reshape 13 | f32 2x3x4 ; i64 2 = 5 -1 | | !shape cannot be reshaped",
    "Reshape 13 | f32 2x3x4 ; i64 4 = 2 3 4 0 | | !shape copies axis 3",
    "Reshape 14 | f32 0x3 ; i64 2 = 3 0 | allowzero=1 | f32 3x0",
    "Reshape 14 | f32 0x3 ; i64 2 = -1 0 | allowzero=1 | !shape cannot be reshaped",
    "Reshape 13 | f32 1 ; i64 0 = | | f32 -",
    "Reshape 13 | f32 1 ; i64 9 = 1 1 1 1 1 1 1 1 1 | | !shape at most 8",
    "Reshape 13 | f32 4 ; i64 3 = 4611686018427387904 4 -1 | | !shape cannot be reshaped",
    "Reshape 13 | f32 4 ; i64 1 | | !unsupported only constants",
    "Reshape 13 | f32 4 ; f32 1 = 4 | | !format integer",
    "Squeeze 1 | f32 1x3x1 | axes=[0] | f32 3x1",
    "Squeeze 1 | f32 1x3x1 | | f32 3",
    "Squeeze 13 | f32 1x3x1 ; i64 1 = -1 | | f32 1x3",
    "Squeeze 13 | f32 1x3x1 ; i64 1 = 1 | | !shape size 3, expected 1",
    "Unsqueeze 1 | f32 3 | axes=[0,2] | f32 1x3x1",
    "Unsqueeze 13 | f32 3 ; i64 2 = -1 0 | | f32 1x3x1",
    "Unsqueeze 13 | f32 3 | | !format no axes",
    "Unsqueeze 13 | f32 3 ; i64 1 = 2 | | !shape axis 2",
    "Unsqueeze 13 | f32 1x1x1x1x1x1x1x1 ; i64 1 = 0 | | !limit rank",
    "Transpose 13 | f32 2x3x4 | | f32 4x3x2",
    "Transpose 13 | f32 2x2 = 1 2 3 4 | perm=[1,0] | f32 2x2 = 1 3 2 4",
    "Transpose 13 | f32 2x3x4 | perm=[0,1,1] | !shape no permutation",
    "Transpose 13 | f32 2x3x4 | perm=[0,1] | !shape no permutation",
    "Transpose 13 | f32 2x3x4 | perm=[0,1,3] | !shape no permutation",
    "Concat 13 | f32 2x3 ; f32 2x1 | axis=-1 | f32 2x4",
    "Concat 13 | f32 2x3 ; f32 1x1 | axis=-1 | !shape input 1 has shape (1,1)",
    "Concat 13 | f32 2x3 ; f32 2 | axis=1 | !shape input 1 has shape (2)",
    "Concat 13 | f32 2x3 | axis=2 | !shape axis 2",
    "Concat 13 | f32 2x3 | | !format 'axis' is missing",
    "Concat 13 | f32 0 = ; f32 2 = 1 2 | axis=0 | f32 2 = 1 2",
    "Split 2 | f32 5 = 1 2 3 4 5 | split=[2,3] | f32 2 = 1 2 ; f32 3 = 3 4 5",
    "Split 13 | f32 4 ; i64 2 = 1 3 | | f32 1 ; f32 3",
    "Split 13 | f32 4 ; i64 2 = -1 5 | | ; !shape cannot be split",
    "Split 13 | f32 4 ; i64 2 = 1 2 | | ; !shape cannot be split",
    "Split 13 | f32 4 ; i64 2 = 9223372036854775807 9223372036854775807 | | ; !shape",
    "Split 13 | f32 5 | | ; !shape cannot be split",
    "Split 18 | f32 5 | num_outputs=2 | f32 3 ; f32 2",
    "Split 18 | f32 5 | num_outputs=3 | ; !shape cannot be split",
    "Slice 1 | f32 4 = 1 2 3 4 | starts=[1] ends=[-1] | f32 2 = 2 3",
    "Slice 1 | f32 4 | starts=[1] ends=[-1,2] | !format 1 starts, 2 ends",
    "Slice 10 | f32 4 = 1 2 3 4 ; i64 1 = -1 ; i64 1 = -9223372036854775808 ; i64 1 = 0 ; "
    "i64 1 = -2 | | f32 2 = 4 2",
    "Slice 10 | f32 4 = 1 2 3 4 ; i64 1 = 9223372036854775807 ; i64 1 = -9223372036854775808 ; _ ; "
    "i64 1 = -9223372036854775808 | | f32 1 = 4",
    "Slice 10 | f32 4 ; i64 1 = 3 ; i64 1 = 1 | | f32 0",
    "Slice 10 | f32 4 ; i64 1 = 0 ; i64 1 = 1 ; _ ; i64 1 = 0 | | !format step of axis 0 is 0",
    "Slice 10 | f32 4 ; i64 1 = 0 ; i64 1 = 1 ; i64 1 = 1 | | !shape axis 1",
    "Slice 10 | f32 4 ; i64 2 = 0 0 ; i64 2 = 1 1 | | !shape 2 starts",
    "Slice 10 | f32 0 ; i64 1 = -1 ; i64 1 = -5 ; _ ; i64 1 = -1 | | f32 0",
    "Slice 10 | f32 4 ; i64 1 ; i64 1 = 1 | | !unsupported only constants",
    "Slice 10 | f32 4 ; i64 1 = 1 | | !format missing",
    "Gather 13 | f32 2x3 ; i64 4x5 | axis=1 | f32 2x4x5",
    "Gather 13 | f32 - ; i64 1 | | !shape axis 0",
    "Gather 13 | f32 3 = 1 2 3 ; i64 - = 3 | | !shape index 3",
    "Gather 13 | f32 3 = 1 2 3 ; i64 - = -3 | | f32 - = 1",
    "Gather 13 | f32 3x1x1x1x1 ; i64 1x1x1x1x1 | | !limit rank 9",
    "Gather 13 | f32 3 ; f32 1 | | !format integer",
    "GatherElements 13 | f32 3x2 ; i64 3x3 | axis=0 | !shape indices",
    "Pad 2 | f32 2 = 1 2 | pads=[1,2] value=9.0 | f32 5 = 9 1 2 9 9",
    "Pad 2 | f32 2 | pads=[1] | !shape 1 pads",
    "Pad 11 | f32 3 = 1 2 3 ; i64 2 = -1 1 | mode='edge' | f32 3 = 2 3 3",
    "Pad 11 | f32 3 = 1 2 3 ; i64 2 = 2 1 | mode='reflect' | f32 6 = 3 2 1 2 3 2",
    "Pad 11 | f32 3 ; i64 2 = -2 -2 | | !shape pads -2 and -2",
    "Pad 11 | f32 3 ; i64 2 = 9223372036854775807 9223372036854775807 | | !limit too large",
    "Pad 11 | f32 0 ; i64 2 = 1 1 | mode='reflect' | !shape pads 1 and 1",
    "Pad 11 | f32 0 = ; i64 2 = 1 1 ; f32 - = 5 | | f32 2 = 5 5",
    "Pad 18 | f32 1x1 ; i64 2 = 1 1 ; _ ; i64 1 = -1 | | f32 1x3",
    "Pad 18 | f32 1x1 ; i64 2 = 1 1 ; _ ; i64 1 = 2 | | !shape axis 2",
    "Cast 13 | f32 2 = 1.7 -1.7 | to=7 | i64 2 = 1 -1",
    "Cast 13 | i32 1 = 257 | to=2 | u8 1 = 1",
    "Cast 13 | f32 2 | to=8 | !unsupported type 8",
    "Cast 13 | f32 2 | to=-1 | !format 'to' is -1",
    "Shape 15 | f32 2x3x4 | start=1 end=-1 | i64 1 = 3",
    "Shape 15 | f32 2x3x4 | start=2 end=1 | i64 0",
    "Shape 1 | f32 - | | i64 0",
    "Size 1 | f32 2x0 | | i64 - = 0",
    "Constant 12 | | value_ints=[1,2] | i64 2 = 1 2",
    "Constant 12 | | value_float=0.5 | f32 - = 0.5",
    "Constant 12 | | value_string='x' | !unsupported string",
    "Constant 12 | | | !format exactly one",
    "Constant 12 | | value_int=1 value_float=0.5 | !format exactly one",
    "ConstantOfShape 9 | i64 2 = 1 2 | | f32 1x2 = 0 0",
    "ConstantOfShape 9 | i64 1 = -1 | | !limit too large",
    "ConstantOfShape 9 | i64 3 = 1048576 1048576 1048576 | | !limit too large",
    "ConstantOfShape 9 | i64 1 = 1073741824 | | !limit constants",
    "Expand 8 | f32 3x1 ; i64 3 = 2 1 4 | | f32 2x3x4",
    "Expand 8 | f32 3 ; i64 1 = 2 | | !shape broadcast",
    "Expand 8 | f32 1 ; i64 1 = -2 | | !shape -2",
    "Tile 6 | f32 2 = 1 2 ; i64 1 = 2 | | f32 4 = 1 2 1 2",
    "Tile 6 | f32 2 ; i64 1 = -1 | | !shape repeats -1",
    "Tile 6 | f32 2 ; i64 1 = 9223372036854775807 | | !shape repeats",
    "Tile 6 | f32 2 ; i64 2 = 1 1 | | !shape 2 repeats",
    "Range 11 | i64 - = 5 ; i64 - = 0 ; i64 - = -2 | | i64 3 = 5 3 1",
    "Range 11 | i64 - = 0 ; i64 - = 5 ; i64 - = 0 | | !limit steps of 0",
    "Range 11 | f32 - = 0 ; f32 - = 1e30 ; f32 - = 1e-30 | | !limit steps",
    "OneHot 11 | i64 2 = -1 5 ; i64 - = 3 ; f32 2 = 0 1 | | f32 2x3 = 0 0 1 0 0 0",
    "OneHot 11 | i64 2 ; i64 - = -3 ; f32 2 | | !shape depth is -3",
    "OneHot 11 | i64 2 ; i64 - = 3 ; f32 3 | | !shape expected (2)",
    "OneHot 11 | i64 2 ; i64 - = 9223372036854775807 ; f32 2 | | !limit too large",
    "CumSum 11 | f32 3 = 1 2 3 ; i64 - = 1 | | !shape axis 1",
    "Trilu 14 | f32 3 | | !shape rank",
    "DepthToSpace 13 | f32 1x8x2x3 | blocksize=2 | f32 1x2x4x6",
    "DepthToSpace 13 | f32 1x6x2x3 | blocksize=2 | !shape multiple of 2^2",
    "DepthToSpace 13 | f32 1x8x2x3 | blocksize=0 | !format 'blocksize' is 0",
    "SpaceToDepth 13 | f32 1x1x3x4 | blocksize=2 | !shape multiples of 2",
    "SpaceToDepth 13 | f32 1x0x0x0 | blocksize=2147483648 | !shape",
    /* Resize and Upsample */
    "Upsample 7 | f32 1x1x1x2 = 1 2 | scales=[1.0,1.0,2.0,2.0] | "
    "f32 1x1x2x4 = 1 1 2 2 1 1 2 2",
    "Upsample 9 | f32 1x1x1x2 = 1 3 ; f32 4 = 1 1 1 2 | mode='linear' | f32 1x1x1x4 = 1 2 3 3",
    "Resize 10 | f32 4 = 1 2 3 4 ; f32 1 = 0.5 | | f32 2 = 1 3",
    "Resize 11 | f32 2 = 1 3 ; _ ; f32 1 = 2 | mode='linear' | f32 4 = 1 1.5 2.5 3",
    "Resize 13 | f32 2 = 1 3 ; _ ; _ ; i64 1 = 3 | mode='linear' "
    "coordinate_transformation_mode='align_corners' | f32 3 = 1 2 3",
    "Resize 13 | f32 4 ; _ ; f32 1 = 0 | | !shape scale 0",
    "Resize 13 | f32 4 ; _ ; f32 1 = nan | | !shape scale",
    "Resize 13 | f32 4 ; _ ; f32 1 = 1e30 | | !shape scale",
    "Resize 13 | f32 4 ; _ ; f32 2 = 1 1 | | !shape 2 scales",
    "Resize 13 | f32 4 ; _ ; f32 1 = 1 ; i64 1 = 2 | | !format either",
    "Resize 13 | f32 4 | | !format either",
    "Resize 13 | f32 0 ; _ ; _ ; i64 1 = 2 | | !shape size 0",
    "Resize 13 | f32 4 ; _ ; _ ; i64 1 = -2 | | !shape size -2",
    "Resize 18 | f32 4x2 ; _ ; _ ; i64 1 = 4 | axes=[-1] | f32 4x4",
    "Resize 18 | f32 4x2 ; _ ; _ ; i64 2 = 8 8 | keep_aspect_ratio_policy='not_larger' | f32 8x4",
    "Resize 18 | f32 4 ; _ ; f32 1 = 0.5 | antialias=1 | !unsupported antialias",
    "Resize 13 | f32 2 = 1 3 ; f32 2 = nan nan ; f32 1 = 2 | "
    "coordinate_transformation_mode='tf_crop_and_resize' mode='linear' | f32 4 = 1 1 1 1",
    /* quantization */
    "QuantizeLinear 10 | f32 3 = 0 1 300 ; f32 - = 2 ; u8 - = 128 | | u8 3 = 128 128 255",
    "QuantizeLinear 13 | f32 2x3 ; f32 2 | | !shape expected (3)",
    "DequantizeLinear 13 | i8 2x2 = 1 2 3 4 ; f32 2 = 2 3 | axis=0 | f32 2x2 = 2 4 9 12",
    "DequantizeLinear 13 | f32 2 ; f32 - | | !format integer",
};

enum { MAX_IO = 8 };

static const struct {
    const char *name;
    enum gr_dtype dtype;
} dtypes[] = {{"f32", GR_F32}, {"f64", GR_F64}, {"i8", GR_I8},    {"u8", GR_U8},
              {"i32", GR_I32}, {"i64", GR_I64}, {"bool", GR_BOOL}};

struct port {
    bool present, known;
    struct gr_type type;
    struct gr_tensor value;
};

/* `f32 2x3 = 1 2 ...`; false where it is no such thing. */
static bool parse_port(char *text, struct port *p)
{
    char name[16], sizes[200];
    char *values = strchr(text, '=');
    memset(p, 0, sizeof *p);
    if (values)
        *values++ = 0;
    if (sscanf(text, " %15s %199s", name, sizes) != 2)
        return false;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, name))
            p->type.dtype = dtypes[i].dtype;
    if (!p->type.dtype)
        return false;
    for (char *at = sizes; strcmp(sizes, "-") && *at;) {
        p->type.shape.dim[p->type.shape.rank++] = strtoll(at, &at, 10);
        at += *at == 'x';
    }
    p->present = true;
    p->known = values != NULL;
    if (!values)
        return true;
    assert_int_equal(gr_tensor_new(p->type.dtype, &p->type.shape, &p->value, NULL), GRAFT_OK);
    for (int64_t i = 0; i < gr_tensor_count(&p->value); i++) {
        char *end;
        int64_t whole = strtoll(values, &end, 10);
        double v = strtod(values, &values);
        if (end == values && p->type.dtype == GR_I64)
            ((int64_t *)gr_tensor_mut(&p->value))[i] = whole;
        else
            gr_store_f64(p->type.dtype, gr_tensor_mut(&p->value), (size_t)i, v);
    }
    return true;
}

static void add_attr(struct gr_graph *g, int node, char *text)
{
    char *value = strchr(text, '=');
    int64_t ints[16];
    float floats[16];
    *value++ = 0;
    struct gr_attr a = {.name = text, .ints = ints, .floats = floats};
    if (*value == '\'') {
        value[strlen(value) - 1] = 0;
        a.type = GR_ATTR_STRING;
        a.s = value + 1;
        a.s_size = strlen(a.s);
    } else if (*value == '[') {
        a.type = strchr(value, '.') ? GR_ATTR_FLOATS : GR_ATTR_INTS;
        for (char *at = value + 1; *at && *at != ']'; a.n++) {
            char *end;
            ints[a.n] = strtoll(at, &end, 10);
            floats[a.n] = strtof(at, &at);
            at += *at == ',';
        }
    } else {
        a.type = strchr(value, '.') ? GR_ATTR_FLOAT : GR_ATTR_INT;
        a.i = strtoll(value, NULL, 10);
        a.f = strtof(value, NULL);
    }
    assert_int_equal(gr_node_add_attr(g, node, &a, NULL), GRAFT_OK);
}

/* Parts of `text` between `separator`s; empty ones count, but an empty text has none. */
static int split(char *text, char separator, char **part, int max)
{
    int n = 0;
    if (!text[strspn(text, " ")])
        return 0;
    while (text && n < max) {
        part[n++] = text;
        text = strchr(text, separator);
        if (text)
            *text++ = 0;
    }
    return n;
}

static enum graft_status build_and_infer(struct gr_graph *g, const char *op, int opset, int n_in,
                                         struct port *in, char *attrs, int n_out,
                                         const bool *present, struct gr_inferred *r,
                                         struct graft_error *err)
{
    int ids_in[MAX_IO], ids_out[MAX_IO], node, n_types = 0;
    struct gr_type types[MAX_IO];
    char name[32];
    assert_int_equal(gr_graph_set_opset(g, "", opset, NULL), GRAFT_OK);
    for (int i = 0; i < n_in; i++) {
        snprintf(name, sizeof name, "in%d", i);
        ids_in[i] = -1;
        if (!in[i].present)
            continue;
        assert_int_equal(gr_graph_value(g, name, &ids_in[i], NULL), GRAFT_OK);
        if (in[i].known) {
            assert_int_equal(gr_graph_set_const(g, ids_in[i], &in[i].value, NULL), GRAFT_OK);
        } else {
            assert_int_equal(gr_graph_add_input(g, ids_in[i], &in[i].type, NULL), GRAFT_OK);
            types[n_types++] = in[i].type;
        }
    }
    for (int i = 0; i < n_out; i++) {
        snprintf(name, sizeof name, "out%d", i);
        ids_out[i] = -1;
        if (!present[i])
            continue;
        assert_int_equal(gr_graph_value(g, name, &ids_out[i], NULL), GRAFT_OK);
    }
    assert_int_equal(
        gr_graph_add_node(g, op, "", "node", n_in, ids_in, n_out, ids_out, &node, NULL), GRAFT_OK);
    for (char *a = strtok(attrs, " "); a; a = strtok(NULL, " "))
        add_attr(g, node, a);
    enum graft_status s = gr_graph_check(g, err);
    if (!s)
        s = gr_graph_bind(g, err);
    return s ? s : gr_graph_infer(g, types, 0, NULL, r, err);
}

static bool check_output(const struct gr_graph *g, const struct gr_inferred *r, int i,
                         const struct port *expected)
{
    char name[32];
    snprintf(name, sizeof name, "out%d", i);
    int id = gr_graph_find_value(g, name);
    const struct gr_type *found = &r->type[id];
    char tf[GR_SHAPE_TEXT];
    if (found->dtype != expected->type.dtype ||
        !gr_shape_equal(&found->shape, &expected->type.shape)) {
        printf("  output %d is %s %s\n", i, gr_dtype_name(found->dtype),
               gr_shape_print(&found->shape, tf));
        return false;
    }
    for (int64_t k = 0; expected->known && k < gr_tensor_count(&expected->value); k++) {
        const struct gr_tensor *v = &r->konst[id], *e = &expected->value;
        double a = v->buf ? gr_load_f64(v->dtype, v->data, (size_t)k) : NAN;
        double b = gr_load_f64(e->dtype, e->data, (size_t)k);
        if (!(fabs(a - b) <= 1e-6 * (1 + fabs(b)))) {
            printf("  output %d element %lld is %g, expected %g\n", i, (long long)k, a, b);
            return false;
        }
    }
    return true;
}

static bool run_line(const char *line)
{
    char text[800], *part[4] = {0}, *in_text[MAX_IO], *out_text[MAX_IO], op[64];
    struct port in[MAX_IO], out[MAX_IO];
    struct gr_graph *g = NULL;
    struct gr_inferred r = {0};
    struct graft_error err = {0};
    int opset = 0;
    snprintf(text, sizeof text, "%s", line);
    assert_int_equal(split(text, '|', part, 4), 4);
    assert_int_equal(sscanf(part[0], "%63s %d", op, &opset), 2);
    int n_in = split(part[1], ';', in_text, MAX_IO), n_out = split(part[3], ';', out_text, MAX_IO);
    for (int i = 0; i < n_in; i++)
        parse_port(in_text[i], &in[i]);
    assert_int_equal(gr_graph_new(&g, NULL), GRAFT_OK);
    bool present[MAX_IO];
    for (int i = 0; i < n_out; i++)
        present[i] = out_text[i][strspn(out_text[i], " ")] != '_';
    enum graft_status s =
        build_and_infer(g, op, opset, n_in, in, part[2], n_out, present, &r, &err);
    const char *fails = out_text[n_out - 1] + strspn(out_text[n_out - 1], " _");
    bool ok = true;
    if (*fails == '!') {
        const char *status = graft_status_name(s);
        size_t n = strlen(status);
        const char *message = fails + 1 + n;
        ok = s && !strncmp(fails + 1, status, n) &&
             (!*message || strstr(err.message, message + strspn(message, " ")));
    } else {
        ok = !s;
        for (int i = 0; ok && i < n_out; i++) {
            if (!present[i])
                continue;
            assert_true(parse_port(out_text[i], &out[i]));
            ok = check_output(g, &r, i, &out[i]);
            gr_tensor_clear(&out[i].value);
        }
    }
    if (!ok)
        printf("%s\n  found: %s: %s\n", line, s ? graft_status_name(s) : "ok",
               s ? err.message : "");
    for (int i = 0; i < n_in; i++)
        gr_tensor_clear(&in[i].value);
    gr_inferred_clear(&r);
    gr_graph_free(g);
    return ok;
}

static void test_lines(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong += !run_line(cases[i]);
    assert_int_equal(wrong, 0);
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; gr_op_table[i]; i++) {
        const struct gr_op *op = gr_op_table[i];
        assert_true(op->infer && op->ref && op->since >= 1);
        assert_true(op->min_in <= op->max_in && op->min_out >= 1 && op->min_out <= op->max_out);
        if (i)
            assert_true(strcmp(gr_op_table[i - 1]->name, op->name) < 0);
        for (const struct gr_param *p = op->params; p && p->name; p++) {
            assert_true(p->help && p->offset < op->params_size);
            assert_true(p->kind != GR_PARAM_CHOICE || p->choices);
            assert_true((p->kind != GR_PARAM_INT && p->kind != GR_PARAM_INTS) || p->min < p->max);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
