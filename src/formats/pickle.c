/* What values does a pickle hold? */
#include "formats/pickle.h"
#include "base/bytes.h"
#include "base/map.h"
#include "base/mem.h"
#include "formats/weights.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pickle machine. It fails once and stays failed: after a failure every operation still has
   something to work on (`nothing`), and the loop ends. */
struct machine {
    struct gr_pickle *p;
    struct gr_reader r;
    struct gr_pkl **stack;
    size_t n, cap;
    size_t *marks; /* stack heights */
    size_t n_marks, cap_marks;
    struct gr_pkl **memo;
    size_t cap_memo, n_memo;
    struct gr_names global_ids; /* into p->globals */
    size_t n_paired;            /* list entries turned into dict entries so far */
    struct gr_pkl nothing;
    enum graft_status status;
    struct graft_error *err;
};

static void nomem(struct machine *m)
{
    if (!m->status)
        m->status = gr_error_nomem(m->err);
}

static void wrong(struct machine *m, const char *what)
{
    if (!m->status)
        m->status =
            gr_error(m->err, GRAFT_E_FORMAT, "pickle: byte %zu: %s", gr_reader_pos(&m->r), what);
}

static struct gr_pkl *value_new(struct machine *m, enum gr_pkl_kind kind)
{
    struct gr_pkl *v = m->status ? NULL : gr_arena_alloc(&m->p->arena, sizeof *v);
    if (!v) {
        nomem(m);
        return &m->nothing;
    }
    m->p->n_values++;
    v->kind = kind;
    return v;
}

static void push(struct machine *m, struct gr_pkl *v)
{
    if (m->status)
        return;
    if (!GR_GROW(m->stack, m->n, m->cap)) {
        nomem(m);
        return;
    }
    m->stack[m->n++] = v;
}

static struct gr_pkl *top(struct machine *m)
{
    if (m->status || m->n == (m->n_marks ? m->marks[m->n_marks - 1] : 0)) {
        wrong(m, "a value is missing on the stack");
        return &m->nothing;
    }
    return m->stack[m->n - 1];
}

static struct gr_pkl *pop(struct machine *m)
{
    struct gr_pkl *v = top(m);
    if (!m->status)
        m->n--;
    return v;
}

/* Removes the last mark; the values above it stay in m->stack[returned .. *end) until the next
   push. */
static size_t pop_mark(struct machine *m, size_t *end)
{
    *end = 0;
    if (m->status || !m->n_marks) {
        wrong(m, "a mark is missing on the stack");
        return 0;
    }
    *end = m->n;
    m->n = m->marks[--m->n_marks];
    return m->n;
}

static void append(struct machine *m, struct gr_pkl *list, struct gr_pkl *v)
{
    if (list->n_v == list->cap_v) { /* what is outgrown stays in the arena: at most as much again */
        size_t cap = list->cap_v ? 2 * list->cap_v : 4;
        struct gr_pkl **p = gr_arena_alloc(&m->p->arena, cap * sizeof *p);
        if (!p) {
            nomem(m);
            return;
        }
        if (list->n_v)
            memcpy(p, list->v, list->n_v * sizeof *p);
        list->v = p;
        list->cap_v = cap;
    }
    list->v[list->n_v++] = v;
}

static void push_tuple(struct machine *m, enum gr_pkl_kind kind, struct gr_pkl *const *v, size_t n)
{
    struct gr_pkl *t = value_new(m, kind);
    if (!m->status && n) {
        t->v = gr_arena_copy(&m->p->arena, v, n * sizeof *v);
        if (!t->v) {
            nomem(m);
            return;
        }
        t->n_v = t->cap_v = n;
    }
    push(m, t);
}

static void push_last(struct machine *m, size_t n)
{
    struct gr_pkl *v[3] = {NULL};
    for (size_t i = n; i-- > 0;)
        v[i] = pop(m);
    push_tuple(m, GR_PKL_TUPLE, v, n);
}

static void push_int(struct machine *m, enum gr_pkl_kind kind, int64_t i)
{
    struct gr_pkl *v = value_new(m, kind);
    v->i = i;
    push(m, v);
}

static void push_text(struct machine *m, enum gr_pkl_kind kind, uint64_t n)
{
    const uint8_t *s = n <= SIZE_MAX ? gr_read_bytes(&m->r, (size_t)n) : NULL;
    if (!s) {
        wrong(m, "a string is longer than what is left");
        return;
    }
    struct gr_pkl *v = value_new(m, kind);
    v->s = (const char *)s;
    v->n = (size_t)n;
    push(m, v);
}

/* n bytes of two's complement, little end first. */
static void push_long(struct machine *m, uint64_t n)
{
    if (n > 8) {
        push_text(m, GR_PKL_LONG, n);
        return;
    }
    const uint8_t *p = gr_read_bytes(&m->r, (size_t)n);
    uint64_t v = p && n && p[n - 1] & 0x80 ? ~(uint64_t)0 : 0;
    for (size_t i = p ? (size_t)n : 0; i-- > 0;)
        v = v << 8 | p[i];
    push_int(m, GR_PKL_INT, (int64_t)v);
}

/* Python 2 wrote integers of more than 32 bits as a line of text. */
static void push_decimal(struct machine *m)
{
    size_t n;
    const uint8_t *line = gr_read_line(&m->r, &n);
    char text[32], *end;
    if (!line || n == 0 || n >= sizeof text) {
        wrong(m, "bad decimal number");
        return;
    }
    memcpy(text, line, n);
    text[n] = 0;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || (*end && strcmp(end, "L") != 0))
        wrong(m, "bad decimal number");
    else if (!strcmp(text, "00") || !strcmp(text, "01"))
        push_int(m, GR_PKL_BOOL, v);
    else
        push_int(m, GR_PKL_INT, v);
}

static void push_float(struct machine *m)
{
    uint64_t u = gr_read_u64be(&m->r);
    struct gr_pkl *v = value_new(m, GR_PKL_FLOAT);
    memcpy(&v->f, &u, sizeof u);
    push(m, v);
}

static void memo_put(struct machine *m, size_t at)
{
    struct gr_pkl *v = top(m);
    if (at > (size_t)(m->r.end - m->r.start))
        wrong(m, "memo number out of range");
    if (m->status)
        return;
    if (at >= m->cap_memo) {
        size_t cap = at < 32 ? 64 : 2 * at;
        struct gr_pkl **p = gr_realloc_array(m->memo, cap, sizeof *p);
        if (!p) {
            nomem(m);
            return;
        }
        memset(p + m->cap_memo, 0, (cap - m->cap_memo) * sizeof *p);
        m->memo = p;
        m->cap_memo = cap;
    }
    m->n_memo += !m->memo[at];
    m->memo[at] = v;
}

static void memo_get(struct machine *m, size_t at)
{
    if (at >= m->cap_memo || !m->memo[at])
        wrong(m, "memo number never set");
    else
        push(m, m->memo[at]);
}

static void push_global(struct machine *m, const void *module, size_t n_module, const void *name,
                        size_t n_name)
{
    if (!m->status && (!module || !name || !gr_weights_name_ok(module, n_module) ||
                       !gr_weights_name_ok(name, n_name)))
        wrong(m, "bad name of a global");
    if (m->status)
        return;
    size_t n = n_module + 1 + n_name;
    char *s = gr_arena_alloc(&m->p->arena, n + 1);
    if (!s) {
        nomem(m);
        return;
    }
    memcpy(s, module, n_module);
    s[n_module] = '.';
    memcpy(s + n_module + 1, name, n_name);
    int64_t known = gr_names_find(&m->global_ids, s);
    if (known >= 0) {
        push(m, m->p->globals[known]);
        return;
    }
    struct gr_pkl *v = value_new(m, GR_PKL_GLOBAL);
    v->s = s;
    v->n = n;
    if (!GR_GROW(m->p->globals, m->p->n_globals, m->p->cap_globals) ||
        !gr_names_set(&m->global_ids, s, (int64_t)m->p->n_globals)) {
        nomem(m);
        return;
    }
    m->p->globals[m->p->n_globals++] = v;
    push(m, v);
}

static void op_global(struct machine *m)
{
    size_t n_module, n_name;
    const uint8_t *module = gr_read_line(&m->r, &n_module);
    const uint8_t *name = gr_read_line(&m->r, &n_name);
    push_global(m, module, n_module, name, n_name);
}

static void op_stack_global(struct machine *m)
{
    struct gr_pkl *name = pop(m), *module = pop(m);
    if (name->kind != GR_PKL_STR || module->kind != GR_PKL_STR)
        wrong(m, "the name of a global is no string");
    else
        push_global(m, module->s, module->n, name->s, name->n);
}

static void op_persid(struct machine *m)
{
    struct gr_pkl *pid = pop(m), *v = value_new(m, GR_PKL_PERSID);
    v->pid = pid;
    if (m->status)
        return;
    if (!GR_GROW(m->p->persids, m->p->n_persids, m->p->cap_persids)) {
        nomem(m);
        return;
    }
    m->p->persids[m->p->n_persids++] = v;
    push(m, v);
}

/* OrderedDict() and OrderedDict([[key, value], ...]) become plain DICTs. False: something else. */
static bool push_ordered_dict(struct machine *m, const struct gr_pkl *callable,
                              const struct gr_pkl *args)
{
    if (callable->kind != GR_PKL_GLOBAL || strcmp(callable->s, "collections.OrderedDict") != 0 ||
        args->n_v > 1)
        return false;
    const struct gr_pkl *pairs = args->n_v ? args->v[0] : NULL;
    if (pairs && pairs->kind != GR_PKL_LIST && pairs->kind != GR_PKL_TUPLE)
        return false;
    m->n_paired += pairs ? pairs->n_v : 0;
    if (m->n_paired > gr_reader_pos(&m->r)) { /* one list given to many calls must not multiply */
        m->status =
            gr_error(m->err, GRAFT_E_LIMIT, "pickle: byte %zu: lists are shared by too many dicts",
                     gr_reader_pos(&m->r));
        return true;
    }
    for (size_t i = 0; pairs && i < pairs->n_v; i++)
        if ((pairs->v[i]->kind != GR_PKL_LIST && pairs->v[i]->kind != GR_PKL_TUPLE) ||
            pairs->v[i]->n_v != 2)
            return false;
    struct gr_pkl *d = value_new(m, GR_PKL_DICT);
    for (size_t i = 0; pairs && i < pairs->n_v && !m->status; i++) {
        append(m, d, pairs->v[i]->v[0]);
        append(m, d, pairs->v[i]->v[1]);
    }
    push(m, d);
    return true;
}

static void op_reduce(struct machine *m, bool keywords)
{
    if (keywords)
        pop(m); /* NEWOBJ_EX: keyword arguments matter to nobody here */
    struct gr_pkl *args = pop(m), *callable = pop(m);
    if (!m->status && args->kind != GR_PKL_TUPLE)
        wrong(m, "arguments are no tuple");
    if (m->status)
        return;
    if (push_ordered_dict(m, callable, args))
        return;
    struct gr_pkl *v = value_new(m, GR_PKL_OBJECT);
    struct gr_pkl_object *o = gr_arena_alloc(&m->p->arena, sizeof *o);
    if (!o) {
        nomem(m);
        return;
    }
    o->callable = callable;
    o->args = args;
    v->obj = o;
    push(m, v);
}

static void op_build(struct machine *m)
{
    struct gr_pkl *state = pop(m), *v = top(m);
    if (v->kind == GR_PKL_OBJECT)
        v->obj->state = state; /* on an OrderedDict it is only _metadata: dropped */
    else if (v->kind != GR_PKL_DICT && v->kind != GR_PKL_GLOBAL && v->kind != GR_PKL_PERSID)
        wrong(m, "state for something that is no object");
}

/* Where APPENDS, SETITEMS and ADDITEMS put values. */
static struct gr_pkl *container(struct machine *m, struct gr_pkl *v, enum gr_pkl_kind kind)
{
    if (v->kind == GR_PKL_OBJECT) {
        if (!v->obj->items)
            v->obj->items = value_new(m, kind);
        v = v->obj->items;
    }
    if (v->kind != kind)
        wrong(m, kind == GR_PKL_DICT ? "items for something that is no dict"
                                     : "items for something that is no list or set");
    return m->status ? NULL : v;
}

static void fill(struct machine *m, enum gr_pkl_kind kind, size_t from, size_t to)
{
    if (!m->status && kind == GR_PKL_DICT && (to - from) % 2)
        wrong(m, "a key without a value");
    struct gr_pkl *c = m->status ? NULL : container(m, top(m), kind);
    for (size_t i = from; c && i < to && !m->status; i++)
        append(m, c, m->stack[i]);
}

static void op_fill_one(struct machine *m, enum gr_pkl_kind kind, size_t n)
{
    struct gr_pkl *v[2];
    for (size_t i = n; i-- > 0;)
        v[i] = pop(m);
    struct gr_pkl *c = m->status ? NULL : container(m, top(m), kind);
    for (size_t i = 0; c && i < n && !m->status; i++)
        append(m, c, v[i]);
}

static void op_fill(struct machine *m, enum gr_pkl_kind kind)
{
    size_t to, from = pop_mark(m, &to);
    fill(m, kind, from, to);
}

static void op_collect(struct machine *m, enum gr_pkl_kind kind)
{
    size_t to, from = pop_mark(m, &to);
    if (!m->status && kind == GR_PKL_DICT && (to - from) % 2)
        wrong(m, "a key without a value");
    if (!m->status)
        push_tuple(m, kind, to > from ? &m->stack[from] : NULL, to - from);
}

static void op_mark(struct machine *m)
{
    if (GR_GROW(m->marks, m->n_marks, m->cap_marks))
        m->marks[m->n_marks++] = m->n;
    else
        nomem(m);
}

static void op_unknown(struct machine *m, uint8_t op)
{
    bool text = op && strchr("FLSVPgpi", op) != NULL;
    m->status = gr_error(m->err, text ? GRAFT_E_UNSUPPORTED : GRAFT_E_FORMAT,
                         "pickle: byte %zu: opcode 0x%02x %s", gr_reader_pos(&m->r) - 1, op,
                         text ? "belongs to the text protocol 0, which is not read"
                              : "is not one that a saved network has");
}

/* One opcode. False after STOP. */
static bool step(struct machine *m)
{
    size_t end;
    uint8_t op = gr_read_u8(&m->r);
    switch (op) {
    case 0x80: { /* PROTO */
        uint8_t version = gr_read_u8(&m->r);
        if (version > 5)
            m->status = gr_error(m->err, GRAFT_E_UNSUPPORTED,
                                 "pickle: protocol %u, 2 to 5 are read", version);
        break;
    }
    case 0x95: /* FRAME */
        if (gr_read_u64le(&m->r) > gr_reader_left(&m->r))
            wrong(m, "a frame is longer than what is left");
        break;
    case '.':
        m->p->root = pop(m);
        return false;
    case '(':
        op_mark(m);
        break;
    case '0':
        pop(m);
        break;
    case '1':
        pop_mark(m, &end);
        break;
    case '2':
        push(m, top(m));
        break;
    case 'N':
        push(m, value_new(m, GR_PKL_NONE));
        break;
    case 0x88:
    case 0x89:
        push_int(m, GR_PKL_BOOL, op == 0x88);
        break;
    case 'I':
        push_decimal(m);
        break;
    case 'J':
        push_int(m, GR_PKL_INT, (int32_t)gr_read_u32le(&m->r));
        break;
    case 'K':
        push_int(m, GR_PKL_INT, gr_read_u8(&m->r));
        break;
    case 'M':
        push_int(m, GR_PKL_INT, gr_read_u16le(&m->r));
        break;
    case 0x8a:
        push_long(m, gr_read_u8(&m->r));
        break;
    case 0x8b:
        push_long(m, gr_read_u32le(&m->r));
        break;
    case 'G':
        push_float(m);
        break;
    case 'U': /* Python 2's str: names, as far as saved networks go */
    case 0x8c:
        push_text(m, GR_PKL_STR, gr_read_u8(&m->r));
        break;
    case 'T':
    case 'X':
        push_text(m, GR_PKL_STR, gr_read_u32le(&m->r));
        break;
    case 0x8d:
        push_text(m, GR_PKL_STR, gr_read_u64le(&m->r));
        break;
    case 'C':
        push_text(m, GR_PKL_BYTES, gr_read_u8(&m->r));
        break;
    case 'B':
        push_text(m, GR_PKL_BYTES, gr_read_u32le(&m->r));
        break;
    case 0x8e:
    case 0x96:
        push_text(m, GR_PKL_BYTES, gr_read_u64le(&m->r));
        break;
    case ']':
        push(m, value_new(m, GR_PKL_LIST));
        break;
    case '}':
        push(m, value_new(m, GR_PKL_DICT));
        break;
    case 0x8f:
        push(m, value_new(m, GR_PKL_SET));
        break;
    case ')':
        push_last(m, 0);
        break;
    case 0x85:
    case 0x86:
    case 0x87:
        push_last(m, (size_t)(op - 0x84));
        break;
    case 't':
        op_collect(m, GR_PKL_TUPLE);
        break;
    case 'l':
        op_collect(m, GR_PKL_LIST);
        break;
    case 'd':
        op_collect(m, GR_PKL_DICT);
        break;
    case 0x91:
        op_collect(m, GR_PKL_SET);
        break;
    case 'a':
        op_fill_one(m, GR_PKL_LIST, 1);
        break;
    case 's':
        op_fill_one(m, GR_PKL_DICT, 2);
        break;
    case 'e':
        op_fill(m, GR_PKL_LIST);
        break;
    case 'u':
        op_fill(m, GR_PKL_DICT);
        break;
    case 0x90:
        op_fill(m, GR_PKL_SET);
        break;
    case 'h':
        memo_get(m, gr_read_u8(&m->r));
        break;
    case 'j':
        memo_get(m, gr_read_u32le(&m->r));
        break;
    case 'q':
        memo_put(m, gr_read_u8(&m->r));
        break;
    case 'r':
        memo_put(m, gr_read_u32le(&m->r));
        break;
    case 0x94:
        memo_put(m, m->n_memo);
        break;
    case 'c':
        op_global(m);
        break;
    case 0x93:
        op_stack_global(m);
        break;
    case 'R':
    case 0x81:
        op_reduce(m, false);
        break;
    case 0x92:
        op_reduce(m, true);
        break;
    case 'b':
        op_build(m);
        break;
    case 'Q':
        op_persid(m);
        break;
    default:
        if (!m->r.failed)
            op_unknown(m, op);
    }
    if (m->r.failed && !m->status)
        m->status = gr_error(m->err, GRAFT_E_FORMAT, "pickle: ends after %zu bytes without a STOP",
                             (size_t)(m->r.end - m->r.start));
    return !m->status;
}

enum graft_status gr_pickle_read(struct gr_pickle *p, const void *data, size_t size,
                                 struct graft_error *err)
{
    struct machine m = {.p = p, .err = err};
    memset(p, 0, sizeof *p);
    gr_reader_init(&m.r, data, size);
    while (step(&m))
        ;
    p->used = gr_reader_pos(&m.r);
    gr_free(m.stack);
    gr_free(m.marks);
    gr_free(m.memo);
    gr_names_clear(&m.global_ids);
    if (m.status)
        gr_pickle_clear(p);
    return m.status;
}

void gr_pickle_clear(struct gr_pickle *p)
{
    gr_arena_clear(&p->arena);
    gr_free(p->globals);
    gr_free(p->persids);
    memset(p, 0, sizeof *p);
}

bool gr_pkl_is_str(const struct gr_pkl *v, const char *s)
{
    return v->kind == GR_PKL_STR && v->n == strlen(s) && !memcmp(v->s, s, v->n);
}

struct gr_pkl *gr_pkl_get(const struct gr_pkl *d, const char *key)
{
    if (d->kind != GR_PKL_DICT)
        return NULL;
    for (size_t i = d->n_v; i >= 2; i -= 2)
        if (gr_pkl_is_str(d->v[i - 2], key))
            return d->v[i - 1];
    return NULL;
}

static const char *callable_name(const struct gr_pkl *v)
{
    return v->kind == GR_PKL_GLOBAL ? v->s : "an unnamed callable";
}

const char *gr_pkl_print(const struct gr_pkl *v, char *text, size_t size)
{
    switch (v->kind) {
    case GR_PKL_NONE:
        snprintf(text, size, "None");
        break;
    case GR_PKL_BOOL:
        snprintf(text, size, "%s", v->i ? "True" : "False");
        break;
    case GR_PKL_INT:
        snprintf(text, size, "%lld", (long long)v->i);
        break;
    case GR_PKL_LONG:
        snprintf(text, size, "an integer of %zu bytes", v->n);
        break;
    case GR_PKL_FLOAT:
        snprintf(text, size, "%.6g", v->f);
        break;
    case GR_PKL_STR:
        snprintf(text, size, "'%.*s'", v->n < 200 ? (int)v->n : 200, v->s);
        break;
    case GR_PKL_BYTES:
        snprintf(text, size, "%zu bytes", v->n);
        break;
    case GR_PKL_TUPLE:
        snprintf(text, size, "a tuple of %zu", v->n_v);
        break;
    case GR_PKL_LIST:
        snprintf(text, size, "a list of %zu", v->n_v);
        break;
    case GR_PKL_SET:
        snprintf(text, size, "a set of %zu", v->n_v);
        break;
    case GR_PKL_DICT:
        snprintf(text, size, "a dict of %zu", v->n_v / 2);
        break;
    case GR_PKL_GLOBAL:
        snprintf(text, size, "the name %.200s", v->s);
        break;
    case GR_PKL_OBJECT:
        snprintf(text, size, "an object of %.200s", callable_name(v->obj->callable));
        break;
    case GR_PKL_PERSID:
        snprintf(text, size, "a stored item");
        break;
    }
    if (!gr_weights_name_ok(text, strlen(text))) /* a message must stay a line of UTF-8 */
        for (char *p = text; *p; p++)
            if (*p < 0x20 || *p >= 0x7f)
                *p = '?';
    return text;
}
