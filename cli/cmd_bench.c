/* graft bench: where does a network's time go? */
#include "cli.h"
#include <string.h>

static const char *precision_name(enum graft_precision p)
{
    return p == GRAFT_PRECISION_INT8 ? "int8" : p == GRAFT_PRECISION_BF16 ? "bf16" : "fp32";
}

/* "1.2 GB", "34 MB", "560 KB": powers of 1000. */
static void print_size(double bytes)
{
    if (bytes >= 1e9)
        printf("%.2f GB", bytes * 1e-9);
    else if (bytes >= 1e6)
        printf("%.1f MB", bytes * 1e-6);
    else
        printf("%.1f KB", bytes * 1e-3);
}

static void print_peaks(const struct graft_bench_peaks *p)
{
    printf("machine     fp32 %.0f, bf16 %.0f, int8 %.0f GFLOP/s;", p->fp32 * 1e-9, p->bf16 * 1e-9,
           p->int8 * 1e-9);
    for (int i = 0; i < p->n; i++) {
        printf("%s %.0f GB/s within ", i ? "," : "", p->bytes[i] * 1e-9);
        printf(p->size[i] >> 20 ? "%zu MiB" : "%zu KiB",
               p->size[i] >> (p->size[i] >> 20 ? 20 : 10));
    }
    printf(" a thread\n            (the best moments of loops of %.0f ms)\n", p->seconds * 1e3);
}

/* A speed, or a dash where there is nothing to be fast at. */
static void print_rate(double work, double seconds)
{
    if (work > 0 && seconds > 0)
        printf(" %9.1f", work / seconds * 1e-9);
    else
        printf(" %9s", "-");
}

static void print_step(const struct graft_bench_result *r, const struct graft_bench_step *s)
{
    char shape[128] = "";
    for (int k = 0; k < s->rank; k++)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), k ? "x%lld" : "%lld",
                 (long long)s->shape[k]);
    printf("%10.4f %5.1f", s->seconds * 1e3,
           r->step_seconds > 0 ? 100 * s->seconds / r->step_seconds : 0.0);
    print_rate(s->flops, s->seconds);
    print_rate(s->bytes, s->seconds);
    printf(" %5.0f  %-16s ", 100 * s->share, shape);
    printf("%s", s->backward ? "back " : "");
    put_text(stdout, s->op);
    if (*s->fused) {
        fputs(" + ", stdout);
        put_text(stdout, s->fused);
    }
    fputs("  ", stdout);
    put_text(stdout, *s->kernel ? s->kernel : "-");
    fputs("  ", stdout);
    put_text(stdout, s->node);
    putchar('\n');
}

static void print_text(const char *model, bool train, const struct graft_bench_result *r)
{
    double flops = 0, bytes = 0, least = 0;
    fputs("model       ", stdout);
    put_text(stdout, model);
    printf(", %s, batch %d, %s, %d thread%s", train ? "training step" : "forward", r->batch,
           precision_name(r->precision), r->threads, r->threads > 1 ? "s" : "");
    puts(r->parts > 1 ? ", each with its part of the batch" : "");
    print_peaks(&r->peaks);
    printf("ready       file read in %.1f ms, planned in %.1f ms, first run %.1f ms\n",
           r->read_seconds * 1e3, r->plan_seconds * 1e3, r->first_seconds * 1e3);
    printf("memory      %s ", train ? "weights and gradients" : "weights made ready");
    print_size((double)r->weights_size);
    fputs(", activations and scratch ", stdout);
    print_size((double)r->work_size);
    fputs(", the process at most ", stdout);
    print_size((double)r->process_size);
    printf("\n\n%10s %5s %9s %9s %5s  %-16s %s\n", "ms", "%", "GFLOP/s", "GB/s", "roof%", "gives",
           "operator  kernel  node");
    for (int i = 0; i < r->n_steps; i++) {
        const struct graft_bench_step *s = &r->steps[i];
        flops += s->flops;
        bytes += s->bytes;
        least += s->share * s->seconds;
        print_step(r, s);
    }
    printf("%10.4f %5.1f", r->step_seconds * 1e3, 100.0);
    print_rate(flops, r->step_seconds);
    print_rate(bytes, r->step_seconds);
    printf(" %5.0f  sum of %d steps, medians of %d runs\n",
           r->step_seconds > 0 ? 100 * least / r->step_seconds : 0.0, r->n_steps, r->runs);
    printf("%10.4f       whole %s, %.1f examples a second\n", r->seconds * 1e3,
           train ? "step" : "run", r->seconds > 0 ? r->batch / r->seconds : 0.0);
}

static void print_json(const char *model, bool train, const struct graft_bench_result *r)
{
    const struct graft_bench_peaks *p = &r->peaks;
    fputs("{\n  \"model\": ", stdout);
    put_json_string(stdout, model);
    printf(",\n  \"train\": %s,\n  \"batch\": %d,\n  \"precision\": \"%s\",\n  \"threads\": %d,\n"
           "  \"parts\": %d,\n  \"runs\": %d,\n  \"read_seconds\": %.9g,\n"
           "  \"plan_seconds\": %.9g,\n  \"first_seconds\": %.9g,\n  \"seconds\": %.9g,\n"
           "  \"step_seconds\": %.9g,\n  \"examples_per_second\": %.9g,\n"
           "  \"weights_bytes\": %zu,\n  \"work_bytes\": %zu,\n  \"process_bytes\": %zu,\n",
           train ? "true" : "false", r->batch, precision_name(r->precision), r->threads, r->parts,
           r->runs, r->read_seconds, r->plan_seconds, r->first_seconds, r->seconds, r->step_seconds,
           r->seconds > 0 ? r->batch / r->seconds : 0.0, r->weights_size, r->work_size,
           r->process_size);
    printf("  \"peaks\": {\"loop_seconds\": %.9g, \"fp32_flops_per_second\": %.9g, "
           "\"bf16_flops_per_second\": %.9g, \"int8_ops_per_second\": %.9g, \"memory\": [",
           p->seconds, p->fp32, p->bf16, p->int8);
    for (int i = 0; i < p->n; i++)
        printf("%s{\"block_bytes\": %zu, \"bytes_per_second\": %.9g}", i ? ", " : "", p->size[i],
               p->bytes[i]);
    fputs("]},\n  \"steps\": [", stdout);
    for (int i = 0; i < r->n_steps; i++) {
        const struct graft_bench_step *s = &r->steps[i];
        fputs(i ? ",\n    {\"node\": " : "\n    {\"node\": ", stdout);
        put_json_string(stdout, s->node);
        fputs(", \"op\": ", stdout);
        put_json_string(stdout, s->op);
        fputs(", \"fused\": ", stdout);
        put_json_string(stdout, s->fused);
        fputs(", \"kernel\": ", stdout);
        put_json_string(stdout, s->kernel);
        printf(", \"backward\": %s, \"shape\": [", s->backward ? "true" : "false");
        for (int k = 0; k < s->rank; k++)
            printf(k ? ", %lld" : "%lld", (long long)s->shape[k]);
        printf("], \"seconds\": %.9g, \"flops\": %.17g, \"bytes\": %.17g, \"share\": %.9g}",
               s->seconds, s->flops, s->bytes, s->share);
    }
    puts("\n  ]\n}");
}

int cmd_bench(const struct command *c, int argc, char **argv)
{
    struct ui ui = {0};
    struct ui_pre pre;
    struct graft_bench_options o;
    struct graft_bench_result *r = NULL;
    struct graft_events ev;
    struct graft_error err;
    static const char *const bn_modes[] = {"frozen", "adapt", "train"};
    int precision = 0, bn = 0, n;
    ui_pre_init(&pre);
    graft_bench_options_init(&o);
    const struct opt opts[] = {
        {OPT_INT, 'b', "batch", &o.batch, "N", "examples a run (default 8)", 1, 4096},
        {OPT_CHOICE, 0, "precision", &precision, "auto|fp32|bf16|int8",
         "of the network (default auto: the model's, else bf16 if fast; training: fp32)", 0, 0},
        {OPT_INT, 't', "threads", &o.threads, "N", "computing threads (default: one per core)", 1,
         1024},
        {OPT_FLAG, 0, "train", &o.train, NULL, "a training step: forward, backward, SGD", 0, 0},
        {OPT_STRING, 0, "unfreeze", &o.unfreeze, "N|all|/REGEX/",
         "with --train: what moves, as for 'graft train' (default: all weights); "
         "what lies below it does not run",
         0, 0},
        {OPT_CHOICE, 0, "bn", &bn, "frozen|adapt|train",
         "with --train: batch-norm, as for 'graft train' (default frozen)", 0, 0},
        {OPT_REAL, 's', "seconds", &o.seconds, "S", "how long to measure (default 2)", 0, 3600},
        PRE_OPTIONS(&pre, &o.load.labels),
        UI_OPTIONS(&ui),
        {0},
    };
    int code = opt_parse(c, opts, argc, argv, &n);
    if (code >= 0)
        return code;
    if (n != 1) {
        fprintf(stderr, "usage: graft %s %s\n", c->name, c->args);
        return EXIT_USAGE;
    }
    o.model = argv[0];
    o.precision = (enum graft_precision)precision;
    o.bn = bn_modes[bn];
    if ((code = ui_open(&ui, &ev)) < 0 && (code = ui_pre_apply(&ui, &pre, o.model, &o.load)) < 0) {
        if (graft_bench(&o, &ev, &r, &err)) {
            code = ui_fail(&ui, &err);
        } else {
            if (ui.json)
                print_json(o.model, o.train, r);
            else
                print_text(o.model, o.train, r);
            code = ui_flush();
        }
    }
    graft_bench_result_free(r);
    ui_close(&ui);
    return code;
}
