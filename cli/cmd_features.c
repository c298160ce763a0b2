/* graft features: which vectors does a network give for pictures? */
#include "cli.h"

int cmd_features(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_features_options o;
    struct graft_events ev;
    struct graft_error err;
    int on_bad = 0, precision = 0, n;
    ui_pre_init(&pre);
    graft_features_options_init(&o);
    const struct opt opts[] = {
        {OPT_STRING, 0, "from", &o.from, "MODEL",
         "the network (default: the small one that comes with graft)", 0, 0},
        {OPT_STRING, 'o', "out", &o.out, "FILE", ".npy, .safetensors or .csv", 0, 0},
        {OPT_STRING, 0, "cut", &o.cut, "VALUE[,...]",
         "features to use instead of the old head's input; 'graft inspect' lists them", 0, 0},
        DATA_OPTIONS(&o.pictures),
        PRE_OPTIONS(&pre, &o.load.labels),
        {OPT_GROUP, 0, "Output", NULL, NULL, NULL, 0, 0},
        LOG_OPTIONS(&ui),
        {0},
    };
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        return code;
    if (n != 1 || !o.out) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        return EXIT_USAGE;
    }
    o.data = argv[0];
    o.pictures.stop_on_bad = on_bad == 1;
    o.pictures.precision = (enum graft_precision)precision;
    char base[4096];
    if ((code = ui_open(&ui, &ev)) < 0 && !o.from && graft_base_model(base, sizeof base, &err))
        code = ui_fail(&ui, &err);
    if (code < 0 && (code = ui_pre_apply(&ui, &pre, o.from ? o.from : base, &o.load)) < 0)
        code = graft_features(&o, &ev, &err) ? ui_fail(&ui, &err) : EXIT_OK;
    ui_close(&ui);
    return code;
}
