/* RegNetX and RegNetY (with squeeze and excite): torchvision's names. */
#include "zoo/builder.h"

/* 1x1, grouped 3x3, maybe squeeze and excite, 1x1, beside a 1x1 shortcut where the map halves. */
static int block(struct gr_zoo_builder *b, int x, const char *at, int64_t stride)
{
#define P(name) gr_zoo_path(b, "%s." name, at)
    int64_t out = gr_zoo_dim(b, 0, "%s.f.a.0.weight", at);
    int64_t per_group = gr_zoo_dim(b, 1, "%s.f.b.0.weight", at);
    struct gr_zoo_conv one = {.out = out, .kernel = 1};
    struct gr_zoo_conv three = {.out = out, .kernel = 3, .stride = stride, .pad = 1};
    three.groups = per_group > 0 ? out / per_group : 0;
    int y = gr_zoo_relu(b, gr_zoo_conv_bn(b, x, P("f.a.0"), P("f.a.1"), one), P("f.a.2"));
    y = gr_zoo_relu(b, gr_zoo_conv_bn(b, y, P("f.b.0"), P("f.b.1"), three), P("f.b.2"));
    if (gr_zoo_has(b, "%s.f.se.fc1.weight", at))
        y = gr_zoo_squeeze_excite(b, y, P("f.se"), gr_zoo_relu, false);
    y = gr_zoo_conv_bn(b, y, P("f.c.0"), P("f.c.1"), one);
    if (gr_zoo_has(b, "%s.proj.0.weight", at)) {
        one.stride = stride;
        x = gr_zoo_conv_bn(b, x, P("proj.0"), P("proj.1"), one);
    }
    return gr_zoo_add(b, y, x, P("add"));
#undef P
}

static void build(struct gr_zoo_builder *b)
{
    const char *head = gr_zoo_find_head(b, "fc");
    bool se = gr_zoo_has(b, "trunk_output.block1.block1-0.f.se.fc1.weight");
    int n[4], total = 0;
    for (int s = 0; s < 4; s++) {
        n[s] = gr_zoo_count(b, gr_zoo_path(b, "trunk_output.block%d.block%d-", s + 1, s + 1),
                            ".f.a.0.weight");
        total += n[s];
    }
    gr_zoo_title(b, "RegNet%s of %d blocks", se ? "Y" : "X", total);
    int x = gr_zoo_input(b, 3, 224, 224);
    x = gr_zoo_conv_bn(
        b, x, "stem.0", "stem.1",
        (struct gr_zoo_conv){
            .out = gr_zoo_dim(b, 0, "stem.0.weight"), .kernel = 3, .stride = 2, .pad = 1});
    x = gr_zoo_relu(b, x, "stem.2");
    for (int s = 0; s < 4; s++)
        for (int i = 0; i < n[s]; i++) {
            const char *at = gr_zoo_path(b, "trunk_output.block%d.block%d-%d", s + 1, s + 1, i);
            x = block(b, x, at, i ? 1 : 2);
            x = gr_zoo_relu(b, x,
                            s == 3 && i == n[s] - 1 && !head ? "features"
                                                             : gr_zoo_path(b, "%s.activation", at));
        }
    gr_zoo_head(b, x, "avgpool", head);
    gr_zoo_pre_imagenet(b, "torchvision ImageNet", 224);
}

const struct gr_arch gr_arch_regnet = {
    "RegNet", "stem.0.weight, trunk_output.block1.block1-0.f.a.0.weight, fc.weight", build};
