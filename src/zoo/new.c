/* Which tensors has a network of a given name before it has learned anything? */
#include "base/bytes.h"
#include "base/mem.h"
#include "zoo/builder.h"
#include "zoo/zoo.h"
#include <stdio.h>
#include <string.h>

/* A state dict in the making; the first failure stays. */
struct maker {
    struct gr_weights w;
    enum graft_status status;
    struct graft_error *err;
};

static void add(struct maker *m, const char *at, const char *name, int rank, const int64_t *dims)
{
    struct gr_tensor t = {0};
    struct gr_shape shape = gr_shape_from(rank, dims);
    char *full = gr_sprintf("%s%s", at, name);
    if (!m->status)
        m->status = full ? gr_tensor_new(GR_F32, &shape, &t, m->err) : gr_error_nomem(m->err);
    if (!m->status)
        m->status = gr_weights_add(&m->w, full, &t, m->err);
    gr_free(full);
}

static void conv(struct maker *m, const char *at, const char *name, int64_t out, int64_t in,
                 int64_t kernel)
{
    char text[64];
    snprintf(text, sizeof text, "%s.weight", name);
    add(m, at, text, 4, (int64_t[]){out, in, kernel, kernel});
}

static void norm(struct maker *m, const char *at, const char *name, int64_t channels)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    char text[64];
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "%s.%s", name, parts[i]);
        add(m, at, text, 1, &channels);
    }
}

static void conv_norm(struct maker *m, const char *at, const char *c, const char *n, int64_t out,
                      int64_t in, int64_t kernel)
{
    conv(m, at, c, out, in, kernel);
    norm(m, at, n, out);
}

static void linear(struct maker *m, const char *name, int64_t out, int64_t in)
{
    char text[64];
    snprintf(text, sizeof text, "%s.weight", name);
    add(m, "", text, 2, (int64_t[]){out, in});
    snprintf(text, sizeof text, "%s.bias", name);
    add(m, "", text, 1, &out);
}

/* ---- residual networks ----------------------------------------------------------------------- */

/* conv1, conv2 (, conv3) of one residual branch. */
static int64_t branch(struct maker *m, const char *at, int64_t in, int64_t width, int expansion)
{
    if (expansion == 1) {
        conv_norm(m, at, "conv1", "bn1", width, in, 3);
        conv_norm(m, at, "conv2", "bn2", width, width, 3);
    } else {
        conv_norm(m, at, "conv1", "bn1", width, in, 1);
        conv_norm(m, at, "conv2", "bn2", width, width, 3);
        conv_norm(m, at, "conv3", "bn3", width * expansion, width, 1);
    }
    return width * expansion;
}

static int64_t stage(struct maker *m, const char *list, int number, int blocks, int64_t in,
                     int64_t width, int expansion, bool projected)
{
    for (int i = 0; i < blocks; i++) {
        char at[64];
        snprintf(at, sizeof at, "%s%d.%d.", list, number, i);
        int64_t out = branch(m, at, in, width, expansion);
        if (projected && out != in)
            conv_norm(m, at, "downsample.0", "downsample.1", out, in, 1);
        in = out;
    }
    return in;
}

/* He and others 2016, section 4.2: 6n + 2 layers, shortcuts without weights. */
static void make_resnet_cifar(struct maker *m, double depth, int64_t classes)
{
    const int n = ((int)depth - 2) / 6;
    int64_t x = 16;
    conv_norm(m, "", "conv1", "bn1", x, 3, 3);
    for (int l = 0; l < 3; l++)
        x = stage(m, "layer", l + 1, n, x, (int64_t)16 << l, 1, false);
    linear(m, "linear", classes, x);
}

/* The same paper, table 1. */
static void make_resnet(struct maker *m, double depth, int64_t classes)
{
    const int blocks[4] = {depth == 18 ? 2 : 3, depth == 18 ? 2 : 4, depth == 18 ? 2 : 6,
                           depth == 18 ? 2 : 3};
    const int expansion = depth < 50 ? 1 : 4;
    int64_t x = 64;
    conv_norm(m, "", "conv1", "bn1", x, 3, 7);
    for (int l = 0; l < 4; l++)
        x = stage(m, "layer", l + 1, blocks[l], x, (int64_t)64 << l, expansion, true);
    linear(m, "fc", classes, x);
}

static void make_graft_base(struct maker *m, double unused, int64_t classes)
{
    static const int blocks[3] = {1, 3, 3};
    int64_t x = 48;
    (void)unused;
    conv_norm(m, "", "stem.0", "stem.1", 32, 3, 3);
    conv_norm(m, "", "stem.3", "stem.4", x, 32, 3);
    for (int l = 0; l < 3; l++)
        x = stage(m, "stage", l + 1, blocks[l], x, (int64_t)32 << l, 4, true);
    linear(m, "classifier", classes, x);
}

/* ---- depthwise networks ---------------------------------------------------------------------- */

/* Howard and others 2017, table 1. */
static void make_mobilenet_v1(struct maker *m, double width, int64_t classes)
{
    static const int channels[14] = {32,  64,  128, 128, 256, 256,  512,
                                     512, 512, 512, 512, 512, 1024, 1024};
    int64_t x = 3;
    for (int i = 0; i < 14; i++) {
        char at[32];
        int64_t out = gr_zoo_divisible(channels[i] * width);
        snprintf(at, sizeof at, "model.%d.", i);
        if (!i) {
            conv_norm(m, at, "0", "1", out, x, 3);
        } else {
            conv_norm(m, at, "0", "1", x, 1, 3);
            conv_norm(m, at, "3", "4", out, x, 1);
        }
        x = out;
    }
    linear(m, "fc", classes, x);
}

/* Sandler and others 2018, table 2, with torchvision's names. */
static void make_mobilenet_v2(struct maker *m, double width, int64_t classes)
{
    static const struct {
        int expand, channels, repeats;
    } groups[7] = {{1, 16, 1}, {6, 24, 2},  {6, 32, 3}, {6, 64, 4},
                   {6, 96, 3}, {6, 160, 3}, {6, 320, 1}};
    int64_t x = gr_zoo_divisible(32 * width),
            last = gr_zoo_divisible(1280 * (width > 1 ? width : 1));
    int n = 1;
    conv_norm(m, "features.0.", "0", "1", x, 3, 3);
    for (int g = 0; g < 7; g++)
        for (int i = 0; i < groups[g].repeats; i++, n++) {
            char at[32];
            int64_t out = gr_zoo_divisible(groups[g].channels * width),
                    inner = x * groups[g].expand;
            snprintf(at, sizeof at, "features.%d.conv.", n);
            if (inner == x) {
                conv_norm(m, at, "0.0", "0.1", x, 1, 3);
                conv_norm(m, at, "1", "2", out, x, 1);
            } else {
                conv_norm(m, at, "0.0", "0.1", inner, x, 1);
                conv_norm(m, at, "1.0", "1.1", inner, 1, 3);
                conv_norm(m, at, "2", "3", out, inner, 1);
            }
            x = out;
        }
    conv_norm(m, "features.18.", "0", "1", last, x, 1);
    linear(m, "classifier.1", classes, last);
}

/* ---- by name --------------------------------------------------------------------------------- */

static const struct recipe {
    const char *name;
    void (*make)(struct maker *m, double size, int64_t classes);
    double size;
} recipes[] = {
    {"graft-base", make_graft_base, 1},
    {"mobilenet_v1", make_mobilenet_v1, 1},
    {"mobilenet_v1_0.25", make_mobilenet_v1, 0.25},
    {"mobilenet_v1_0.5", make_mobilenet_v1, 0.5},
    {"mobilenet_v2", make_mobilenet_v2, 1},
    {"mobilenet_v2_0.35", make_mobilenet_v2, 0.35},
    {"mobilenet_v2_0.5", make_mobilenet_v2, 0.5},
    {"resnet18", make_resnet, 18},
    {"resnet34", make_resnet, 34},
    {"resnet50", make_resnet, 50},
    {"resnet20", make_resnet_cifar, 20},
    {"resnet32", make_resnet_cifar, 32},
    {"resnet44", make_resnet_cifar, 44},
    {"resnet56", make_resnet_cifar, 56},
    {"resnet110", make_resnet_cifar, 110},
};
enum { N_RECIPES = sizeof recipes / sizeof *recipes };

const char *gr_zoo_name(size_t i)
{
    return i < N_RECIPES ? recipes[i].name : NULL;
}

static enum graft_status unknown(const char *name, struct graft_error *err)
{
    struct gr_buf list;
    gr_buf_init(&list, 0);
    for (size_t i = 0; i < N_RECIPES; i++)
        gr_buf_printf(&list, "%s%s", i ? ", " : "", recipes[i].name);
    char *text = gr_buf_take(&list);
    enum graft_status s =
        text ? gr_error(err, GRAFT_E_ARG, "architecture '%s': there are %s", name, text)
             : gr_error_nomem(err);
    gr_free(text);
    return s;
}

enum graft_status gr_zoo_new(const char *name, int64_t classes, struct gr_model *model,
                             struct graft_error *err)
{
    struct maker m = {.err = err};
    size_t i = 0;
    while (i < N_RECIPES && strcmp(recipes[i].name, name) != 0)
        i++;
    if (i == N_RECIPES)
        return unknown(name, err);
    if (classes < 1 || classes > 1 << 20)
        return gr_error(err, GRAFT_E_ARG, "%s with %lld classes", name, (long long)classes);
    recipes[i].make(&m, recipes[i].size, classes);
    enum graft_status s = m.status ? m.status : gr_zoo_build(&m.w, model, err);
    gr_weights_clear(&m.w);
    return s;
}
