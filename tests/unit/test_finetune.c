/* Does the fit loop learn, stop, resume to the byte, and say what went wrong? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "fake_trainer.h"
#include "train/finetune.h"

enum { D = FAKE_D, C = FAKE_C, N_TRAIN = 45, N_VAL = 19, BATCH = 4 };

static char checkpoint[] = "/tmp/test_finetune.XXXXXX";

struct world {
    struct gr_trainer trainer;
    struct gr_shape shape;
    int label[2][64];
    struct gr_batch_source source[2]; /* train, val */
    struct gr_finetune_task t;
    struct gr_finetune_options o;
    struct gr_finetune_report report;
    struct graft_events events;
    int64_t n_asked, stop_at;            /* calls of cancelled */
    int64_t n_fills, fail_at, poison_at; /* of the training source */
    enum graft_status fail_with;
    int64_t ahead[64];
    size_t n_ahead, at_ahead;
    int seen[64]; /* how often fill asked for an example */
    struct gr_history_row rows[64];
    int n_rows;
};

static enum graft_status begin(void *user, int64_t epoch, const int64_t *indices, size_t n,
                               struct graft_error *err)
{
    struct world *w = user;
    (void)epoch;
    (void)err;
    assert_in_range(n, 1, 64);
    memcpy(w->ahead, indices, n * sizeof *indices);
    w->n_ahead = n;
    w->at_ahead = 0;
    return GRAFT_OK;
}

static void example(int set, int label, int64_t i, int64_t epoch, float *x)
{
    for (int d = 0; d < D; d++)
        x[d] = (float)((d % C == label) +
                       0.45 * gr_rng_normal(11 + (uint64_t)set, (uint64_t)d, (uint64_t)i) +
                       0.1 * gr_rng_normal(13, (uint64_t)epoch, (uint64_t)(i * D + d)));
}

static enum graft_status fill_train(void *user, int64_t epoch, const int64_t *indices, size_t n,
                                    float *const *inputs, struct graft_error *err)
{
    struct world *w = user;
    assert_int_equal(n, w->shape.dim[0]);
    for (size_t i = 0; i < n; i++) {
        assert_true(w->at_ahead < w->n_ahead);
        assert_int_equal(indices[i], w->ahead[w->at_ahead]);
        w->at_ahead++;
        w->seen[indices[i]]++;
        example(0, w->label[0][indices[i]], indices[i], epoch, inputs[0] + i * D);
    }
    if (w->n_fills == w->poison_at)
        inputs[0][5] = NAN;
    if (w->n_fills++ == w->fail_at)
        return gr_error(err, w->fail_with, "lost a picture");
    return GRAFT_OK;
}

static enum graft_status fill_val(void *user, int64_t epoch, const int64_t *indices, size_t n,
                                  float *const *inputs, struct graft_error *err)
{
    struct world *w = user;
    (void)err;
    assert_int_equal(epoch, 0);
    for (size_t i = 0; i < n; i++)
        example(1, w->label[1][indices[i]], indices[i], 0, inputs[0] + i * D);
    return GRAFT_OK;
}

static bool cancelled(void *user)
{
    struct world *w = user;
    return w->n_asked++ == w->stop_at;
}

static void on_epoch(void *user, const struct gr_history_row *row)
{
    struct world *w = user;
    w->rows[w->n_rows++] = *row;
}

static void world_init(struct world *w, int64_t batch)
{
    memset(w, 0, sizeof *w);
    fake_trainer_init(&w->trainer, batch);
    w->shape = gr_shape_of(2, (int)batch, D);
    for (int i = 0; i < 64; i++)
        w->label[0][i] = w->label[1][i] = i % C;
    w->source[0] = (struct gr_batch_source){N_TRAIN, w->label[0], w, begin, fill_train};
    w->source[1] = (struct gr_batch_source){N_VAL, w->label[1], w, NULL, fill_val};
    w->stop_at = w->fail_at = w->poison_at = -1;
    w->fail_with = GRAFT_E_IO;
    w->events = (struct graft_events){.user = w, .cancelled = cancelled};
    w->t = (struct gr_finetune_task){.trainer = &w->trainer,
                                     .n_inputs = 1,
                                     .input_shapes = &w->shape,
                                     .n_classes = C,
                                     .train = &w->source[0],
                                     .val = &w->source[1],
                                     .events = &w->events,
                                     .on_epoch = on_epoch,
                                     .user = w};
    gr_finetune_options_init(&w->o);
    w->o.lr = 0.05;
}

static enum graft_status go(struct world *w, struct graft_error *err)
{
    return gr_finetune(&w->t, &w->o, &w->report, err);
}

static void must(struct world *w)
{
    struct graft_error err;
    if (go(w, &err))
        fail_msg("%s", err.message);
}

/* ---- tests ---- */

static void test_learns(void **state)
{
    (void)state;
    static const int depth[3] = {0, 1, 1};
    for (int k = 0; k < 4; k++) {
        struct world w;
        world_init(&w, BATCH);
        w.o.epochs = 8;
        w.t.depth = depth;
        w.o.schedule = (enum gr_schedule_kind)k;
        w.o.warmup = 0.1;
        w.o.accumulate = 1 + k % 2;
        w.o.ema = k == 1 ? 0.9 : 0;
        w.o.mix.mixup = k == 2 ? 0.2 : 0;
        if (k == 3) {
            gr_optim_options_init(&w.o.optim, GR_OPTIM_SGD);
            w.o.pull = 1e-4;
        }
        must(&w);
        if (!(w.report.start_accuracy < 0.7 && w.report.best_accuracy > 0.85 &&
              w.report.best_loss < 0.7 * w.report.start_loss))
            fail_msg("case %d: accuracy %g to %g, loss %g to %g", k, w.report.start_accuracy,
                     w.report.best_accuracy, w.report.start_loss, w.report.best_loss);
        assert_int_equal(w.report.n_steps, 8 * (k % 2 ? 6 : 12));
        assert_int_equal(w.n_rows, 9);
        for (int i = 0; i < 9; i++) {
            assert_int_equal(w.rows[i].epoch, i);
            assert_true(i == 0 ? isnan(w.rows[i].train_loss) : w.rows[i].train_loss > 0);
            assert_true(w.rows[i].val_loss >= w.report.best_loss);
        }
        assert_true(w.rows[w.report.best_epoch].val_loss == w.report.best_loss);
        int twice = 0; /* 45 examples in 12 batches of 4: three are there once more */
        for (int i = 0; i < N_TRAIN; i++) {
            assert_true(w.seen[i] >= 8);
            twice += w.seen[i] - 8;
        }
        assert_int_equal(twice, 8 * 3);
    }
}

/* One step over all examples is the same however they are cut into batches. */
static void test_batches_do_not_matter(void **state)
{
    (void)state;
    struct world w[2];
    const double weights[C] = {1, 2, 0.5};
    for (int k = 0; k < 2; k++) {
        world_init(&w[k], k ? BATCH : N_TRAIN);
        w[k].o.epochs = 1;
        w[k].o.accumulate = k ? 12 : 1;
        w[k].o.schedule = GR_SCHEDULE_CONSTANT;
        w[k].o.optim.kind = GR_OPTIM_SGD;
        w[k].o.loss = (struct gr_loss){0.1, 1, weights};
        w[k].t.val = NULL; /* then the last is the best */
        memset(w[k].trainer.mean, 0, sizeof w[k].trainer.mean);
        must(&w[k]);
        assert_int_equal(w[k].report.n_steps, 1);
        assert_true(isnan(w[k].report.best_loss));
    }
    struct gr_trainer start;
    fake_trainer_init(&start, BATCH);
    for (int i = 0; i < FAKE_N; i++) {
        double moved = fabs(w[0].trainer.params[i] - start.params[i]);
        /* the running mean moves between batches, so not to the last bit */
        assert_true(moved > 0);
        assert_true(fabs(w[0].trainer.params[i] - w[1].trainer.params[i]) < 0.25 * moved + 1e-4);
    }
}

static void use_all(struct world *w)
{
    world_init(w, BATCH);
    w->o.epochs = 7; /* of 6 steps, less one batch */
    w->o.accumulate = 2;
    w->o.ema = 0.95;
    w->o.n_soup = 3;
    w->o.pull = 0.01;
    w->o.mix.mixup = 0.4;
    w->o.checkpoint = checkpoint;
    w->o.resume = true;
}

static void same_end(const struct world *a, const struct world *b)
{
    assert_memory_equal(a->trainer.params, b->trainer.params, sizeof a->trainer.params);
    assert_memory_equal(a->trainer.mean, b->trainer.mean, sizeof a->trainer.mean);
    assert_int_equal(a->report.best_epoch, b->report.best_epoch);
    assert_int_equal(a->report.n_souped, b->report.n_souped);
    assert_true(a->report.best_loss == b->report.best_loss);
    for (int i = 0; i < a->n_rows; i++) {
        const struct gr_history_row *x = &a->rows[i], *y = &b->rows[b->n_rows - a->n_rows + i];
        assert_memory_equal(x, y, offsetof(struct gr_history_row, seconds));
    }
}

static void test_resume(void **state)
{
    (void)state;
    struct world straight, w;
    struct graft_error err;
    unlink(checkpoint);
    use_all(&straight);
    straight.o.checkpoint = NULL;
    must(&straight);
    assert_int_equal(straight.report.n_steps, 42);
    assert_true(straight.n_asked > 42 + 8 * 5);
    for (int k = 0; k < straight.n_asked; k++) { /* interrupted in steps and in validation */
        unlink(checkpoint);
        use_all(&w);
        w.stop_at = k;
        assert_int_equal(go(&w, &err), GRAFT_E_CANCELLED);
        use_all(&w);
        must(&w);
        same_end(&straight, &w);
        assert_int_equal(w.n_rows, 8); /* told again */
        use_all(&w);                   /* once more, when all is done */
        must(&w);
        assert_int_equal(w.n_fills, 0);
        same_end(&straight, &w);
    }
    for (int k = 0; k < 84; k += 3) { /* interrupted while a step is being made */
        unlink(checkpoint);
        use_all(&w);
        w.fail_at = k;
        w.fail_with = GRAFT_E_CANCELLED;
        assert_int_equal(go(&w, &err), GRAFT_E_CANCELLED);
        use_all(&w);
        must(&w);
        same_end(&straight, &w);
    }
    for (int k = 0; k < 84; k += 5) { /* killed in the middle of a step, not asked */
        unlink(checkpoint);
        use_all(&w);
        w.o.checkpoint_every = 4;
        w.fail_at = k;
        assert_int_equal(go(&w, &err), GRAFT_E_IO);
        use_all(&w);
        w.o.checkpoint_every = 5; /* may be changed */
        must(&w);
        same_end(&straight, &w);
    }
}

static void test_resume_refused(void **state)
{
    (void)state;
    struct world w;
    struct graft_error err;
    unlink(checkpoint);
    use_all(&w);
    w.stop_at = 14; /* in the second epoch */
    assert_int_equal(go(&w, &err), GRAFT_E_CANCELLED);
    for (int k = 0; k < 5; k++) {
        use_all(&w);
        if (k == 0)
            w.o.lr *= 2;
        else if (k == 1)
            w.label[0][3] = 1;
        else if (k == 2)
            w.t.key.lo = 1;
        else if (k == 3)
            w.trainer.params[7] += 1;
        else
            w.o.epochs++;
        assert_int_equal(go(&w, &err), GRAFT_E_ARG);
        assert_non_null(strstr(err.message, "other options, data or network"));
    }
    /* Counters that make no sense, under a checksum that fits: refused or harmless. */
    uint8_t *file = NULL;
    size_t cap = 0, size;
    assert_int_equal(gr_file_read(checkpoint, 1 << 20, &file, &cap, &size, NULL), GRAFT_OK);
    int n_refused = 0;
    for (size_t field = 0; field < 7; field++) {
        for (int k = 0; k < 6; k++) {
            static const int64_t values[6] = {-1, 0, 1, 7, 1 << 20, INT64_MIN};
            uint8_t *at = file + 40 + 24 + 8 * field;
            int64_t old;
            memcpy(&old, at, 8);
            memcpy(at, &values[k], 8);
            struct gr_hash sum = gr_hash_bytes(file, size - sizeof sum);
            memcpy(file + size - sizeof sum, &sum, sizeof sum);
            assert_int_equal(gr_file_write(checkpoint, file, size, NULL), GRAFT_OK);
            memcpy(at, &old, 8);
            use_all(&w);
            enum graft_status s = go(&w, &err);
            assert_true(s == GRAFT_OK || s == GRAFT_E_FORMAT);
            n_refused += s == GRAFT_E_FORMAT;
        }
    }
    assert_true(n_refused >= 20);
    gr_free(file);
}

static void test_split(void **state)
{
    (void)state;
    struct world w;
    struct graft_error err;
    struct gr_fit_split split = {1, 1};
    unlink(checkpoint);
    assert_int_equal(gr_fit_split_load(checkpoint, &split, &err), GRAFT_OK);
    assert_int_equal(split.batch, 0);
    use_all(&w);
    w.stop_at = 14;
    assert_int_equal(go(&w, &err), GRAFT_E_CANCELLED);
    assert_int_equal(gr_fit_split_load(checkpoint, &split, &err), GRAFT_OK);
    assert_int_equal(split.batch, BATCH);
    assert_int_equal(split.accumulate, 2);
    use_all(&w); /* as many examples a step, but other batches: not the same to the byte */
    w.trainer.batch = w.shape.dim[0] = 2 * BATCH;
    w.o.accumulate = 1;
    assert_int_equal(go(&w, &err), GRAFT_E_ARG);
    assert_non_null(strstr(err.message, "2 batches of 4 a step, expected 1 of 8"));

    assert_int_equal(gr_fit_split_step(&(struct gr_fit_split){4, 3}, 45), 12);
    assert_int_equal(gr_fit_split_step(&(struct gr_fit_split){15, 3}, 45), 45);
    assert_int_equal(gr_fit_split_step(&(struct gr_fit_split){23, 2}, 45), 45); /* all there is */
    assert_int_equal(gr_fit_split_step(&(struct gr_fit_split){64, 1}, 45), 45);
    assert_int_equal(gr_fit_split_step(&(struct gr_fit_split){2, INT64_MAX}, 45), 45);
}

static void expect_start(const struct world *w)
{
    struct gr_trainer start;
    fake_trainer_init(&start, BATCH);
    assert_memory_equal(w->trainer.params, start.params, sizeof start.params);
    assert_memory_equal(w->trainer.mean, start.mean, sizeof start.mean);
}

static void test_not_finite(void **state)
{
    (void)state;
    struct world w;
    struct graft_error err;
    world_init(&w, BATCH);
    w.poison_at = 6;
    assert_int_equal(go(&w, &err), GRAFT_E_COMPUTE);
    assert_non_null(strstr(err.message, "step 7 (epoch 1, batch 7)"));
    assert_non_null(strstr(err.message, "inputs"));
    expect_start(&w);
    world_init(&w, BATCH);
    w.trainer.bad_backward = 29;
    assert_int_equal(go(&w, &err), GRAFT_E_COMPUTE);
    assert_non_null(strstr(err.message, "step 30 (epoch 3, batch 6)"));
    assert_non_null(strstr(err.message, "gradient of 'scale'"));
    assert_true(w.report.best_loss < w.report.start_loss); /* what was learned is kept */
    world_init(&w, BATCH);
    w.trainer.params[8] = INFINITY;
    w.t.val = NULL;
    assert_int_equal(go(&w, &err), GRAFT_E_COMPUTE);
    assert_non_null(strstr(err.message, "step 1 "));
    assert_non_null(strstr(err.message, "'head.weight'"));
}

static void test_runs_away(void **state)
{
    (void)state;
    struct world w;
    struct graft_error err;
    for (int k = 0; k < 2; k++) {
        world_init(&w, BATCH);
        w.o.optim.kind = GR_OPTIM_SGD;
        w.o.schedule = GR_SCHEDULE_CONSTANT;
        w.o.lr = k ? 1e30 : 30;
        w.o.clip = 0;
        assert_int_equal(go(&w, &err), GRAFT_E_COMPUTE);
        assert_non_null(strstr(err.message, "step "));
        expect_start(&w);
    }
}

static void test_stops_early(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, BATCH);
    for (int i = 0; i < N_VAL; i++) /* what is learned is wrong here */
        w.label[1][i] = i % C;
    w.source[1].fill = fill_val;
    w.o.epochs = 20;
    w.o.patience = 3;
    for (int c = 0; c < C; c++) /* the start is right already, and training labels are turned */
        for (int d = 0; d < D; d++)
            w.trainer.params[D + c * D + d] = d % C == c ? 4 : 0;
    struct gr_trainer start = w.trainer;
    for (int i = 0; i < 64; i++)
        w.label[0][i] = gr_rng_below(1, 2, (uint64_t)i, C) & 1 ? 0 : 2;
    must(&w);
    assert_true(w.report.stopped_early);
    assert_int_equal(w.report.n_epochs, w.report.best_epoch + 3);
    if (w.report.best_epoch == 0)
        assert_memory_equal(w.trainer.params, start.params, sizeof start.params);
}

/* Only an epoch with more validation examples right replaces the start, however low its loss. */
static void test_beats_start(void **state)
{
    (void)state;
    int n_start = 0, n_lower = 0;
    for (int k = 0; k < 12; k++) {
        struct world w, before;
        world_init(&before, BATCH);
        before.o.epochs = 1 + k; /* ever less is left to learn */
        must(&before);
        world_init(&w, BATCH);
        w.trainer = before.trainer;
        w.o.best_by_accuracy = w.o.beat_start = true;
        must(&w);
        int best = 0;
        bool lower = false;
        for (int i = 1; i < w.n_rows; i++) {
            const struct gr_history_row *r = &w.rows[i], *b = &w.rows[best];
            if (r->val_accuracy > b->val_accuracy ||
                (best && r->val_accuracy == b->val_accuracy && r->val_loss < b->val_loss))
                best = i;
            lower = lower || r->val_loss < w.rows[0].val_loss;
        }
        assert_int_equal(w.report.best_epoch, best);
        assert_true(w.report.last_accuracy == w.rows[w.n_rows - 1].val_accuracy);
        n_start += best == 0;
        n_lower += best == 0 && lower;
    }
    assert_true(n_start > 0 && n_start < 12 && n_lower > 0);
}

/* The last epoch or the start, nothing between them. */
static void test_keeps_last(void **state)
{
    (void)state;
    struct world w, last;
    struct graft_error err;
    world_init(&w, BATCH);
    w.o.epochs = 8;
    w.o.beat_start = w.o.keep_last = true;
    world_init(&last, BATCH);
    last.o = w.o;
    last.t.val = NULL; /* then the last is the best */
    must(&w);
    must(&last);
    assert_int_equal(w.report.best_epoch, 8);
    assert_memory_equal(w.trainer.params, last.trainer.params, sizeof w.trainer.params);

    world_init(&w, BATCH);
    w.o.beat_start = w.o.keep_last = true;
    w.o.schedule = GR_SCHEDULE_CONSTANT;
    w.o.lr = 1e-9; /* nothing more is right in the end */
    must(&w);
    assert_int_equal(w.report.best_epoch, 0);
    expect_start(&w);

    w.o.patience = 2; /* would stop before the last */
    assert_int_equal(go(&w, &err), GRAFT_E_ARG);
}

static void test_soup(void **state)
{
    (void)state;
    struct world one, many;
    world_init(&one, BATCH);
    one.o.epochs = 10;
    one.o.lr = 1; /* noisy */
    one.o.schedule = GR_SCHEDULE_CONSTANT;
    many = one;
    world_init(&many, BATCH);
    many.o = one.o;
    many.o.n_soup = 5;
    must(&one);
    must(&many);
    assert_true(many.report.n_souped > 1);
    assert_true(many.report.best_loss < one.report.best_loss);
    assert_int_equal(one.report.n_souped, 1);
}

static void test_find_lr(void **state)
{
    (void)state;
    struct world w;
    struct graft_error err;
    struct gr_lr_finder finder;
    double lr = -1;
    world_init(&w, BATCH);
    assert_int_equal(gr_finetune_find_lr(&w.t, &w.o, &finder, &lr, &err), GRAFT_OK);
    assert_true(finder.n > 60 && lr > 1e-5 && lr < 1);
    expect_start(&w);
    w.o.lr = lr;
    w.o.epochs = 8;
    must(&w);
    assert_true(w.report.best_loss < w.report.start_loss);
}

static void test_memory(void **state) /* whatever allocation fails, nothing leaks */
{
    (void)state;
    struct world w;
    struct graft_error err;
    unlink(checkpoint);
    for (uint64_t n = 1; n < 200; n++) {
        use_all(&w);
        w.o.epochs = 1;
        gr_mem_fail_at(n);
        enum graft_status s = go(&w, &err);
        gr_mem_fail_at(0);
        if (!s)
            return;
        assert_int_equal(s, GRAFT_E_NOMEM);
    }
    fail();
}

static void test_refused(void **state)
{
    (void)state;
    struct world w;
    struct graft_error err;
    for (int k = 0; k < 8; k++) {
        world_init(&w, BATCH);
        switch (k) {
        case 0:
            w.o.epochs = 0;
            break;
        case 1:
            w.o.lr = NAN;
            break;
        case 2:
            w.label[0][44] = C;
            break;
        case 3:
            w.label[1][18] = -1;
            break;
        case 4:
            w.o.mix.cutmix = 1; /* the inputs are no pictures */
            break;
        case 5:
            w.source[0].n = 0;
            break;
        case 6:
            w.o.layer_decay = 0;
            break;
        default:
            w.o.loss.smoothing = -0.1;
        }
        assert_int_equal(go(&w, &err), GRAFT_E_ARG);
        assert_int_equal(w.n_fills, 0);
    }
}

/* ---- mixing ---- */

static void test_mix(void **state)
{
    (void)state;
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < 4000; i++) {
        double b = gr_mix_beta(0.4, 3, i);
        assert_true(b >= 0 && b <= 1);
        sum += b;
        squares += (b - 0.5) * (b - 0.5);
    }
    assert_true(fabs(sum / 4000 - 0.5) < 0.02);
    assert_true(fabs(squares / 4000 - 1 / (4 * (2 * 0.4 + 1))) < 0.01); /* Beta's variance */
    enum { N = 5, P = 2 * 6 * 7 };
    const struct gr_shape shape = gr_shape_of(4, 8, 2, 6, 7);
    int n_cut = 0;
    for (uint64_t step = 0; step < 200; step++) {
        static float x[8 * P], t[8 * 3];
        float *inputs[1] = {x};
        int n_own = 0;
        for (int i = 0; i < 8; i++) {
            for (int j = 0; j < P; j++)
                x[i * P + j] = (float)(i + 1);
            for (int c = 0; c < 3; c++)
                t[i * 3 + c] = c == i % 3;
        }
        const struct gr_mix m = {.mixup = step % 2 ? 0.3 : 0, .cutmix = step % 3 ? 1 : 0};
        gr_mix_rows(&m, 1, step, N, 1, inputs, &shape, 3, t);
        double mean = 0;
        for (int j = 0; j < P; j++) {
            mean += x[j] / P;
            n_own += x[j] == 1;
            assert_true(fabsf(x[j] + x[4 * P + j] - 6) < 1e-5f); /* partners share */
        }
        assert_true(fabs(mean - (t[0] * 1 + t[1] * 5)) < 1e-5); /* labels as pixels */
        assert_true(x[2 * P] == 3 && t[2 * 3 + 2] == 1);        /* its own partner */
        assert_true(x[5 * P] == 6 && t[5 * 3 + 2] == 1);        /* beyond n */
        n_cut += n_own > 0 && n_own < P;
    }
    assert_in_range(n_cut, 60, 140);
}

static int setup(void **state)
{
    (void)state;
    int fd = mkstemp(checkpoint);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    unlink(checkpoint);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),      cmocka_unit_test(test_batches_do_not_matter),
        cmocka_unit_test(test_resume),      cmocka_unit_test(test_resume_refused),
        cmocka_unit_test(test_not_finite),  cmocka_unit_test(test_runs_away),
        cmocka_unit_test(test_stops_early), cmocka_unit_test(test_soup),
        cmocka_unit_test(test_find_lr),     cmocka_unit_test(test_memory),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_mix),
        cmocka_unit_test(test_split),       cmocka_unit_test(test_beats_start),
        cmocka_unit_test(test_keeps_last),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
