/* How do notes, progress and failures look to the person, and to a log file? */
#include "cli.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    if (interrupted++) /* the second Ctrl-C does not wait */
        _exit(128 + sig);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The length of a valid UTF-8 sequence at s, 0 when there is none. */
static size_t utf8_length(const unsigned char *s)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if (s[i] >> 6 != 2)
            return 0;
    bool overlong = (n == 2 && s[0] < 0xc2) || (n == 3 && s[0] == 0xe0 && s[1] < 0xa0) ||
                    (n == 4 && s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = n == 3 && s[0] == 0xed && s[1] > 0x9f;
    bool too_big = n == 4 && (s[0] > 0xf4 || (s[0] == 0xf4 && s[1] > 0x8f));
    return overlong || surrogate || too_big ? 0 : n;
}

void put_json_string(FILE *f, const char *s)
{
    fputc('"', f);
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        size_t n = utf8_length(p);
        if (!n) {
            fputs("\\ufffd", f);
            p++;
            continue;
        }
        if (*p == '"' || *p == '\\')
            fprintf(f, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            fprintf(f, "\\u%04x", *p);
        else
            fwrite(p, 1, n, f);
        p += n;
    }
    fputc('"', f);
}

void put_text(FILE *f, const char *s)
{
    for (; *s; s++)
        fputc((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s, f);
}

static void clear_bar(struct ui *ui)
{
    if (ui->bar_open)
        fputs("\r\033[K", stderr);
    ui->bar_open = false;
}

static void on_note(void *user, enum graft_level level, const char *topic, const char *text)
{
    struct ui *ui = user;
    if (ui->log_file) {
        fprintf(ui->log_file,
                "{\"seconds\": %.3f, \"level\": \"%s\", \"topic\": ", now() - ui->began,
                level == GRAFT_WARNING ? "warning" : "note");
        put_json_string(ui->log_file, topic);
        fputs(", \"text\": ", ui->log_file);
        put_json_string(ui->log_file, text);
        fputs("}\n", ui->log_file);
        fflush(ui->log_file);
    }
    if (ui->quiet && level == GRAFT_NOTE)
        return;
    clear_bar(ui);
    if (level == GRAFT_WARNING)
        fputs(ui->colour ? "\033[33mwarning:\033[0m " : "warning: ", stderr);
    int width = (int)strlen(topic);
    fputs(ui->colour ? "\033[1m" : "", stderr);
    put_text(stderr, topic);
    fprintf(stderr, "%s%*s", ui->colour ? "\033[0m" : "", width < 14 ? 14 - width : 1, " ");
    put_text(stderr, text);
    fputc('\n', stderr);
}

static void print_left(double seconds)
{
    if (seconds < 90)
        fprintf(stderr, "%.0f s left", seconds);
    else if (seconds < 5400)
        fprintf(stderr, "%.0f min left", seconds / 60);
    else
        fprintf(stderr, "%.1f h left", seconds / 3600);
}

static void on_progress(void *user, const char *topic, int64_t done, int64_t total,
                        const char *unit)
{
    struct ui *ui = user;
    double t = now();
    if (strncmp(ui->bar_topic, topic, sizeof ui->bar_topic - 1) || done == 0) {
        snprintf(ui->bar_topic, sizeof ui->bar_topic, "%s", topic);
        ui->bar_began = t;
    }
    if (ui->log_file) {
        fprintf(ui->log_file, "{\"seconds\": %.3f, \"progress\": ", t - ui->began);
        put_json_string(ui->log_file, topic);
        fprintf(ui->log_file, ", \"done\": %lld, \"total\": %lld}\n", (long long)done,
                (long long)total);
    }
    if (!ui->bars || ui->quiet)
        return;
    if (done >= total) {
        clear_bar(ui);
        return;
    }
    enum { WIDTH = 24 };
    int filled = total > 0 ? (int)(WIDTH * done / total) : 0;
    double spent = t - ui->bar_began, rate = spent > 0 ? (double)done / spent : 0;
    fprintf(stderr, "\r%-14s", topic);
    for (int i = 0; i < WIDTH; i++)
        fputs(i < filled ? "\xe2\x96\x88" : "\xe2\x96\x91", stderr);
    fprintf(stderr, " %lld/%lld", (long long)done, (long long)total);
    if (rate > 0) {
        fprintf(stderr, "  %.0f %s/s  ", rate, unit);
        print_left((double)(total - done) / rate);
    }
    fputs("\033[K", stderr);
    fflush(stderr);
    ui->bar_open = true;
}

static bool on_cancelled(void *user)
{
    (void)user;
    return interrupted != 0;
}

int ui_open(struct ui *ui, struct graft_events *ev)
{
    struct sigaction sa = {.sa_handler = on_signal};
    const char *term = getenv("TERM");
    ui->began = now();
    ui->bars = isatty(STDERR_FILENO) && !(term && !strcmp(term, "dumb"));
    ui->colour = ui->bars && !getenv("NO_COLOR");
    if (ui->log && !(ui->log_file = fopen(ui->log, "a"))) {
        fprintf(stderr, "graft: %s: cannot open: %s\n", ui->log, strerror(errno));
        return EXIT_RUN;
    }
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    *ev = (struct graft_events){ui, on_note, on_progress, on_cancelled};
    return -1;
}

void ui_close(struct ui *ui)
{
    clear_bar(ui);
    if (ui->log_file)
        fclose(ui->log_file);
    ui->log_file = NULL;
}

int ui_fail(struct ui *ui, const struct graft_error *err)
{
    if (ui->log_file) {
        fprintf(ui->log_file,
                "{\"seconds\": %.3f, \"level\": \"error\", \"status\": ", now() - ui->began);
        put_json_string(ui->log_file, graft_status_name(err->status));
        fputs(", \"text\": ", ui->log_file);
        put_json_string(ui->log_file, err->message);
        fputs("}\n", ui->log_file);
    }
    clear_bar(ui);
    fputs(ui->colour ? "\033[31mgraft:\033[0m " : "graft: ", stderr);
    put_text(stderr, err->message);
    fputc('\n', stderr);
    switch (err->status) {
    case GRAFT_E_ARG:
        return EXIT_USAGE;
    case GRAFT_E_FORMAT:
    case GRAFT_E_LIMIT:
    case GRAFT_E_UNSUPPORTED:
    case GRAFT_E_SHAPE:
        return EXIT_INPUT;
    case GRAFT_E_CHECK:
        return EXIT_DATA;
    case GRAFT_E_GATE:
        return EXIT_GATE;
    case GRAFT_E_CANCELLED:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_RUN;
    }
}

int ui_flush(void)
{
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "graft: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_RUN;
    }
    return EXIT_OK;
}

void ui_pre_init(struct ui_pre *u)
{
    memset(u, 0, sizeof *u);
    u->channels = u->resize = u->filter = -1;
}

/* "0.5,0.5,0.5", or one number for all planes. */
static bool read_planes(const char *text, enum graft_channels channels, double out[4])
{
    const int max = channels == GRAFT_RGBA ? 4 : 3;
    int n = 0;
    char *end;
    for (const char *p = text; n < max; p = end + 1) {
        out[n] = strtod(p, &end);
        if (end == p || (*end && *end != ','))
            return false;
        n++;
        if (!*end)
            break;
        if (n == max)
            return false;
    }
    if (n == 1)
        out[1] = out[2] = out[3] = out[0];
    return n == 1 || n == max;
}

int ui_pre_apply(struct ui *ui, struct ui_pre *u, const char *path, struct graft_load_options *o)
{
    static const enum graft_filter filters[] = {GRAFT_NEAREST, GRAFT_BILINEAR, GRAFT_BICUBIC,
                                                GRAFT_LANCZOS, GRAFT_BOX};
    struct graft_model *m = NULL;
    struct graft_error err;
    struct graft_load_options first;
    graft_load_options_init(&first);
    if (u->channels >= 0) {
        u->planes = (enum graft_channels)u->channels;
        o->channels = &u->planes;
    }
    if (!u->img_size && !u->resize_to && !u->mean && !u->std && u->resize < 0 && u->filter < 0)
        return -1;
    bool by_name = false;
    for (size_t i = 0; graft_arch(i); i++)
        by_name = by_name || !strcmp(graft_arch(i), path);
    if (u->channels == GRAFT_RGB || u->channels == GRAFT_BGR)
        first.channels = &u->planes; /* the order in which --mean and --std are then given */
    if (by_name ? graft_model_new(path, 0, &m, &err) : graft_model_load(path, &first, &m, &err))
        return ui_fail(ui, &err);
    u->pre = *graft_model_preprocess(m);
    graft_model_free(m);
    if (u->img_size) {
        u->pre.resize_to = (int)((double)u->pre.resize_to * u->img_size / u->pre.height + 0.5);
        u->pre.width = u->pre.height = u->img_size;
    }
    if (u->resize_to)
        u->pre.resize_to = u->resize_to;
    if (u->resize >= 0)
        u->pre.resize = (enum graft_resize)u->resize;
    if (u->filter >= 0)
        u->pre.filter = filters[u->filter];
    if (u->mean || u->std)
        u->pre.scale = 1.0 / 255;
    if ((u->mean && !read_planes(u->mean, u->pre.channels, u->pre.mean)) ||
        (u->std && !read_planes(u->std, u->pre.channels, u->pre.std))) {
        fprintf(
            stderr,
            "graft: --mean and --std take one number, or one for each plane, as in 0.5,0.5,0.5\n");
        return EXIT_USAGE;
    }
    o->preprocess = &u->pre;
    return -1;
}
