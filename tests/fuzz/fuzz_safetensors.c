/* Fuzz target: a safetensors file. */
#include "core/tensor.h"
#include "formats/safetensors.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gr_buffer *buf = gr_buffer_new((void *)(uintptr_t)data, size, NULL, NULL);
    struct gr_weights w = {0};
    struct graft_error err = {0};
    double sum = 0;
    if (gr_safetensors_read_buffer(buf, &w, &err) && (!err.status || !err.message[0]))
        abort(); /* failed without a reason */
    for (size_t i = 0; i < w.n; i++) {
        const struct gr_tensor *t = &w.items[i].tensor;
        for (int64_t k = 0, n = gr_tensor_count(t); k < n; k += n / 1000 + 1)
            sum += gr_load_f64(t->dtype, t->data, (size_t)k);
        if (t->size) /* the first and the last byte are there */
            sum += ((const uint8_t *)t->data)[0] + ((const uint8_t *)t->data)[t->size - 1];
    }
    *(volatile double *)&sum = sum;
    gr_weights_clear(&w);
    gr_buffer_unref(buf);
    return 0;
}
