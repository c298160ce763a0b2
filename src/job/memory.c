/* Which way of training fits into the memory that was allowed? */
#include "job/memory.h"
#include "base/process.h"
#include <stdio.h>

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

enum graft_status gr_memory_check(size_t limit, size_t more, const char *what,
                                  struct graft_error *err)
{
    size_t now, peak;
    gr_process_memory(&now, &peak);
    if (limit && (more > limit || now > limit - more))
        return gr_error(err, GRAFT_E_LIMIT,
                        "%s: %.0f MiB are needed beside the %.0f MiB in use, allowed are %.0f MiB",
                        what, mib(more), mib(now), mib(limit));
    return GRAFT_OK;
}

int64_t gr_memory_part(int64_t batch, int64_t k, int64_t all)
{
    int64_t part = (batch + k - 1) / k;
    return part * k == batch || (batch == all && part * (k - 1) < batch) ? part : 0;
}

/* Everything that comes beside the trainer, which is there already but for its work memory. */
static size_t peak_of(const struct gr_fit_task *task, struct gr_trainer *t, int64_t batch,
                      int64_t accumulate)
{
    struct gr_finetune_options loop = *task->loop;
    size_t now, peak, n_stats;
    loop.accumulate = accumulate;
    gr_trainer_stats(t, &n_stats);
    gr_process_memory(&now, &peak);
    size_t input = (size_t)(gr_shape_count(&task->input) * batch);
    now += gr_trainer_get_work_size(t) + task->others +
           gr_finetune_size(&loop, gr_trainer_size(t), n_stats, (size_t)batch, input,
                            task->n_classes, task->n_train);
    return now > peak ? now : peak;
}

/* A trainer for that batch in as little as is needed, at best in the limit. */
static enum graft_status make(const struct gr_fit_task *task, int64_t batch, int64_t accumulate,
                              struct gr_fit_choice *c, struct graft_error *err)
{
    struct gr_trainer_options o = task->options;
    struct gr_shape shape = task->input;
    enum graft_status s = GRAFT_OK;
    o.batch = shape.dim[0] = batch;
    o.max_work = 0;
    for (bool more = true; !s && more;) {
        gr_trainer_free(c->trainer);
        c->trainer = NULL;
        s = gr_trainer_new(task->graph, task->logits, &shape, task->n_params, task->params, &o,
                           &c->trainer, err);
        if (s)
            break;
        c->batch = batch;
        c->accumulate = accumulate;
        c->peak = peak_of(task, c->trainer, batch, accumulate);
        const size_t work = gr_trainer_get_work_size(c->trainer), over = c->peak - task->limit;
        more = task->limit && c->peak > task->limit &&
               gr_trainer_get_keep(c->trainer) < GR_KEEP_BORDERS && (!o.max_work || over < work);
        o.max_work = over < work ? work - over : 1;
    }
    return s;
}

static void describe(const struct gr_fit_task *task, struct gr_fit_choice *c)
{
    static const char *const keeps[] = {"",
                                        "; what is cheap between convolutions is computed twice",
                                        "; the forward pass between cut points is computed twice"};
    int n = snprintf(c->text, sizeof c->text, "planned peak %.0f MiB", mib(c->peak));
    if (task->limit)
        n +=
            snprintf(c->text + n, sizeof c->text - (size_t)n, " of %.0f allowed", mib(task->limit));
    n += snprintf(c->text + n, sizeof c->text - (size_t)n, "%s",
                  keeps[gr_trainer_get_keep(c->trainer)]);
    if (c->batch != task->options.batch)
        snprintf(c->text + n, sizeof c->text - (size_t)n,
                 "; %lld batch%s of %lld make%s a step%s%s", (long long)c->accumulate,
                 c->accumulate > 1 ? "es" : "", (long long)c->batch, c->accumulate > 1 ? "" : "s",
                 task->resumed.batch ? ", as in the checkpoint" : "",
                 task->options.bn == GR_BN_TRAIN && c->accumulate > 1
                     ? ", and batch-norm measures each on its own"
                     : "");
}

/* A run that goes on has to make the steps that it began with, to the byte. */
static enum graft_status fit_resumed(const struct gr_fit_task *task, struct gr_fit_choice *choice,
                                     struct graft_error *err)
{
    const struct gr_fit_split *was = &task->resumed;
    const struct gr_fit_split asked = {task->options.batch, task->loop->accumulate};
    struct gr_fit_choice c = {0};
    if (was->batch > (int64_t)task->n_train ||
        gr_fit_split_step(was, task->n_train) != gr_fit_split_step(&asked, task->n_train))
        return gr_error(err, GRAFT_E_ARG,
                        "its steps are of %lld examples (%lld batches of %lld), those "
                        "asked for of %lld (--batch-size %lld, --accumulate %lld)",
                        (long long)gr_fit_split_step(was, task->n_train),
                        (long long)was->accumulate, (long long)was->batch,
                        (long long)gr_fit_split_step(&asked, task->n_train), (long long)asked.batch,
                        (long long)asked.accumulate);
    enum graft_status s = make(task, was->batch, was->accumulate, &c, err);
    if (!s && task->limit && c.peak > task->limit)
        s = gr_error(err, GRAFT_E_LIMIT,
                     "going on (%lld batches of %lld a step) needs %.0f MiB, "
                     "allowed are %.0f MiB: allow more (--mem), or begin anew (without --resume)",
                     (long long)was->accumulate, (long long)was->batch, mib(c.peak),
                     mib(task->limit));
    if (s) {
        gr_trainer_free(c.trainer);
        return s;
    }
    describe(task, &c);
    *choice = c;
    return GRAFT_OK;
}

enum graft_status gr_memory_fit(const struct gr_fit_task *task, struct gr_fit_choice *choice,
                                struct graft_error *err)
{
    const int64_t batch = task->options.batch, all = (int64_t)task->n_train;
    struct gr_fit_choice c = {0};
    enum graft_status s = GRAFT_OK;
    size_t least = SIZE_MAX;
    if (task->resumed.batch)
        return fit_resumed(task, choice, err);
    for (int64_t k = 1; k <= batch; k++) {
        const int64_t part = gr_memory_part(batch, k, all);
        if (!part)
            continue;
        s = make(task, part, task->loop->accumulate * k, &c, err);
        if (s && s != GRAFT_E_NOMEM && k > 1) /* batch statistics need more than one value */
            break;
        if (s)
            goto out;
        least = c.peak < least ? c.peak : least;
        if (!task->limit || c.peak <= task->limit) {
            describe(task, &c);
            *choice = c;
            return GRAFT_OK;
        }
    }
    s = gr_error(err, GRAFT_E_LIMIT, "training needs %.0f MiB, allowed are %.0f MiB", mib(least),
                 mib(task->limit));
out:
    gr_trainer_free(c.trainer);
    return s;
}
