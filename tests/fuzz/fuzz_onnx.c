/* Which bytes break the reading of ONNX files? libFuzzer finds out. */
#include "formats/meta.h"
#include "formats/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gr_model m = {0};
    struct graft_error err;
    if (!gr_onnx_read_memory(data, size, "fuzz", NULL, &m, &err))
        gr_meta_read(&m, &err);
    gr_model_clear(&m);
    return 0;
}
