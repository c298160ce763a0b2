/* MobileNetV2 of any width: torchvision's names, its older ones, and timm's. */
#include "zoo/builder.h"

enum names {
    TORCHVISION, /* features.2.conv.0.0 .. features.18.0, classifier.1 */
    FLAT,        /* features.2.conv.0 .. conv.7, last convolution features.18 or conv */
    TIMM         /* conv_stem, blocks.1.0.conv_pw .., conv_head */
};

/* Repeats and strides are the paper's; channels come from the shapes. */
static const struct {
    int repeats, stride, channels;
} groups[7] = {{1, 1, 16}, {2, 2, 24},  {3, 2, 32}, {4, 2, 64},
               {3, 1, 96}, {3, 2, 160}, {1, 1, 320}};

/* Paths of the convolutions and batch-norms of one block: expand, depthwise, project. */
struct paths {
    const char *conv[3], *bn[3];
};

static struct paths block_paths(struct gr_zoo_builder *b, enum names names, const char *at,
                                bool expand)
{
    static const char *const tv_conv[] = {"conv.0.0", "conv.1.0", "conv.2"};
    static const char *const tv_bn[] = {"conv.0.1", "conv.1.1", "conv.3"};
    static const char *const tv_conv1[] = {"", "conv.0.0", "conv.1"};
    static const char *const tv_bn1[] = {"", "conv.0.1", "conv.2"};
    static const char *const flat_conv[] = {"conv.0", "conv.3", "conv.6"};
    static const char *const flat_bn[] = {"conv.1", "conv.4", "conv.7"};
    static const char *const flat_conv1[] = {"", "conv.0", "conv.3"};
    static const char *const flat_bn1[] = {"", "conv.1", "conv.4"};
    static const char *const timm_conv[] = {"conv_pw", "conv_dw", "conv_pwl"};
    static const char *const timm_bn[] = {"bn1", "bn2", "bn3"};
    static const char *const timm_conv1[] = {"", "conv_dw", "conv_pw"};
    static const char *const timm_bn1[] = {"", "bn1", "bn2"};
    const char *const *conv = names == TIMM   ? (expand ? timm_conv : timm_conv1)
                              : names == FLAT ? (expand ? flat_conv : flat_conv1)
                                              : (expand ? tv_conv : tv_conv1);
    const char *const *bn = names == TIMM   ? (expand ? timm_bn : timm_bn1)
                            : names == FLAT ? (expand ? flat_bn : flat_bn1)
                                            : (expand ? tv_bn : tv_bn1);
    struct paths p;
    for (int i = 0; i < 3; i++) {
        p.conv[i] = gr_zoo_path(b, "%s.%s", at, conv[i]);
        p.bn[i] = gr_zoo_path(b, "%s.%s", at, bn[i]);
    }
    return p;
}

static int block(struct gr_zoo_builder *b, enum names names, int x, const char *at, bool expand,
                 int64_t stride)
{
    struct paths p = block_paths(b, names, at, expand);
    const char *act = gr_zoo_path(b, "%s.relu6", at);
    int64_t out = gr_zoo_dim(b, 0, "%s.weight", p.conv[2]);
    int y = x;
    if (expand) {
        y = gr_zoo_conv_bn(
            b, y, p.conv[0], p.bn[0],
            (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.weight", p.conv[0]), .kernel = 1});
        y = gr_zoo_relu6(b, y, act);
    }
    y = gr_zoo_conv_bn(
        b, y, p.conv[1], p.bn[1],
        (struct gr_zoo_conv){.kernel = 3, .stride = stride, .pad = 1, .groups = GR_ZOO_DEPTHWISE});
    y = gr_zoo_relu6(b, y, act);
    y = gr_zoo_conv_bn(b, y, p.conv[2], p.bn[2], (struct gr_zoo_conv){.out = out, .kernel = 1});
    if (stride == 1 && gr_zoo_channels(b, x) == out)
        y = gr_zoo_add(b, y, x, gr_zoo_path(b, "%s.add", at));
    return y;
}

/* The width multiplier that explains all block outputs, in steps of 0.05; 0: none does. */
static double width_of(const int64_t channels[7])
{
    for (int w = 2; w <= 40; w++) {
        int i = 0;
        while (i < 7 && gr_zoo_divisible(groups[i].channels * w / 20.0) == channels[i])
            i++;
        if (i == 7)
            return w / 20.0;
    }
    return 0;
}

static void build(struct gr_zoo_builder *b)
{
    enum names names = gr_zoo_has(b, "conv_stem.weight")             ? TIMM
                       : gr_zoo_has(b, "features.1.conv.0.0.weight") ? TORCHVISION
                                                                     : FLAT;
    const char *stem = names == TIMM ? "conv_stem" : "features.0.0";
    const char *stem_bn = names == TIMM ? "bn1" : "features.0.1";
    const char *last = "features.18.0", *last_bn = "features.18.1";
    const char *head = gr_zoo_find_head(b, "classifier");
    int64_t channels[7];
    int n = 1;
    if (names == TIMM)
        last = "conv_head", last_bn = "bn2";
    else if (names == FLAT && gr_zoo_has(b, "conv.0.weight"))
        last = "conv.0", last_bn = "conv.1";
    int x = gr_zoo_input(b, 3, 224, 224);
    x = gr_zoo_conv_bn(
        b, x, stem, stem_bn,
        (struct gr_zoo_conv){
            .out = gr_zoo_dim(b, 0, "%s.weight", stem), .kernel = 3, .stride = 2, .pad = 1});
    x = gr_zoo_relu6(b, x, names == TIMM ? "act1" : "features.0.2");
    for (int g = 0; g < 7; g++) {
        for (int i = 0; i < groups[g].repeats; i++, n++)
            x = block(b, names, x,
                      names == TIMM ? gr_zoo_path(b, "blocks.%d.%d", g, i)
                                    : gr_zoo_path(b, "features.%d", n),
                      g > 0, i ? 1 : groups[g].stride);
        channels[g] = gr_zoo_channels(b, x);
    }
    if (!b->status && width_of(channels) > 0)
        gr_zoo_title_width(b, "MobileNetV2", width_of(channels));
    x = gr_zoo_conv_bn(
        b, x, last, last_bn,
        (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.weight", last), .kernel = 1});
    x = gr_zoo_relu6(b, x, !head ? "features" : names == TIMM ? "act2" : "features.18.2");
    gr_zoo_head(b, x, names == TIMM ? "global_pool" : "avgpool", head);
    gr_zoo_pre_imagenet(b, names == TIMM ? "timm ImageNet" : "torchvision ImageNet", 224);
    if (names == TIMM)
        b->model->pre.filter = GRAFT_BICUBIC;
}

const struct gr_arch gr_arch_mobilenet_v2 = {
    "MobileNetV2", "features.0.0.weight, features.1.conv.* or conv_stem.weight, blocks.*", build};
