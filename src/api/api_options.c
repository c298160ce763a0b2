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
    o->head = "logistic";
    o->class_weights = "none";
    o->l2 = -1;
    o->folds = 5;
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
