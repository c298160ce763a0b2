/* graft: transfer learning in C.  SPDX-License-Identifier: Apache-2.0

   From a folder of labelled pictures and a pre-trained network to a classifier:

       #include <graft.h>
       #include <stdio.h>
       int main(void)
       {
           struct graft_train_options o;
           struct graft_error err;
           graft_train_options_init(&o);
           o.data = "flowers/", o.from = "resnet18.pth", o.out = "flowers.onnx";
           if (graft_train(&o, NULL, NULL, &err))
               return fprintf(stderr, "%s\n", err.message), 1;
       }

   Ownership: whoever calls a function that creates an object calls the matching _free. Strings and
   arrays inside returned structs belong to that object. Options structs are only read; what they
   point to must live until the call returns. Every options struct has an _init that fills in the
   defaults; always call it, so that fields added later get theirs.

   Threads: different objects may be used by different threads at the same time; one object by one
   thread at a time, except where its functions say otherwise. */
#ifndef GRAFT_H
#define GRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GRAFT_API __attribute__((visibility("default")))
#else
#define GRAFT_API
#endif

/* ---- errors ------------------------------------------------------------------------------- */

enum graft_status {
    GRAFT_OK = 0,
    GRAFT_E_ARG,         /* the caller's argument or option is wrong */
    GRAFT_E_NOMEM,       /* out of memory */
    GRAFT_E_IO,          /* the operating system refused to read or write */
    GRAFT_E_FORMAT,      /* the file is wrong */
    GRAFT_E_LIMIT,       /* refused because of its size; limits are settings */
    GRAFT_E_UNSUPPORTED, /* the file is right and graft cannot do it */
    GRAFT_E_SHAPE,       /* shapes do not fit each other */
    GRAFT_E_COMPUTE,     /* the arithmetic failed (not finite, kernel failure) */
    GRAFT_E_CANCELLED,   /* the caller asked to stop; what was done is kept */
    GRAFT_E_CHECK,       /* the data check failed */
    GRAFT_E_GATE         /* a required figure was not reached */
};

/* Filled by a failing function, untouched by a successful one. Where a function takes one, NULL
   is allowed. */
struct graft_error {
    enum graft_status status;
    char message[1024]; /* one line, no newline: place: fact with both values */
};

/* "format", "shape", ...: one word for a status. */
GRAFT_API const char *graft_status_name(enum graft_status status);
GRAFT_API const char *graft_version(void);

/* ---- what a long job tells while it runs -------------------------------------------------- */

enum graft_level { GRAFT_NOTE, GRAFT_WARNING };

/* Callbacks, each may be NULL; called from the thread that called graft, except `cancelled`,
   which worker threads may call too. */
struct graft_events {
    void *user;
    void (*note)(void *user, enum graft_level level, const char *topic, const char *text);
    void (*progress)(void *user, const char *topic, int64_t done, int64_t total, const char *unit);
    bool (*cancelled)(void *user);
};

/* ---- preprocessing: from a decoded picture to the network's input ------------------------- */

enum graft_resize {
    GRAFT_RESIZE_SHORTEST, /* short side to resize_to, aspect kept, then centre crop */
    GRAFT_RESIZE_STRETCH,  /* straight to width x height */
    GRAFT_RESIZE_LETTERBOX /* aspect kept, whole picture inside, borders filled with pad_value */
};
enum graft_filter { GRAFT_NEAREST, GRAFT_BILINEAR, GRAFT_BICUBIC, GRAFT_LANCZOS, GRAFT_BOX };
enum graft_channels { GRAFT_RGB, GRAFT_BGR, GRAFT_GREY, GRAFT_RGBA };

/* Pixels p in 0..255 become (p * scale - mean[c]) / std[c]. Resizing is Pillow's (antialiased,
   8-bit between the passes), in the way torchvision.transforms calls it on Pillow images. */
struct graft_preprocess {
    int width, height; /* of the network's input */
    enum graft_resize resize;
    int resize_to; /* short side in pixels, for GRAFT_RESIZE_SHORTEST */
    enum graft_filter filter;
    enum graft_channels channels; /* order in which planes are given to the network */
    double scale;
    double mean[4], std[4]; /* in the order of `channels` */
    int pad_value;          /* 0..255, for GRAFT_RESIZE_LETTERBOX and crops past the border */
};

GRAFT_API void graft_preprocess_init(struct graft_preprocess *p); /* 224x224 torchvision ImageNet */

/* ---- models -------------------------------------------------------------------------------- */

struct graft_model;

struct graft_load_options {
    const char *labels; /* a file with one class name a line, or NULL: those in the model */
    /* Overrides what the model says, or NULL. Another width and height than the file declares are
       taken where the network does not depend on them; where it does, running it says which node.
     */
    const struct graft_preprocess *preprocess;
    /* The planes that the model shall take, or NULL: those it was made for. Another number of them
       than the network has changes its first layer, so that it computes the same from a grey
       picture as from three equal planes, from an opaque RGBA picture as from RGB, and from RGB as
       from the mean of the three planes; the model's notes say how. `preprocess` is then about the
       planes that the network was made for. */
    const enum graft_channels *channels;
    void *reserved[7];
};
GRAFT_API void graft_load_options_init(struct graft_load_options *o);

/* Reads ONNX (operator sets 7 and up, external data), PyTorch .pth/.pt/.th and safetensors. Files
   that hold weights only are recognised by the names and shapes of their tensors. Nothing in a file
   is ever executed. `options` may be NULL. Operators that graft cannot compute are no error here;
   graft_model_inspect lists them. */
GRAFT_API enum graft_status graft_model_load(const char *path,
                                             const struct graft_load_options *options,
                                             struct graft_model **model, struct graft_error *err);
GRAFT_API void graft_model_free(struct graft_model *model);
/* From now on graft_model_save writes weights of two and more dimensions in half precision
   (float16, in ONNX with a Cast behind each): half the bytes, rounded to 11 bits. */
GRAFT_API void graft_model_set_half(struct graft_model *model, bool half);
/* Writes .onnx or, by that ending, .safetensors (weights and nothing else). COMPUTE where half
   precision was asked for and a weight is beyond its range. */
GRAFT_API enum graft_status graft_model_save(const struct graft_model *model, const char *path,
                                             struct graft_error *err);

/* An architecture by name ("resnet20") or that of a model file, a backbone and a head for two
   classes, with random weights: a pure function of name and seed. ARG lists the names when there is
   none such. */
GRAFT_API enum graft_status graft_model_new(const char *arch, uint64_t seed,
                                            struct graft_model **model, struct graft_error *err);
/* The names, NULL after the last. */
GRAFT_API const char *graft_arch(size_t i);

/* Finds graft-base.onnx, the small source model that comes with graft: the file that $GRAFT_BASE
   names, else the one in share/graft/ or models/ in a folder above the program or library, else in
   /usr/local/share/graft/ or /usr/share/graft/. `path` gets at most `size` bytes. IO when there is
   none. */
GRAFT_API enum graft_status graft_base_model(char *path, size_t size, struct graft_error *err);

/* A run of nodes at one resolution; `cut` is the value to name in graft_train_options.cut. */
struct graft_stage {
    const char *cut;
    int rank;
    int64_t shape[8]; /* for a batch of 1 */
    int n_nodes;
    int64_t n_params;
    double macs; /* multiply-adds for one example */
};

struct graft_model_info {
    const char *path, *format, *producer;  /* producer may be NULL */
    const char *arch, *pretrain, *licence; /* NULL: unknown */
    const char *sha256;                    /* of the file; NULL for a model made by name */
    int64_t opset;
    int n_nodes;
    int64_t n_params, n_weight_bytes;
    double macs; /* of the whole network, one example */
    const char *input;
    int input_rank;
    int64_t input_shape[8]; /* -1: free */
    int n_labels;           /* 0: none known */
    const char *const *labels;
    struct graft_preprocess preprocess;
    const char *preprocess_source; /* "metadata", "ResNet-18 (torchvision)", "guess: ..." */
    bool preprocess_guessed;
    const char *head;     /* name of the last parametric layer, NULL: a backbone without one */
    const char *features; /* the value that enters it: where graft cuts by itself */
    int n_features, n_classes;
    int n_stages;
    const struct graft_stage *stages;
    int n_cuts; /* all values at which the network can be cut, from input to output */
    const char *const *cuts;
    int n_unsupported; /* operators that graft cannot compute, "NonZero (2 nodes, first '...')" */
    const char *const *unsupported;
    int n_notes; /* what reading found worth saying */
    const char *const *notes;
};
/* Its preprocessing alone, without a look at the whole file. Belongs to the model. */
GRAFT_API const struct graft_preprocess *graft_model_preprocess(const struct graft_model *model);
/* Belongs to the model. */
GRAFT_API enum graft_status graft_model_inspect(struct graft_model *model,
                                                const struct graft_model_info **info,
                                                struct graft_error *err);

/* ---- prediction ---------------------------------------------------------------------------- */

enum graft_precision {
    GRAFT_PRECISION_AUTO, /* bf16 where the processor is fast at it and the network's output on
                             the first pictures changes by less than 1 %, else fp32 */
    GRAFT_PRECISION_FP32,
    GRAFT_PRECISION_BF16,
    GRAFT_PRECISION_INT8 /* convolutions and matrices in 8 bits, with ranges that graft_train and
                            graft_features find on their pictures; elsewhere only for models that
                            have them. graft_train refuses it where accuracy drops */
};

struct graft_predictor;
/* The model must outlive the predictor and have a classifier on top. AUTO: as the model was
   trained, or fp32 where it does not say. */
GRAFT_API enum graft_status graft_predictor_new(struct graft_model *model,
                                                enum graft_precision precision,
                                                struct graft_predictor **p,
                                                struct graft_error *err);
GRAFT_API void graft_predictor_free(struct graft_predictor *p);
GRAFT_API int graft_predictor_n_classes(const struct graft_predictor *p);
/* The name of a class, or its number as text where the model has no labels. */
GRAFT_API const char *graft_predictor_label(const struct graft_predictor *p, int i);
/* Each fills probs[n_classes]. A picture in a file, the bytes of such a file, 8-bit RGB pixels
   with rows of `stride` bytes. No allocation in graft once warm. */
GRAFT_API enum graft_status graft_predict_file(struct graft_predictor *p, const char *path,
                                               float *probs, struct graft_error *err);
GRAFT_API enum graft_status graft_predict_bytes(struct graft_predictor *p, const void *bytes,
                                                size_t size, float *probs, struct graft_error *err);
GRAFT_API enum graft_status graft_predict_pixels(struct graft_predictor *p, const uint8_t *rgb,
                                                 int width, int height, size_t stride, float *probs,
                                                 struct graft_error *err);
/* Many pictures that the caller has prepared: x holds n arrays of the size that the model's
   preprocessing says, (channels, height, width) or, where its input is declared so, (height, width,
   channels), after mean and std; fills probs[n * n_classes]. Any n; inside, batches of 8, and what
   is left over one by one (the last digits may differ between the two). The first call with 8
   pictures or more plans the network for batches, after that nothing is allocated. */
GRAFT_API enum graft_status graft_predict_batch(struct graft_predictor *p, int64_t n,
                                                const float *x, float *probs,
                                                struct graft_error *err);

/* ---- where the time goes ------------------------------------------------------------------- */

struct graft_bench_options {
    const char *model; /* required */
    struct graft_load_options load;
    int batch;                      /* 8 */
    enum graft_precision precision; /* AUTO: as the model was trained, else bf16 where the processor
                                       is fast at it; there are no pictures to compare with fp32.
                                       INT8: with the model's ranges, or such as the input that is
                                       timed has. Not in training */
    int threads;                    /* 0: as OpenMP has it */
    bool train;     /* a training step: forward, backward and SGD with momentum; in fp32 unless
                       bf16 is asked for */
    double seconds; /* how long to measure, beside 0.2 s for the peaks: 2 */
    const char *unfreeze; /* training: as in graft_finetune_options, the model's own head being the
                             new one; what is below does not run. NULL: all weights move */
    const char *bn;       /* training: as in graft_finetune_options: "frozen" */
    void *reserved[6];
};
GRAFT_API void graft_bench_options_init(struct graft_bench_options *o);

/* One step of the plan, or of the way back. The times are medians. */
struct graft_bench_step {
    const char *node, *op, *kernel;
    const char *fused; /* operators computed with it, or "" */
    bool backward;
    int rank;
    int64_t shape[8]; /* of what it gives, for the whole batch */
    double seconds;
    double
        flops; /* two for each multiply-add of a direct computation; 0 where nothing is multiplied
                */
    double bytes; /* read and written: values, and weights once for each thread that needs them */
    double share; /* of the speed that the machine's peaks allow. Above 1 where an algorithm needs
                     fewer operations than a direct one */
};

/* What the machine manages at most, all threads together: the best moments of short loops. */
struct graft_bench_peaks {
    double seconds;      /* of each loop */
    double fp32, bf16;   /* floating-point operations a second */
    double int8;         /* operations with integers of 8 bits a second */
    int n;               /* the next two: */
    const size_t *size;  /* going over so many bytes again and again in each thread */
    const double *bytes; /* moves so many a second */
};

struct graft_bench_result {
    int batch, threads;
    int parts; /* the batch was cut into so many, one thread each; 1: all threads share each step */
    int runs;  /* of which the medians are */
    enum graft_precision precision;                   /* never AUTO */
    double read_seconds, plan_seconds, first_seconds; /* of the file; of planning; first run */
    double seconds;                 /* a whole run, or training step without the optimiser */
    double step_seconds;            /* the sum over `steps`, in the first thread */
    size_t weights_size, work_size; /* bytes: weights that the plan made; activations and scratch */
    size_t process_size;            /* the most that the process had so far */
    struct graft_bench_peaks peaks;
    int n_steps;
    const struct graft_bench_step *steps;
};
/* Runs the whole network on made-up numbers, any inputs and outputs. */
GRAFT_API enum graft_status graft_bench(const struct graft_bench_options *o,
                                        const struct graft_events *events,
                                        struct graft_bench_result **result,
                                        struct graft_error *err);
GRAFT_API void graft_bench_result_free(struct graft_bench_result *r);

/* ---- results ------------------------------------------------------------------------------- */

struct graft_metrics {
    int64_t n;                  /* examples */
    double accuracy, low, high; /* top-1 with its 95 % Wilson interval */
    double top5;                /* NaN with fewer than 6 classes */
    double balanced_accuracy;   /* mean recall over the classes present */
    double macro_f1;
    double log_loss; /* natural logarithm, mean */
    double ece;      /* expected calibration error, 15 bins */
};

struct graft_row {
    const char *method; /* "majority class", "nearest pixels (k-NN)", "transfer (head only)" */
    struct graft_metrics metrics;
    double p_value; /* exact McNemar test against the best baseline; NaN for the baselines */
};

struct graft_result {
    int n_rows; /* the last one is the model's */
    const struct graft_row *rows;
    const char *verdict; /* one sentence; NULL where nothing was compared */
    const char *table;   /* the rows as aligned text, lines ended by '\n' */
    const char *json;    /* one document with everything, as in metrics.json */
    const char *out;     /* file written, or NULL */
    const char *report;  /* report.html, or NULL */
};
GRAFT_API void graft_result_free(struct graft_result *r);

/* ---- jobs ---------------------------------------------------------------------------------- */

/* Where pictures come from: a folder per class, with or without train/, val/ and test/ around
   them; a CSV, TSV or JSONL list; for prediction a file or a flat folder too. Or from the program
   itself: */
struct graft_example {
    const char *name;  /* stands where a path would, each its own; NULL: its number */
    const char *label; /* NULL: none */
    const char *split; /* "train", "val", "test"; NULL: as the fractions below say */
    const char *group; /* examples of one group never go to different splits; NULL: alone */
    int width, height; /* of 8-bit RGB pixels, top row first, no gaps; or both 0, and */
    size_t size;       /* the bytes of a picture file (JPEG, PNG, WebP, BMP, GIF) */
};
struct graft_source {
    void *user;
    int64_t n;
    /* Fills in *e, which is zeroed. Called once for each in order, before anything is read; its
       strings need to live until the next call only. */
    void (*describe)(void *user, int64_t i, struct graft_example *e);
    /* Fills `bytes` with width * height * 3 or `size` bytes; false: this picture cannot be had, and
       is listed as unreadable. Worker threads call it, several at once, and more than once for the
       same i: it must give the same bytes each time (the feature cache goes by them). */
    bool (*read)(void *user, int64_t i, uint8_t *bytes);
    void *reserved[4];
};

struct graft_data_options {
    bool stop_on_bad; /* an unreadable picture stops the job instead of being listed */
    double val, test; /* fractions cut from data without split folders: 0.1 and 0.1 */
    uint64_t seed;    /* of splits, folds, resampling: 0 */
    int workers;      /* decoding threads; 0: one per core */
    int batch;        /* pictures per forward pass: 8 */
    enum graft_precision precision;
    const char *cache;  /* folder of the feature cache; NULL: the default; "": none */
    int64_t max_pixels; /* largest picture that is decoded */
    size_t memory; /* bytes that graft_train may take in all, 0: as many as are of use. Where it is
                      too little, fine-tuning computes part of the forward pass twice, then takes
                      smaller batches and more of them a step; else GRAFT_E_LIMIT */
    /* Pictures from the program in place of files, or NULL. `data` is then only the name that
       reports give them. The network's own preprocessing follows, as for files. */
    const struct graft_source *source;
    void *reserved[7];
};

/* The second phase: back-propagation through the layers that move. What it gives is written if more
   validation pictures are right than with the head alone: after the last epoch where the rate ends
   at 0 (one-cycle, cosine), and with another schedule, patience or a soup after the best epoch. */
struct graft_finetune_options {
    const char *unfreeze;   /* NULL: head only; "N": so many stages from the top, as graft_stage
                               lists them; "all"; "auto": as many as lower the validation loss by more
                               than its standard error, with no fewer right; "/regex/": weights by
                               name (POSIX extended) */
    int epochs;             /* 10 */
    int batch;              /* examples a step: 32 */
    double lr;              /* of the head; 0, the default: 1e-3, and 1e-4 where adamw moves
                               weights and nothing in their part of the network is BatchNormalization
                               (it was folded into them, or never there) */
    const char *optimizer;  /* "adamw" or "sgd" (momentum 0.9, Nesterov) */
    const char *schedule;   /* "one-cycle", "cosine", "step", "constant" */
    double warmup;          /* part of the steps, not for one-cycle: 0 */
    double weight_decay;    /* of weights with more than one dimension: 0.01 */
    double layer_decay;     /* rate of each stage relative to the one above it: 0.9 */
    double clip;            /* largest norm of the gradient: 1; 0: no limit */
    double label_smoothing; /* 0 */
    double focal;           /* gamma of the focal loss: 0 */
    double mixup, cutmix;   /* alpha: 0 */
    double ema;             /* decay of averaged weights: 0, none */
    double pull;            /* L2-SP towards the source weights: 0 */
    int patience;           /* epochs without improvement before it stops: 0, never */
    int accumulate;         /* batches a step: 1 */
    bool find_lr;           /* lr by a range test (Smith 2017): false */
    bool gradual;           /* one more stage moves in each epoch (Howard, Ruder 2018): false */
    int soup;               /* greedy average of so many best epochs (Wortsman 2022): 1, none */
    const char *bn;         /* "frozen", "adapt" or "train" */
    const char *augment;    /* "none", "shift", "light" or "trivial" */
    int views;              /* of each picture, the first as it is, that go once through what is
                               frozen and are then shown in turn: 1. With unfreeze "all" every epoch
                               has a view of its own */
    double dropout;         /* before the last layer, in training: 0 */
    int lora;               /* rank of adapters (LoRA) that learn instead of the linear and 1x1
                               weights that `unfreeze` chooses, merged in the end: 0, none */
    double lora_alpha;      /* an adapter counts alpha / rank: 0, as much as the rank */
    bool resume;            /* go on from `out`.run/checkpoint of an interrupted run, in batches of
                               its sizes (whatever pictures.memory would choose now): where they do
                               not fit, GRAFT_E_LIMIT; batch * accumulate must be what it was */
    void *reserved[8];
};

struct graft_train_options {
    const char *data, *out; /* required; `out` ends in .onnx */
    const char *from;       /* the source model; NULL without `arch`: the one of graft_base_model */
    const char *arch;    /* instead of `from`: an architecture (graft_arch) or the file of one, with
                            random weights; see graft_pretrain_options_init */
    bool keep_weights;   /* with the file of an architecture: go on from its weights, all but the
                            classifier's, instead of from random ones */
    const char *teacher; /* with `arch`: a classifier whose probabilities for the training pictures
                            are learned too (distillation); its classes need not be the data's */
    double teacher_weight; /* of that part of the loss: 1 */
    struct graft_load_options load;
    struct graft_data_options pictures;
    const char *cut;           /* values, comma-separated; NULL: the old head's input */
    const char *head;          /* "logistic", "ncm", "knn:K", "mlp:H" */
    const char *class_weights; /* "none" or "balanced" */
    double l2;                 /* of the logistic head; < 0: by cross-validation */
    int folds;                 /* of the cross-validation: 5 */
    struct graft_finetune_options finetune;
    bool scratch; /* also train the same architecture from random weights, whole, with batch-norm
                     in training and as many epochs, to compare with */
    bool allow_weak_source; /* take a source model that did not beat its own naive baselines */
    const char *require;    /* "acc>=0.9": GRAFT_E_GATE when not reached; NULL: nothing */
    bool allow_leaks;       /* go on when the data check finds the same picture in two splits */
    const char *command;    /* argv as text, for the record; may be NULL */
    void *reserved[8];
};
GRAFT_API void graft_train_options_init(struct graft_train_options *o);
/* For making a source model: everything moves, batch-norm trains, SGD with momentum, one cycle up
   to lr 0.1, 40 epochs of batches of 128, weight decay 5e-4, pictures shifted and flipped. */
GRAFT_API void graft_pretrain_options_init(struct graft_train_options *o);
/* The main job: read, check, compute features once, fit the head, compare with naive baselines on
   the test pictures (never used for any choice), write `out` and `out`.run/, read it back, score
   again. `result` may be NULL. GRAFT_E_GATE: everything was written, `require` was not reached or
   the model is worse than the best naive baseline while `require` is set. */
GRAFT_API enum graft_status graft_train(const struct graft_train_options *o,
                                        const struct graft_events *events,
                                        struct graft_result **result, struct graft_error *err);

struct graft_eval_options {
    const char *data, *model;
    struct graft_load_options load;
    struct graft_data_options pictures; /* val and test are not used */
    const char *split;                  /* "train", "val", "test"; NULL: test, or val, or all */
    const char *out;                    /* folder for metrics.json and the rest, or NULL */
    const char *require;
    void *reserved[8];
};
GRAFT_API void graft_eval_options_init(struct graft_eval_options *o);
/* Classes are matched by name (or WordNet id at the start of a label); a class that the model does
   not know is an error. */
GRAFT_API enum graft_status graft_eval(const struct graft_eval_options *o,
                                       const struct graft_events *events,
                                       struct graft_result **result, struct graft_error *err);

struct graft_predict_options {
    const char *model;
    int n_paths;
    const char *const *paths; /* pictures, folders, lists; none with pictures.source */
    struct graft_load_options load;
    struct graft_data_options pictures;
    void *reserved[8];
};
GRAFT_API void graft_predict_options_init(struct graft_predict_options *o);
/* One picture at a time, in order. `labels` and `probs` have n entries; probs is NULL for a picture
   that could not be read, and `problem` then says why. */
typedef void (*graft_prediction_fn)(void *user, const char *path, int n, const char *const *labels,
                                    const float *probs, const char *problem);
/* Many pictures with decoding ahead and full batches. *n_bad (may be NULL): how many pictures could
   not be read. */
GRAFT_API enum graft_status graft_predict(const struct graft_predict_options *o,
                                          graft_prediction_fn fn, void *user, int64_t *n_bad,
                                          const struct graft_events *events,
                                          struct graft_error *err);

struct graft_features_options {
    const char *data, *from, *out; /* from: NULL for the one of graft_base_model; out ends in .npy,
                                      .safetensors or .csv */
    struct graft_load_options load;
    struct graft_data_options pictures;
    const char *cut;
    void *reserved[8];
};
GRAFT_API void graft_features_options_init(struct graft_features_options *o);
GRAFT_API enum graft_status graft_features(const struct graft_features_options *o,
                                           const struct graft_events *events,
                                           struct graft_error *err);

/* Looks at the data before training: unreadable files, wrong endings, duplicates, the same picture
   in two splits or under two labels, tiny classes, labels that look alike. One note per finding.
   GRAFT_E_CHECK when something must be mended. */
GRAFT_API enum graft_status graft_check(const char *data, const struct graft_data_options *options,
                                        const struct graft_events *events, struct graft_error *err);
GRAFT_API void graft_data_options_init(struct graft_data_options *o);

#ifdef __cplusplus
}
#endif
#endif
