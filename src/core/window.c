/* How does a window slide over a picture? */
#include "core/kernel.h"

void gr_window_read(const struct gr_node *node, const struct gr_shape *x, const struct gr_shape *y,
                    const int64_t *kernel, struct gr_window *w)
{
    const struct gr_attr *mode = gr_node_find_attr(node, "auto_pad");
    bool same = mode && !strncmp(mode->s, "SAME", 4),
         lower = same && !strcmp(mode->s, "SAME_LOWER");
    bool valid = mode && !strcmp(mode->s, "VALID");
    *w = (struct gr_window){.n = x->rank - 2};
    for (int i = 0; i < w->n; i++) {
        w->in[i] = x->dim[2 + i];
        w->out[i] = y->dim[2 + i];
        w->stride[i] = gr_node_get_ints(node, "strides", (size_t)i, 1);
        w->dilation[i] = gr_node_get_ints(node, "dilations", (size_t)i, 1);
        int64_t span = (kernel[i] - 1) * w->dilation[i] + 1;
        int64_t total = (w->out[i] - 1) * w->stride[i] + span - w->in[i];
        if (same)
            w->pad_l[i] = total <= 0 ? 0 : lower ? total - total / 2 : total / 2;
        else
            w->pad_l[i] = valid ? 0 : gr_node_get_ints(node, "pads", (size_t)i, 0);
        w->pad_r[i] = total - w->pad_l[i];
    }
}
