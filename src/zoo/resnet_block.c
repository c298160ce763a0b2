/* What does a residual block compute besides its shortcut? */
#include "zoo/resnet_block.h"

static int conv_bn(struct gr_zoo_builder *b, int x, const char *at, int i, struct gr_zoo_conv c)
{
    return gr_zoo_conv_bn(b, x, gr_zoo_path(b, "%s.conv%d", at, i),
                          gr_zoo_path(b, "%s.bn%d", at, i), c);
}

int gr_zoo_resnet_branch(struct gr_zoo_builder *b, int x, const struct gr_resnet_block *r)
{
    const char *relu = gr_zoo_path(b, "%s.relu", r->at);
    struct gr_zoo_conv wide = {.out = r->out, .kernel = 3, .stride = r->stride, .pad = 1};
    if (!r->bottleneck) {
        x = gr_zoo_relu(b, conv_bn(b, x, r->at, 1, wide), relu);
        wide.stride = 1;
        return conv_bn(b, x, r->at, 2, wide);
    }
    wide.out = r->width;
    wide.groups = r->groups;
    x = conv_bn(b, x, r->at, 1, (struct gr_zoo_conv){.out = r->width, .kernel = 1});
    x = conv_bn(b, gr_zoo_relu(b, x, relu), r->at, 2, wide);
    x = gr_zoo_relu(b, x, relu);
    return conv_bn(b, x, r->at, 3, (struct gr_zoo_conv){.out = r->out, .kernel = 1});
}
