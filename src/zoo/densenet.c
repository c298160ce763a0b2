/* DenseNet-121, 161, 169, 201: torchvision's names, and those of its files ("norm.1", "conv.1"). */
#include "zoo/builder.h"

static int layer(struct gr_zoo_builder *b, int x, const char *at, const char *dot)
{
#define P(what, i) gr_zoo_path(b, "%s." what "%s%d", at, dot, i)
    int64_t wide = gr_zoo_dim(b, 0, "%s.weight", P("conv", 1));
    int64_t out = gr_zoo_dim(b, 0, "%s.weight", P("conv", 2));
    int y = gr_zoo_relu(b, gr_zoo_bn(b, x, P("norm", 1)), P("relu", 1));
    y = gr_zoo_conv(b, y, P("conv", 1), (struct gr_zoo_conv){.out = wide, .kernel = 1});
    y = gr_zoo_relu(b, gr_zoo_bn(b, y, P("norm", 2)), P("relu", 2));
    y = gr_zoo_conv(b, y, P("conv", 2), (struct gr_zoo_conv){.out = out, .kernel = 3, .pad = 1});
#undef P
    return gr_zoo_concat(b, x, y, at);
}

static void build(struct gr_zoo_builder *b)
{
    int n[4], depth = 5; /* the first and last layer and three transitions */
    bool old = gr_zoo_has(b, "features.denseblock1.denselayer1.norm.1.weight");
    const char *dot = old ? "." : "";
    const char *head = gr_zoo_find_head(b, "classifier");
    for (int s = 0; s < 4; s++) {
        n[s] = 0;
        while (gr_zoo_has(b, "features.denseblock%d.denselayer%d.conv%s1.weight", s + 1, n[s] + 1,
                          dot))
            n[s]++;
        depth += 2 * n[s];
    }
    gr_zoo_title(b, "DenseNet-%d", depth);
    int x = gr_zoo_input(b, 3, 224, 224);
    x = gr_zoo_conv_bn(
        b, x, "features.conv0", "features.norm0",
        (struct gr_zoo_conv){
            .out = gr_zoo_dim(b, 0, "features.conv0.weight"), .kernel = 7, .stride = 2, .pad = 3});
    x = gr_zoo_relu(b, x, "features.relu0");
    x = gr_zoo_max_pool(b, x, "features.pool0",
                        (struct gr_zoo_pool){.kernel = 3, .stride = 2, .pad = 1});
    for (int s = 0; s < 4; s++) {
        for (int i = 0; i < n[s]; i++)
            x = layer(b, x, gr_zoo_path(b, "features.denseblock%d.denselayer%d", s + 1, i + 1),
                      dot);
        if (s == 3)
            break;
        const char *at = gr_zoo_path(b, "features.transition%d", s + 1);
        x = gr_zoo_relu(b, gr_zoo_bn(b, x, gr_zoo_path(b, "%s.norm", at)),
                        gr_zoo_path(b, "%s.relu", at));
        x = gr_zoo_conv(
            b, x, gr_zoo_path(b, "%s.conv", at),
            (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.conv.weight", at), .kernel = 1});
        x = gr_zoo_avg_pool(b, x, gr_zoo_path(b, "%s.pool", at),
                            (struct gr_zoo_pool){.kernel = 2, .stride = 2});
    }
    x = gr_zoo_relu(b, gr_zoo_bn(b, x, "features.norm5"), head ? "relu" : "features");
    gr_zoo_head(b, x, "avgpool", head);
    gr_zoo_pre_imagenet(b, "torchvision ImageNet", 224);
}

const struct gr_arch gr_arch_densenet = {
    "DenseNet", "features.conv0.weight, features.denseblock1.denselayer1.conv1.weight", build};
