/* MobileNetV3 large and small of any width: torchvision's names. */
#include "zoo/builder.h"

/* What shapes do not tell: stride, and whether the activation is hard-swish. */
struct row {
    int stride;
    bool swish;
};
static const struct row large[15] = {{1, 0}, {2, 0}, {1, 0}, {2, 0}, {1, 0}, {1, 0}, {2, 1}, {1, 1},
                                     {1, 1}, {1, 1}, {1, 1}, {1, 1}, {2, 1}, {1, 1}, {1, 1}};
static const struct row small[11] = {{2, 0}, {2, 0}, {1, 0}, {2, 1}, {1, 1}, {1, 1},
                                     {1, 1}, {1, 1}, {2, 1}, {1, 1}, {1, 1}};

/* expand, depthwise, squeeze and excite, project: the first and third only where the file has them,
   numbered on. */
static int block(struct gr_zoo_builder *b, int x, const char *at, const struct row *row)
{
    gr_zoo_act *act = row->swish ? gr_zoo_hard_swish : gr_zoo_relu;
    int i = 0, y = x;
#define P(k) gr_zoo_path(b, "%s.block.%d.%d", at, i, k)
    if (gr_zoo_dim(b, 1, "%s.block.0.0.weight", at) != 1) {
        y = gr_zoo_conv_bn(
            b, y, P(0), P(1),
            (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.weight", P(0)), .kernel = 1});
        y = act(b, y, P(2));
        i++;
    }
    int64_t kernel = gr_zoo_dim(b, 2, "%s.weight", P(0));
    y = gr_zoo_conv_bn(b, y, P(0), P(1),
                       (struct gr_zoo_conv){.kernel = kernel,
                                            .stride = row->stride,
                                            .pad = kernel / 2,
                                            .groups = GR_ZOO_DEPTHWISE});
    y = act(b, y, P(2));
    i++;
    if (gr_zoo_has(b, "%s.block.%d.fc1.weight", at, i)) {
        y = gr_zoo_squeeze_excite(b, y, gr_zoo_path(b, "%s.block.%d", at, i), gr_zoo_relu, true);
        i++;
    }
    int64_t out = gr_zoo_dim(b, 0, "%s.weight", P(0));
    y = gr_zoo_conv_bn(b, y, P(0), P(1), (struct gr_zoo_conv){.out = out, .kernel = 1});
#undef P
    if (row->stride == 1 && gr_zoo_channels(b, x) == out)
        y = gr_zoo_add(b, y, x, gr_zoo_path(b, "%s.add", at));
    return y;
}

static void build(struct gr_zoo_builder *b)
{
    bool is_large = gr_zoo_has(b, "features.15.block.0.0.weight");
    const struct row *rows = is_large ? large : small;
    int n = is_large ? 15 : 11;
    bool head = gr_zoo_has(b, "classifier.3.weight");
    gr_zoo_title(b, "MobileNetV3 %s", is_large ? "large" : "small");
    b->eps = 1e-3f;
    int x = gr_zoo_input(b, 3, 224, 224);
    x = gr_zoo_conv_bn(
        b, x, "features.0.0", "features.0.1",
        (struct gr_zoo_conv){
            .out = gr_zoo_dim(b, 0, "features.0.0.weight"), .kernel = 3, .stride = 2, .pad = 1});
    x = gr_zoo_hard_swish(b, x, "features.0.2");
    for (int i = 0; i < n; i++)
        x = block(b, x, gr_zoo_path(b, "features.%d", i + 1), &rows[i]);
    const char *last = gr_zoo_path(b, "features.%d", n + 1);
    x = gr_zoo_conv_bn(
        b, x, gr_zoo_path(b, "%s.0", last), gr_zoo_path(b, "%s.1", last),
        (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.0.weight", last), .kernel = 1});
    x = gr_zoo_hard_swish(b, x, head ? gr_zoo_path(b, "%s.2", last) : "features");
    if (head) {
        x = gr_zoo_flatten(b, gr_zoo_global_pool(b, x, "avgpool"), "flatten", 1);
        x = gr_zoo_linear(b, x, "classifier.0", NULL, 0);
        x = gr_zoo_hard_swish(b, x, "classifier.1");
        gr_zoo_output(b, gr_zoo_linear(b, x, "classifier.3", "logits", 0), false);
    } else {
        gr_zoo_output(b, x, true);
    }
    gr_zoo_pre_imagenet(b, "torchvision ImageNet", 224);
}

const struct gr_arch gr_arch_mobilenet_v3 = {
    "MobileNetV3", "features.0.0.weight, features.1.block.0.0.weight, classifier.3.weight", build};
