/* EfficientNet B0 to B7: torchvision's names. */
#include "zoo/builder.h"

/* Told apart by the width of the last convolution and the number of blocks; the later ones were
   trained with another epsilon, and each at its own size. */
static const struct {
    int64_t last;
    int blocks;
    float eps;
    int resize_to, size;
} versions[8] = {{1280, 16, 1e-5f, 256, 224}, {1280, 23, 1e-5f, 256, 240},
                 {1408, 23, 1e-5f, 288, 288}, {1536, 26, 1e-5f, 320, 300},
                 {1792, 32, 1e-5f, 384, 380}, {2048, 39, 1e-3f, 456, 456},
                 {2304, 45, 1e-3f, 528, 528}, {2560, 55, 1e-3f, 600, 600}};

static int block(struct gr_zoo_builder *b, int x, const char *at, int64_t stride)
{
    int i = 0, y = x;
#define P(k) gr_zoo_path(b, "%s.block.%d.%d", at, i, k)
    if (gr_zoo_has(b, "%s.block.3.0.weight", at)) { /* expands first */
        y = gr_zoo_conv_bn(
            b, y, P(0), P(1),
            (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.weight", P(0)), .kernel = 1});
        y = gr_zoo_silu(b, y, P(2));
        i++;
    }
    int64_t kernel = gr_zoo_dim(b, 2, "%s.weight", P(0));
    y = gr_zoo_conv_bn(
        b, y, P(0), P(1),
        (struct gr_zoo_conv){
            .kernel = kernel, .stride = stride, .pad = kernel / 2, .groups = GR_ZOO_DEPTHWISE});
    y = gr_zoo_silu(b, y, P(2));
    i++;
    y = gr_zoo_squeeze_excite(b, y, gr_zoo_path(b, "%s.block.%d", at, i), gr_zoo_silu, false);
    i++;
    int64_t out = gr_zoo_dim(b, 0, "%s.weight", P(0));
    y = gr_zoo_conv_bn(b, y, P(0), P(1), (struct gr_zoo_conv){.out = out, .kernel = 1});
#undef P
    if (stride == 1 && gr_zoo_channels(b, x) == out)
        y = gr_zoo_add(b, y, x, gr_zoo_path(b, "%s.add", at));
    return y;
}

static void build(struct gr_zoo_builder *b)
{
    static const int strides[7] = {1, 2, 2, 2, 1, 2, 1};
    const char *head = gr_zoo_find_head(b, "classifier");
    int n[7], total = 0, version = -1;
    int64_t last = gr_zoo_dim(b, 0, "features.8.0.weight");
    for (int s = 0; s < 7; s++) {
        n[s] = gr_zoo_count(b, gr_zoo_path(b, "features.%d.", s + 1), ".block.0.0.weight");
        total += n[s];
    }
    for (int i = 0; i < 8; i++)
        if (versions[i].last == last && versions[i].blocks == total)
            version = i;
    if (version < 0)
        gr_zoo_fail(b, "%d blocks and %lld channels at the end are none of B0 to B7", total,
                    (long long)last);
    else
        gr_zoo_title(b, "EfficientNet-B%d", version);
    version = version < 0 ? 0 : version;
    b->eps = versions[version].eps;
    int x = gr_zoo_input(b, 3, versions[version].size, versions[version].size);
    x = gr_zoo_conv_bn(
        b, x, "features.0.0", "features.0.1",
        (struct gr_zoo_conv){
            .out = gr_zoo_dim(b, 0, "features.0.0.weight"), .kernel = 3, .stride = 2, .pad = 1});
    x = gr_zoo_silu(b, x, "features.0.2");
    for (int s = 0; s < 7; s++)
        for (int i = 0; i < n[s]; i++)
            x = block(b, x, gr_zoo_path(b, "features.%d.%d", s + 1, i), i ? 1 : strides[s]);
    x = gr_zoo_conv_bn(b, x, "features.8.0", "features.8.1",
                       (struct gr_zoo_conv){.out = last, .kernel = 1});
    x = gr_zoo_silu(b, x, head ? "features.8.2" : "features");
    gr_zoo_head(b, x, "avgpool", head);
    gr_zoo_pre_imagenet(b, "torchvision ImageNet", versions[version].size);
    b->model->pre.resize_to = versions[version].resize_to;
    b->model->pre.filter = GRAFT_BICUBIC;
}

const struct gr_arch gr_arch_efficientnet = {
    "EfficientNet", "features.0.0.weight, features.1.0.block.0.0.weight, classifier.1.weight",
    build};
