/* SqueezeNet 1.0 and 1.1 as torchvision names them. */
#include "zoo/builder.h"

static int fire(struct gr_zoo_builder *b, int x, const char *at, const char *value)
{
#define P(name) gr_zoo_path(b, "%s." name, at)
    int64_t e1 = gr_zoo_dim(b, 0, "%s.expand1x1.weight", at);
    int64_t e3 = gr_zoo_dim(b, 0, "%s.expand3x3.weight", at);
    x = gr_zoo_conv(
        b, x, P("squeeze"),
        (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.squeeze.weight", at), .kernel = 1});
    x = gr_zoo_relu(b, x, P("squeeze_activation"));
    int left = gr_zoo_conv(b, x, P("expand1x1"), (struct gr_zoo_conv){.out = e1, .kernel = 1});
    left = gr_zoo_relu(b, left, P("expand1x1_activation"));
    int right =
        gr_zoo_conv(b, x, P("expand3x3"), (struct gr_zoo_conv){.out = e3, .kernel = 3, .pad = 1});
    right = gr_zoo_relu(b, right, P("expand3x3_activation"));
#undef P
    return gr_zoo_concat(b, left, right, value);
}

static void build(struct gr_zoo_builder *b)
{
    /* Index of each layer in `features`: pools of the two versions, all else from 3 on is fire. */
    static const int pools_1_0[] = {2, 6, 11}, pools_1_1[] = {2, 5, 8};
    bool old = gr_zoo_dim(b, 2, "features.0.weight") == 7;
    const int *pools = old ? pools_1_0 : pools_1_1;
    const struct gr_zoo_pool pool = {.kernel = 3, .stride = 2, .ceil = true};
    const char *head = gr_zoo_dim(b, 3, "classifier.1.weight") ? "classifier.1" : NULL;
    gr_zoo_title(b, "SqueezeNet %s", old ? "1.0" : "1.1");
    int x = gr_zoo_input(b, 3, 224, 224);
    x = gr_zoo_conv(b, x, "features.0",
                    (struct gr_zoo_conv){.out = old ? 96 : 64, .kernel = old ? 7 : 3, .stride = 2});
    x = gr_zoo_relu(b, x, "features.1");
    for (int i = 2; i <= 12; i++) {
        const char *at = gr_zoo_path(b, "features.%d", i);
        if (i == pools[0] || i == pools[1] || i == pools[2])
            x = gr_zoo_max_pool(b, x, at, pool);
        else
            x = fire(b, x, at, i == 12 && !head ? "features" : at);
    }
    if (head) { /* the classifier is a convolution; its map is averaged into the logits */
        x = gr_zoo_conv(
            b, x, head,
            (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.weight", head), .kernel = 1});
        x = gr_zoo_relu(b, x, "classifier.2");
        x = gr_zoo_global_pool(b, x, "classifier.3");
        gr_zoo_output(b, gr_zoo_flatten(b, x, "logits", 1), false);
    } else {
        gr_zoo_output(b, x, true);
    }
    gr_zoo_pre_imagenet(b, "torchvision ImageNet", 224);
}

const struct gr_arch gr_arch_squeezenet = {
    "SqueezeNet", "features.0.weight, features.3.squeeze.weight, classifier.1.weight", build};
