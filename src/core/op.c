/* Which operator is it, and what do its attributes say? */
#include "core/op.h"
#include <math.h>
#include <string.h>

const struct gr_op *gr_op_find(const char *domain, const char *op_type, int64_t opset)
{
    const struct gr_op *best = NULL;
    if (!strcmp(domain, "ai.onnx"))
        domain = "";
    for (size_t i = 0; gr_op_table[i]; i++) {
        const struct gr_op *op = gr_op_table[i];
        if (!strcmp(op->name, op_type) && !strcmp(op->domain, domain) && op->since <= opset &&
            (!best || op->since > best->since))
            best = op;
    }
    return best;
}

static enum graft_status check_range(const struct gr_param *p, int64_t v, struct graft_error *err)
{
    if (v < p->min || v > p->max)
        return gr_error(err, GRAFT_E_FORMAT, "attribute '%s' is %lld, expected %lld to %lld",
                        p->name, (long long)v, (long long)p->min, (long long)p->max);
    return GRAFT_OK;
}

static enum graft_status read_choice(const struct gr_param *p, const struct gr_attr *a,
                                     int64_t *out, struct graft_error *err)
{
    for (int i = 0; p->choices[i]; i++)
        if (!strcmp(p->choices[i], a->s)) {
            *out = i;
            return GRAFT_OK;
        }
    return gr_error(err, GRAFT_E_FORMAT, "attribute '%s' is '%.40s', expected one like '%s'",
                    p->name, a->s, p->choices[0]);
}

static enum graft_status read_param(const struct gr_param *p, const struct gr_attr *a, char *params,
                                    struct graft_error *err)
{
    static const enum gr_attr_type type_of[] = {
        [GR_PARAM_INT] = GR_ATTR_INT,       [GR_PARAM_BOOL] = GR_ATTR_INT,
        [GR_PARAM_FLOAT] = GR_ATTR_FLOAT,   [GR_PARAM_INTS] = GR_ATTR_INTS,
        [GR_PARAM_FLOATS] = GR_ATTR_FLOATS, [GR_PARAM_CHOICE] = GR_ATTR_STRING,
        [GR_PARAM_STRING] = GR_ATTR_STRING, [GR_PARAM_TENSOR] = GR_ATTR_TENSOR,
    };
    enum graft_status s = GRAFT_OK;
    void *at = params + p->offset;
    if (a->type != type_of[p->kind])
        return gr_error(err, GRAFT_E_FORMAT, "attribute '%s' has type %d, expected %d", p->name,
                        a->type, type_of[p->kind]);
    switch (p->kind) {
    case GR_PARAM_INT:
        s = check_range(p, a->i, err);
        *(int64_t *)at = a->i;
        break;
    case GR_PARAM_BOOL:
        *(int64_t *)at = a->i != 0;
        break;
    case GR_PARAM_FLOAT:
        if (isnan(a->f))
            s = gr_error(err, GRAFT_E_FORMAT, "attribute '%s' is not a number", p->name);
        *(float *)at = a->f;
        break;
    case GR_PARAM_INTS:
        for (size_t i = 0; !s && i < a->n; i++)
            s = check_range(p, a->ints[i], err);
        *(struct gr_ints *)at = (struct gr_ints){a->n, a->ints};
        break;
    case GR_PARAM_FLOATS:
        *(struct gr_floats *)at = (struct gr_floats){a->n, a->floats};
        break;
    case GR_PARAM_CHOICE:
        s = read_choice(p, a, at, err);
        break;
    case GR_PARAM_STRING:
        *(const char **)at = a->s;
        break;
    case GR_PARAM_TENSOR:
        *(const struct gr_tensor **)at = &a->t;
        break;
    }
    return s;
}

static void set_default(const struct gr_param *p, char *params)
{
    void *at = params + p->offset;
    if (p->kind == GR_PARAM_INT || p->kind == GR_PARAM_BOOL || p->kind == GR_PARAM_CHOICE)
        *(int64_t *)at = (int64_t)p->def;
    else if (p->kind == GR_PARAM_FLOAT)
        *(float *)at = (float)p->def;
}

static bool is_known(const struct gr_op *op, const char *name)
{
    for (const struct gr_param *p = op->params; p && p->name; p++)
        if (!strcmp(p->name, name))
            return true;
    return false;
}

enum graft_status gr_op_read_params(const struct gr_op *op, const struct gr_node *node,
                                    struct gr_arena *arena, const void **params,
                                    struct graft_error *err)
{
    char *out = gr_arena_alloc(arena, op->params_size);
    if (!out)
        return gr_error_nomem(err);
    for (size_t i = 0; i < node->n_attrs; i++)
        if (!is_known(op, node->attrs[i].name))
            return gr_error(err, GRAFT_E_FORMAT, "has an unknown attribute '%.60s'",
                            node->attrs[i].name);
    for (const struct gr_param *p = op->params; p && p->name; p++) {
        const struct gr_attr *a = gr_node_find_attr(node, p->name);
        if (!a && p->required)
            return gr_error(err, GRAFT_E_FORMAT, "attribute '%s' is missing", p->name);
        set_default(p, out);
        enum graft_status s = a ? read_param(p, a, out, err) : GRAFT_OK;
        if (s)
            return s;
    }
    *params = out;
    return GRAFT_OK;
}
