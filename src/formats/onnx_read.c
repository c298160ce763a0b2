/* What network does an ONNX file hold? */
#include "formats/onnx.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/onnx_wire.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPSET_MIN = 7, OPSET_KNOWN = 23 };
/* Field numbers that are handled before protobuf-c sees the bytes. */
enum { MODEL_GRAPH = 7, MODEL_TRAINING = 20, GRAPH_INITIALIZER = 5 };

static const char *text_of(const char *s)
{
    return s ? s : "";
}

/* ---- parts of the graph --------------------------------------------------------------------- */

static enum graft_status read_initializer(struct gr_onnx_source *src, struct gr_graph *g,
                                          const struct gr_wire_field *f, struct graft_error *err)
{
    char *name = NULL;
    struct gr_tensor t = {0};
    int id;
    enum graft_status s = gr_onnx_tensor_bytes(src, f->data, f->size, &name, &t, err);
    if (s)
        return s;
    if (t.dtype == GR_STRING)
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "initializer '%s' holds strings", name);
    else if (!*name)
        s = gr_error(err, GRAFT_E_FORMAT, "an initializer has no name");
    else if (gr_graph_find_value(g, name) >= 0)
        s = gr_error(err, GRAFT_E_FORMAT, "initializer '%s' is given twice", name);
    if (!s)
        s = gr_graph_value(g, name, &id, err);
    if (!s)
        s = gr_graph_set_const(g, id, &t, err);
    gr_tensor_clear(&t);
    gr_free(name);
    return s;
}

/* False where the file does not say that it is a tensor; *has_shape where it tells the shape. */
static enum graft_status read_type(const Onnx__TypeProto *p, struct gr_type *type, bool *is_tensor,
                                   bool *has_shape, struct graft_error *err)
{
    memset(type, 0, sizeof *type);
    *has_shape = false;
    *is_tensor = p && p->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && p->tensor_type;
    if (!*is_tensor)
        return GRAFT_OK;
    type->dtype = (enum gr_dtype)p->tensor_type->elem_type;
    if (!gr_dtype_size(type->dtype) && type->dtype != GR_STRING)
        type->dtype = GR_UNKNOWN;
    const Onnx__TensorShapeProto *shape = p->tensor_type->shape;
    if (!shape)
        return GRAFT_OK;
    if (shape->n_dim > GR_MAX_RANK)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "%zu dimensions, at most %d are supported",
                        shape->n_dim, GR_MAX_RANK);
    *has_shape = true;
    type->shape.rank = (int)shape->n_dim;
    for (size_t i = 0; i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        bool known = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
                     d->dim_value >= 0;
        type->shape.dim[i] = known ? d->dim_value : -1;
    }
    return GRAFT_OK;
}

static enum graft_status read_input(struct gr_graph *g, const Onnx__ValueInfoProto *p,
                                    struct graft_error *err)
{
    struct gr_type type;
    bool is_tensor, has_shape;
    int id;
    enum graft_status s = gr_graph_value(g, text_of(p->name), &id, err);
    if (s || gr_value_is_const(&g->values[id]))
        return s; /* a weight that is listed as an input too, as files before 2018 do */
    s = read_type(p->type, &type, &is_tensor, &has_shape, err);
    if (!s && !is_tensor)
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "is no tensor");
    if (!s)
        s = gr_graph_add_input(g, id, &type, err);
    if (s)
        return gr_error_in(err, s, "input '%s'", text_of(p->name));
    g->values[id].has_shape = has_shape;
    return GRAFT_OK;
}

static enum graft_status read_output(struct gr_graph *g, const Onnx__ValueInfoProto *p,
                                     struct graft_error *err)
{
    struct gr_type type;
    bool is_tensor, has_shape;
    int id;
    enum graft_status s = gr_graph_value(g, text_of(p->name), &id, err);
    if (s)
        return s;
    s = read_type(p->type, &type, &is_tensor, &has_shape, err);
    if (!s) { /* what an input or a constant says of itself stands */
        bool produced = g->values[id].producer >= 0;
        s = gr_graph_add_output(g, id, produced ? &type : NULL, err);
        if (!s && produced)
            g->values[id].has_shape = has_shape;
    }
    return s ? gr_error_in(err, s, "output '%s'", text_of(p->name)) : GRAFT_OK;
}

/* Before IR version 2 the type was told by the field that is there. */
static int attr_type(const Onnx__AttributeProto *p)
{
    return p->has_type && p->type ? (int)p->type
           : p->has_f             ? GR_ATTR_FLOAT
           : p->has_i             ? GR_ATTR_INT
           : p->has_s             ? GR_ATTR_STRING
           : p->t                 ? GR_ATTR_TENSOR
           : p->g                 ? GR_ATTR_GRAPH
           : p->n_floats          ? GR_ATTR_FLOATS
           : p->n_ints            ? GR_ATTR_INTS
           : p->n_strings         ? GR_ATTR_STRINGS
                                  : 0;
}

static enum graft_status read_attr(struct gr_onnx_source *src, struct gr_graph *g, int node,
                                   const Onnx__AttributeProto *p, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    struct gr_attr a = {.name = text_of(p->name), .type = (enum gr_attr_type)attr_type(p)};
    char **strings = NULL;
    if (p->ref_attr_name && *p->ref_attr_name)
        return gr_error(err, GRAFT_E_FORMAT, "refers to '%s' of a function, outside of one",
                        p->ref_attr_name);
    switch (a.type) {
    case GR_ATTR_FLOAT:
        a.f = p->f;
        break;
    case GR_ATTR_INT:
        a.i = p->i;
        break;
    case GR_ATTR_STRING:
        a.s = p->s.len ? (const char *)p->s.data : "";
        a.s_size = p->s.len;
        break;
    case GR_ATTR_TENSOR:
        s = p->t ? gr_onnx_tensor(src, p->t, NULL, 0, &a.t, err)
                 : gr_error(err, GRAFT_E_FORMAT, "has no tensor");
        break;
    case GR_ATTR_GRAPH:
        break;
    case GR_ATTR_FLOATS:
        a.n = p->n_floats;
        a.floats = p->floats;
        break;
    case GR_ATTR_INTS:
        a.n = p->n_ints;
        a.ints = p->ints;
        break;
    case GR_ATTR_STRINGS:
        a.n = p->n_strings;
        strings = gr_alloc_zero(a.n, sizeof *strings);
        if (!strings)
            return gr_error_nomem(err);
        for (size_t i = 0; !s && i < a.n; i++) {
            const ProtobufCBinaryData *b = &p->strings[i];
            if (b->len && memchr(b->data, 0, b->len))
                s = gr_error(err, GRAFT_E_UNSUPPORTED, "string %zu has a NUL inside", i);
            else if (!(strings[i] = gr_strndup(b->len ? (const char *)b->data : "", b->len)))
                s = gr_error_nomem(err);
        }
        a.strings = (const char *const *)strings;
        break;
    default:
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "attribute type %d is not supported", (int)a.type);
    }
    if (!s)
        s = gr_node_add_attr(g, node, &a, err);
    gr_tensor_clear(&a.t);
    for (size_t i = 0; strings && i < a.n; i++)
        gr_free(strings[i]);
    gr_free(strings);
    return s;
}

static enum graft_status value_ids(struct gr_graph *g, size_t n, char **names, int **ids,
                                   struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    if (n > GR_MAX_ARITY)
        return gr_error(err, GRAFT_E_LIMIT, "has %zu inputs or outputs, limit is %d", n,
                        GR_MAX_ARITY);
    *ids = gr_alloc_array(n, sizeof **ids);
    if (!*ids)
        return gr_error_nomem(err);
    for (size_t i = 0; !s && i < n; i++) {
        (*ids)[i] = -1;
        if (*names[i])
            s = gr_graph_value(g, names[i], &(*ids)[i], err);
    }
    return s;
}

static enum graft_status read_node(struct gr_onnx_source *src, struct gr_graph *g,
                                   const Onnx__NodeProto *p, struct graft_error *err)
{
    int *in = NULL, *out = NULL, id = -1;
    enum graft_status s = GRAFT_OK;
    if (!p->op_type || !*p->op_type)
        s = gr_error(err, GRAFT_E_FORMAT, "has no op_type");
    else if (p->n_attribute > src->limits.n_ports)
        s = gr_error(err, GRAFT_E_LIMIT, "has %zu attributes, limit is %zu", p->n_attribute,
                     src->limits.n_ports);
    if (!s)
        s = value_ids(g, p->n_input, p->input, &in, err);
    if (!s)
        s = value_ids(g, p->n_output, p->output, &out, err);
    if (!s)
        s = gr_graph_add_node(g, p->op_type, text_of(p->domain), text_of(p->name), (int)p->n_input,
                              in, (int)p->n_output, out, &id, err);
    for (size_t i = 0; !s && i < p->n_attribute; i++) {
        s = read_attr(src, g, id, p->attribute[i], err);
        if (s)
            gr_error_in(err, s, "attribute '%s'", text_of(p->attribute[i]->name));
    }
    gr_free(in);
    gr_free(out);
    return s;
}

static enum graft_status check_ports(const struct gr_onnx_source *src, size_t n, const char *what,
                                     struct graft_error *err)
{
    if (n > src->limits.n_ports)
        return gr_error(err, GRAFT_E_LIMIT, "%zu %s, limit is %zu", n, what, src->limits.n_ports);
    return GRAFT_OK;
}

static enum graft_status read_graph(struct gr_onnx_source *src, const Onnx__GraphProto *p,
                                    struct gr_model *model, struct graft_error *err)
{
    struct gr_graph *g = model->graph;
    enum graft_status s = GRAFT_OK;
    g->name = gr_arena_strdup(&g->arena, text_of(p->name));
    if (!g->name)
        return gr_error_nomem(err);
    if (p->n_sparse_initializer) {
        const Onnx__TensorProto *v = p->sparse_initializer[0]->values;
        s = gr_error(err, GRAFT_E_UNSUPPORTED, "sparse initializer '%s' (%zu of them)",
                     text_of(v ? v->name : NULL), p->n_sparse_initializer);
    }
    size_t n_weights = 0; /* old files list these as inputs too */
    for (size_t i = 0; i < p->n_input; i++)
        n_weights += gr_graph_find_value(g, text_of(p->input[i]->name)) >= 0;
    if (!s)
        s = check_ports(src, p->n_input - n_weights, "graph inputs", err);
    if (!s)
        s = check_ports(src, p->n_output, "graph outputs", err);
    for (size_t i = 0; !s && i < p->n_input; i++)
        s = read_input(g, p->input[i], err);
    for (size_t i = 0; !s && i < p->n_node; i++) {
        const Onnx__NodeProto *n = p->node[i];
        s = read_node(src, g, n, err);
        if (s)
            gr_error_in(err, s, "node %zu '%s' (%s)", i, text_of(n->name), text_of(n->op_type));
    }
    for (size_t i = 0; !s && i < p->n_output; i++)
        s = read_output(g, p->output[i], err);
    if (!s && p->n_quantization_annotation)
        s = gr_model_add_note(model, err, "quantization annotations are ignored");
    return s;
}

/* ---- the model around it -------------------------------------------------------------------- */

static enum graft_status read_opsets(const Onnx__ModelProto *p, struct gr_model *model,
                                     struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < p->n_opset_import; i++)
        s = gr_graph_set_opset(model->graph, text_of(p->opset_import[i]->domain),
                               p->opset_import[i]->version, err);
    if (s)
        return s;
    int64_t v = gr_graph_get_opset(model->graph, "");
    if (v < OPSET_MIN)
        return gr_error(err, GRAFT_E_UNSUPPORTED,
                        "ONNX operator set %" PRId64 ", the oldest supported is %d", v, OPSET_MIN);
    if (v > OPSET_KNOWN)
        return gr_model_add_note(model, err,
                                 "ONNX operator set %" PRId64 " is newer than %d, the last known",
                                 v, OPSET_KNOWN);
    return GRAFT_OK;
}

static enum graft_status refuse_functions(const Onnx__ModelProto *p, struct graft_error *err)
{
    char list[512] = "";
    for (size_t i = 0, n = 0; i < p->n_functions && n < sizeof list - 1; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "",
                              text_of(p->functions[i]->name));
    return gr_error(err, GRAFT_E_UNSUPPORTED, "local functions are not supported: %s", list);
}

static enum graft_status read_envelope(struct gr_onnx_source *src, const Onnx__ModelProto *p,
                                       struct gr_model *model, struct graft_error *err)
{
    enum graft_status s = read_opsets(p, model, err);
    if (!s && p->n_functions)
        s = refuse_functions(p, err);
    if (!s)
        s = check_ports(src, p->n_metadata_props, "metadata properties", err);
    for (size_t i = 0; !s && i < p->n_metadata_props; i++)
        s = gr_model_set_prop(model, text_of(p->metadata_props[i]->key),
                              text_of(p->metadata_props[i]->value), err);
    model->ir_version = p->ir_version;
    const char *name = text_of(p->producer_name), *version = text_of(p->producer_version);
    if (!s && *name) {
        model->producer = gr_sprintf("%s%s%s", name, *version ? " " : "", version);
        if (!model->producer)
            s = gr_error_nomem(err);
    }
    return s;
}

/* The graph without its weights goes through protobuf-c; each weight is read on the way, where it
   lies in the file. */
static enum graft_status read_graph_bytes(struct gr_onnx_source *src,
                                          const struct gr_wire_field *at, struct gr_model *model,
                                          struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    ProtobufCMessage *m = NULL;
    struct gr_buf lean;
    struct gr_reader r;
    struct gr_wire_field f;
    gr_buf_init(&lean, 0);
    gr_reader_init(&r, at->data, at->size);
    while (!s && gr_wire_next(&r, &f)) {
        if (f.number == GRAPH_INITIALIZER && f.wire == GR_WIRE_BYTES)
            s = read_initializer(src, model->graph, &f, err);
        else
            gr_buf_append(&lean, f.tag, (size_t)(f.data + f.size - f.tag));
    }
    if (!s && lean.failed)
        s = gr_error_nomem(err);
    if (!s)
        s = gr_wire_unpack(&onnx__graph_proto__descriptor, lean.data, lean.size,
                           src->limits.decoded_size, &m, err);
    gr_buf_clear(&lean);
    if (!s)
        s = read_graph(src, (const Onnx__GraphProto *)m, model, err);
    gr_wire_free(m);
    return s;
}

static enum graft_status read_model(struct gr_onnx_source *src, struct gr_model *model,
                                    struct graft_error *err)
{
    enum graft_status s;
    ProtobufCMessage *m = NULL;
    size_t size;
    const uint8_t *data = gr_buffer_data(src->buf, &size);
    struct gr_wire_field f, graph = {0};
    bool training = false;
    struct gr_reader r;
    struct gr_buf lean; /* the model without its graph */
    gr_buf_init(&lean, 0);
    s = gr_wire_check(&onnx__model_proto__descriptor, data, size, src->limits.depth, err);
    if (s)
        goto out;
    gr_reader_init(&r, data, size);
    while (gr_wire_next(&r, &f)) {
        if (f.number == MODEL_GRAPH && f.wire == GR_WIRE_BYTES)
            graph = f;
        else if (f.number == MODEL_TRAINING)
            training = true;
        else
            gr_buf_append(&lean, f.tag, (size_t)(f.data + f.size - f.tag));
    }
    if (!graph.data) {
        s = gr_error(err, GRAFT_E_FORMAT, "holds no graph: not an ONNX model");
        goto out;
    }
    if (lean.failed) {
        s = gr_error_nomem(err);
        goto out;
    }
    s = gr_wire_unpack(&onnx__model_proto__descriptor, lean.data, lean.size,
                       src->limits.decoded_size, &m, err);
    if (!s)
        s = gr_graph_new(&model->graph, err);
    if (!s)
        s = read_envelope(src, (const Onnx__ModelProto *)m, model, err);
    if (!s && training)
        s = gr_model_add_note(model, err, "training information is ignored");
    if (!s)
        s = read_graph_bytes(src, &graph, model, err);
    if (!s)
        s = gr_graph_check(model->graph, err);
    if (!s)
        s = gr_graph_bind(model->graph, err);
out:
    gr_wire_free(m);
    gr_buf_clear(&lean);
    return s;
}

static enum graft_status read_source(struct gr_onnx_source *src,
                                     const struct gr_onnx_limits *limits, struct gr_model *model,
                                     struct graft_error *err)
{
    struct gr_model m = {0};
    size_t size;
    enum graft_status s = GRAFT_OK;
    gr_buffer_data(src->buf, &size);
    src->limits = gr_onnx_limits_of(limits, size);
    m.path = gr_strdup(src->name);
    m.format = gr_strdup("ONNX");
    if (!m.path || !m.format)
        s = gr_error_nomem(err);
    if (!s && (s = read_model(src, &m, err)))
        gr_error_in(err, s, "%s", src->name);
    if (s)
        gr_model_clear(&m);
    else
        *model = m;
    return s;
}

/* The folder in which external weights may lie. */
static enum graft_status real_dir(const char *path, char **dir, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    char *real = NULL, *given = gr_path_dir(path);
    if (!given)
        return gr_error_nomem(err);
    real = realpath(given, NULL);
    if (!real)
        s = gr_error_errno(err, path, "cannot open");
    else if (!(*dir = gr_strdup(real)))
        s = gr_error_nomem(err);
    free(real); /* realpath's own */
    gr_free(given);
    return s;
}

enum graft_status gr_onnx_read(const char *path, const struct gr_onnx_limits *limits,
                               struct gr_model *model, struct graft_error *err)
{
    struct gr_onnx_source src = {.name = path};
    enum graft_status s = gr_buffer_map(path, &src.buf, err);
    if (!s)
        s = real_dir(path, &src.dir, err);
    if (!s)
        s = read_source(&src, limits, model, err);
    gr_onnx_source_clear(&src);
    return s;
}

static void release_copy(void *user, void *data, size_t size)
{
    (void)user, (void)size;
    gr_free(data);
}

enum graft_status gr_onnx_read_memory(const void *data, size_t size, const char *name,
                                      const struct gr_onnx_limits *limits, struct gr_model *model,
                                      struct graft_error *err)
{
    struct gr_onnx_source src = {.name = name};
    void *copy = gr_alloc(size);
    if (copy && size)
        memcpy(copy, data, size);
    src.buf = copy ? gr_buffer_new(copy, size, release_copy, NULL) : NULL;
    if (!src.buf) {
        gr_free(copy);
        return gr_error_nomem(err);
    }
    enum graft_status s = read_source(&src, limits, model, err);
    gr_onnx_source_clear(&src);
    return s;
}

enum graft_status gr_onnx_read_tensor(const char *path, char **name, struct gr_tensor *tensor,
                                      struct graft_error *err)
{
    struct gr_onnx_source src = {.name = path};
    size_t size;
    enum graft_status s = gr_buffer_map(path, &src.buf, err);
    if (!s)
        s = real_dir(path, &src.dir, err);
    if (s)
        goto out;
    const uint8_t *data = gr_buffer_data(src.buf, &size);
    src.limits = gr_onnx_limits_of(NULL, size);
    s = gr_wire_check(&onnx__tensor_proto__descriptor, data, size, src.limits.depth, err);
    if (!s)
        s = gr_onnx_tensor_bytes(&src, data, size, name, tensor, err);
    if (s)
        gr_error_in(err, s, "%s", path);
out:
    gr_onnx_source_clear(&src);
    return s;
}
