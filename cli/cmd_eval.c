/* graft eval: how good is a model on labelled pictures? */
#include "cli.h"

int cmd_eval(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_eval_options o;
    struct graft_events ev;
    struct graft_error err;
    struct graft_result *r = NULL;
    int on_bad = 0, precision = 0, n;
    ui_pre_init(&pre);
    graft_eval_options_init(&o);
    const struct opt opts[] = {
        {OPT_STRING, 0, "split", &o.split, "NAME",
         "train, val or test (default: test, or val, or all)", 0, 0},
        {OPT_STRING, 'o', "out", &o.out, "DIR", "folder for metrics.json, predictions.csv, report",
         0, 0},
        {OPT_STRING, 0, "require", &o.require, "acc>=X", "exit status 5 when it is lower", 0, 0},
        DATA_OPTIONS(&o.pictures),
        PRE_OPTIONS(&pre, &o.load.labels),
        UI_OPTIONS(&ui),
        {0},
    };
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        return code;
    if (n != 2) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        return EXIT_USAGE;
    }
    o.model = argv[0];
    o.data = argv[1];
    o.pictures.stop_on_bad = on_bad == 1;
    o.pictures.precision = (enum graft_precision)precision;
    if ((code = ui_open(&ui, &ev)) >= 0 || (code = ui_pre_apply(&ui, &pre, o.model, &o.load)) >= 0)
        goto out;
    enum graft_status s = graft_eval(&o, &ev, &r, &err);
    if (r)
        fputs(ui.json ? r->json : r->table, stdout);
    code = s ? ui_fail(&ui, &err) : ui_flush();
out:
    graft_result_free(r);
    ui_close(&ui);
    return code;
}
