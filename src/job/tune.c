/* How is the part that moves trained, and what does it leave behind? */
#include "job/tune.h"
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/augment.h"
#include "eval/report.h"
#include "job/memory.h"
#include "train/attach.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Measured in docs/transfer-learning.md. */
#define RATE     1e-3
#define LOW_RATE 1e-4

struct tuning {
    const struct gr_tune_task *task;
    struct gr_graph *whole;
    struct gr_moving moving;
    struct gr_lora lora; /* n == 0: the weights themselves move */
    struct gr_network below;
    struct gr_tune_part train, val;
    int64_t batch, accumulate; /* as the memory allows */
    struct gr_trainer *trainer;
    double *class_weights;
    struct gr_buf history;
};

static void tuning_clear(struct tuning *t)
{
    gr_trainer_free(t->trainer);
    gr_tune_part_clear(&t->train);
    gr_tune_part_clear(&t->val);
    gr_network_clear(&t->below);
    gr_moving_clear(&t->moving);
    gr_lora_clear(&t->lora);
    gr_graph_free(t->whole);
    gr_free(t->class_weights);
    gr_buf_clear(&t->history);
}

void gr_tuned_clear(struct gr_tuned *t)
{
    gr_graph_free(t->graph);
    gr_free(t->val_losses);
    memset(t, 0, sizeof *t);
}

/* ---- options --------------------------------------------------------------------------------- */

static int find_word(const char *word, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (!strcmp(word, words[i]))
            return i;
    return -1;
}

static const char *const optimizers[] = {"adamw", "sgd", NULL};
static const char *const schedules[] = {"one-cycle", "cosine", "step", "constant", NULL};

bool gr_tune_differs(const struct graft_finetune_options *o)
{
    struct graft_train_options plain;
    graft_train_options_init(&plain);
    const struct graft_finetune_options *d = &plain.finetune;
    return o->epochs != d->epochs || o->batch != d->batch || o->lr != d->lr ||
           o->warmup != d->warmup || o->weight_decay != d->weight_decay ||
           o->layer_decay != d->layer_decay || o->clip != d->clip ||
           o->label_smoothing != d->label_smoothing || o->focal != d->focal ||
           o->mixup != d->mixup || o->cutmix != d->cutmix || o->ema != d->ema ||
           o->pull != d->pull || o->patience != d->patience || o->accumulate != d->accumulate ||
           o->find_lr || o->gradual || o->soup != d->soup || o->dropout != d->dropout ||
           o->lora_alpha != d->lora_alpha || strcmp(o->optimizer, d->optimizer) != 0 ||
           strcmp(o->schedule, d->schedule) != 0 || strcmp(o->bn, d->bn) != 0 ||
           strcmp(o->augment, d->augment) != 0;
}

enum graft_status gr_tune_check(const struct graft_finetune_options *o, struct graft_error *err)
{
    enum gr_augment_preset preset;
    if (o->lora < 0 || (o->lora && !o->unfreeze))
        return gr_error(err, GRAFT_E_ARG, "adapters of rank %d on %s layers; %s", o->lora,
                        o->unfreeze ? o->unfreeze : "no",
                        o->unfreeze ? "expected at least 1" : "--lora needs --unfreeze");
    if (o->lora && !strcmp(o->unfreeze, "auto"))
        return gr_error(err, GRAFT_E_ARG,
                        "adapters (--lora) want to be told how far down; --unfreeze auto is for "
                        "weights");
    if (!o->unfreeze && o->views > 1)
        return gr_error(err, GRAFT_E_ARG, "%d views are for fine-tuning: --views needs --unfreeze",
                        o->views);
    if (!o->unfreeze)
        return GRAFT_OK;
    if (find_word(o->optimizer, optimizers) < 0)
        return gr_error(err, GRAFT_E_ARG, "the optimizer is '%s', expected adamw or sgd",
                        o->optimizer);
    if (find_word(o->schedule, schedules) < 0)
        return gr_error(err, GRAFT_E_ARG,
                        "the schedule is '%s', expected one-cycle, cosine, step or constant",
                        o->schedule);
    if (gr_bn_mode_find(o->bn) < 0)
        return gr_error(err, GRAFT_E_ARG, "batch-norm is '%s', expected frozen, adapt or train",
                        o->bn);
    if (o->lora && strcmp(o->bn, "frozen") != 0)
        return gr_error(err, GRAFT_E_ARG,
                        "batch-norm is '%s', expected frozen: with adapters nothing else moves",
                        o->bn);
    if (!(o->lora_alpha >= 0) || o->lora_alpha > 1e9)
        return gr_error(err, GRAFT_E_ARG, "alpha of the adapters is %g, expected 0 to 1e9",
                        o->lora_alpha);
    if (o->epochs < 1 || o->batch < 1 || !(o->lr >= 0))
        return gr_error(err, GRAFT_E_ARG, "%d epochs of batches of %d at rate %g", o->epochs,
                        o->batch, o->lr);
    enum graft_status s = gr_augment_find(o->augment, &preset, err);
    const bool augmented = preset != GR_AUGMENT_NONE, whole = !strcmp(o->unfreeze, "all");
    if (!s && (o->views < 1 || o->views > GR_MAX_VIEWS))
        s = gr_error(err, GRAFT_E_ARG, "%d views, expected 1 to %d", o->views, GR_MAX_VIEWS);
    if (!s && o->views > 1 && (whole || !augmented))
        s = gr_error(
            err, GRAFT_E_ARG,
            "%d views: they are augmented pictures that go once through what is frozen; %s",
            o->views,
            whole ? "with --unfreeze all every epoch has views of its own" : "--augment says how");
    if (!s && augmented && !whole && o->views < 2)
        s = gr_error(err, GRAFT_E_ARG,
                     "augmentation needs --unfreeze all, or --views K: the frozen part of a "
                     "network runs once for each view");
    if (!s && !(o->dropout >= 0 && o->dropout < 1))
        s = gr_error(err, GRAFT_E_ARG, "dropout is %g, expected 0 to below 1", o->dropout);
    return s;
}

static bool has_batch_norm(const struct gr_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (!*g->nodes[i].domain && !strcmp(g->nodes[i].op_type, "BatchNormalization"))
            return true;
    return false;
}

/* Folded into the weights, batch-norm leaves some of them so small that AdamW, whose steps are as
   large for every weight, overturns them. Adapters leave the weights as they are. */
static bool needs_low_rate(const struct tuning *t)
{
    const struct graft_finetune_options *o = t->task->how;
    return !strcmp(o->optimizer, "adamw") && !o->lora && !has_batch_norm(t->moving.upper);
}

static double rate_of(const struct tuning *t)
{
    const double asked = t->task->how->lr;
    return asked > 0 ? asked : needs_low_rate(t) ? LOW_RATE : RATE;
}

static void tell_rate(const struct tuning *t)
{
    const struct graft_finetune_options *o = t->task->how;
    if (o->lr > 0 || o->find_lr)
        return;
    gr_note(t->task->ev, t->task->topic, "learning rate %g%s (change with --lr or --find-lr)",
            rate_of(t), needs_low_rate(t) ? ": what moves has no batch-norm" : "");
}

/* Whether the rate falls to nothing in the last epoch, and nothing asks for others. The last is
   then better than the one that few validation pictures choose (docs/transfer-learning.md). */
static bool ends_at_rest(const struct graft_finetune_options *o)
{
    return (!strcmp(o->schedule, "one-cycle") || !strcmp(o->schedule, "cosine")) && !o->patience &&
           o->soup <= 1;
}

static struct gr_finetune_options loop_options(const struct tuning *t, char *checkpoint)
{
    static const enum gr_schedule_kind kinds[] = {GR_SCHEDULE_ONE_CYCLE, GR_SCHEDULE_COSINE,
                                                  GR_SCHEDULE_STEP, GR_SCHEDULE_CONSTANT};
    const struct graft_finetune_options *o = t->task->how;
    struct gr_finetune_options f;
    gr_finetune_options_init(&f);
    gr_optim_options_init(&f.optim,
                          find_word(o->optimizer, optimizers) ? GR_OPTIM_SGD : GR_OPTIM_ADAMW);
    f.epochs = o->epochs;
    f.accumulate = t->accumulate;
    f.lr = rate_of(t);
    f.schedule = kinds[find_word(o->schedule, schedules)];
    f.warmup = o->warmup;
    f.weight_decay = o->weight_decay;
    f.pull = o->pull;
    f.layer_decay = o->layer_decay;
    f.lowest = 1;
    f.clip = o->clip;
    f.gradual = o->gradual;
    f.n_soup = o->soup;
    f.loss.smoothing = o->label_smoothing;
    f.loss.focal = o->focal;
    f.loss.class_weights = t->class_weights;
    f.mix.mixup = o->mixup;
    f.mix.cutmix = o->cutmix;
    f.ema = o->ema;
    f.patience = o->patience;
    f.best_by_accuracy = true; /* the loss rises with confidence before the accuracy falls */
    f.beat_start = t->task->head != NULL;
    f.keep_last = f.beat_start && ends_at_rest(o);
    f.seed = t->task->o->pictures.seed;
    f.checkpoint = checkpoint;
    f.resume = o->resume;
    return f;
}

/* ---- the network ----------------------------------------------------------------------------- */

/* Outputs that learn from the teacher. */
static size_t n_soft(const struct tuning *t)
{
    return t->task->teacher ? t->task->teacher->n : 0;
}

/* Of rows that belong to `all`, those of the examples in `ds`, which are in the same order. */
static void pick_rows(const struct gr_dataset *all, const float *from, size_t width,
                      const struct gr_dataset *ds, float *to)
{
    for (size_t i = 0, k = 0; i < ds->n; i++) {
        while (all->examples[k].path != ds->examples[i].path)
            k++;
        memcpy(to + i * width, from + k * width, width * sizeof *to);
    }
}

/* The teacher's rows for what was not split off for validation. */
static enum graft_status gather_soft(struct tuning *t, struct graft_error *err)
{
    const struct gr_teacher *from = t->task->teacher;
    const struct gr_dataset *ds = &t->train.pics.ds;
    if (!from)
        return GRAFT_OK;
    t->train.soft = gr_alloc_array(ds->n, from->n * sizeof(float));
    if (!t->train.soft)
        return gr_error_nomem(err);
    pick_rows(&from->pics.ds, from->pics.x, from->n, ds, t->train.soft);
    t->train.source.soft = t->train.soft;
    return GRAFT_OK;
}

/* The first rows of a constant. */
static enum graft_status keep_rows(struct gr_graph *g, int value, int64_t rows,
                                   struct graft_error *err)
{
    struct gr_tensor t = {0};
    struct gr_shape shape = g->values[value].data.shape;
    shape.dim[0] = rows;
    enum graft_status s = gr_tensor_from(GR_F32, &shape, g->values[value].data.data, &t, err);
    if (!s)
        s = gr_graph_set_const(g, value, &t, err);
    gr_tensor_clear(&t);
    return s;
}

/* What only the teacher needed goes. */
static enum graft_status drop_soft(struct tuning *t, struct graft_error *err)
{
    struct gr_graph *g = t->whole;
    const int64_t n = (int64_t)t->train.pics.ds.n_classes;
    const struct gr_node *last = &g->nodes[g->values[t->moving.logits].producer];
    if (!n_soft(t))
        return GRAFT_OK;
    enum graft_status s = keep_rows(g, last->in[1], n, err);
    if (!s)
        s = keep_rows(g, last->in[2], n, err);
    for (size_t i = 0; !s && i < g->n_outputs; i++)
        g->values[g->outputs[i]].type.shape.dim[1] = n;
    return s;
}

/* As PyTorch's Linear begins. */
static enum graft_status random_head(const struct tuning *t, struct gr_head *head,
                                     struct graft_error *err)
{
    const size_t width = (size_t)t->task->net->width;
    const size_t n_classes = t->train.pics.ds.n_classes + n_soft(t);
    const uint64_t seed = t->task->o->pictures.seed;
    const double bound = 1 / sqrt((double)width);
    *head = (struct gr_head){.kind = GR_HEAD_LINEAR, .n_features = width, .n_classes = n_classes};
    head->w = gr_alloc_array(n_classes, width * sizeof *head->w);
    head->b = gr_alloc_array(n_classes, sizeof *head->b);
    if (!head->w || !head->b)
        return gr_error_nomem(err);
    for (size_t i = 0; i < n_classes * width; i++)
        head->w[i] = (float)(bound * (2 * gr_rng_uniform(seed, 0x68656164, i) - 1));
    for (size_t i = 0; i < n_classes; i++)
        head->b[i] = (float)(bound * (2 * gr_rng_uniform(seed, 0x62696173, i) - 1));
    return GRAFT_OK;
}

/* Fitted on the training part alone, so that validation says the truth from the start. */
static enum graft_status fitted_head(const struct tuning *t, struct gr_head *head,
                                     struct graft_error *err)
{
    const struct gr_pictures *all = t->task->pics;
    const struct gr_dataset *ds = &t->train.pics.ds;
    const size_t width = (size_t)t->task->net->width;
    float *x = gr_alloc_array(ds->n, width * sizeof *x);
    enum graft_status s = x ? GRAFT_OK : gr_error_nomem(err);
    if (!s)
        pick_rows(&all->ds, all->x, width, ds, x);
    if (!s)
        s = gr_head_fit(t->task->head, x, t->train.labels, ds->n, width, ds->n_classes,
                        t->class_weights, t->task->ev, head, NULL, err);
    if (!s && head->kind == GR_HEAD_KNN)
        s = gr_error(err, GRAFT_E_ARG, "a k-NN head cannot be fine-tuned; use logistic or mlp:H");
    gr_free(x);
    return s;
}

static enum graft_status attach_head(struct tuning *t, struct graft_error *err)
{
    struct gr_head head = {0};
    enum graft_status s = t->task->head ? fitted_head(t, &head, err) : random_head(t, &head, err);
    if (!s)
        s = gr_graph_copy(t->task->net->graph, &t->whole, err);
    if (!s)
        s = gr_head_attach(t->whole, t->whole->outputs[0], &head, err);
    gr_head_free(&head);
    return s;
}

/* How the run to go on from cut its steps; no batches where there is none. */
static enum graft_status resumed_split(const struct tuning *t, struct gr_fit_split *split,
                                       struct graft_error *err)
{
    char *checkpoint = gr_path_join(t->task->dir, "checkpoint");
    enum graft_status s =
        checkpoint ? gr_fit_split_load(checkpoint, split, err) : gr_error_nomem(err);
    gr_free(checkpoint);
    return s;
}

static enum graft_status make_trainer(struct tuning *t, struct graft_error *err)
{
    const struct graft_finetune_options *o = t->task->how;
    const int64_t n = (int64_t)t->train.pics.ds.n;
    const struct gr_finetune_options loop = loop_options(t, NULL);
    struct gr_fit_choice choice;
    struct gr_fit_task task = {.graph = t->moving.upper,
                               .logits = t->moving.logits,
                               .input = t->moving.border_shape,
                               .n_params = t->moving.n_params,
                               .params = t->moving.params,
                               .loop = &loop,
                               .n_classes = t->train.pics.ds.n_classes + n_soft(t),
                               .n_train = t->train.pics.ds.n,
                               .limit = t->task->o->pictures.memory};
    gr_trainer_options_init(&task.options);
    task.options.batch = o->batch < n ? o->batch : n;
    task.options.precision = t->task->precision;
    task.options.bn = (enum gr_bn_mode)gr_bn_mode_find(o->bn);
    task.options.seed = t->task->o->pictures.seed;
    if (t->moving.from_pictures) /* two queues, of training and of validation */
        task.others = 2 * (size_t)t->train.depth * t->train.row_size * sizeof(float);
    enum graft_status s = o->resume ? resumed_split(t, &task.resumed, err) : GRAFT_OK;
    if (!s) {
        s = gr_memory_fit(&task, &choice, err);
        if (s && task.resumed.batch)
            s = gr_error_in(err, s, "%s/checkpoint", t->task->dir);
    }
    if (s)
        return s;
    t->trainer = choice.trainer;
    t->batch = choice.batch;
    t->accumulate = choice.accumulate;
    gr_note(t->task->ev, "memory", "%s", choice.text);
    return GRAFT_OK;
}

static void on_epoch(void *user, const struct gr_history_row *row)
{
    struct tuning *t = user;
    struct gr_buf *b = &t->history;
    gr_buf_printf(b, "{\"epoch\": %lld, \"step\": %lld", (long long)row->epoch,
                  (long long)row->step);
    const struct {
        const char *name;
        double v;
    } reals[] = {{"lr", row->lr},
                 {"train_loss", row->train_loss},
                 {"val_loss", row->val_loss},
                 {"val_accuracy", row->val_accuracy},
                 {"seconds", row->seconds}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (reals[i].v - reals[i].v == 0) /* finite */
            gr_buf_printf(b, ", \"%s\": %.9g", reals[i].name, reals[i].v);
    gr_buf_puts(b, "}\n");
}

/* Of everything beside the options of the loop that decides the weights. */
static enum graft_status task_key(const struct tuning *t, struct gr_hash *key,
                                  struct graft_error *err)
{
    struct gr_hash net;
    struct gr_hasher *h = gr_hasher_new();
    enum graft_status s = h ? gr_network_hash(t->task->net, &net, err) : gr_error_nomem(err);
    if (s) {
        gr_hasher_free(h);
        return s;
    }
    gr_hasher_add(h, &net, sizeof net);
    gr_hasher_add_i64(h, t->task->precision);
    gr_hasher_add_str(h, t->task->how->unfreeze);
    gr_hasher_add_str(h, t->task->how->bn);
    gr_hasher_add_str(h, t->task->how->augment);
    gr_hasher_add_i64(h, t->task->how->views);
    if (t->task->teacher)
        gr_hasher_add(h, &t->task->teacher->key, sizeof t->task->teacher->key);
    gr_hasher_add(h, &t->task->how->dropout, sizeof t->task->how->dropout);
    gr_hasher_add_i64(h, t->lora.rank);
    gr_hasher_add(h, &t->lora.alpha, sizeof t->lora.alpha);
    const struct gr_pictures *all = t->task->pics;
    for (size_t i = 0; all->hash && i < all->ds.n; i++)
        gr_hasher_add(h, &all->hash[i], sizeof all->hash[i]);
    for (size_t i = 0; i < t->train.pics.ds.n; i++)
        gr_hasher_add_str(h, t->train.paths[i]);
    for (size_t i = 0; i < t->val.pics.ds.n; i++)
        gr_hasher_add_str(h, t->val.paths[i]);
    *key = gr_hasher_get(h);
    gr_hasher_free(h);
    return GRAFT_OK;
}

/* The largest rate by Smith's range test; its curve goes into lr_finder.csv. */
static enum graft_status find_rate(struct tuning *t, const struct gr_finetune_task *task,
                                   struct gr_finetune_options *o, struct graft_error *err)
{
    struct gr_lr_finder curve;
    struct gr_buf b;
    double lr = 0;
    enum graft_status s = gr_finetune_find_lr(task, o, &curve, &lr, err);
    char *path = gr_path_join(t->task->dir, "lr_finder.csv");
    if (!s && !path)
        s = gr_error_nomem(err);
    if (s) {
        gr_free(path);
        return s;
    }
    gr_buf_init(&b, 0);
    gr_buf_puts(&b, "lr,loss\n");
    for (int i = 0; i < curve.n; i++)
        gr_buf_printf(&b, "%.6g,%.6g\n", gr_lr_finder_rate(i), curve.loss[i]);
    s = gr_report_flush(&b, path, err);
    gr_buf_clear(&b);
    if (!s && lr > 0) {
        gr_note(t->task->ev, t->task->topic, "learning rate %.2g, found in %d steps (curve in %s)",
                lr, curve.n, path);
        o->lr = lr;
    } else if (!s) {
        gr_warn(t->task->ev, t->task->topic,
                "the learning-rate finder saw no fall of the loss in %d steps; --lr %g is used "
                "(curve in %s)",
                curve.n, o->lr, path);
    }
    gr_free(path);
    return s;
}

static enum graft_status validation_losses(const struct gr_finetune_task *task,
                                           struct gr_tuned *out, struct graft_error *err)
{
    if (!task->val)
        return GRAFT_OK;
    out->val_losses = gr_alloc_array(task->val->n, sizeof *out->val_losses);
    return out->val_losses ? gr_finetune_losses(task, out->val_losses, err) : gr_error_nomem(err);
}

static enum graft_status fit(struct tuning *t, struct gr_tuned *out, struct graft_error *err)
{
    char *checkpoint = gr_path_join(t->task->dir, "checkpoint");
    char *history = gr_path_join(t->task->dir, "history.jsonl");
    struct gr_hash key;
    enum graft_status s = checkpoint && history ? gr_mkdir(t->task->dir, err) : gr_error_nomem(err);
    if (!s)
        s = task_key(t, &key, err);
    if (!s) {
        struct gr_finetune_options o = loop_options(t, checkpoint);
        struct gr_shape shape = t->moving.border_shape;
        shape.dim[0] = t->batch;
        const struct gr_finetune_task task = {
            .trainer = t->trainer,
            .n_inputs = 1,
            .input_shapes = &shape,
            .n_classes = t->train.pics.ds.n_classes,
            .n_soft = n_soft(t),
            .soft_weight = t->task->teacher_weight,
            .train = &t->train.source,
            .val = t->val.pics.ds.n ? &t->val.source : NULL,
            .depth = t->moving.depth,
            .fresh = t->moving.fresh,
            .topic = t->task->topic,
            .key = key,
            .events = t->task->ev,
            .on_epoch = on_epoch,
            .user = t,
        };
        if (t->task->how->find_lr)
            s = find_rate(t, &task, &o, err);
        if (!s)
            s = gr_finetune(&task, &o, &out->report, err);
        if (!s && t->task->want_losses)
            s = validation_losses(&task, out, err);
    }
    if (!s)
        s = gr_file_write(history, t->history.data, t->history.size, err);
    gr_free(checkpoint);
    gr_free(history);
    return s;
}

void gr_tune_forget(const char *dir)
{
    char *path = gr_path_join(dir, "checkpoint");
    if (path)
        remove(path);
    gr_free(path);
    for (size_t depth = 1; (path = gr_sprintf("%s/unfreeze-%zu", dir, depth)); depth++) {
        char *inside = gr_path_join(path, "checkpoint");
        const bool there = gr_is_dir(path);
        gr_free(path);
        if (there && inside)
            remove(inside);
        gr_free(inside);
        if (!there)
            break;
    }
}

/* Before the last linear layer, in what is trained only: the network that is written has none. */
static enum graft_status add_dropout(struct tuning *t, struct graft_error *err)
{
    struct gr_graph *g = t->moving.upper;
    const float ratio = (float)t->task->how->dropout;
    const struct gr_shape scalar = {0};
    const int last = g->values[t->moving.logits].producer;
    const bool old = gr_graph_get_opset(g, "") < 12; /* the ratio was an attribute */
    int in[2] = {g->nodes[last].in[0], -1}, node, out;
    enum graft_status s = GRAFT_OK;
    if (!old)
        s = gr_graph_append_const(g, "head.dropout.ratio", GR_F32, &scalar, &ratio, &in[1], err);
    if (!s)
        s = gr_graph_append(g, "Dropout", "head.dropout", old ? 1 : 2, in, &node, &out, err);
    if (!s && old)
        s = gr_node_set_float(g, node, "ratio", ratio, err);
    if (s)
        return s;
    g->nodes[last].in[0] = out;
    s = gr_graph_check(g, err);
    return s ? s : gr_graph_bind(g, err);
}

static enum graft_status run(struct tuning *t, struct gr_tuned *out, struct graft_error *err)
{
    const struct graft_train_options *o = t->task->o;
    enum graft_status s = gr_tune_list_parts(t->task, &t->train, &t->val, err);
    if (!s && !strcmp(o->class_weights, "balanced")) {
        const struct gr_dataset *ds = &t->train.pics.ds;
        t->class_weights = gr_alloc_array(ds->n_classes, sizeof *t->class_weights);
        if (t->class_weights)
            gr_class_weights_balanced(t->train.labels, ds->n, ds->n_classes, t->class_weights);
        else
            s = gr_error_nomem(err);
    }
    if (!s)
        s = attach_head(t, err);
    if (!s)
        s = gr_moving_choose(t->task->model, t->task->net->graph, t->whole, t->task->how->unfreeze,
                             (enum gr_bn_mode)gr_bn_mode_find(t->task->how->bn), &t->moving, err);
    if (!s && t->task->how->lora)
        s = gr_moving_adapt(&t->moving, t->whole, t->task->how, o->pictures.seed, &t->lora, err);
    if (!s && t->task->how->dropout > 0)
        s = add_dropout(t, err);
    if (!s) {
        gr_note(t->task->ev, t->task->topic, "%s", t->moving.text);
        tell_rate(t);
    }
    if (!s && !t->moving.from_pictures)
        s = gr_network_below(t->task->model, t->whole, t->moving.border, t->task->net->batch,
                             gr_network_precision(t->task->net), &t->below, err);
    if (!s)
        s = gr_tune_open_part(t->task, &t->moving, &t->below, true, &t->train, err);
    if (!s)
        s = gr_tune_open_part(t->task, &t->moving, &t->below, false, &t->val, err);
    if (!s)
        s = gather_soft(t, err);
    if (!s)
        s = make_trainer(t, err);
    if (!s)
        gr_note(t->task->ev, t->task->topic, "%zu training and %zu validation pictures, in %s",
                t->train.pics.ds.n, t->val.pics.ds.n,
                t->task->precision == GR_PRECISION_BF16 ? "bf16 (weights fp32)" : "fp32");
    if (!s)
        s = fit(t, out, err);
    if (!s && t->lora.n)
        s = gr_moving_merge(&t->moving, &t->lora, t->trainer, &t->train.source, t->batch,
                            t->train.pics.ds.n_classes, t->whole, t->task->ev, err);
    else if (!s)
        s = gr_trainer_store(t->trainer, t->whole, err);
    if (!s)
        s = drop_soft(t, err);
    if (!s && t->lora.n)
        s = gr_lora_write(&t->lora, t->moving.upper, t->task->dir, t->task->model->path,
                          out->report.best_epoch > 0, err);
    return s;
}

enum graft_status gr_tune(const struct gr_tune_task *task, struct gr_tuned *out,
                          struct graft_error *err)
{
    struct tuning t = {.task = task, .accumulate = task->how->accumulate};
    memset(out, 0, sizeof *out);
    gr_buf_init(&t.history, 0);
    enum graft_status s = run(&t, out, err);
    if (!s) {
        out->n_train = t.train.pics.ds.n;
        out->n_val = t.val.pics.ds.n;
        snprintf(out->text, sizeof out->text, "%s", t.moving.text);
        out->graph = t.whole;
        t.whole = NULL;
    } else {
        gr_tuned_clear(out);
    }
    tuning_clear(&t);
    return s;
}
