/* How is a network written down, layer by layer, against the tensors of a file? */
#include "zoo/builder.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

/* ---- looking at the file ----------------------------------------------------------------------
 */

const char *gr_zoo_path(struct gr_zoo_builder *b, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char *copy = b->g ? gr_arena_strdup(&b->g->arena, text) : NULL;
    if (!b->status && !copy)
        b->status = gr_error_nomem(&b->err);
    return copy ? copy : "";
}

/* Index of prefix + name + suffix, or -1. */
static int64_t find_tensor(const struct gr_zoo_builder *b, const char *name, const char *suffix)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%s%s%s", b->prefix, name, suffix);
    return n < (int)sizeof text ? gr_names_find(b->index, text) : -1;
}

bool gr_zoo_has(const struct gr_zoo_builder *b, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return find_tensor(b, text, "") >= 0;
}

int64_t gr_zoo_dim(const struct gr_zoo_builder *b, int axis, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int64_t i = find_tensor(b, text, "");
    return i >= 0 && axis < b->w->items[i].tensor.shape.rank ? b->w->items[i].tensor.shape.dim[axis]
                                                             : 0;
}

int gr_zoo_count(const struct gr_zoo_builder *b, const char *head, const char *tail)
{
    int n = 0;
    while (gr_zoo_has(b, "%s%d%s", head, n, tail))
        n++;
    return n;
}

int64_t gr_zoo_channels(const struct gr_zoo_builder *b, int x)
{
    return x >= 0 && (size_t)x < b->cap_channels ? b->channels[x] : 0;
}

void gr_zoo_fail(struct gr_zoo_builder *b, const char *fmt, ...)
{
    char text[512];
    if (b->status)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    b->status = gr_error(&b->err, GRAFT_E_UNSUPPORTED, "%s", text);
}

static void set_text(struct gr_zoo_builder *b, char **field, const char *text)
{
    char *copy = b->status ? NULL : gr_strdup(text);
    if (copy) {
        gr_free(*field);
        *field = copy;
    } else if (!b->status) {
        b->status = gr_error_nomem(&b->err);
    }
}

void gr_zoo_title(struct gr_zoo_builder *b, const char *fmt, ...)
{
    char text[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    set_text(b, &b->model->arch, text);
}

int64_t gr_zoo_divisible(double v)
{
    int64_t n = (int64_t)(v + 4) / 8 * 8;
    n = n < 8 ? 8 : n;
    return (double)n < 0.9 * v ? n + 8 : n;
}

void gr_zoo_title_width(struct gr_zoo_builder *b, const char *family, double width)
{
    bool whole = width * 10 == (double)(int64_t)(width * 10);
    gr_zoo_title(b, whole ? "%s %.1f" : "%s %.4g", family, width);
}

/* ---- values, constants, nodes -----------------------------------------------------------------
 */

/* A new value called `name`, or name_1, ...; its final name goes to *final unless that is NULL. */
static int new_value(struct gr_zoo_builder *b, const char *name, int64_t channels,
                     const char **final)
{
    int id = -1;
    if (b->status)
        return -1;
    const char *free_name = gr_graph_free_name(b->g, name);
    if (!free_name)
        b->status = gr_error_nomem(&b->err);
    else
        b->status = gr_graph_value(b->g, free_name, &id, &b->err);
    if (b->status)
        return -1;
    if ((size_t)id >= b->cap_channels) {
        size_t cap = 2 * ((size_t)id + 64);
        int64_t *more = gr_realloc_array(b->channels, cap, sizeof *more);
        if (!more) {
            b->status = gr_error_nomem(&b->err);
            return -1;
        }
        memset(more + b->cap_channels, 0, (cap - b->cap_channels) * sizeof *more);
        b->channels = more;
        b->cap_channels = cap;
    }
    b->channels[id] = channels;
    if (final)
        *final = free_name;
    return id;
}

/* "layer1.0.relu_1", "Relu" -> "/layer1/0/relu_1/Relu" */
static void node_name(const char *value, const char *op, char *text, size_t size)
{
    snprintf(text, size, "/%s/%s", value, op);
    for (char *p = text; *p; p++)
        if (*p == '.')
            *p = '/';
}

/* A node for the last path of `path` whose outputs exist already. */
static int add_node(struct gr_zoo_builder *b, const char *op, const char *path, int n_in,
                    const int *in, int n_out, const int *out)
{
    char text[320];
    int id = -1;
    node_name(path, op, text, sizeof text);
    if (!b->status)
        b->status = gr_graph_add_node(b->g, op, "", text, n_in, in, n_out, out, &id, &b->err);
    return b->status ? -1 : id;
}

/* The common case: one output, called like the module. */
static int add_layer(struct gr_zoo_builder *b, const char *op, const char *name, int n_in,
                     const int *in, int64_t channels, int *node)
{
    const char *path = name;
    int y = new_value(b, name, channels, &path);
    *node = add_node(b, op, path, n_in, in, 1, &y);
    return b->status ? -1 : y;
}

static void set_int(struct gr_zoo_builder *b, int node, const char *name, int64_t v)
{
    if (!b->status)
        b->status = gr_node_set_int(b->g, node, name, v, &b->err);
}

static void set_float(struct gr_zoo_builder *b, int node, const char *name, float v)
{
    if (!b->status)
        b->status = gr_node_set_float(b->g, node, name, v, &b->err);
}

static void set_ints(struct gr_zoo_builder *b, int node, const char *name, size_t n,
                     const int64_t *v)
{
    if (!b->status)
        b->status = gr_node_set_ints(b->g, node, name, n, v, &b->err);
}

static void set_window(struct gr_zoo_builder *b, int node, int64_t kernel, int64_t stride,
                       int64_t pad)
{
    set_ints(b, node, "kernel_shape", 2, (int64_t[]){kernel, kernel});
    set_ints(b, node, "strides", 2, (int64_t[]){stride, stride});
    set_ints(b, node, "pads", 4, (int64_t[]){pad, pad, pad, pad});
}

static int constant(struct gr_zoo_builder *b, const char *name, const struct gr_tensor *t)
{
    int id = new_value(b, name, 0, NULL);
    if (!b->status)
        b->status = gr_graph_set_const(b->g, id, t, &b->err);
    return b->status ? -1 : id;
}

/* An int64 list as an initializer "<name>.<what>". */
static int const_ints(struct gr_zoo_builder *b, const char *name, const char *what, int n,
                      const int64_t *v)
{
    struct gr_tensor t = {0};
    struct gr_shape shape = gr_shape_of(1, n);
    int id = -1;
    if (!b->status)
        b->status = gr_tensor_from(GR_I64, &shape, v, &t, &b->err);
    if (!b->status)
        id = constant(b, gr_zoo_path(b, "%s.%s", name, what), &t);
    gr_tensor_clear(&t);
    return id;
}

static int const_float(struct gr_zoo_builder *b, const char *name, float v)
{
    struct gr_tensor t = {0};
    struct gr_shape shape = {0};
    int id = -1;
    if (!b->status)
        b->status = gr_tensor_from(GR_F32, &shape, &v, &t, &b->err);
    if (!b->status)
        id = constant(b, name, &t);
    gr_tensor_clear(&t);
    return id;
}

/* The file's tensor "<name><suffix>" as an initializer under its own name. */
static int weight(struct gr_zoo_builder *b, const char *name, const char *suffix, int rank,
                  const int64_t *dim)
{
    struct gr_shape want = gr_shape_from(rank, dim);
    char found_text[GR_SHAPE_TEXT], want_text[GR_SHAPE_TEXT];
    struct gr_tensor t = {0};
    int id = -1;
    int64_t i = find_tensor(b, name, suffix);
    if (i >= 0 && !b->used[i]) {
        b->used[i] = true;
        b->n_names++;
        b->n_fit += !b->status;
    }
    if (b->status)
        return -1;
    gr_shape_print(&want, want_text);
    if (i < 0) {
        gr_zoo_fail(b, "'%s%s%s' is missing, expected shape %s", b->prefix, name, suffix,
                    want_text);
        return -1;
    }
    const struct gr_weight *item = &b->w->items[i];
    if (!gr_shape_equal(&item->tensor.shape, &want)) {
        gr_zoo_fail(b, "'%s' has shape %s, expected %s", item->name,
                    gr_shape_print(&item->tensor.shape, found_text), want_text);
        return -1;
    }
    enum gr_dtype dtype = item->tensor.dtype;
    if (dtype != GR_F32 && dtype != GR_F16 && dtype != GR_BF16 && dtype != GR_F64) {
        gr_zoo_fail(b, "'%s' holds %s, expected floating point numbers", item->name,
                    gr_dtype_name(dtype));
        return -1;
    }
    id = gr_graph_find_value(b->g, item->name); /* used before, or the name of a layer */
    if (id >= 0 && gr_value_is_const(&b->g->values[id]))
        return id;
    if (dtype == GR_F32)
        t = gr_tensor_ref(&item->tensor);
    else
        b->status = gr_tensor_convert(&item->tensor, GR_F32, &t, &b->err);
    if (!b->status)
        id = constant(b, item->name, &t);
    gr_tensor_clear(&t);
    return id;
}

/* ---- verbs ------------------------------------------------------------------------------------
 */

int gr_zoo_input(struct gr_zoo_builder *b, int64_t channels, int64_t height, int64_t width)
{
    struct gr_type type = {GR_F32, gr_shape_from(4, (int64_t[]){-1, channels, height, width})};
    int x = new_value(b, "input", channels, NULL);
    if (!b->status)
        b->status = gr_graph_add_input(b->g, x, &type, &b->err);
    return x;
}

int gr_zoo_conv(struct gr_zoo_builder *b, int x, const char *name, struct gr_zoo_conv c)
{
    int64_t in = gr_zoo_channels(b, x), groups = c.groups ? c.groups : 1;
    if (groups == GR_ZOO_DEPTHWISE)
        groups = in;
    int64_t out = c.out ? c.out : in;
    if (in < 1 || out < 1 || groups < 1 || in % groups || out % groups || c.kernel < 1) {
        gr_zoo_fail(b, "'%s%s' has %lld channels in, %lld out, %lld groups and kernel %lld",
                    b->prefix, name, (long long)in, (long long)out, (long long)groups,
                    (long long)c.kernel);
        in = groups = 1;
    }
    int inputs[3] = {x}, n = 2, node;
    inputs[1] = weight(b, name, ".weight", 4, (int64_t[]){out, in / groups, c.kernel, c.kernel});
    if (find_tensor(b, name, ".bias") >= 0)
        inputs[n++] = weight(b, name, ".bias", 1, &out);
    int y = add_layer(b, "Conv", name, n, inputs, out, &node);
    set_window(b, node, c.kernel, c.stride ? c.stride : 1, c.pad);
    set_ints(b, node, "dilations", 2, (int64_t[]){1, 1});
    set_int(b, node, "group", groups);
    return y;
}

int gr_zoo_bn(struct gr_zoo_builder *b, int x, const char *name)
{
    static const char *const parts[] = {".weight", ".bias", ".running_mean", ".running_var"};
    int64_t channels = gr_zoo_channels(b, x);
    int inputs[5] = {x}, node;
    for (int i = 0; i < 4; i++)
        inputs[i + 1] = weight(b, name, parts[i], 1, &channels);
    int y = add_layer(b, "BatchNormalization", name, 5, inputs, channels, &node);
    set_float(b, node, "epsilon", b->eps);
    return y;
}

int gr_zoo_conv_bn(struct gr_zoo_builder *b, int x, const char *conv, const char *bn,
                   struct gr_zoo_conv c)
{
    return gr_zoo_bn(b, gr_zoo_conv(b, x, conv, c), bn);
}

int gr_zoo_relu(struct gr_zoo_builder *b, int x, const char *name)
{
    int node;
    return add_layer(b, "Relu", name, 1, &x, gr_zoo_channels(b, x), &node);
}

int gr_zoo_relu6(struct gr_zoo_builder *b, int x, const char *name)
{
    int node;
    if (b->clip_min < 0) {
        b->clip_min = const_float(b, "relu6.min", 0.0f);
        b->clip_max = const_float(b, "relu6.max", 6.0f);
    }
    int inputs[3] = {x, b->clip_min, b->clip_max};
    return add_layer(b, "Clip", name, 3, inputs, gr_zoo_channels(b, x), &node);
}

int gr_zoo_leaky(struct gr_zoo_builder *b, int x, const char *name, float slope)
{
    int node, y = add_layer(b, "LeakyRelu", name, 1, &x, gr_zoo_channels(b, x), &node);
    set_float(b, node, "alpha", slope);
    return y;
}

int gr_zoo_hard_swish(struct gr_zoo_builder *b, int x, const char *name)
{
    int node;
    return add_layer(b, "HardSwish", name, 1, &x, gr_zoo_channels(b, x), &node);
}

/* x * y, y with one number per channel or of the same shape. */
static int multiply(struct gr_zoo_builder *b, int x, int y, const char *name)
{
    int node, inputs[2] = {x, y};
    return add_layer(b, "Mul", name, 2, inputs, gr_zoo_channels(b, x), &node);
}

static int sigmoid(struct gr_zoo_builder *b, int x, const char *name, bool hard)
{
    int node, y = add_layer(b, hard ? "HardSigmoid" : "Sigmoid", name, 1, &x, gr_zoo_channels(b, x),
                            &node);
    if (hard) {
        set_float(b, node, "alpha", 1.0f / 6.0f);
        set_float(b, node, "beta", 0.5f);
    }
    return y;
}

int gr_zoo_silu(struct gr_zoo_builder *b, int x, const char *name)
{
    return multiply(b, x, sigmoid(b, x, gr_zoo_path(b, "%s.sigmoid", name), false), name);
}

int gr_zoo_squeeze_excite(struct gr_zoo_builder *b, int x, const char *name, gr_zoo_act *act,
                          bool hard)
{
    struct gr_zoo_conv fc1 = {.out = gr_zoo_dim(b, 0, "%s.fc1.weight", name), .kernel = 1};
    struct gr_zoo_conv fc2 = {.out = gr_zoo_channels(b, x), .kernel = 1};
    int y = gr_zoo_global_pool(b, x, gr_zoo_path(b, "%s.avgpool", name));
    y = gr_zoo_conv(b, y, gr_zoo_path(b, "%s.fc1", name), fc1);
    y = act(b, y, gr_zoo_path(b, "%s.activation", name));
    y = gr_zoo_conv(b, y, gr_zoo_path(b, "%s.fc2", name), fc2);
    y = sigmoid(b, y, gr_zoo_path(b, "%s.scale", name), hard);
    return multiply(b, x, y, name);
}

int gr_zoo_max_pool(struct gr_zoo_builder *b, int x, const char *name, struct gr_zoo_pool p)
{
    int node, y = add_layer(b, "MaxPool", name, 1, &x, gr_zoo_channels(b, x), &node);
    set_window(b, node, p.kernel, p.stride, p.pad);
    set_int(b, node, "ceil_mode", p.ceil);
    return y;
}

int gr_zoo_avg_pool(struct gr_zoo_builder *b, int x, const char *name, struct gr_zoo_pool p)
{
    int node, y = add_layer(b, "AveragePool", name, 1, &x, gr_zoo_channels(b, x), &node);
    set_window(b, node, p.kernel, p.stride, p.pad);
    set_int(b, node, "ceil_mode", p.ceil);
    set_int(b, node, "count_include_pad", 0);
    return y;
}

int gr_zoo_global_pool(struct gr_zoo_builder *b, int x, const char *name)
{
    int node;
    return add_layer(b, "GlobalAveragePool", name, 1, &x, gr_zoo_channels(b, x), &node);
}

int gr_zoo_flatten(struct gr_zoo_builder *b, int x, const char *name, int64_t positions)
{
    int node, y = add_layer(b, "Flatten", name, 1, &x, gr_zoo_channels(b, x) * positions, &node);
    set_int(b, node, "axis", 1);
    return y;
}

int gr_zoo_linear(struct gr_zoo_builder *b, int x, const char *name, const char *value, int64_t out)
{
    if (!out)
        out = gr_zoo_dim(b, 0, "%s.weight", name);
    if (!b->status && out < 1)
        gr_zoo_fail(b, "'%s%s.weight' has no rows", b->prefix, name);
    int inputs[3] = {x}, n = 2, node;
    inputs[1] = weight(b, name, ".weight", 2, (int64_t[]){out, gr_zoo_channels(b, x)});
    if (find_tensor(b, name, ".bias") >= 0)
        inputs[n++] = weight(b, name, ".bias", 1, &out);
    int y = new_value(b, value ? value : name, out, NULL);
    node = add_node(b, "Gemm", name, n, inputs, 1, &y);
    set_int(b, node, "transB", 1);
    return y;
}

int gr_zoo_add(struct gr_zoo_builder *b, int x, int y, const char *name)
{
    int node, inputs[2] = {x, y};
    int64_t cx = gr_zoo_channels(b, x), cy = gr_zoo_channels(b, y);
    if (!b->status && cx != cy)
        gr_zoo_fail(b, "'%s' adds %lld and %lld channels", name, (long long)cx, (long long)cy);
    return add_layer(b, "Add", name, 2, inputs, cx, &node);
}

int gr_zoo_concat(struct gr_zoo_builder *b, int x, int y, const char *name)
{
    int node, inputs[2] = {x, y};
    int z = add_layer(b, "Concat", name, 2, inputs, gr_zoo_channels(b, x) + gr_zoo_channels(b, y),
                      &node);
    set_int(b, node, "axis", 1);
    return z;
}

void gr_zoo_split(struct gr_zoo_builder *b, int x, const char *name, int out[2])
{
    int64_t channels = gr_zoo_channels(b, x);
    if (!b->status && channels % 2)
        gr_zoo_fail(b, "'%s' splits %lld channels in two", name, (long long)channels);
    int inputs[2] = {x, const_ints(b, name, "sizes", 2, (int64_t[]){channels / 2, channels / 2})};
    const char *path = name;
    out[0] = new_value(b, name, channels / 2, &path);
    out[1] = new_value(b, name, channels / 2, NULL);
    int node = add_node(b, "Split", path, 2, inputs, 2, out);
    set_int(b, node, "axis", 1);
}

/* Slice from `start` to the end with one step for each of n axes beginning at `axis`. */
static int slice(struct gr_zoo_builder *b, int x, const char *name, int n, int64_t axis,
                 int64_t start, int64_t step, int64_t channels)
{
    int64_t starts[2] = {start, start}, ends[2] = {INT64_MAX, INT64_MAX};
    int64_t axes[2] = {axis, axis + 1}, steps[2] = {step, step};
    int inputs[5] = {x}, node;
    inputs[1] = const_ints(b, name, "starts", n, starts);
    inputs[2] = const_ints(b, name, "ends", n, ends);
    inputs[3] = const_ints(b, name, "axes", n, axes);
    inputs[4] = const_ints(b, name, "steps", n, steps);
    return add_layer(b, "Slice", name, 5, inputs, channels, &node);
}

int gr_zoo_every(struct gr_zoo_builder *b, int x, const char *name, int64_t start, int64_t step)
{
    int64_t channels = gr_zoo_channels(b, x);
    if (!b->status && channels <= start)
        gr_zoo_fail(b, "'%s' has only %lld channels", name, (long long)channels);
    return slice(b, x, name, 1, 1, start, step, (channels - start + step - 1) / step);
}

/* (N,g*c,H,W) -> (N,g,c,H*W) -> (N,c,g,H*W) -> the shape before: good for every picture size. */
int gr_zoo_shuffle(struct gr_zoo_builder *b, int x, const char *name, int64_t groups)
{
    int64_t channels = gr_zoo_channels(b, x);
    int inputs[2] = {x}, node;
    if (!b->status && channels % groups)
        gr_zoo_fail(b, "'%s' shuffles %lld channels in %lld groups", name, (long long)channels,
                    (long long)groups);
    int shape = add_layer(b, "Shape", gr_zoo_path(b, "%s.shape", name), 1, &x, 0, &node);
    inputs[1] = const_ints(b, name, "groups", 4, (int64_t[]){0, groups, channels / groups, -1});
    int y = add_layer(b, "Reshape", gr_zoo_path(b, "%s.grouped", name), 2, inputs, groups, &node);
    y = add_layer(b, "Transpose", gr_zoo_path(b, "%s.swapped", name), 1, &y, channels, &node);
    set_ints(b, node, "perm", 4, (int64_t[]){0, 2, 1, 3});
    inputs[0] = y;
    inputs[1] = shape;
    return add_layer(b, "Reshape", name, 2, inputs, channels, &node);
}

int gr_zoo_pad_shortcut(struct gr_zoo_builder *b, int x, const char *name, int64_t stride,
                        int64_t pad)
{
    int64_t channels = gr_zoo_channels(b, x);
    int inputs[2] = {x}, node;
    if (stride > 1)
        inputs[0] = slice(b, x, gr_zoo_path(b, "%s.slice", name), 2, 2, 0, stride, channels);
    inputs[1] = const_ints(b, name, "pads", 8, (int64_t[]){0, pad, 0, 0, 0, pad, 0, 0});
    return add_layer(b, "Pad", name, 2, inputs, channels + 2 * pad, &node);
}

/* ---- the end of a network ---------------------------------------------------------------------
 */

const char *gr_zoo_find_head(struct gr_zoo_builder *b, const char *name)
{
    int found = -1, n = 0;
    if (gr_zoo_has(b, "%s.weight", name))
        return name;
    for (int i = 0; i < 8; i++)
        if (gr_zoo_dim(b, 1, "%s.%d.weight", name, i) && ++n)
            found = i;
    return n == 1 ? gr_zoo_path(b, "%s.%d", name, found) : NULL;
}

void gr_zoo_output(struct gr_zoo_builder *b, int x, bool is_map)
{
    struct gr_type type = {
        GR_F32, gr_shape_from(is_map ? 4 : 2, (int64_t[]){-1, gr_zoo_channels(b, x), -1, -1})};
    if (!b->status)
        b->status = gr_graph_add_output(b->g, x, &type, &b->err);
}

void gr_zoo_head(struct gr_zoo_builder *b, int x, const char *pool, const char *head)
{
    if (!head) {
        gr_zoo_output(b, x, true);
        return;
    }
    x = gr_zoo_flatten(b, gr_zoo_global_pool(b, x, pool), "flatten", 1);
    gr_zoo_output(b, gr_zoo_linear(b, x, head, "logits", 0), false);
}

int64_t gr_zoo_classes(const struct gr_zoo_builder *b)
{
    if (b->status || !b->g->n_outputs)
        return 0;
    const struct gr_value *v = &b->g->values[b->g->outputs[0]];
    return v->type.shape.rank == 2 ? v->type.shape.dim[1] : 0;
}

/* ---- what belongs to the network --------------------------------------------------------------
 */

void gr_zoo_set_pretrain(struct gr_zoo_builder *b, const char *name)
{
    set_text(b, &b->model->pretrain, name);
}

void gr_zoo_set_pre(struct gr_zoo_builder *b, const char *source, bool known,
                    const struct graft_preprocess *pre)
{
    b->model->pre = *pre;
    b->model->has_pre = known;
    set_text(b, &b->model->pre_source, source);
}

void gr_zoo_pre_imagenet(struct gr_zoo_builder *b, const char *source, int size)
{
    const struct graft_preprocess pre = {.width = size,
                                         .height = size,
                                         .resize = GRAFT_RESIZE_SHORTEST,
                                         .resize_to = size * 8 / 7,
                                         .filter = GRAFT_BILINEAR,
                                         .channels = GRAFT_RGB,
                                         .scale = 1.0 / 255.0,
                                         .mean = {0.485, 0.456, 0.406},
                                         .std = {0.229, 0.224, 0.225}};
    gr_zoo_set_pre(b, source, true, &pre);
    if (gr_zoo_classes(b) == 1000)
        gr_zoo_set_pretrain(b, "ImageNet-1k");
    if (gr_zoo_classes(b) == 21841 || gr_zoo_classes(b) == 21843)
        gr_zoo_set_pretrain(b, "ImageNet-21k");
}
