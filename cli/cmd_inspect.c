/* graft inspect: what is in a model file? */
#include "cli.h"
#include <stdarg.h>
#include <string.h>

/* printf for names that the file chose: only a newline that ends `fmt` is one. */
static void say(const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bool line = *fmt && fmt[strlen(fmt) - 1] == '\n';
    if (line)
        text[strlen(text) - 1] = 0;
    put_text(stdout, text);
    if (line)
        putchar('\n');
}

static void print_shape(FILE *f, int rank, const int64_t *shape)
{
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0)
            fputs(i ? "xN" : "N", f);
        else
            fprintf(f, i ? "x%lld" : "%lld", (long long)shape[i]);
}

/* One for each plane. */
static void print_numbers(bool exact, const char *between, enum graft_channels channels,
                          const double *v)
{
    int n = channels == GRAFT_GREY ? 1 : channels == GRAFT_RGBA ? 4 : 3;
    for (int i = 0; i < n; i++)
        printf("%s%.*g", i ? between : "", exact ? 9 : 6, v[i]);
}

static void print_preprocess(const struct graft_model_info *m)
{
    static const char *const filters[] = {"nearest", "bilinear", "bicubic", "lanczos", "box"};
    static const char *const planes[] = {"RGB", "BGR", "grey", "RGBA"};
    const struct graft_preprocess *p = &m->preprocess;
    printf("preprocess  ");
    if (p->resize == GRAFT_RESIZE_SHORTEST)
        printf("short side %d, centre crop %dx%d", p->resize_to, p->width, p->height);
    else
        printf("%s to %dx%d", p->resize == GRAFT_RESIZE_STRETCH ? "stretch" : "letterbox", p->width,
               p->height);
    printf(", %s, %s, (pixel*%.6g - [", filters[p->filter], planes[p->channels], p->scale);
    print_numbers(false, " ", p->channels, p->mean);
    fputs("]) / [", stdout);
    print_numbers(false, " ", p->channels, p->std);
    printf("]\n            from: %s%s\n", m->preprocess_source,
           m->preprocess_guessed ? " (change with --mean --std --channels --img-size ...)" : "");
}

static void print_text(const struct graft_model_info *m, bool all_cuts)
{
    say("file        %s (%s", m->path, m->format);
    if (m->opset)
        printf(", operator set %lld", (long long)m->opset);
    if (m->producer)
        say(", %s", m->producer);
    printf(")\nsha256      %s\n", m->sha256);
    if (m->arch)
        say("network     %s%s%s\n", m->arch, m->pretrain ? ", trained on " : "",
            m->pretrain ? m->pretrain : "");
    if (m->licence)
        say("licence     %s\n", m->licence);
    say("input       %s ", m->input);
    print_shape(stdout, m->input_rank, m->input_shape);
    printf("\nsize        %d nodes, %lld parameters (%.1f MB), %.1f M multiply-adds\n", m->n_nodes,
           (long long)m->n_params, (double)m->n_weight_bytes * 1e-6, m->macs * 1e-6);
    print_preprocess(m);
    if (m->n_labels)
        say("labels      %d: %s ... %s\n", m->n_labels, m->labels[0], m->labels[m->n_labels - 1]);
    else
        printf("labels      none in the file (give them with --labels)\n");
    if (m->head)
        say("head        '%s', %d classes; enters from '%s' (%d features)\n", m->head, m->n_classes,
            m->features, m->n_features);
    else if (m->features)
        say("head        none found; features are '%s' (%d)\n", m->features, m->n_features);
    for (int i = 0; i < m->n_unsupported; i++)
        say("unsupported %s\n", m->unsupported[i]);
    for (int i = 0; i < m->n_notes; i++)
        say("note        %s\n", m->notes[i]);
    if (m->n_stages)
        printf("\n%-40s %-16s %6s %12s %10s\n", "stage ends at (--cut)", "shape", "nodes", "params",
               "M madds");
    for (int i = 0; i < m->n_stages; i++) {
        const struct graft_stage *s = &m->stages[i];
        char shape[128] = "";
        for (int k = 0; k < s->rank; k++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), k ? "x%lld" : "%lld",
                     (long long)s->shape[k]);
        say("%-40s %-16s %6d %12lld %10.2f\n", s->cut, shape, s->n_nodes, (long long)s->n_params,
            s->macs * 1e-6);
    }
    if (all_cuts) {
        printf("\nall cut points, from input to output:\n");
        for (int i = 0; i < m->n_cuts; i++)
            say("  %s\n", m->cuts[i]);
    }
}

static void json_pair(const char *key, const char *value)
{
    printf("  \"%s\": ", key);
    if (value)
        put_json_string(stdout, value);
    else
        fputs("null", stdout);
    fputs(",\n", stdout);
}

static void json_list(const char *key, int n, const char *const *items, const char *end)
{
    printf("  \"%s\": [", key);
    for (int i = 0; i < n; i++) {
        fputs(i ? ", " : "", stdout);
        put_json_string(stdout, items[i]);
    }
    printf("]%s\n", end);
}

static void json_shape(int rank, const int64_t *shape)
{
    putchar('[');
    for (int i = 0; i < rank; i++)
        printf(i ? ", %lld" : "%lld", (long long)shape[i]);
    putchar(']');
}

static void print_json(const struct graft_model_info *m)
{
    static const char *const resizes[] = {"shortest", "stretch", "letterbox"};
    static const char *const filters[] = {"nearest", "bilinear", "bicubic", "lanczos", "box"};
    static const char *const planes[] = {"rgb", "bgr", "grey", "rgba"};
    const struct graft_preprocess *p = &m->preprocess;
    puts("{");
    json_pair("path", m->path);
    json_pair("format", m->format);
    json_pair("producer", m->producer);
    json_pair("arch", m->arch);
    json_pair("pretrain", m->pretrain);
    json_pair("licence", m->licence);
    json_pair("sha256", m->sha256);
    printf(
        "  \"opset\": %lld,\n  \"nodes\": %d,\n  \"parameters\": %lld,\n  \"weight_bytes\": %lld,\n"
        "  \"macs\": %.0f,\n",
        (long long)m->opset, m->n_nodes, (long long)m->n_params, (long long)m->n_weight_bytes,
        m->macs);
    json_pair("input", m->input);
    fputs("  \"input_shape\": ", stdout);
    json_shape(m->input_rank, m->input_shape);
    printf(",\n  \"preprocess\": {\"width\": %d, \"height\": %d, \"resize\": \"%s\", "
           "\"resize_to\": %d, \"filter\": \"%s\", \"channels\": \"%s\", \"scale\": %.17g, "
           "\"mean\": [",
           p->width, p->height, resizes[p->resize], p->resize_to, filters[p->filter],
           planes[p->channels], p->scale);
    print_numbers(true, ", ", p->channels, p->mean);
    fputs("], \"std\": [", stdout);
    print_numbers(true, ", ", p->channels, p->std);
    printf("], \"guessed\": %s, \"source\": ", m->preprocess_guessed ? "true" : "false");
    put_json_string(stdout, m->preprocess_source);
    puts("},");
    json_pair("head", m->head);
    json_pair("features", m->features);
    printf("  \"n_features\": %d,\n  \"n_classes\": %d,\n  \"stages\": [", m->n_features,
           m->n_classes);
    for (int i = 0; i < m->n_stages; i++) {
        const struct graft_stage *s = &m->stages[i];
        fputs(i ? ",\n    {\"cut\": " : "\n    {\"cut\": ", stdout);
        put_json_string(stdout, s->cut);
        fputs(", \"shape\": ", stdout);
        json_shape(s->rank, s->shape);
        printf(", \"nodes\": %d, \"parameters\": %lld, \"macs\": %.0f}", s->n_nodes,
               (long long)s->n_params, s->macs);
    }
    puts("],");
    json_list("cuts", m->n_cuts, m->cuts, ",");
    json_list("labels", m->n_labels, m->labels, ",");
    json_list("unsupported", m->n_unsupported, m->unsupported, ",");
    json_list("notes", m->n_notes, m->notes, "");
    puts("}");
}

int cmd_inspect(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_load_options o;
    struct graft_model *m = NULL;
    const struct graft_model_info *info;
    struct graft_events ev;
    struct graft_error err;
    bool all_cuts = false;
    int n;
    ui_pre_init(&pre);
    graft_load_options_init(&o);
    const struct opt opts[] = {
        {OPT_FLAG, 'a', "all-cuts", &all_cuts, NULL, "list every value that can be cut at", 0, 0},
        {OPT_FLAG, 0, "json", &ui.json, NULL, "one JSON document on standard output", 0, 0},
        PRE_OPTIONS(&pre, &o.labels),
        {0},
    };
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        return code;
    if (n != 1) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        return EXIT_USAGE;
    }
    if ((code = ui_open(&ui, &ev)) < 0 && (code = ui_pre_apply(&ui, &pre, argv[0], &o)) < 0) {
        if (graft_model_load(argv[0], &o, &m, &err) || graft_model_inspect(m, &info, &err)) {
            code = ui_fail(&ui, &err);
        } else {
            if (ui.json)
                print_json(info);
            else
                print_text(info, all_cuts);
            code = ui_flush();
        }
    }
    graft_model_free(m);
    ui_close(&ui);
    return code;
}
