/* graft predict: what is in these pictures? */
#include "cli.h"
#include <stdlib.h>

struct printer {
    struct ui *ui;
    int top;
    bool first;
    char *used; /* classes already printed for this picture */
};

static int best(const struct printer *p, int n, const float *probs)
{
    int k = -1;
    for (int i = 0; i < n; i++)
        if (!p->used[i] && (k < 0 || probs[i] > probs[k]))
            k = i;
    return k;
}

static void print_text(struct printer *p, const char *path, int n, const char *const *labels,
                       const float *probs)
{
    put_text(stdout, path);
    for (int t = 0; t < p->top && t < n; t++) {
        int k = best(p, n, probs);
        p->used[k] = 1;
        putchar('\t');
        put_text(stdout, labels[k]);
        printf("\t%.3f", probs[k]);
    }
    putchar('\n');
}

static void print_json(struct printer *p, const char *path, int n, const char *const *labels,
                       const float *probs, const char *problem)
{
    fputs(p->first ? "\n {\"path\": " : ",\n {\"path\": ", stdout);
    p->first = false;
    put_json_string(stdout, path);
    if (!probs) {
        fputs(", \"error\": ", stdout);
        put_json_string(stdout, problem);
        putchar('}');
        return;
    }
    fputs(", \"top\": [", stdout);
    for (int t = 0; t < p->top && t < n; t++) {
        int k = best(p, n, probs);
        p->used[k] = 1;
        fputs(t ? ", {\"label\": " : "{\"label\": ", stdout);
        put_json_string(stdout, labels[k]);
        printf(", \"p\": %.9g}", probs[k]);
    }
    fputs("]}", stdout);
}

static void on_prediction(void *user, const char *path, int n, const char *const *labels,
                          const float *probs, const char *problem)
{
    struct printer *p = user;
    if (!p->used && !(p->used = malloc((size_t)n)))
        return;
    for (int i = 0; i < n; i++)
        p->used[i] = 0;
    if (p->ui->json) {
        print_json(p, path, n, labels, probs, problem);
    } else if (probs) {
        print_text(p, path, n, labels, probs);
    } else {
        fputs("graft: ", stderr);
        put_text(stderr, problem);
        fputc('\n', stderr);
    }
}

int cmd_predict(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_predict_options o;
    struct graft_events ev;
    struct graft_error err;
    int on_bad = 0, precision = 0, n, top = 1;
    int64_t n_bad = 0;
    ui_pre_init(&pre);
    graft_predict_options_init(&o);
    const struct opt opts[] = {
        {OPT_INT, 'k', "top", &top, "K", "so many classes for each picture (default 1)", 1, 100000},
        DATA_OPTIONS(&o.pictures),
        PRE_OPTIONS(&pre, &o.load.labels),
        UI_OPTIONS(&ui),
        {0},
    };
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        return code;
    if (n < 2) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        return EXIT_USAGE;
    }
    o.model = argv[0];
    o.paths = (const char *const *)argv + 1;
    o.n_paths = n - 1;
    o.pictures.stop_on_bad = on_bad == 1;
    o.pictures.precision = (enum graft_precision)precision;
    struct printer p = {&ui, top, true, NULL};
    if ((code = ui_open(&ui, &ev)) >= 0 || (code = ui_pre_apply(&ui, &pre, o.model, &o.load)) >= 0)
        goto out;
    if (ui.json)
        fputs("[", stdout);
    enum graft_status s = graft_predict(&o, on_prediction, &p, &n_bad, &ev, &err);
    if (ui.json)
        fputs("\n]\n", stdout);
    code = s ? ui_fail(&ui, &err) : ui_flush();
    if (!code && n_bad)
        code = EXIT_INPUT;
out:
    free(p.used);
    ui_close(&ui);
    return code;
}
