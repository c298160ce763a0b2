/* graft train: how do labelled pictures become a classifier? */
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

int cmd_train(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_train_options o;
    struct graft_events ev;
    struct graft_error err;
    struct graft_result *r = NULL;
    int on_bad = 0, precision = 0, weights = 0, n;
    ui_pre_init(&pre);
    graft_train_options_init(&o);
    const struct opt opts[] = {
        {OPT_STRING, 0, "from", &o.from, "MODEL", "the pre-trained network", 0, 0},
        {OPT_STRING, 'o', "out", &o.out, "FILE", "where the new model goes (.onnx)", 0, 0},
        {OPT_STRING, 0, "cut", &o.cut, "VALUE[,...]",
         "features to use instead of the old head's input; 'graft inspect' lists them", 0, 0},
        {OPT_STRING, 0, "head", &o.head, "KIND", "logistic (default), ncm, knn:K or mlp:H", 0, 0},
        {OPT_REAL, 0, "l2", &o.l2, "X",
         "penalty of the logistic head (default: by cross-validation)", 0, 1e9},
        {OPT_INT, 0, "folds", &o.folds, "K", "of the cross-validation (default 5)", 2, 30},
        {OPT_CHOICE, 0, "class-weights", &weights, "none|balanced",
         "balanced: rare classes count as much as frequent ones", 0, 0},
        {OPT_REAL, 0, "val", &o.pictures.val, "F", "part kept for validation (default 0.1)", 0,
         0.9},
        {OPT_REAL, 0, "test", &o.pictures.test, "F", "part kept for the test (default 0.1)", 0,
         0.9},
        {OPT_SEED, 0, "seed", &o.pictures.seed, "N", "of every random choice (default 0)", 0, 0},
        {OPT_STRING, 0, "require", &o.require, "acc>=X",
         "exit status 5 when the test accuracy is lower", 0, 0},
        {OPT_FLAG, 0, "allow-leaks", &o.allow_leaks, NULL,
         "go on although the same picture is in two splits", 0, 0},
        DATA_OPTIONS(&o.pictures),
        PRE_OPTIONS(&pre, &o.load.labels),
        UI_OPTIONS(&ui),
        {0},
    };
    char *command = command_line(argc, argv);
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        goto out;
    if (n != 1 || !o.from || !o.out) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        code = EXIT_USAGE;
        goto out;
    }
    o.data = argv[0];
    o.command = command;
    o.class_weights = weights ? "balanced" : "none";
    o.pictures.stop_on_bad = on_bad == 1;
    o.pictures.precision = (enum graft_precision)precision;
    if ((code = ui_open(&ui, &ev)) >= 0 || (code = ui_pre_apply(&ui, &pre, o.from, &o.load)) >= 0)
        goto out;
    enum graft_status s = graft_train(&o, &ev, &r, &err);
    if (r && ui.json) {
        fputs(r->json, stdout);
    } else if (r) {
        fputs(r->table, stdout);
        if (r->verdict)
            printf("verdict: %s\n", r->verdict);
        printf("wrote %s, report %s\n", r->out, r->report);
    }
    code = s ? ui_fail(&ui, &err) : ui_flush();
out:
    graft_result_free(r);
    ui_close(&ui);
    free(command);
    return code;
}
