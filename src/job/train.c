/* How do labelled pictures become a tested classifier in a file? */
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "core/kernel.h"
#include "eval/baseline.h"
#include "eval/report.h"
#include "formats/meta.h"
#include "formats/onnx.h"
#include "job/memory.h"
#include "job/pictures.h"
#include "job/result.h"
#include "job/tune.h"
#include "train/attach.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { METHOD_MAJORITY, METHOD_PIXELS, METHOD_SCRATCH, METHOD_HEAD, METHOD_TUNED, N_METHODS };

/* One set of examples, gathered into dense arrays. */
struct subset {
    size_t n;
    int *y;
    float *x; /* (n, width) */
    uint8_t *thumbs;
    const char **paths;
};

struct training {
    const struct graft_train_options *o;
    const char *from; /* the source model's file; NULL with o->arch */
    char base[4096];
    const struct graft_events *ev;
    struct gr_model model;
    struct gr_network net;
    struct gr_pictures pics;
    struct gr_findings findings;
    struct subset train, test;
    size_t n_train, n_val; /* of train.n */
    size_t n_classes;
    struct gr_head_options how;
    struct gr_head head;
    struct gr_head_report fit;
    float *probs; /* (test.n, n_classes), of the chosen method */
    bool has[N_METHODS];
    size_t chosen;
    struct gr_teacher teacher;
    struct gr_tuned tuned;    /* the whole network, when more of it than the head was trained */
    struct gr_network scores; /* the same, ready to run */
    struct gr_metrics metrics[N_METHODS];
    struct gr_paired vs[N_METHODS];
    enum gr_verdict verdict;
    char verdict_text[400];
    char sha256[GR_SHA256_HEX];
    char *run_dir;
};

static void subset_clear(struct subset *s)
{
    gr_free(s->y);
    gr_free(s->x);
    gr_free(s->thumbs);
    gr_free(s->paths);
    memset(s, 0, sizeof *s);
}

static void training_clear(struct training *t)
{
    gr_findings_clear(&t->findings);
    gr_tuned_clear(&t->tuned);
    gr_teacher_clear(&t->teacher);
    gr_network_clear(&t->scores);
    gr_pictures_clear(&t->pics);
    gr_network_clear(&t->net);
    gr_model_clear(&t->model);
    subset_clear(&t->train);
    subset_clear(&t->test);
    gr_head_free(&t->head);
    for (int i = 0; i < N_METHODS; i++)
        gr_metrics_free(&t->metrics[i]);
    gr_free(t->probs);
    gr_free(t->run_dir);
}

/* Everything readable in one of the splits of the mask, in the order of the data set. */
static enum graft_status gather(const struct gr_pictures *p, unsigned splits, struct subset *s,
                                struct graft_error *err)
{
    size_t n = 0, width = (size_t)p->width;
    for (size_t i = 0; i < p->ds.n; i++)
        n += p->ok[i] && p->ds.examples[i].label >= 0 && (splits >> p->ds.examples[i].split & 1);
    s->y = gr_alloc_array(n, sizeof *s->y);
    s->x = gr_alloc_array(n, width * sizeof *s->x); /* width 0: no features */
    s->thumbs = gr_alloc_array(n, GR_THUMB);
    s->paths = gr_alloc_array(n, sizeof *s->paths);
    if (!s->y || !s->x || !s->thumbs || !s->paths)
        return gr_error_nomem(err);
    for (size_t i = 0; i < p->ds.n; i++) {
        const struct gr_example *e = &p->ds.examples[i];
        if (!p->ok[i] || e->label < 0 || !(splits >> e->split & 1))
            continue;
        s->y[s->n] = e->label;
        s->paths[s->n] = e->path;
        if (width)
            memcpy(s->x + s->n * width, p->x + i * width, width * sizeof *s->x);
        memcpy(s->thumbs + s->n * GR_THUMB, p->thumbs + i * GR_THUMB, GR_THUMB);
        s->n++;
    }
    return GRAFT_OK;
}

static size_t count_split(const struct gr_pictures *p, enum gr_split split)
{
    size_t n = 0;
    for (size_t i = 0; i < p->ds.n; i++)
        n += p->ok[i] && p->ds.examples[i].split == split;
    return n;
}

/* ---- the steps ------------------------------------------------------------------------------- */

/* A model that graft made says how it compared with the naive baselines of its own data; one that
   was no better has nothing to hand on. */
static enum graft_status check_source(const struct training *t, struct graft_error *err)
{
    const char *verdict = gr_model_get_prop(&t->model, "graft.verdict");
    if (!verdict || !strcmp(verdict, "helps") || t->o->allow_weak_source)
        return GRAFT_OK;
    return gr_error(err, GRAFT_E_ARG,
                    "%s: this model was not better than the naive baselines of the data that it "
                    "was trained on, so it has nothing to transfer (--allow-weak-source takes it "
                    "all the same)",
                    t->from);
}

/* Ranges are of the values of a network whose weights stay; those of another training are not
   taken over. */
static enum graft_status forget_ranges(struct training *t, struct graft_error *err)
{
    const char *settled = gr_model_get_prop(&t->model, "graft.precision");
    enum graft_status s = GRAFT_OK;
    if (settled && !strcmp(settled, "int8"))
        s = gr_model_set_prop(&t->model, "graft.precision", NULL, err);
    return s ? s : gr_model_set_prop(&t->model, "graft.int8", NULL, err);
}

static enum graft_status open_source(struct training *t, struct graft_error *err)
{
    const struct graft_train_options *o = t->o;
    char text[256];
    enum graft_status s = o->arch ? gr_job_new_model(o->arch, &o->load, o->keep_weights,
                                                     o->pictures.seed, t->ev, &t->model, err)
                                  : gr_job_open_model(t->from, &o->load, &t->model, err);
    if (!s && t->from)
        s = gr_sha256_file(t->model.path, t->sha256, err);
    if (!s && t->from)
        s = check_source(t, err);
    if (!s)
        s = forget_ranges(t, err);
    if (!s)
        s = gr_network_features(&t->model, o->cut, o->pictures.batch, o->pictures.precision,
                                &t->net, err);
    if (s)
        return s;
    const struct gr_model *m = &t->model;
    if (t->from == t->base)
        gr_job_tell_base(t->from, t->ev);
    const char *name = gr_path_base(t->from ? t->from : o->arch);
    gr_note(t->ev, name, "%s (%s)%s%s, cut at '%s' (%lld features)", m->arch ? m->arch : "network",
            m->format, m->pretrain ? ", trained on " : "", m->pretrain ? m->pretrain : "",
            t->net.cut, (long long)t->net.width);
    gr_note(t->ev, "preprocessing", "%s; from %s%s",
            gr_job_print_preprocess(&m->pre, text, sizeof text), m->pre_source,
            m->has_pre ? "" : " (change with --mean --std --channels --img-size)");
    gr_job_tell_notes(m, t->ev);
    return GRAFT_OK;
}

/* The pass over all pictures: one batch in the network, a few read ahead, a vector of each. */
static enum graft_status check_memory(struct training *t, struct graft_error *err)
{
    struct gr_network *net = &t->net;
    if (!t->o->pictures.memory)
        return GRAFT_OK;
    enum graft_status s = gr_network_plan(net, err);
    if (s)
        return s;
    const size_t planes = (size_t)gr_preprocess_channels(&net->pre);
    const size_t picture =
        (size_t)net->pre.width * (size_t)net->pre.height * planes * sizeof(float);
    const size_t each = (size_t)net->width * sizeof(float) + GR_THUMB;
    return gr_memory_check(t->o->pictures.memory,
                           gr_plan_get_work_size(net->plan) + 4 * (size_t)net->batch * picture +
                               t->pics.ds.n * each,
                           "the pass over all pictures", err);
}

static enum graft_status check_data(struct training *t, struct graft_error *err)
{
    enum graft_status s = gr_pictures_check(&t->pics, t->ev, &t->findings, err);
    if (s)
        return s;
    if (t->findings.n_errors && !t->o->allow_leaks)
        return gr_error(err, GRAFT_E_CHECK,
                        "%s: the data check found %zu thing%s that must be mended (see above; "
                        "--allow-leaks goes on all the same)",
                        t->o->data, t->findings.n_errors, t->findings.n_errors > 1 ? "s" : "");
    return GRAFT_OK;
}

static enum graft_status gather_sets(struct training *t, struct graft_error *err)
{
    const struct gr_dataset *ds = &t->pics.ds;
    t->n_classes = ds->n_classes;
    t->n_train = count_split(&t->pics, GR_SPLIT_TRAIN);
    t->n_val = count_split(&t->pics, GR_SPLIT_VAL);
    enum graft_status s =
        gather(&t->pics, 1u << GR_SPLIT_TRAIN | 1u << GR_SPLIT_VAL, &t->train, err);
    if (!s)
        s = gather(&t->pics, 1u << GR_SPLIT_TEST, &t->test, err);
    if (s)
        return s;
    if (t->n_classes < 2)
        return gr_error(err, GRAFT_E_CHECK, "%s: %zu class, at least 2 are needed", t->o->data,
                        t->n_classes);
    if (!t->test.n)
        return gr_error(err, GRAFT_E_CHECK,
                        "%s: no readable test pictures; raise --test or add a test/ folder",
                        t->o->data);
    for (size_t c = 0; c < t->n_classes; c++) {
        size_t n = 0;
        for (size_t i = 0; i < t->train.n; i++)
            n += (size_t)t->train.y[i] == c;
        if (!n)
            return gr_error(err, GRAFT_E_CHECK, "%s: class '%s' has no readable training picture",
                            t->o->data, ds->classes[c]);
    }
    return GRAFT_OK;
}

/* How the same architecture is trained from random weights: whole, whatever moves of the source. */
static struct graft_finetune_options scratch_options(const struct graft_train_options *o)
{
    struct graft_finetune_options how = o->finetune;
    how.unfreeze = "all";
    how.bn = "train";
    how.layer_decay = 1;
    how.pull = 0;
    how.lora = 0;
    how.views = 1;
    how.gradual = false;
    return how;
}

/* Everything that can be wrong with the options is found before any work. */
static enum graft_status check_options(struct training *t, struct graft_error *err)
{
    const struct graft_train_options *o = t->o;
    const char *dot = o->out ? strrchr(o->out, '.') : NULL;
    if (!o->data || !o->out || (o->from && o->arch))
        return gr_error(err, GRAFT_E_ARG, "data and out must be given, and not both from and arch");
    if (o->keep_weights && !o->arch)
        return gr_error(err, GRAFT_E_ARG, "keep_weights is for arch; from keeps them always");
    if (o->teacher && (!o->arch || !(o->teacher_weight > 0)))
        return gr_error(err, GRAFT_E_ARG,
                        "a teacher (of weight %g) is for a network that is trained whole (arch)",
                        o->teacher_weight);
    if (o->arch && (o->scratch || o->finetune.lora || !o->finetune.unfreeze ||
                    strcmp(o->finetune.unfreeze, "all")))
        return gr_error(err, GRAFT_E_ARG,
                        "a source model is trained whole: unfreeze must be \"all\", "
                        "scratch false, lora 0");
    if (o->pictures.precision == GRAFT_PRECISION_INT8 && (o->arch || o->finetune.unfreeze))
        return gr_error(err, GRAFT_E_ARG,
                        "int8 is for a network whose weights stay; one that is trained itself "
                        "(unfreeze, arch) takes fp32 or bf16");
    if (!dot || strcmp(dot, ".onnx") != 0)
        return gr_error(err, GRAFT_E_ARG, "%s: the name of the new model must end in .onnx",
                        o->out);
    if (strcmp(o->class_weights, "none") && strcmp(o->class_weights, "balanced"))
        return gr_error(err, GRAFT_E_ARG, "class weights are '%s', expected none or balanced",
                        o->class_weights);
    if (o->folds < 2 || o->folds > GR_MAX_FOLDS)
        return gr_error(err, GRAFT_E_ARG, "%d folds, expected 2 to %d", o->folds, GR_MAX_FOLDS);
    gr_head_options_init(&t->how);
    enum graft_status s = gr_head_options_parse(o->head, &t->how, err);
    t->how.seed = o->pictures.seed;
    t->how.folds = o->folds;
    if (o->l2 >= 0)
        t->how.lambda = o->l2 > 0 ? o->l2 : DBL_MIN; /* 0 would ask for cross-validation */
    if (!s)
        s = gr_tune_check(&o->finetune, err);
    if (!s && o->scratch) {
        const struct graft_finetune_options how = scratch_options(o);
        s = gr_tune_check(&how, err);
    }
    if (!s)
        s = gr_data_options_check(&o->pictures, err);
    if (!s)
        s = gr_job_gate(o->require, NULL, err);
    return s ? s : gr_job_check_out(o->out, err);
}

static enum graft_status check_int8(const struct training *t, struct graft_error *err)
{
    struct gr_head_options how = t->how;
    if (gr_network_precision(&t->net) != GRAFT_PRECISION_INT8)
        return GRAFT_OK;
    if (how.method == GR_METHOD_LOGISTIC)
        how.lambda = t->fit.lambda;
    return gr_int8_check(&t->model, &t->net, &t->pics, &how, &t->o->pictures, t->ev, err);
}

static enum graft_status fit_head(struct training *t, struct graft_error *err)
{
    double *weights = NULL;
    if (!strcmp(t->o->class_weights, "balanced")) {
        weights = gr_alloc_array(t->n_classes, sizeof *weights);
        if (!weights)
            return gr_error_nomem(err);
        gr_class_weights_balanced(t->train.y, t->train.n, t->n_classes, weights);
    }
    enum graft_status s =
        gr_head_fit(&t->how, t->train.x, t->train.y, t->train.n, (size_t)t->net.width, t->n_classes,
                    weights, t->ev, &t->head, &t->fit, err);
    if (!s)
        gr_note(t->ev, "head", "%s, on %zu pictures, %.1f s", t->fit.summary, t->train.n,
                t->fit.seconds);
    gr_free(weights);
    return s;
}

/* The better of the two naive ones. */
static int naive(const struct training *t)
{
    const struct gr_metrics *m = t->metrics;
    return m[METHOD_PIXELS].accuracy > m[METHOD_MAJORITY].accuracy ? METHOD_PIXELS
                                                                   : METHOD_MAJORITY;
}

static void add_verdict(struct training *t, int baseline, const char *subject)
{
    const struct gr_metrics *m = t->metrics;
    struct gr_paired p =
        gr_compare(t->test.y, m[baseline].predicted, m[t->chosen].predicted, t->test.n);
    char text[160];
    size_t used = strlen(t->verdict_text);
    gr_verdict(&p, subject, text, sizeof text);
    snprintf(t->verdict_text + used, sizeof t->verdict_text - used, "; %s", text);
}

/* Every trained method against the naive ones; then what the chosen one adds to the others. */
static void judge(struct training *t)
{
    const struct gr_metrics *m = t->metrics;
    for (size_t i = METHOD_SCRATCH; i < N_METHODS; i++)
        if (t->has[i])
            t->vs[i] = gr_compare(t->test.y, m[naive(t)].predicted, m[i].predicted, t->test.n);
    t->verdict = gr_verdict(&t->vs[t->chosen], t->o->arch ? "training" : "transfer",
                            t->verdict_text, sizeof t->verdict_text);
    if (t->chosen == METHOD_TUNED && t->has[METHOD_HEAD])
        add_verdict(t, METHOD_HEAD, "fine-tuning");
    if (t->has[METHOD_SCRATCH])
        add_verdict(t, METHOD_SCRATCH, "beginning from the source model, not from scratch,");
}

static enum graft_status measure_naive(struct training *t, struct graft_error *err)
{
    const struct subset *a = &t->train, *b = &t->test;
    const uint64_t seed = t->o->pictures.seed;
    float *probs = gr_alloc_array(b->n, t->n_classes * sizeof *probs);
    t->probs = gr_alloc_array(b->n, t->n_classes * sizeof *t->probs);
    if (!probs || !t->probs) {
        gr_free(probs);
        return gr_error_nomem(err);
    }
    gr_baseline_majority(a->y, a->n, t->n_classes, b->n, probs);
    enum graft_status s = gr_metrics_compute(probs, b->y, b->n, t->n_classes, seed,
                                             &t->metrics[METHOD_MAJORITY], err);
    if (!s)
        s = gr_baseline_pixels(a->thumbs, a->y, a->n, b->thumbs, b->n, t->n_classes, probs, NULL,
                               err);
    if (!s)
        s = gr_metrics_compute(probs, b->y, b->n, t->n_classes, seed, &t->metrics[METHOD_PIXELS],
                               err);
    t->has[METHOD_MAJORITY] = t->has[METHOD_PIXELS] = true;
    gr_free(probs);
    return s;
}

static enum graft_status measure_head(struct training *t, struct graft_error *err)
{
    const struct subset *b = &t->test;
    enum graft_status s = gr_head_probs(&t->head, b->x, b->n, t->probs, err);
    if (!s)
        s = gr_metrics_compute(t->probs, b->y, b->n, t->n_classes, t->o->pictures.seed,
                               &t->metrics[METHOD_HEAD], err);
    t->has[METHOD_HEAD] = true;
    t->chosen = METHOD_HEAD;
    return s;
}

/* ---- the second phase ------------------------------------------------------------------------ */

/* The test pictures through a whole trained network, from the files on. */
static enum graft_status measure_whole(struct training *t, struct gr_graph *graph,
                                       enum graft_precision precision, int method,
                                       struct gr_network *scores, struct graft_error *err)
{
    const struct gr_model m = {.graph = graph, .path = t->model.path, .pre = t->model.pre};
    struct graft_data_options o = t->o->pictures;
    struct gr_pictures test = {0};
    bool softmax;
    o.cache = ""; /* weights that nobody else has */
    o.precision = precision;
    enum graft_status s = gr_network_scores(&m, t->net.batch, precision, scores, &softmax, err);
    if (!s)
        s = gr_pictures_subset(&t->pics, 1u << GR_SPLIT_TEST, &test, err);
    if (!s)
        s = gr_network_settle(scores, &m, &test, &o, t->ev, err);
    if (!s)
        s = gr_pictures_run(&test, scores, &o, method == METHOD_TUNED ? "test" : "test, scratch",
                            t->ev, err);
    if (!s && test.n_bad)
        s = gr_error(err, GRAFT_E_IO, "%lld test pictures could be read before, now not",
                     (long long)test.n_bad);
    if (!s)
        s = gr_metrics_compute(test.x, t->test.y, t->test.n, t->n_classes, t->o->pictures.seed,
                               &t->metrics[method], err);
    if (!s)
        t->has[method] = true;
    if (!s && method == METHOD_TUNED) {
        t->chosen = METHOD_TUNED;
        memcpy(t->probs, test.x, t->test.n * t->n_classes * sizeof *t->probs);
    }
    gr_pictures_clear(&test);
    return s;
}

/* Of the part that moves. By itself: from random weights bf16 where the processor has it (its
   losses stay within those of other seeds), else as the frozen network was settled. */
static enum gr_precision training_precision(const struct training *t, bool random)
{
    const enum graft_precision asked = t->o->pictures.precision;
    bool bf16 = asked == GRAFT_PRECISION_BF16;
    if (asked == GRAFT_PRECISION_AUTO)
        bf16 = random ? gr_cpu_has_bf16() : gr_network_precision(&t->net) == GRAFT_PRECISION_BF16;
    return bf16 ? GR_PRECISION_BF16 : GR_PRECISION_FP32;
}

/* Which epoch is taken, and what validation said of it and of the start. */
static void tell_outcome(const struct training *t, const char *topic)
{
    const struct gr_finetune_report *r = &t->tuned.report;
    const double n = (double)t->tuned.n_val;
    if (isnan(r->best_loss))
        gr_note(t->ev, topic, "no validation pictures: the last of %lld epochs is taken; %.1f s",
                (long long)r->n_epochs, r->seconds);
    else if (r->best_epoch)
        gr_note(
            t->ev, topic,
            "epoch %lld of %lld is taken: %.0f of %zu validation pictures are right, before the "
            "first it was %.0f; loss %.4f, was %.4f; %.1f s",
            (long long)r->best_epoch, (long long)r->n_epochs, n * r->best_accuracy, t->tuned.n_val,
            n * r->start_accuracy, r->best_loss, r->start_loss, r->seconds);
    else if (t->o->arch)
        gr_warn(t->ev, topic, "no epoch was better on validation than the random weights");
    else
        gr_note(
            t->ev, topic,
            "%.0f of %zu validation pictures are right with the head alone, %.0f after the last "
            "epoch: not more, so the head alone is kept",
            n * r->start_accuracy, t->tuned.n_val, n * r->last_accuracy);
}

static enum graft_status fine_tune(struct training *t, struct graft_error *err)
{
    struct gr_head_options head = t->how;
    if (!t->o->finetune.unfreeze)
        return GRAFT_OK;
    if (!strcmp(t->o->finetune.unfreeze, "auto") && !t->n_val && !(t->o->pictures.val > 0))
        return gr_error(err, GRAFT_E_ARG, "--unfreeze auto needs validation pictures (--val)");
    if (head.method == GR_METHOD_LOGISTIC)
        head.lambda = t->fit.lambda; /* as the cross-validation chose */
    const struct gr_tune_task task = {
        .o = t->o,
        .how = &t->o->finetune,
        .topic = t->o->arch ? "train" : "fine-tune",
        .ev = t->ev,
        .model = &t->model,
        .net = &t->net,
        .pics = &t->pics,
        .head = t->o->arch ? NULL : &head,
        .teacher = t->o->teacher ? &t->teacher : NULL,
        .teacher_weight = t->o->teacher_weight,
        .precision = training_precision(t, t->o->arch != NULL),
        .dir = t->run_dir,
    };
    enum graft_status s = strcmp(task.how->unfreeze, "auto") ? gr_tune(&task, &t->tuned, err)
                                                             : gr_tune_depth(&task, &t->tuned, err);
    if (s)
        return s;
    tell_outcome(t, task.topic);
    if (!t->tuned.report.best_epoch && !t->o->arch)
        return GRAFT_OK;
    return measure_whole(t, t->tuned.graph,
                         t->o->arch ? t->o->pictures.precision : gr_network_precision(&t->net),
                         METHOD_TUNED, &t->scores, err);
}

/* The same architecture with random weights, trained whole for as many epochs: what the source
   model's knowledge is compared with. */
static enum graft_status try_scratch(struct training *t, struct graft_error *err)
{
    const struct graft_finetune_options how = scratch_options(t->o);
    struct gr_model model = {0};
    struct gr_network net = {0}, scores = {0};
    struct gr_tuned tuned = {0};
    char *dir = NULL;
    enum graft_status s = GRAFT_OK;
    if (!t->o->scratch)
        return GRAFT_OK;
    dir = gr_path_join(t->run_dir, "scratch");
    if (!dir)
        return gr_error_nomem(err);
    s = gr_job_forgotten_copy(&t->model, t->o->pictures.seed, "scratch", t->ev, &model, err);
    if (!s)
        s = gr_network_features(&model, t->o->cut, t->o->pictures.batch, GRAFT_PRECISION_FP32, &net,
                                err);
    const struct gr_tune_task task = {
        .o = t->o,
        .how = &how,
        .topic = "scratch",
        .ev = t->ev,
        .model = &model,
        .net = &net,
        .pics = &t->pics,
        .precision = training_precision(t, !t->o->finetune.unfreeze),
        .dir = dir,
    };
    if (!s)
        s = gr_tune(&task, &tuned, err);
    if (!s)
        s = measure_whole(t, tuned.graph, GRAFT_PRECISION_FP32, METHOD_SCRATCH, &scores, err);
    gr_tuned_clear(&tuned);
    gr_network_clear(&scores);
    gr_network_clear(&net);
    gr_model_clear(&model);
    gr_free(dir);
    return s;
}

/* In which what is written was measured. */
static enum graft_precision written_precision(const struct training *t)
{
    return gr_network_precision(t->chosen == METHOD_TUNED ? &t->scores : &t->net);
}

/* The source model's graph with the new head, labels and preprocessing. */
static enum graft_status make_model(const struct training *t, struct gr_model *out,
                                    struct graft_error *err)
{
    static const char *const verdicts[] = {"no difference", "helps", "hurts"};
    const struct gr_model *src = &t->model;
    const enum graft_precision precision = written_precision(t);
    char metrics[256], *ranges = NULL;
    const struct gr_metrics *m = &t->metrics[t->chosen];
    snprintf(metrics, sizeof metrics,
             "{\"test\": %zu, \"accuracy\": %.6f, \"accuracy_95\": [%.6f, %.6f], "
             "\"balanced_accuracy\": %.6f, \"macro_f1\": %.6f, \"log_loss\": %.6f}",
             m->n, m->accuracy, m->accuracy_ci.lo, m->accuracy_ci.hi, m->balanced_accuracy,
             m->macro_f1, m->log_loss);
    enum graft_status s =
        gr_graph_copy(t->chosen == METHOD_TUNED ? t->tuned.graph : t->net.graph, &out->graph, err);
    if (!s && t->chosen == METHOD_HEAD)
        s = gr_head_attach(out->graph, out->graph->outputs[0], &t->head, err);
    for (size_t i = 0; !s && i < src->n_props; i++)
        s = gr_model_set_prop(out, src->props[i].key, src->props[i].value, err);
    if (!s)
        s = gr_model_set_labels(out, t->n_classes, (const char *const *)t->pics.ds.classes, err);
    out->ir_version = src->ir_version;
    out->pre = src->pre;
    out->has_pre = true; /* a guess no longer: the head was learned with it */
    if (!s && precision == GRAFT_PRECISION_INT8 && !(ranges = gr_job_print_ranges(&t->net.ranges)))
        s = gr_error_nomem(err);
    const struct gr_meta_extra extra = {
        .cut = t->net.cut,
        .precision = gr_precision_name(precision),
        .int8 = ranges,
        .metrics_json = metrics,
        .verdict = verdicts[t->verdict],
        .arch = src->arch,
        .source_name = t->from ? gr_path_base(t->from) : NULL,
        .source_sha256 = t->from ? t->sha256 : NULL,
        .source_licence = src->licence,
        .has_seed = true,
        .seed = t->o->pictures.seed,
    };
    if (!s)
        s = gr_meta_write(out, &extra, err);
    gr_free(ranges);
    return s;
}

/* The file gets its name only when what is in it, read back, computes what was measured. */
static enum graft_status write_model(struct training *t, struct graft_error *err)
{
    struct gr_model out = {0};
    struct gr_outfile file = {0};
    const enum graft_precision precision = written_precision(t);
    enum graft_status s = make_model(t, &out, err);
    if (!s)
        s = gr_onnx_write_open(&out, t->o->out, &file, err);
    if (!s && t->chosen == METHOD_TUNED)
        s = gr_job_rescore_whole(file.tmp, &t->scores, precision, err);
    else if (!s)
        s = gr_job_rescore(file.tmp, &t->net, precision, t->test.x, t->test.n, t->probs,
                           t->n_classes, err);
    if (!s)
        s = gr_outfile_commit(&file, err);
    gr_outfile_abort(&file);
    gr_model_clear(&out);
    return s;
}

/* ---- what is written beside the model -------------------------------------------------------- */

static void fill_report(const struct training *t, struct gr_report_method *methods,
                        const char *preprocess, struct gr_report *r)
{
    const char *const names[N_METHODS] = {"majority class", "nearest pixels (k-NN)", "from scratch",
                                          "transfer (head only)",
                                          t->o->arch ? "trained network" : "transfer (fine-tuned)"};
    size_t n = 0, chosen = 0;
    for (size_t i = 0; i < N_METHODS; i++) {
        if (!t->has[i])
            continue;
        if (i == t->chosen)
            chosen = n;
        methods[n++] =
            (struct gr_report_method){names[i], &t->metrics[i], i >= METHOD_SCRATCH, t->vs[i]};
    }
    *r = (struct gr_report){
        .data_name = t->o->data,
        .class_names = (const char *const *)t->pics.ds.classes,
        .n_classes = t->n_classes,
        .n_train = t->n_train,
        .n_val = t->n_val,
        .n_test = t->test.n,
        .n_unreadable = (size_t)t->pics.n_bad + t->pics.ds.n_bad,
        .evaluated_on = "test",
        .source_name = t->from ? gr_path_base(t->from) : NULL,
        .source_sha256 = t->from ? t->sha256 : NULL,
        .source_licence = t->model.licence,
        .source_arch = t->model.arch,
        .cut = t->net.cut,
        .preprocess = preprocess,
        .head = t->o->arch ? NULL : &t->fit,
        .seed = t->o->pictures.seed,
        .methods = methods,
        .n_methods = n,
        .chosen = chosen,
        .verdict = t->verdict,
        .verdict_text = t->verdict_text,
        .paths = t->test.paths,
        .y = t->test.y,
        .probs = t->probs,
        .n = t->test.n,
        .notes = (const char *const *)t->model.notes,
        .n_notes = t->model.n_notes,
    };
}

static enum graft_status write_run(struct training *t, struct gr_report *r, struct graft_error *err)
{
    const struct graft_train_options *o = t->o;
    enum graft_status s = gr_report_write_all(r, t->run_dir, err);
    if (!s)
        s = gr_findings_write(&t->findings, t->run_dir, err);
    if (!s)
        s = gr_lineage_write(t->run_dir, o->command, &o->pictures, t->from,
                             t->from ? t->sha256 : NULL, &t->net, &t->pics, err);
    return s;
}

/* What an earlier run of that name wrote and this one did not would be taken for its own. */
static void forget_earlier(const struct training *t)
{
    const struct graft_finetune_options *f = &t->o->finetune;
    const bool tuned = f->unfreeze && strcmp(f->unfreeze, "auto") != 0; /* else not in run_dir */
    const struct {
        const char *name;
        bool written;
    } files[] = {{"history.jsonl", tuned},
                 {"lr_finder.csv", tuned && f->find_lr},
                 {"adapter_model.safetensors", tuned && f->lora},
                 {"adapter_config.json", tuned && f->lora}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = files[i].written ? NULL : gr_path_join(t->run_dir, files[i].name);
        if (path)
            remove(path);
        gr_free(path);
    }
}

/* Everything is written: nothing is left to go on from. */
static void forget_checkpoints(const struct training *t)
{
    char *scratch = gr_path_join(t->run_dir, "scratch");
    gr_tune_forget(t->run_dir);
    if (scratch)
        gr_tune_forget(scratch);
    gr_free(scratch);
}

static enum graft_status run(struct training *t, struct graft_result **result,
                             struct graft_error *err)
{
    const struct graft_train_options *o = t->o;
    struct gr_report_method methods[N_METHODS];
    struct gr_report report;
    char text[256];
    if (!o->finetune.unfreeze && !o->scratch && gr_tune_differs(&o->finetune))
        gr_warn(t->ev, "fine-tune",
                "the settings of fine-tuning do nothing: the head alone is trained (--unfreeze)");
    enum graft_status s = open_source(t, err);
    if (!s)
        s = gr_pictures_open(o->data, &o->pictures, t->ev, &t->pics, err);
    if (!s && o->arch)
        s = gr_pictures_read(&t->pics, &t->model.pre, &o->pictures, "pictures", t->ev, err);
    if (!s)
        s = gr_network_keep_hash(&t->net, err);
    if (!s && !o->arch)
        s = gr_network_settle(&t->net, &t->model, &t->pics, &o->pictures, t->ev, err);
    if (!s && !o->arch)
        s = check_memory(t, err);
    if (!s && !o->arch)
        s = gr_pictures_run(&t->pics, &t->net, &o->pictures, "features", t->ev, err);
    if (!s)
        s = check_data(t, err);
    if (!s)
        s = gather_sets(t, err);
    if (!s)
        s = measure_naive(t, err);
    if (!s && o->teacher)
        s = gr_teacher_ask(o->teacher, &t->pics, &o->pictures, t->ev, &t->teacher, err);
    if (!s && !o->arch)
        s = fit_head(t, err);
    if (!s && !o->arch)
        s = check_int8(t, err);
    if (!s && !o->arch)
        s = measure_head(t, err);
    if (!s)
        s = fine_tune(t, err);
    if (!s)
        s = try_scratch(t, err);
    if (!s)
        judge(t);
    if (!s && gr_cancelled(t->ev, err))
        s = GRAFT_E_CANCELLED;
    if (!s)
        s = write_model(t, err);
    if (s)
        return s;
    fill_report(t, methods, gr_job_print_preprocess(&t->model.pre, text, sizeof text), &report);
    s = write_run(t, &report, err);
    if (!s)
        forget_checkpoints(t);
    if (!s)
        forget_earlier(t);
    if (!s && result)
        s = gr_result_new(&report, o->out, t->run_dir, result, err);
    if (!s)
        s = gr_job_gate(o->require, &t->metrics[t->chosen], err);
    if (!s && o->require && t->verdict == GR_HURTS)
        s = gr_error(err, GRAFT_E_GATE, "the model is worse than the naive baseline: %s",
                     t->verdict_text);
    return s;
}

enum graft_status graft_train(const struct graft_train_options *o, const struct graft_events *ev,
                              struct graft_result **result, struct graft_error *err)
{
    struct training t = {.o = o, .ev = ev};
    if (result)
        *result = NULL;
    enum graft_status s = check_options(&t, err);
    t.from = o->from;
    if (!s && !o->from && !o->arch) {
        s = graft_base_model(t.base, sizeof t.base, err);
        t.from = t.base;
    }
    if (!s && !(t.run_dir = gr_sprintf("%s.run", o->out)))
        s = gr_error_nomem(err);
    if (!s)
        s = run(&t, result, err);
    training_clear(&t);
    return s;
}
