/* ResNets for 32x32 pictures: CIFAR's own 20..110 layers (every second pixel and zero channels as
   shortcut, or a 1x1 convolution), and ResNet-18.. with a 3x3 stem. */
#include "zoo/resnet_block.h"

struct cifar {
    int blocks[4], n_layers;
    bool bottleneck;
    int64_t planes;       /* of layer1 */
    const char *shortcut; /* module of a shortcut's convolution, or NULL: padded */
    const char *head;
};

static int shortcut(struct gr_zoo_builder *b, const struct cifar *r, int x, const char *at,
                    int64_t out, int64_t stride)
{
    int64_t in = gr_zoo_channels(b, x);
    if (stride == 1 && in == out)
        return x;
    if (r->shortcut)
        return gr_zoo_conv_bn(b, x, gr_zoo_path(b, "%s.%s.0", at, r->shortcut),
                              gr_zoo_path(b, "%s.%s.1", at, r->shortcut),
                              (struct gr_zoo_conv){.out = out, .kernel = 1, .stride = stride});
    return gr_zoo_pad_shortcut(b, x, gr_zoo_path(b, "%s.shortcut", at), stride, (out - in) / 2);
}

static int block(struct gr_zoo_builder *b, const struct cifar *r, int x, int layer, int i,
                 bool last)
{
    const char *at = gr_zoo_path(b, "layer%d.%d", layer + 1, i);
    int64_t planes = r->planes << layer;
    struct gr_resnet_block shape = {.at = at,
                                    .bottleneck = r->bottleneck,
                                    .width = planes,
                                    .out = r->bottleneck ? 4 * planes : planes,
                                    .stride = layer && !i ? 2 : 1};
    int y = gr_zoo_resnet_branch(b, x, &shape);
    x = shortcut(b, r, x, at, shape.out, shape.stride);
    y = gr_zoo_add(b, y, x, gr_zoo_path(b, "%s.add", at));
    return gr_zoo_relu(b, y, last && !r->head ? "features" : gr_zoo_path(b, "%s.relu", at));
}

/* The mean and deviation that each repository trained with. */
static void set_pre(struct gr_zoo_builder *b, const struct cifar *r)
{
    static const char *const names[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                        "dog",      "frog",       "horse", "ship", "truck"};
    struct graft_preprocess pre = {.width = 32,
                                   .height = 32,
                                   .resize = GRAFT_RESIZE_STRETCH,
                                   .filter = GRAFT_BILINEAR,
                                   .channels = GRAFT_RGB,
                                   .scale = 1.0 / 255.0,
                                   .mean = {0.485, 0.456, 0.406},
                                   .std = {0.229, 0.224, 0.225}};
    if (r->shortcut) {
        pre.mean[0] = 0.4914, pre.mean[1] = 0.4822, pre.mean[2] = 0.4465;
        pre.std[0] = 0.2023, pre.std[1] = 0.1994, pre.std[2] = 0.2010;
    }
    gr_zoo_set_pre(b, r->shortcut ? "CIFAR statistics" : "CIFAR with ImageNet statistics", true,
                   &pre);
    if (gr_zoo_classes(b) == 10 && !b->status) {
        gr_zoo_set_pretrain(b, "CIFAR-10");
        b->status = gr_model_set_labels(b->model, 10, names, &b->err);
    }
    if (gr_zoo_classes(b) == 100)
        gr_zoo_set_pretrain(b, "CIFAR-100");
}

static void build(struct gr_zoo_builder *b)
{
    struct cifar r = {.head = gr_zoo_find_head(b, "linear")};
    int total = 0;
    if (!r.head)
        r.head = gr_zoo_find_head(b, "fc");
    while (r.n_layers < 4 &&
           (r.blocks[r.n_layers] =
                gr_zoo_count(b, gr_zoo_path(b, "layer%d.", r.n_layers + 1), ".conv1.weight")) > 0)
        total += r.blocks[r.n_layers++];
    r.bottleneck = gr_zoo_has(b, "layer1.0.conv3.weight");
    r.shortcut = gr_zoo_has(b, "layer2.0.shortcut.0.weight")     ? "shortcut"
                 : gr_zoo_has(b, "layer2.0.downsample.0.weight") ? "downsample"
                                                                 : NULL;
    r.planes = gr_zoo_dim(b, 0, "conv1.weight");
    if (total)
        gr_zoo_title(b, "CIFAR ResNet-%d", total * (r.bottleneck ? 3 : 2) + 2);
    if (r.planes < 1 || r.planes > 65536 || r.n_layers < 3)
        gr_zoo_fail(b, "'%sconv1.weight' and three layers of blocks are missing", b->prefix);
    int x = gr_zoo_input(b, 3, 32, 32);
    x = gr_zoo_conv_bn(b, x, "conv1", "bn1",
                       (struct gr_zoo_conv){.out = r.planes, .kernel = 3, .pad = 1});
    x = gr_zoo_relu(b, x, "relu");
    for (int l = 0; l < r.n_layers; l++)
        for (int i = 0; i < r.blocks[l]; i++)
            x = block(b, &r, x, l, i, l == r.n_layers - 1 && i == r.blocks[l] - 1);
    gr_zoo_head(b, x, "avgpool", r.head);
    set_pre(b, &r);
}

const struct gr_arch gr_arch_resnet_cifar = {
    "CIFAR ResNet", "conv1.weight (C,3,3,3), layer1.0.conv1.weight, linear.weight", build};
