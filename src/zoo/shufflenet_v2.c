/* ShuffleNetV2: torchvision's (split in halves, then shuffle) and megvii's (even and odd channels),
   with head or cut down to its stages. */
#include "zoo/builder.h"

struct shufflenet {
    bool megvii;      /* branch_main and branch_proj, split by even and odd channels */
    bool flat;        /* megvii's own list "features.0" .. "features.15" */
    const char *stem; /* "conv1" or "first_conv" */
    const char *last; /* "conv5", "conv_last", or NULL: no convolution after the stages */
    const char *head;
};

/* pointwise, depthwise, pointwise. */
static int main_branch(struct gr_zoo_builder *b, int x, const char *at, int64_t out, int64_t stride)
{
#define P(k) gr_zoo_path(b, "%s.%d", at, k)
    x = gr_zoo_conv_bn(
        b, x, P(0), P(1),
        (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.0.weight", at), .kernel = 1});
    x = gr_zoo_relu(b, x, P(2));
    x = gr_zoo_conv_bn(
        b, x, P(3), P(4),
        (struct gr_zoo_conv){.kernel = 3, .stride = stride, .pad = 1, .groups = GR_ZOO_DEPTHWISE});
    x = gr_zoo_conv_bn(b, x, P(5), P(6), (struct gr_zoo_conv){.out = out, .kernel = 1});
    return gr_zoo_relu(b, x, P(7));
}

/* depthwise, pointwise: halves the map beside the main branch. */
static int down_branch(struct gr_zoo_builder *b, int x, const char *at, int64_t out)
{
    x = gr_zoo_conv_bn(
        b, x, P(0), P(1),
        (struct gr_zoo_conv){.kernel = 3, .stride = 2, .pad = 1, .groups = GR_ZOO_DEPTHWISE});
    x = gr_zoo_conv_bn(b, x, P(2), P(3), (struct gr_zoo_conv){.out = out, .kernel = 1});
    return gr_zoo_relu(b, x, P(4));
}
#undef P

static int block(struct gr_zoo_builder *b, const struct shufflenet *r, int x, const char *at,
                 bool down, const char *value)
{
    const char *main_at = gr_zoo_path(b, "%s.%s", at, r->megvii ? "branch_main" : "branch2");
    const char *down_at = gr_zoo_path(b, "%s.%s", at, r->megvii ? "branch_proj" : "branch1");
    int64_t in = gr_zoo_channels(b, x);
    int part[2];
    if (down) {
        int64_t out = gr_zoo_dim(b, 0, "%s.5.weight", main_at);
        part[0] = down_branch(b, x, down_at, r->megvii ? in : out);
        part[1] = main_branch(b, x, main_at, out, 2);
    } else {
        if (r->megvii) {
            part[0] = gr_zoo_every(b, x, gr_zoo_path(b, "%s.even", at), 0, 2);
            part[1] = gr_zoo_every(b, x, gr_zoo_path(b, "%s.odd", at), 1, 2);
        } else {
            gr_zoo_split(b, x, gr_zoo_path(b, "%s.chunk", at), part);
        }
        part[1] = main_branch(b, part[1], main_at, in / 2, 1);
    }
    if (r->megvii)
        return gr_zoo_concat(b, part[0], part[1], value);
    x = gr_zoo_concat(b, part[0], part[1], gr_zoo_path(b, "%s.cat", at));
    return gr_zoo_shuffle(b, x, value, 2);
}

static void name_it(struct gr_zoo_builder *b, int64_t channels)
{
    static const struct {
        int64_t channels;
        const char *title;
    } known[] = {{48, "ShuffleNetV2 x0.5"},
                 {116, "ShuffleNetV2 x1.0"},
                 {176, "ShuffleNetV2 x1.5"},
                 {244, "ShuffleNetV2 x2.0"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].channels == channels)
            gr_zoo_title(b, "%s", known[i].title);
}

static void build(struct gr_zoo_builder *b)
{
    static const int repeats[3] = {4, 8, 4};
    struct shufflenet r = {.megvii = gr_zoo_has(b, "first_conv.0.weight"),
                           .flat = gr_zoo_has(b, "features.0.branch_main.0.weight")};
    int n = 0;
    r.stem = r.megvii ? "first_conv" : "conv1";
    r.last = gr_zoo_has(b, "conv5.0.weight")       ? "conv5"
             : gr_zoo_has(b, "conv_last.0.weight") ? "conv_last"
                                                   : NULL;
    r.head = gr_zoo_find_head(b, r.megvii ? "classifier" : "fc");
    if (!r.megvii)
        gr_zoo_title(b, "ShuffleNetV2");
    int x = gr_zoo_input(b, 3, 224, 224);
    x = gr_zoo_conv_bn(
        b, x, gr_zoo_path(b, "%s.0", r.stem), gr_zoo_path(b, "%s.1", r.stem),
        (struct gr_zoo_conv){
            .out = gr_zoo_dim(b, 0, "%s.0.weight", r.stem), .kernel = 3, .stride = 2, .pad = 1});
    x = gr_zoo_relu(b, x, gr_zoo_path(b, "%s.2", r.stem));
    x = gr_zoo_max_pool(b, x, "maxpool", (struct gr_zoo_pool){.kernel = 3, .stride = 2, .pad = 1});
    for (int stage = 0; stage < 3; stage++) {
        for (int i = 0; i < repeats[stage]; i++, n++) {
            const char *at = r.flat ? gr_zoo_path(b, "features.%d", n)
                                    : gr_zoo_path(b, "stage%d.%d", stage + 2, i);
            bool is_last = !r.last && !r.head && stage == 2 && i == repeats[stage] - 1;
            x = block(b, &r, x, at, i == 0, is_last ? "features" : at);
        }
        if (stage == 0)
            name_it(b, gr_zoo_channels(b, x));
    }
    if (r.last) {
        x = gr_zoo_conv_bn(
            b, x, gr_zoo_path(b, "%s.0", r.last), gr_zoo_path(b, "%s.1", r.last),
            (struct gr_zoo_conv){.out = gr_zoo_dim(b, 0, "%s.0.weight", r.last), .kernel = 1});
        x = gr_zoo_relu(b, x, r.head ? gr_zoo_path(b, "%s.2", r.last) : "features");
    }
    gr_zoo_head(b, x, "avgpool", r.head);
    gr_zoo_pre_imagenet(b, "torchvision ImageNet", 224);
    if (r.megvii && !b->status) { /* trained on plain pixels as OpenCV decodes them */
        struct graft_preprocess pre = b->model->pre;
        pre.channels = GRAFT_BGR;
        pre.scale = r.flat ? 1.0 : 1.0 / 255.0;
        for (int i = 0; i < 3; i++)
            pre.mean[i] = 0, pre.std[i] = 1;
        gr_zoo_set_pre(b, r.flat ? "megvii ShuffleNet-Series: BGR 0..255" : "FastestDet: BGR 0..1",
                       true, &pre);
    }
}

const struct gr_arch gr_arch_shufflenet_v2 = {
    "ShuffleNetV2", "conv1.0.weight, stage2.0.branch1.0.weight or first_conv.0.weight, branch_main",
    build};
