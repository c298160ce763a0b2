/* graft convert: how does a model change its file format? */
#include "cli.h"

int cmd_convert(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_load_options o;
    struct graft_model *m = NULL;
    struct graft_events ev;
    struct graft_error err;
    const char *out = NULL;
    bool half = false;
    int n;
    ui_pre_init(&pre);
    graft_load_options_init(&o);
    const struct opt opts[] = {
        {OPT_STRING, 'o', "out", &out, "FILE", ".onnx or .safetensors", 0, 0},
        {OPT_FLAG, 0, "half", &half, NULL, "weights in half precision (float16): half the bytes", 0,
         0},
        PRE_OPTIONS(&pre, &o.labels),
        {OPT_FLAG, 'q', "quiet", &ui.quiet, NULL, "no notes", 0, 0},
        {0},
    };
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        return code;
    if (n != 1 || !out) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        return EXIT_USAGE;
    }
    if ((code = ui_open(&ui, &ev)) < 0 && (code = ui_pre_apply(&ui, &pre, argv[0], &o)) < 0) {
        const struct graft_model_info *info;
        enum graft_status s = graft_model_load(argv[0], &o, &m, &err);
        if (!s)
            graft_model_set_half(m, half);
        if (s || graft_model_save(m, out, &err) || graft_model_inspect(m, &info, &err))
            code = ui_fail(&ui, &err);
        for (int i = 0; code < 0 && i < info->n_notes; i++)
            ev.note(ev.user, GRAFT_NOTE, argv[0], info->notes[i]);
        if (code < 0)
            code = printf("wrote %s\n", out) < 0 ? EXIT_RUN : ui_flush();
    }
    graft_model_free(m);
    ui_close(&ui);
    return code;
}
