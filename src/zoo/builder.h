/* The verbs in which an architecture is written down. The first failure stays; every later verb
   then only counts the tensors that the file has under the wanted names, and gives -1: a family
   reads like the network that it describes, and the nearest miss can be told. */
#ifndef GR_ZOO_BUILDER_H
#define GR_ZOO_BUILDER_H

#include "core/model.h"

struct gr_zoo_builder {
    const struct gr_weights *w;
    const struct gr_names *index; /* full tensor name -> index in w */
    const char *prefix;           /* before every name in the file: "", "module.", ... */
    bool *used;                   /* per tensor */
    size_t n_names, n_fit;        /* used: by name in all, by name and shape before a failure */
    struct gr_model *model;
    struct gr_graph *g;
    int64_t *channels; /* per value: size of dimension 1 */
    size_t cap_channels;
    int clip_min, clip_max; /* shared constants of relu6, -1 until wanted */
    float eps;              /* of batch-norms */
    enum graft_status status;
    struct graft_error err;
};

/* One family of networks; the table is in arch_table.c. */
struct gr_arch {
    const char *title;     /* "ResNet" */
    const char *signature; /* tensors that tell it from the others, for error messages */
    void (*build)(struct gr_zoo_builder *b);
};
extern const struct gr_arch *const gr_zoo_archs[]; /* NULL-terminated */

extern const struct gr_arch gr_arch_densenet, gr_arch_efficientnet, gr_arch_graft_base,
    gr_arch_mobilenet_v1, gr_arch_mobilenet_v2, gr_arch_mobilenet_v3, gr_arch_regnet,
    gr_arch_resnet, gr_arch_resnet_cifar, gr_arch_shufflenet_v2, gr_arch_squeezenet, gr_arch_vgg;

/* ---- looking at the file ----------------------------------------------------------------------
 */

/* A formatted module path, "layer1.0.conv1", that lives as long as the graph; "" without memory. */
const char *gr_zoo_path(struct gr_zoo_builder *b, const char *fmt, ...) GR_PRINTF(2, 3);
/* Is there a tensor of this formatted name (without the prefix)? */
bool gr_zoo_has(const struct gr_zoo_builder *b, const char *fmt, ...) GR_PRINTF(2, 3);
/* Dimension `axis` of the tensor of that name; 0 when there is no such tensor or dimension. */
int64_t gr_zoo_dim(const struct gr_zoo_builder *b, int axis, const char *fmt, ...) GR_PRINTF(3, 4);
/* How many of head0tail, head1tail, ... there are before the first gap. */
int gr_zoo_count(const struct gr_zoo_builder *b, const char *head, const char *tail);
int64_t gr_zoo_channels(const struct gr_zoo_builder *b, int x);
/* Ends the attempt with GRAFT_E_UNSUPPORTED unless it has failed already. */
void gr_zoo_fail(struct gr_zoo_builder *b, const char *fmt, ...) GR_PRINTF(2, 3);
/* The network's name, "ResNet-18"; set it early, error messages use it. */
void gr_zoo_title(struct gr_zoo_builder *b, const char *fmt, ...) GR_PRINTF(2, 3);
/* c * width to the nearest multiple of 8, never more than a tenth below: everyone's rule. */
int64_t gr_zoo_divisible(double v);
/* "MobileNetV2 1.0", "MobileNetV2 0.35". */
void gr_zoo_title_width(struct gr_zoo_builder *b, const char *family, double width);

/* ---- verbs: each takes value ids and the module's path and gives the id of its output -----------
 */

int gr_zoo_input(struct gr_zoo_builder *b, int64_t channels, int64_t height, int64_t width);

struct gr_zoo_conv {
    int64_t out;    /* channels; 0: depthwise, as many as there are */
    int64_t kernel; /* square */
    int64_t stride; /* 0: 1 */
    int64_t pad;
    int64_t groups; /* 0: 1; GR_ZOO_DEPTHWISE: one per channel */
};
enum { GR_ZOO_DEPTHWISE = -1 };
/* "<name>.weight" must be (out, in/groups, kernel, kernel); "<name>.bias" is used if present. */
int gr_zoo_conv(struct gr_zoo_builder *b, int x, const char *name, struct gr_zoo_conv c);
int gr_zoo_bn(struct gr_zoo_builder *b, int x, const char *name);
/* Convolution and batch-norm. */
int gr_zoo_conv_bn(struct gr_zoo_builder *b, int x, const char *conv, const char *bn,
                   struct gr_zoo_conv c);
int gr_zoo_relu(struct gr_zoo_builder *b, int x, const char *name);
int gr_zoo_relu6(struct gr_zoo_builder *b, int x, const char *name);
int gr_zoo_leaky(struct gr_zoo_builder *b, int x, const char *name, float slope);
int gr_zoo_hard_swish(struct gr_zoo_builder *b, int x, const char *name);
/* x * sigmoid(x) */
int gr_zoo_silu(struct gr_zoo_builder *b, int x, const char *name);

struct gr_zoo_pool {
    int64_t kernel, stride, pad;
    bool ceil;
};
int gr_zoo_max_pool(struct gr_zoo_builder *b, int x, const char *name, struct gr_zoo_pool p);
/* Padding is not counted. */
int gr_zoo_avg_pool(struct gr_zoo_builder *b, int x, const char *name, struct gr_zoo_pool p);
int gr_zoo_global_pool(struct gr_zoo_builder *b, int x, const char *name);
/* (N,C,H,W) -> (N,C*H*W), where H*W is `positions`. */
int gr_zoo_flatten(struct gr_zoo_builder *b, int x, const char *name, int64_t positions);
/* "<name>.weight" must be (out, channels of x); out 0: whatever the file has. The value is called
   `value`, or `name` where that is NULL. */
int gr_zoo_linear(struct gr_zoo_builder *b, int x, const char *name, const char *value,
                  int64_t out);
int gr_zoo_add(struct gr_zoo_builder *b, int x, int y, const char *name);
typedef int gr_zoo_act(struct gr_zoo_builder *b, int x, const char *name);
/* Squeeze and excite: x scaled per channel by gate(fc2(act(fc1(global average of x)))); the gate is
   a sigmoid, or a hard one (x/6 + 1/2, clipped). fc1 and fc2 are 1x1 convolutions "<name>.fc1". */
int gr_zoo_squeeze_excite(struct gr_zoo_builder *b, int x, const char *name, gr_zoo_act *act,
                          bool hard);
int gr_zoo_concat(struct gr_zoo_builder *b, int x, int y, const char *name);
/* Two halves of the channels. */
void gr_zoo_split(struct gr_zoo_builder *b, int x, const char *name, int out[2]);
/* Channels start, start + step, ... */
int gr_zoo_every(struct gr_zoo_builder *b, int x, const char *name, int64_t start, int64_t step);
/* Channel shuffle with that many groups. */
int gr_zoo_shuffle(struct gr_zoo_builder *b, int x, const char *name, int64_t groups);
/* Every second row and column, and `pad` zero channels before and after. */
int gr_zoo_pad_shortcut(struct gr_zoo_builder *b, int x, const char *name, int64_t stride,
                        int64_t pad);

/* ---- the end of a network ---------------------------------------------------------------------
 */

/* The linear layer `name`, or the only one in a Sequential of that name ("fc.1"); NULL when the
   file is a backbone without head. */
const char *gr_zoo_find_head(struct gr_zoo_builder *b, const char *name);
/* With a head: global pool, flatten, linear "logits" as the output; without: x itself. */
void gr_zoo_head(struct gr_zoo_builder *b, int x, const char *pool, const char *head);
/* x is the output; (-1, channels), or a map when it has spatial dimensions. */
void gr_zoo_output(struct gr_zoo_builder *b, int x, bool is_map);
/* Classes of the head, 0 without. */
int64_t gr_zoo_classes(const struct gr_zoo_builder *b);

/* ---- what belongs to the network --------------------------------------------------------------
 */

/* Torchvision's: short side 256 (of 224; other sizes in proportion), crop, bilinear, RGB, mean/std;
   pretrain by the number of classes. */
void gr_zoo_pre_imagenet(struct gr_zoo_builder *b, const char *source, int size);
void gr_zoo_set_pre(struct gr_zoo_builder *b, const char *source, bool known,
                    const struct graft_preprocess *pre);
void gr_zoo_set_pretrain(struct gr_zoo_builder *b, const char *name);

#endif
