/* graft-base: a small residual network for pictures of 64x64 to 128x128, made for processors that
   multiply dense matrices fast: two strided 3x3 convolutions, then three stages of bottlenecks. */
#include "zoo/resnet_block.h"

static int block(struct gr_zoo_builder *b, int x, int stage, int i, bool features)
{
    const char *at = gr_zoo_path(b, "stage%d.%d", stage, i);
    struct gr_resnet_block shape = {.at = at,
                                    .bottleneck = true,
                                    .width = gr_zoo_dim(b, 0, "%s.conv2.weight", at),
                                    .out = gr_zoo_dim(b, 0, "%s.conv3.weight", at),
                                    .stride = stage > 1 && !i ? 2 : 1,
                                    .groups = 1};
    int y = gr_zoo_resnet_branch(b, x, &shape);
    if (gr_zoo_channels(b, x) != shape.out)
        x = gr_zoo_conv_bn(
            b, x, gr_zoo_path(b, "%s.downsample.0", at), gr_zoo_path(b, "%s.downsample.1", at),
            (struct gr_zoo_conv){.out = shape.out, .kernel = 1, .stride = shape.stride});
    y = gr_zoo_add(b, y, x, gr_zoo_path(b, "%s.add", at));
    return gr_zoo_relu(b, y, features ? "features" : gr_zoo_path(b, "%s.relu", at));
}

static void build(struct gr_zoo_builder *b)
{
    const char *head = gr_zoo_find_head(b, "classifier");
    int x = gr_zoo_input(b, 3, 64, 64);
    x = gr_zoo_conv_bn(
        b, x, "stem.0", "stem.1",
        (struct gr_zoo_conv){
            .out = gr_zoo_dim(b, 0, "stem.0.weight"), .kernel = 3, .stride = 2, .pad = 1});
    x = gr_zoo_relu(b, x, "stem.2");
    x = gr_zoo_conv_bn(
        b, x, "stem.3", "stem.4",
        (struct gr_zoo_conv){
            .out = gr_zoo_dim(b, 0, "stem.3.weight"), .kernel = 3, .stride = 2, .pad = 1});
    x = gr_zoo_relu(b, x, "stem.5");
    for (int l = 1; l <= 3; l++) {
        int n = gr_zoo_count(b, gr_zoo_path(b, "stage%d.", l), ".conv1.weight");
        if (!n)
            gr_zoo_fail(b, "'%sstage%d.0.conv1.weight' is missing", b->prefix, l);
        for (int i = 0; i < n; i++)
            x = block(b, x, l, i, !head && l == 3 && i == n - 1);
    }
    gr_zoo_head(b, x, "avgpool", head);
    gr_zoo_set_pre(b, "graft-base", true,
                   &(struct graft_preprocess){.width = 64,
                                              .height = 64,
                                              .resize = GRAFT_RESIZE_SHORTEST,
                                              .resize_to = 64,
                                              .filter = GRAFT_BILINEAR,
                                              .channels = GRAFT_RGB,
                                              .scale = 1.0 / 255.0,
                                              .mean = {0.485, 0.456, 0.406},
                                              .std = {0.229, 0.224, 0.225}});
}

const struct gr_arch gr_arch_graft_base = {"graft-base",
                                           "stem.0.weight, stage1.0.conv1.weight, stage3.*", build};
