/* graft train, graft pretrain: how do labelled pictures become a classifier? */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

static char *command_line(int argc, char **argv)
{
    size_t size = sizeof "graft";
    for (int i = 0; i < argc; i++)
        size += strlen(argv[i]) + 1;
    char *text = malloc(size);
    if (!text)
        return NULL;
    strcpy(text, "graft");
    for (int i = 0; i < argc; i++)
        strcat(strcat(text, " "), argv[i]);
    return text;
}

/* What is chosen by a word. */
struct tune_words {
    int opt, sched, bn, augment, weights;
};

/* Rows of struct graft_finetune_options that both commands have, with their defaults as text. */
#define TUNE_OPTIONS(f, w, EPOCHS, BATCH, LR, OPT, DECAY, LAYER, CLIP, BN, AUGMENT)                 \
    {OPT_INT,  0,                                                                                   \
     "epochs", &(f)->epochs,                                                                        \
     "N",      "passes over the training pictures (default " EPOCHS ")",                            \
     1,        1e6},                                                                                \
        {OPT_INT, 0,   "batch-size", &(f)->batch, "N", "examples a step (default " BATCH ")",       \
         1,       4096},                                                                            \
        {OPT_INT, 0, "accumulate", &(f)->accumulate, "N", "batches a step (default 1)", 1, 4096},   \
        {OPT_REAL, 0, "lr", &(f)->lr, "X", "largest learning rate (default " LR ")", 1e-12, 100},   \
        {OPT_FLAG, 0, "find-lr", &(f)->find_lr, NULL, "learning rate by a range test first", 0, 0}, \
        {OPT_CHOICE, 0, "opt", &(w)->opt, "adamw|sgd", "optimiser (default " OPT ")", 0, 0},        \
        {OPT_CHOICE,                                                                                \
         0,                                                                                         \
         "sched",                                                                                   \
         &(w)->sched,                                                                               \
         "one-cycle|cosine|step|constant",                                                          \
         "schedule of the rate (default one-cycle)",                                                \
         0,                                                                                         \
         0},                                                                                        \
        {OPT_REAL, 0,                                                                               \
         "warmup", &(f)->warmup,                                                                    \
         "F",      "part of the steps with rising rate (cosine, step)",                             \
         0,        1},                                                                              \
        {OPT_REAL,                                                                                  \
         0,                                                                                         \
         "weight-decay",                                                                            \
         &(f)->weight_decay,                                                                        \
         "X",                                                                                       \
         "of weights with more than one dimension (default " DECAY ")",                             \
         0,                                                                                         \
         100},                                                                                      \
        {OPT_REAL,      0,                                                                          \
         "layer-decay", &(f)->layer_decay,                                                          \
         "X",           "rate of a stage relative to the one above it (default " LAYER ")",         \
         0.01,          1},                                                                         \
        {OPT_REAL,   0,   "clip-grad",                                                              \
         &(f)->clip, "X", "largest norm of the gradient (default " CLIP "; 0: none)",               \
         0,          1e9},                                                                          \
        {OPT_REAL,                                                                                  \
         0,                                                                                         \
         "label-smoothing",                                                                         \
         &(f)->label_smoothing,                                                                     \
         "X",                                                                                       \
         "part of each label that is spread over all classes (default 0)",                          \
         0,                                                                                         \
         0.99},                                                                                     \
        {OPT_REAL, 0, "focal", &(f)->focal, "GAMMA", "focal loss (default 0: none)", 0, 20},        \
        {OPT_REAL, 0, "mixup", &(f)->mixup, "ALPHA", "mix pictures and labels (default 0: no)",     \
         0,        10},                                                                             \
        {OPT_REAL, 0, "cutmix", &(f)->cutmix, "ALPHA", "paste patches and labels (default 0: no)",  \
         0,        10},                                                                             \
        {OPT_REAL, 0,       "ema", &(f)->ema, "DECAY", "average of the weights (default 0: none)",  \
         0,        0.999999},                                                                       \
        {OPT_REAL, 0,  "l2-sp", &(f)->pull, "X", "pull towards the source weights (default 0)",     \
         0,        100},                                                                            \
        {OPT_INT,    0,                                                                             \
         "patience", &(f)->patience,                                                                \
         "N",        "stop after N epochs without improvement (default 0: never)",                  \
         0,          1e6},                                                                          \
        {OPT_CHOICE,                                                                                \
         0,                                                                                         \
         "bn",                                                                                      \
         &(w)->bn,                                                                                  \
         "frozen|adapt|train",                                                                      \
         "batch-norm: untouched, scale and bias trained, batch statistics (default " BN ")",        \
         0,                                                                                         \
         0},                                                                                        \
        {OPT_CHOICE,                                                                                \
         0,                                                                                         \
         "augment",                                                                                 \
         &(w)->augment,                                                                             \
         "none|shift|light|trivial",                                                                \
         "augmentation, with --unfreeze all or --views (default " AUGMENT ")",                      \
         0,                                                                                         \
         0},                                                                                        \
        {OPT_REAL,  0,                                                                              \
         "dropout", &(f)->dropout,                                                                  \
         "P",       "part of the features left out at random before the last layer (default 0)",    \
         0,         0.95},                                                                          \
        {OPT_FLAG, 0, "gradual", &(f)->gradual, NULL, "one more stage moves in each epoch", 0, 0},  \
        {OPT_INT,    0,   "soup",                                                                   \
         &(f)->soup, "N", "average the N best epochs where that is better (default 1: no)",         \
         1,          64},                                                                           \
    {                                                                                               \
        OPT_FLAG, 0, "resume", &(f)->resume, NULL, "go on from an interrupted run's checkpoint",    \
            0, 0                                                                                    \
    }

#define MEMORY_OPTION(p)                                                                           \
    {                                                                                              \
        OPT_SIZE, 0, "mem", &(p)->memory, "SIZE",                                                  \
            "to stay within (500M, 2G), by computing twice, then by smaller batches", 0, 0         \
    }

#define WEIGHTS_OPTION(w)                                                                          \
    {                                                                                              \
        OPT_CHOICE, 0, "class-weights", &(w)->weights, "none|balanced",                            \
            "balanced: rare classes count as much as frequent ones", 0, 0                          \
    }
#define TEST_OPTIONS(o)                                                                            \
    {                                                                                              \
        OPT_REAL, 0,  "test", &(o)->pictures.test, "F", "part kept for the test (default 0.1)",    \
        0,        0.9},                                                                            \
    {                                                                                              \
        OPT_SEED, 0, "seed", &(o)->pictures.seed, "N", "of every random choice (default 0)", 0, 0  \
    }
#define GATE_OPTIONS(o)                                                                            \
    {OPT_STRING, 0,                                                                                \
     "require",  &(o)->require,                                                                    \
     "acc>=X",   "exit status 5 when the test accuracy is lower",                                  \
     0,          0},                                                                               \
    {                                                                                              \
        OPT_FLAG, 0, "allow-leaks", &(o)->allow_leaks, NULL,                                       \
            "go on although the same picture is in two splits", 0, 0                               \
    }

static void apply_words(const struct tune_words *w, struct graft_train_options *o)
{
    static const char *const schedules[] = {"one-cycle", "cosine", "step", "constant"};
    static const char *const bn_modes[] = {"frozen", "adapt", "train"};
    static const char *const augments[] = {"none", "shift", "light", "trivial"};
    struct graft_finetune_options *f = &o->finetune;
    f->optimizer = w->opt ? "sgd" : "adamw";
    f->schedule = schedules[w->sched];
    f->bn = bn_modes[w->bn];
    f->augment = augments[w->augment];
    o->class_weights = w->weights ? "balanced" : "none";
}

/* Trains, and prints what came of it. */
static int run_train(const struct graft_train_options *o, struct ui *ui,
                     const struct graft_events *ev)
{
    struct graft_result *r = NULL;
    struct graft_error err;
    enum graft_status s = graft_train(o, ev, &r, &err);
    if (r && ui->json) {
        fputs(r->json, stdout);
    } else if (r) {
        fputs(r->table, stdout);
        if (r->verdict)
            printf("verdict: %s\n", r->verdict);
        printf("wrote %s, report %s\n", r->out, r->report);
    }
    graft_result_free(r);
    return s ? ui_fail(ui, &err) : ui_flush();
}

int cmd_train(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_train_options o;
    struct graft_events ev;
    struct tune_words words = {0};
    int on_bad = 0, precision = 0, n;
    ui_pre_init(&pre);
    graft_train_options_init(&o);
    struct graft_finetune_options *f = &o.finetune;
    const struct opt opts[] = {
        {OPT_STRING, 0, "from", &o.from, "MODEL",
         "the pre-trained network (default: the small one that comes with graft)", 0, 0},
        {OPT_STRING, 'o', "out", &o.out, "FILE", "where the new model goes (.onnx)", 0, 0},
        {OPT_STRING, 0, "cut", &o.cut, "VALUE[,...]",
         "features to use instead of the old head's input; 'graft inspect' lists them", 0, 0},
        {OPT_STRING, 0, "head", &o.head, "KIND", "logistic (default), ncm, knn:K or mlp:H", 0, 0},
        {OPT_REAL, 0, "l2", &o.l2, "X",
         "penalty of the logistic head (default: by cross-validation)", 0, 1e9},
        {OPT_INT, 0, "folds", &o.folds, "K", "of the cross-validation (default 5)", 2, 30},
        WEIGHTS_OPTION(&words),
        {OPT_GROUP, 0, "Fine-tuning", NULL, NULL, NULL, 0, 0},
        {OPT_STRING, 0, "unfreeze", &f->unfreeze, "N|all|auto|/REGEX/",
         "train the last N stages, everything, as many stages as pay (auto), or weights by name, "
         "with the new head",
         0, 0},
        {OPT_INT, 0, "lora", &f->lora, "R",
         "adapters of rank R learn instead of the linear and 1x1 weights that --unfreeze chooses, "
         "and are merged into them at the end",
         1, 65536},
        {OPT_REAL, 0, "lora-alpha", &f->lora_alpha, "X", "an adapter counts X / R (default: X = R)",
         1e-6, 1e9},
        {OPT_INT, 0, "views", &f->views, "K",
         "augmented views of each picture that go once through what is frozen (default 1: none)", 1,
         64},
        TUNE_OPTIONS(f, &words, "10", "32",
                     "0.001; with adamw 0.0001 where nothing that moves has batch-norm", "adamw",
                     "0.01", "0.9", "1", "frozen", "none"),
        MEMORY_OPTION(&o.pictures),
        {OPT_GROUP, 0, "Data", NULL, NULL, NULL, 0, 0},
        {OPT_REAL, 0, "val", &o.pictures.val, "F",
         "part on which fine-tuning is validated; the head alone learns from it (default 0.1)", 0,
         0.9},
        TEST_OPTIONS(&o),
        {OPT_FLAG, 0, "scratch", &o.scratch, NULL,
         "also train the same architecture from random weights, to compare with", 0, 0},
        {OPT_FLAG, 0, "allow-weak-source", &o.allow_weak_source, NULL,
         "take a MODEL that was no better than the naive baselines of its own data", 0, 0},
        GATE_OPTIONS(&o),
        DATA_OPTIONS(&o.pictures),
        PRE_OPTIONS(&pre, &o.load.labels),
        UI_OPTIONS(&ui),
        {0},
    };
    char *command = command_line(argc, argv);
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        goto out;
    if (n != 1 || !o.out) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        code = EXIT_USAGE;
        goto out;
    }
    o.data = argv[0];
    o.command = command;
    o.pictures.stop_on_bad = on_bad == 1;
    o.pictures.precision = (enum graft_precision)precision;
    apply_words(&words, &o);
    char base[4096];
    struct graft_error err;
    if ((code = ui_open(&ui, &ev)) >= 0)
        goto out;
    if (!o.from && graft_base_model(base, sizeof base, &err)) {
        code = ui_fail(&ui, &err);
        goto out;
    }
    if ((code = ui_pre_apply(&ui, &pre, o.from ? o.from : base, &o.load)) >= 0)
        goto out;
    code = run_train(&o, &ui, &ev);
out:
    ui_close(&ui);
    free(command);
    return code;
}

int cmd_pretrain(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_train_options o;
    struct graft_events ev;
    struct tune_words words = {.opt = 1, .bn = 2, .augment = 1};
    int on_bad = 0, precision = 0, n;
    ui_pre_init(&pre);
    graft_pretrain_options_init(&o);
    struct graft_finetune_options *f = &o.finetune;
    const struct opt opts[] = {
        {OPT_STRING, 0, "arch", &o.arch, "NAME|MODEL",
         "architecture: a name (a wrong one lists them all), or a model file, whose weights are "
         "forgotten",
         0, 0},
        {OPT_FLAG, 0, "keep-weights", &o.keep_weights, NULL,
         "go on from the MODEL's weights instead of forgetting them; its classifier is made anew",
         0, 0},
        {OPT_STRING, 'o', "out", &o.out, "FILE", "where the new model goes (.onnx)", 0, 0},
        {OPT_GROUP, 0, "Training", NULL, NULL, NULL, 0, 0},
        {OPT_STRING, 0, "teacher", &o.teacher, "MODEL",
         "learn also what this classifier says about the pictures (distillation); its classes need "
         "not be those of DATA",
         0, 0},
        {OPT_REAL, 0, "teacher-weight", &o.teacher_weight, "X",
         "of that part of the loss (default 1)", 1e-6, 1e6},
        TUNE_OPTIONS(f, &words, "40", "128", "0.1", "sgd", "0.0005", "1", "0", "train", "shift"),
        MEMORY_OPTION(&o.pictures),
        WEIGHTS_OPTION(&words),
        {OPT_GROUP, 0, "Data", NULL, NULL, NULL, 0, 0},
        {OPT_REAL, 0, "val", &o.pictures.val, "F",
         "part that chooses the best epoch; 0: the last one is taken (default 0.1)", 0, 0.9},
        TEST_OPTIONS(&o),
        GATE_OPTIONS(&o),
        DATA_OPTIONS(&o.pictures),
        PRE_OPTIONS(&pre, &o.load.labels),
        UI_OPTIONS(&ui),
        {0},
    };
    char *command = command_line(argc, argv);
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        goto out;
    if (n != 1 || !o.arch || !o.out) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        code = EXIT_USAGE;
        goto out;
    }
    o.data = argv[0];
    o.command = command;
    o.pictures.stop_on_bad = on_bad == 1;
    o.pictures.precision = (enum graft_precision)precision;
    apply_words(&words, &o);
    if ((code = ui_open(&ui, &ev)) < 0 && (code = ui_pre_apply(&ui, &pre, o.arch, &o.load)) < 0)
        code = run_train(&o, &ui, &ev);
out:
    ui_close(&ui);
    free(command);
    return code;
}
