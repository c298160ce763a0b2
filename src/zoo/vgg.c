/* VGG with and without batch-norm, and AlexNet: torchvision's names. Their flattened maps fit only
   pictures of the size that they were trained on. */
#include "zoo/builder.h"

/* conv 3x3, maybe batch-norm, relu, ...; where the next convolution is missing, a max pool. */
static int vgg_features(struct gr_zoo_builder *b, int x, const char *last)
{
    enum { MAX_AT = 64 };
    int i = 0, n_convs = 0, n_pools = 0;
    bool bn = gr_zoo_dim(b, 0, "features.1.running_mean") > 0;
    for (int at = 0; at < MAX_AT; at++)
        n_convs += gr_zoo_dim(b, 3, "features.%d.weight", at) > 0;
    gr_zoo_title(b, "VGG-%d%s", n_convs + 3, bn ? "-BN" : "");
    if (n_convs != 8 && n_convs != 10 && n_convs != 13 && n_convs != 16)
        gr_zoo_fail(b, "%d convolutions 'features.N', expected 8, 10, 13 or 16", n_convs);
    while (i < MAX_AT) {
        int64_t out = gr_zoo_dim(b, 0, "features.%d.weight", i);
        if (out) {
            x = gr_zoo_conv(b, x, gr_zoo_path(b, "features.%d", i),
                            (struct gr_zoo_conv){.out = out, .kernel = 3, .pad = 1});
            if (bn)
                x = gr_zoo_bn(b, x, gr_zoo_path(b, "features.%d", i + 1));
            i += bn ? 3 : 2;
            x = gr_zoo_relu(b, x, gr_zoo_path(b, "features.%d", i - 1));
            continue;
        }
        bool more = gr_zoo_has(b, "features.%d.weight", i + 1);
        x = gr_zoo_max_pool(b, x, more ? gr_zoo_path(b, "features.%d", i) : last,
                            (struct gr_zoo_pool){.kernel = 2, .stride = 2});
        n_pools++;
        if (!more)
            break;
        i++;
    }
    if (n_pools != 5)
        gr_zoo_fail(b, "%d groups of convolutions 'features.N', expected 5", n_pools);
    return x;
}

static int alexnet_features(struct gr_zoo_builder *b, int x, const char *last)
{
    static const struct {
        int at, kernel, stride, pad;
        bool pool;
    } convs[] = {{0, 11, 4, 2, true},
                 {3, 5, 1, 2, true},
                 {6, 3, 1, 1, false},
                 {8, 3, 1, 1, false},
                 {10, 3, 1, 1, true}};
    gr_zoo_title(b, "AlexNet");
    for (int i = 0; i < 5; i++) {
        int at = convs[i].at;
        x = gr_zoo_conv(b, x, gr_zoo_path(b, "features.%d", at),
                        (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "features.%d.weight", at),
                                             .kernel = convs[i].kernel,
                                             .stride = convs[i].stride,
                                             .pad = convs[i].pad});
        x = gr_zoo_relu(b, x, gr_zoo_path(b, "features.%d", at + 1));
        if (convs[i].pool)
            x = gr_zoo_max_pool(b, x, i == 4 ? last : gr_zoo_path(b, "features.%d", at + 2),
                                (struct gr_zoo_pool){.kernel = 3, .stride = 2});
    }
    return x;
}

static void build(struct gr_zoo_builder *b)
{
    bool alexnet = gr_zoo_dim(b, 2, "features.0.weight") == 11;
    const int linear[3] = {alexnet ? 1 : 0, alexnet ? 4 : 3, 6};
    bool head = gr_zoo_has(b, "classifier.%d.weight", linear[2]);
    int x = gr_zoo_input(b, 3, 224, 224);
    x = alexnet ? alexnet_features(b, x, head ? "features.12" : "features")
                : vgg_features(b, x, head ? "features.last" : "features");
    if (head) {
        x = gr_zoo_flatten(b, x, "flatten", alexnet ? 36 : 49);
        for (int i = 0; i < 2; i++) {
            x = gr_zoo_linear(b, x, gr_zoo_path(b, "classifier.%d", linear[i]), NULL, 0);
            x = gr_zoo_relu(b, x, gr_zoo_path(b, "classifier.%d", linear[i] + 1));
        }
        gr_zoo_output(b, gr_zoo_linear(b, x, "classifier.6", "logits", 0), false);
    } else {
        gr_zoo_output(b, x, true);
    }
    gr_zoo_pre_imagenet(b, "torchvision ImageNet", 224);
}

const struct gr_arch gr_arch_vgg = {
    "VGG, AlexNet", "features.0.weight, features.3.weight, classifier.6.weight", build};
