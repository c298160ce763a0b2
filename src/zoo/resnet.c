/* ResNet, Wide ResNet and ResNeXt as torchvision and timm name them. */
#include "zoo/resnet_block.h"

/* What the shapes say about the blocks of one network. */
struct resnet {
    int blocks[4];
    bool bottleneck;
    bool avg_down;    /* timm's "d": average pool before the shortcut's convolution */
    int64_t width;    /* of the 3x3 convolution in layer1 */
    int64_t groups;   /* of the 3x3 convolutions */
    const char *head; /* NULL: none */
};

static void name_it(struct gr_zoo_builder *b, const struct resnet *r)
{
    int blocks = r->blocks[0] + r->blocks[1] + r->blocks[2] + r->blocks[3];
    int depth = blocks * (r->bottleneck ? 3 : 2) + 2;
    const char *d = r->avg_down ? "-D" : "";
    if (!blocks)
        return;
    if (r->groups > 1)
        gr_zoo_title(b, "ResNeXt-%d %lldx%lldd", depth, (long long)r->groups,
                     (long long)(r->width / r->groups));
    else if (r->width != 64)
        gr_zoo_title(b, "Wide ResNet-%d-%g", depth, (double)r->width / 64.0);
    else
        gr_zoo_title(b, "ResNet-%d%s", depth, d);
}

static int shortcut(struct gr_zoo_builder *b, const struct resnet *r, int x, const char *block,
                    int64_t out, int64_t stride)
{
    int first = r->avg_down ? 1 : 0;
    if (!gr_zoo_has(b, "%s.downsample.%d.weight", block, first)) {
        if (stride != 1 || gr_zoo_channels(b, x) != out)
            gr_zoo_fail(b, "'%s%s.downsample.%d.weight' is missing, expected shape (%lld,%lld,1,1)",
                        b->prefix, block, first, (long long)out, (long long)gr_zoo_channels(b, x));
        return x;
    }
    if (r->avg_down && stride > 1) {
        x = gr_zoo_avg_pool(b, x, gr_zoo_path(b, "%s.downsample.0", block),
                            (struct gr_zoo_pool){.kernel = 2, .stride = stride, .ceil = true});
        stride = 1;
    }
    return gr_zoo_conv_bn(b, x, gr_zoo_path(b, "%s.downsample.%d", block, first),
                          gr_zoo_path(b, "%s.downsample.%d", block, first + 1),
                          (struct gr_zoo_conv){.out = out, .kernel = 1, .stride = stride});
}

static int block(struct gr_zoo_builder *b, const struct resnet *r, int x, int layer, int i,
                 bool last)
{
    const char *at = gr_zoo_path(b, "layer%d.%d", layer + 1, i);
    int64_t planes = (int64_t)64 << layer;
    struct gr_resnet_block shape = {.at = at,
                                    .bottleneck = r->bottleneck,
                                    .width = r->width << layer,
                                    .out = r->bottleneck ? 4 * planes : planes,
                                    .stride = layer && !i ? 2 : 1,
                                    .groups = r->groups};
    int y = gr_zoo_resnet_branch(b, x, &shape);
    x = shortcut(b, r, x, at, shape.out, shape.stride);
    y = gr_zoo_add(b, y, x, gr_zoo_path(b, "%s.add", at));
    return gr_zoo_relu(b, y, last && !r->head ? "features" : gr_zoo_path(b, "%s.relu", at));
}

/* 7x7, or timm's deep stem of three 3x3. */
static int stem(struct gr_zoo_builder *b)
{
    int x = gr_zoo_input(b, 3, 224, 224);
    if (gr_zoo_has(b, "conv1.0.weight")) {
        int64_t half = gr_zoo_dim(b, 0, "conv1.0.weight");
        x = gr_zoo_conv_bn(b, x, "conv1.0", "conv1.1",
                           (struct gr_zoo_conv){.out = half, .kernel = 3, .stride = 2, .pad = 1});
        x = gr_zoo_relu(b, x, "conv1.2");
        x = gr_zoo_conv_bn(
            b, x, "conv1.3", "conv1.4",
            (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "conv1.3.weight"), .kernel = 3, .pad = 1});
        x = gr_zoo_relu(b, x, "conv1.5");
        x = gr_zoo_conv_bn(b, x, "conv1.6", "bn1",
                           (struct gr_zoo_conv){.out = 64, .kernel = 3, .pad = 1});
    } else {
        x = gr_zoo_conv_bn(b, x, "conv1", "bn1",
                           (struct gr_zoo_conv){.out = 64, .kernel = 7, .stride = 2, .pad = 3});
    }
    x = gr_zoo_relu(b, x, "relu");
    return gr_zoo_max_pool(b, x, "maxpool",
                           (struct gr_zoo_pool){.kernel = 3, .stride = 2, .pad = 1});
}

static void build(struct gr_zoo_builder *b)
{
    struct resnet r = {.head = gr_zoo_find_head(b, "fc")};
    for (int l = 0; l < 4; l++)
        r.blocks[l] = gr_zoo_count(b, gr_zoo_path(b, "layer%d.", l + 1), ".conv1.weight");
    r.bottleneck = gr_zoo_has(b, "layer1.0.conv3.weight");
    r.avg_down = gr_zoo_has(b, "layer2.0.downsample.2.weight");
    r.width = 64;
    r.groups = 1;
    if (r.bottleneck) {
        int64_t per_group = gr_zoo_dim(b, 1, "layer1.0.conv2.weight");
        int64_t width = gr_zoo_dim(b, 0, "layer1.0.conv2.weight");
        /* A plain block's convolutions see all channels of the 1x1 before them. */
        if (per_group > 0 && width > 0 && width <= 65536 && width % per_group == 0) {
            r.width = width;
            r.groups = width / per_group;
        }
    }
    name_it(b, &r);
    int x = stem(b);
    for (int l = 0; l < 4; l++) {
        if (!r.blocks[l])
            gr_zoo_fail(b, "'%slayer%d.0.conv1.weight' is missing", b->prefix, l + 1);
        for (int i = 0; i < r.blocks[l]; i++)
            x = block(b, &r, x, l, i, l == 3 && i == r.blocks[l] - 1);
    }
    gr_zoo_head(b, x, "avgpool", r.head);
    gr_zoo_pre_imagenet(b, r.avg_down ? "timm ImageNet" : "torchvision ImageNet", 224);
    if (r.avg_down)
        b->model->pre.filter = GRAFT_BICUBIC;
}

const struct gr_arch gr_arch_resnet = {"ResNet", "conv1.weight, layer1.0.conv1.weight, fc.weight",
                                       build};
