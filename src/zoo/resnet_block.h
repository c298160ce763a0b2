/* The two residual branches that ResNets of every size share. */
#ifndef GR_ZOO_RESNET_BLOCK_H
#define GR_ZOO_RESNET_BLOCK_H

#include "zoo/builder.h"

struct gr_resnet_block {
    const char *at; /* "layer1.0" */
    bool bottleneck;
    int64_t width, out, stride, groups; /* width and groups of the 3x3 of a bottleneck */
};
/* conv1 .. conv3 with their batch-norms: the branch before it is added to the shortcut. */
int gr_zoo_resnet_branch(struct gr_zoo_builder *b, int x, const struct gr_resnet_block *r);

#endif
