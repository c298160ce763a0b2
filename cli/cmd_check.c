/* graft check: is the data fit for training? */
#include "cli.h"

int cmd_check(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct graft_data_options o;
    struct graft_events ev;
    struct graft_error err;
    int n;
    graft_data_options_init(&o);
    const struct opt opts[] = {
        {OPT_INT, 'j', "workers", &o.workers, "N", "decoding threads (default: one per core)", 0,
         256},
        {OPT_REAL, 0, "val", &o.val, "F", "as for 'graft train' (default 0.1)", 0, 0.9},
        {OPT_REAL, 0, "test", &o.test, "F", "as for 'graft train' (default 0.1)", 0, 0.9},
        {OPT_SEED, 0, "seed", &o.seed, "N", "as for 'graft train' (default 0)", 0, 0},
        {OPT_FLAG, 'q', "quiet", &ui.quiet, NULL, "only warnings and what must be mended", 0, 0},
        {OPT_STRING, 0, "log", &ui.log, "FILE", "append every finding as a JSON line", 0, 0},
        {0},
    };
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        return code;
    if (n != 1) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        return EXIT_USAGE;
    }
    if ((code = ui_open(&ui, &ev)) < 0)
        code = graft_check(argv[0], &o, &ev, &err) ? ui_fail(&ui, &err) : EXIT_OK;
    ui_close(&ui);
    return code;
}
