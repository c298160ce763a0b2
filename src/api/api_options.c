/* What are the defaults? */
#include "data/image.h"
#include "graft.h"
#include <string.h>

void graft_data_options_init(struct graft_data_options *o)
{
    memset(o, 0, sizeof *o);
    o->val = 0.1;
    o->test = 0.1;
    o->batch = 8;
    o->max_pixels = GR_IMAGE_MAX_PIXELS;
}

void graft_train_options_init(struct graft_train_options *o)
{
    memset(o, 0, sizeof *o);
    graft_load_options_init(&o->load);
    graft_data_options_init(&o->pictures);
    o->teacher_weight = 1;
    o->head = "logistic";
    o->class_weights = "none";
    o->l2 = -1;
    o->folds = 5;
    o->finetune = (struct graft_finetune_options){
        .epochs = 10,
        .batch = 32,
        .optimizer = "adamw",
        .schedule = "one-cycle",
        .weight_decay = 0.01,
        .layer_decay = 0.9,
        .clip = 1,
        .accumulate = 1,
        .soup = 1,
        .views = 1,
        .bn = "frozen",
        .augment = "none",
    };
}

void graft_pretrain_options_init(struct graft_train_options *o)
{
    graft_train_options_init(o);
    o->finetune.unfreeze = "all";
    o->finetune.epochs = 40;
    o->finetune.batch = 128;
    o->finetune.lr = 0.1;
    o->finetune.optimizer = "sgd";
    o->finetune.weight_decay = 5e-4;
    o->finetune.layer_decay = 1;
    o->finetune.clip = 0;
    o->finetune.bn = "train";
    o->finetune.augment = "shift";
}

void graft_bench_options_init(struct graft_bench_options *o)
{
    memset(o, 0, sizeof *o);
    graft_load_options_init(&o->load);
    o->batch = 8;
    o->seconds = 2;
    o->bn = "frozen";
}

void graft_eval_options_init(struct graft_eval_options *o)
{
    memset(o, 0, sizeof *o);
    graft_load_options_init(&o->load);
    graft_data_options_init(&o->pictures);
}

void graft_features_options_init(struct graft_features_options *o)
{
    memset(o, 0, sizeof *o);
    graft_load_options_init(&o->load);
    graft_data_options_init(&o->pictures);
}

void graft_predict_options_init(struct graft_predict_options *o)
{
    memset(o, 0, sizeof *o);
    graft_load_options_init(&o->load);
    graft_data_options_init(&o->pictures);
    o->pictures.cache = ""; /* what is looked at once need not be kept */
}
