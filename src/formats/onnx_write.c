/* How does a network become an ONNX file, without a second copy of its weights? */
#include "formats/onnx.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/onnx_wire.h"
#include <string.h>

/* Field numbers of the two envelopes, which are written here; everything small inside them is
   packed by protobuf-c. */
enum { MODEL_IR = 1, MODEL_PRODUCER = 2, MODEL_VERSION = 3, MODEL_GRAPH = 7, MODEL_OPSET = 8 };
enum { MODEL_PROPS = 14 };
enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_WEIGHT = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };
enum { TENSOR_RAW = 9 };

/* What stands in the file before the data of a weight: everything but its bytes. */
struct weight {
    const struct gr_tensor *t;
    size_t head_end; /* in heads */
};

struct writer {
    const struct gr_model *model;
    const struct gr_graph *g;
    struct gr_arena arena; /* of the message being packed */
    struct gr_buf front, nodes, heads, ports, back;
    struct weight *weights;
    size_t n_weights, data_size;
};

/* protobuf-c's structs have no const; packing only reads. */
static char *borrow(const char *s)
{
    return (char *)(uintptr_t)s;
}

static char *borrow_optional(const char *s)
{
    return *s ? borrow(s) : NULL;
}

static ProtobufCBinaryData borrow_bytes(const void *data, size_t size)
{
    return (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)data};
}

static void put_text(struct gr_buf *b, uint32_t number, const char *s)
{
    gr_wire_put_tag(b, number, GR_WIRE_BYTES);
    gr_wire_put_varint(b, strlen(s));
    gr_buf_puts(b, s);
}

static Onnx__TensorProto tensor_head(const struct gr_tensor *t, const char *name)
{
    Onnx__TensorProto p = ONNX__TENSOR_PROTO__INIT;
    p.n_dims = (size_t)t->shape.rank;
    p.dims = (int64_t *)(uintptr_t)t->shape.dim;
    p.has_data_type = 1;
    p.data_type = (int32_t)t->dtype;
    p.name = borrow(name);
    return p;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static enum graft_status fill_attr(struct writer *w, const struct gr_attr *a,
                                   Onnx__AttributeProto *p, struct graft_error *err)
{
    onnx__attribute_proto__init(p);
    p->name = borrow(a->name);
    p->has_type = 1;
    p->type = (Onnx__AttributeProto__AttributeType)a->type;
    switch (a->type) {
    case GR_ATTR_FLOAT:
        p->has_f = 1;
        p->f = a->f;
        return GRAFT_OK;
    case GR_ATTR_INT:
        p->has_i = 1;
        p->i = a->i;
        return GRAFT_OK;
    case GR_ATTR_STRING:
        p->has_s = 1;
        p->s = borrow_bytes(a->s, a->s_size);
        return GRAFT_OK;
    case GR_ATTR_TENSOR:
        if (!a->t.buf)
            break;
        p->t = gr_arena_alloc(&w->arena, sizeof *p->t);
        if (!p->t)
            return gr_error_nomem(err);
        *p->t = tensor_head(&a->t, NULL);
        p->t->has_raw_data = 1;
        p->t->raw_data = borrow_bytes(a->t.data, a->t.size);
        return GRAFT_OK;
    case GR_ATTR_FLOATS:
        p->n_floats = a->n;
        p->floats = (float *)(uintptr_t)a->floats;
        return GRAFT_OK;
    case GR_ATTR_INTS:
        p->n_ints = a->n;
        p->ints = (int64_t *)(uintptr_t)a->ints;
        return GRAFT_OK;
    case GR_ATTR_STRINGS:
        p->n_strings = a->n;
        p->strings = gr_arena_alloc(&w->arena, a->n * sizeof *p->strings);
        if (!p->strings)
            return gr_error_nomem(err);
        for (size_t i = 0; i < a->n; i++)
            p->strings[i] = borrow_bytes(a->strings[i], strlen(a->strings[i]));
        return GRAFT_OK;
    case GR_ATTR_GRAPH:
        break;
    }
    return gr_error(err, GRAFT_E_UNSUPPORTED, "attribute '%s' (%s) cannot be written", a->name,
                    a->type == GR_ATTR_TENSOR ? "strings" : "a subgraph");
}

static enum graft_status put_node(struct writer *w, const struct gr_node *n,
                                  struct graft_error *err)
{
    Onnx__NodeProto p = ONNX__NODE_PROTO__INIT;
    struct gr_arena *a = &w->arena;
    p.op_type = borrow(n->op_type);
    p.domain = borrow_optional(n->domain);
    p.name = borrow_optional(n->name);
    p.n_input = (size_t)n->n_in;
    p.n_output = (size_t)n->n_out;
    p.n_attribute = n->n_attrs;
    p.input = gr_arena_alloc(a, p.n_input * sizeof *p.input);
    p.output = gr_arena_alloc(a, p.n_output * sizeof *p.output);
    p.attribute = gr_arena_alloc(a, p.n_attribute * sizeof *p.attribute);
    Onnx__AttributeProto *attrs = gr_arena_alloc(a, p.n_attribute * sizeof *attrs);
    if (!p.input || !p.output || !p.attribute || !attrs)
        return gr_error_nomem(err);
    for (int i = 0; i < n->n_in; i++)
        p.input[i] = borrow(n->in[i] < 0 ? "" : w->g->values[n->in[i]].name);
    for (int i = 0; i < n->n_out; i++)
        p.output[i] = borrow(n->out[i] < 0 ? "" : w->g->values[n->out[i]].name);
    for (size_t i = 0; i < n->n_attrs; i++) {
        p.attribute[i] = &attrs[i];
        enum graft_status s = fill_attr(w, &n->attrs[i], &attrs[i], err);
        if (s)
            return s;
    }
    gr_wire_put_message(&w->nodes, GRAPH_NODE, &p.base);
    return GRAFT_OK;
}

static enum graft_status put_nodes(struct writer *w, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < w->g->n_nodes; i++) {
        char text[256];
        s = put_node(w, &w->g->nodes[i], err);
        gr_arena_clear(&w->arena);
        if (s)
            gr_error_in(err, s, "%s", gr_node_print(w->g, (int)i, text, sizeof text));
    }
    put_text(&w->nodes, GRAPH_NAME, *w->g->name ? w->g->name : "graft");
    return s;
}

/* ---- weights, inputs and outputs ------------------------------------------------------------ */

static enum graft_status put_weights(struct writer *w, struct graft_error *err)
{
    const struct gr_graph *g = w->g;
    bool *used = gr_alloc_zero(g->n_values, sizeof *used);
    w->weights = gr_alloc_array(g->n_values, sizeof *w->weights);
    if (!used || !w->weights) {
        gr_free(used);
        return gr_error_nomem(err);
    }
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0)
                used[g->nodes[i].in[k]] = true;
    for (size_t i = 0; i < g->n_outputs; i++)
        used[g->outputs[i]] = true;
    for (size_t i = 0; i < g->n_values; i++) {
        const struct gr_value *v = &g->values[i];
        if (!used[i] || !gr_value_is_const(v))
            continue;
        Onnx__TensorProto p = tensor_head(&v->data, v->name);
        size_t head = protobuf_c_message_get_packed_size(&p.base);
        gr_wire_put_tag(&w->heads, GRAPH_WEIGHT, GR_WIRE_BYTES);
        gr_wire_put_varint(&w->heads, head + 1 + gr_wire_varint_size(v->data.size) + v->data.size);
        gr_wire_pack(&w->heads, &p.base);
        gr_wire_put_tag(&w->heads, TENSOR_RAW, GR_WIRE_BYTES);
        gr_wire_put_varint(&w->heads, v->data.size);
        w->weights[w->n_weights++] = (struct weight){&v->data, w->heads.size};
        w->data_size += v->data.size;
    }
    gr_free(used);
    return GRAFT_OK;
}

static enum graft_status put_port(struct writer *w, uint32_t number, int value,
                                  struct graft_error *err)
{
    const struct gr_value *v = &w->g->values[value];
    Onnx__ValueInfoProto p = ONNX__VALUE_INFO_PROTO__INIT;
    Onnx__TypeProto type = ONNX__TYPE_PROTO__INIT;
    Onnx__TypeProto__Tensor tensor = ONNX__TYPE_PROTO__TENSOR__INIT;
    Onnx__TensorShapeProto shape = ONNX__TENSOR_SHAPE_PROTO__INIT;
    Onnx__TensorShapeProto__Dimension dims[GR_MAX_RANK], *list[GR_MAX_RANK];
    if (v->type.dtype == GR_UNKNOWN)
        return gr_error(err, GRAFT_E_UNSUPPORTED, "the type of '%s' is not known", v->name);
    for (int i = 0; i < v->type.shape.rank; i++) {
        list[i] = &dims[i];
        onnx__tensor_shape_proto__dimension__init(&dims[i]);
        if (v->type.shape.dim[i] >= 0) {
            dims[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dims[i].dim_value = v->type.shape.dim[i];
        } else if (i == 0) {
            dims[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dims[i].dim_param = borrow("batch");
        }
    }
    shape.n_dim = (size_t)v->type.shape.rank;
    shape.dim = list;
    tensor.has_elem_type = 1;
    tensor.elem_type = (int32_t)v->type.dtype;
    tensor.shape = v->has_shape ? &shape : NULL;
    type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type.tensor_type = &tensor;
    p.name = borrow(v->name);
    p.type = &type;
    gr_wire_put_message(&w->ports, number, &p.base);
    return GRAFT_OK;
}

static enum graft_status put_ports(struct writer *w, struct graft_error *err)
{
    enum graft_status s = GRAFT_OK;
    for (size_t i = 0; !s && i < w->g->n_inputs; i++)
        s = put_port(w, GRAPH_INPUT, w->g->inputs[i], err);
    for (size_t i = 0; !s && i < w->g->n_outputs; i++)
        s = put_port(w, GRAPH_OUTPUT, w->g->outputs[i], err);
    return s;
}

/* ---- the model around it -------------------------------------------------------------------- */

/* The first IR version that knows the operator set, as onnx.helper lists them; before 7 nothing is
   gained. */
static int64_t ir_version(const struct gr_model *m)
{
    int64_t opset = gr_graph_get_opset(m->graph, "");
    int64_t least = opset >= 23 ? 11 : opset >= 21 ? 10 : opset >= 19 ? 9 : opset >= 15 ? 8 : 7;
    return m->ir_version > least ? m->ir_version : least;
}

static void put_envelope(struct writer *w)
{
    const struct gr_model *m = w->model;
    gr_wire_put_tag(&w->front, MODEL_IR, GR_WIRE_VARINT);
    gr_wire_put_varint(&w->front, (uint64_t)ir_version(m));
    put_text(&w->front, MODEL_PRODUCER, "graft");
    put_text(&w->front, MODEL_VERSION, graft_version());
    gr_wire_put_tag(&w->front, MODEL_GRAPH, GR_WIRE_BYTES);
    gr_wire_put_varint(&w->front, w->nodes.size + w->heads.size + w->data_size + w->ports.size);
    for (size_t i = 0; i < w->g->n_opsets; i++) {
        Onnx__OperatorSetIdProto p = ONNX__OPERATOR_SET_ID_PROTO__INIT;
        p.domain = borrow_optional(w->g->opsets[i].domain);
        p.has_version = 1;
        p.version = w->g->opsets[i].version;
        gr_wire_put_message(&w->back, MODEL_OPSET, &p.base);
    }
    for (size_t i = 0; i < m->n_props; i++) {
        Onnx__StringStringEntryProto p = ONNX__STRING_STRING_ENTRY_PROTO__INIT;
        p.key = m->props[i].key;
        p.value = m->props[i].value;
        gr_wire_put_message(&w->back, MODEL_PROPS, &p.base);
    }
}

static void put_buf(FILE *f, const struct gr_buf *b)
{
    if (b->size)
        fwrite(b->data, 1, b->size, f);
}

static enum graft_status write_file(const struct writer *w, const char *path, struct gr_outfile *o,
                                    struct graft_error *err)
{
    enum graft_status s = gr_outfile_open(o, path, err);
    if (s)
        return s;
    put_buf(o->f, &w->front);
    put_buf(o->f, &w->nodes);
    for (size_t i = 0, at = 0; i < w->n_weights; i++) {
        fwrite(w->heads.data + at, 1, w->weights[i].head_end - at, o->f);
        if (w->weights[i].t->size)
            fwrite(w->weights[i].t->data, 1, w->weights[i].t->size, o->f);
        at = w->weights[i].head_end;
    }
    put_buf(o->f, &w->ports);
    put_buf(o->f, &w->back);
    return gr_outfile_push(o, err);
}

enum graft_status gr_onnx_write_open(const struct gr_model *model, const char *path,
                                     struct gr_outfile *o, struct graft_error *err)
{
    struct writer w = {.model = model, .g = model->graph};
    enum graft_status s = put_nodes(&w, err);
    if (!s)
        s = put_weights(&w, err);
    if (!s)
        s = put_ports(&w, err);
    if (s)
        goto out;
    put_envelope(&w);
    if (w.front.failed || w.nodes.failed || w.heads.failed || w.ports.failed || w.back.failed) {
        s = gr_error_nomem(err);
        goto out;
    }
    size_t total =
        w.front.size + w.nodes.size + w.heads.size + w.data_size + w.ports.size + w.back.size;
    if (total > INT32_MAX)
        s = gr_error(err, GRAFT_E_LIMIT, "the model has %zu bytes, an ONNX file at most %d", total,
                     INT32_MAX);
out:
    if (s)
        gr_error_in(err, s, "%s", path);
    else
        s = write_file(&w, path, o, err);
    gr_arena_clear(&w.arena);
    gr_free(w.weights);
    gr_buf_clear(&w.front);
    gr_buf_clear(&w.nodes);
    gr_buf_clear(&w.heads);
    gr_buf_clear(&w.ports);
    gr_buf_clear(&w.back);
    return s;
}

enum graft_status gr_onnx_write(const struct gr_model *model, const char *path,
                                struct graft_error *err)
{
    struct gr_outfile o;
    enum graft_status s = gr_onnx_write_open(model, path, &o, err);
    return s ? s : gr_outfile_commit(&o, err);
}
