/* MobileNetV1: a list of 13 depthwise-separable blocks under one of several names. */
#include "zoo/builder.h"

/* Where block i (0 is the first full convolution) lives. */
static const char *block_path(struct gr_zoo_builder *b, const char *list, int i)
{
    if (list)
        return gr_zoo_path(b, "%s.%d", list, i);
    if (i < 6) /* the face detector's cut into stages */
        return gr_zoo_path(b, "stage1.%d", i);
    return i < 12 ? gr_zoo_path(b, "stage2.%d", i - 6) : gr_zoo_path(b, "stage3.%d", i - 12);
}

static int activate(struct gr_zoo_builder *b, int x, const char *name, bool leaky)
{
    return leaky ? gr_zoo_leaky(b, x, name, 0.1f) : gr_zoo_relu(b, x, name);
}

static void build(struct gr_zoo_builder *b)
{
    static const int strides[13] = {1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1};
    static const char *const heads[] = {"fc", "classifier", "linear"};
    const char *list = gr_zoo_has(b, "model.0.0.weight")      ? "model"
                       : gr_zoo_has(b, "features.0.0.weight") ? "features"
                                                              : NULL;
    const char *head = NULL;
    bool leaky = !list; /* the staged variant is the one with leaky ReLU */
    int64_t stem = gr_zoo_dim(b, 0, "%s.0.weight", block_path(b, list, 0));
    for (int i = 0; !head && i < 3; i++)
        head = gr_zoo_find_head(b, heads[i]);
    if (stem > 0 && stem <= 65536)
        gr_zoo_title_width(b, "MobileNetV1", (double)stem / 32.0);
    int x = gr_zoo_input(b, 3, 224, 224);
    for (int i = 0; i <= 13; i++) {
        const char *at = block_path(b, list, i);
#define P(k) gr_zoo_path(b, "%s.%d", at, k)
        if (i == 0) {
            x = gr_zoo_conv_bn(
                b, x, P(0), P(1),
                (struct gr_zoo_conv){.out = stem, .kernel = 3, .stride = 2, .pad = 1});
            x = activate(b, x, P(2), leaky);
            continue;
        }
        x = gr_zoo_conv_bn(
            b, x, P(0), P(1),
            (struct gr_zoo_conv){
                .kernel = 3, .stride = strides[i - 1], .pad = 1, .groups = GR_ZOO_DEPTHWISE});
        x = activate(b, x, P(2), leaky);
        x = gr_zoo_conv_bn(
            b, x, P(3), P(4),
            (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.3.weight", at), .kernel = 1});
        x = activate(b, x, i == 13 && !head ? "features" : P(5), leaky);
#undef P
    }
    gr_zoo_head(b, x, "avgpool", head);
    gr_zoo_pre_imagenet(b, "torchvision ImageNet", 224);
}

const struct gr_arch gr_arch_mobilenet_v1 = {
    "MobileNetV1", "stage1.0.0.weight, model.0.0.weight or features.0.0.weight", build};
