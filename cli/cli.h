/* What the files of the command-line tool share: options, commands, output. */
#ifndef GR_CLI_H
#define GR_CLI_H

#include "graft.h"
#include <stdio.h>

/* ---- options: each command declares its own rows ------------------------------------------- */

enum opt_kind {
    OPT_FLAG,   /* bool */
    OPT_STRING, /* const char * */
    OPT_INT,    /* int, min..max */
    OPT_SEED,   /* uint64_t */
    OPT_SIZE,   /* size_t: bytes, with K, M, G or T for powers of 1024; at least 1 */
    OPT_REAL,   /* double, min..max */
    OPT_CHOICE, /* int: index into the words of `arg`, which are separated by '|' */
    OPT_GROUP   /* no option: a heading in --help */
};

struct opt {
    enum opt_kind kind;
    char letter; /* 0: none */
    const char *name;
    void *target;
    const char *arg; /* how --help shows the argument; shells offer files where FILE or MODEL is in
                        it, folders for DIR */
    const char *help;
    double min, max;
};

struct command {
    const char *name, *args, *help; /* args: "DATA --from MODEL -o OUT" */
    int (*run)(const struct command *c, int argc, char **argv);
    const char *text;     /* more for the man page and `--help` */
    const char *examples; /* whole lines, "$ " before each command */
    /* Set by opt_show: opt_parse calls it with the rows and parses nothing. */
    void (*show)(const struct command *c, const struct opt *opts);
};
extern const struct command commands[]; /* sorted, ends with a NULL name */

/* Fills the targets; positional arguments are gathered at argv[0..*n]. -1: go on; else the exit
   status (--help was asked for: 0; a wrong option: 2 with a message). `opts` ends with a NULL name
   and kind OPT_FLAG. */
int opt_parse(const struct command *c, const struct opt *opts, int argc, char **argv, int *n);
/* Calls `show` with the option rows of a command. */
void opt_show(const struct command *c, void (*show)(const struct command *, const struct opt *));
bool opt_takes_files(const struct opt *o);
bool opt_takes_folders(const struct opt *o);

/* Written to standard output from the tables of commands and options: a manual page in roff (of one
   command, or of the tool where it is NULL) and completions; false for a shell that is unknown. */
void man_write(const struct command *c);
bool complete_write(const char *shell);

/* ---- what every command prints ------------------------------------------------------------- */

enum {
    EXIT_OK = 0,
    EXIT_RUN = 1,
    EXIT_USAGE = 2,
    EXIT_INPUT = 3,
    EXIT_DATA = 4,
    EXIT_GATE = 5,
    EXIT_INTERRUPTED = 130
};

struct ui {
    bool json, quiet;
    const char *log; /* path of the JSONL event log, or NULL */
    FILE *log_file;
    bool bars, colour;
    double began, bar_began;
    char bar_topic[64];
    bool bar_open;
};

/* Rows for --quiet and --log, and with --json, to be put into each command's table. */
#define LOG_OPTIONS(ui)                                                                            \
    {OPT_FLAG, 'q', "quiet", &(ui)->quiet, NULL, "no notes and no progress", 0, 0},                \
    {                                                                                              \
        OPT_STRING, 0, "log", &(ui)->log, "FILE",                                                  \
            "append every note and progress step as a JSON line", 0, 0                             \
    }
#define UI_OPTIONS(ui)                                                                             \
    {OPT_GROUP, 0, "Output", NULL, NULL, NULL, 0, 0},                                              \
        {OPT_FLAG, 0, "json", &(ui)->json, NULL, "one JSON document on standard output", 0, 0},    \
        LOG_OPTIONS(ui)

/* Rows for struct graft_data_options and struct graft_load_options. */
#define DATA_OPTIONS(p)                                                                            \
    {OPT_GROUP, 0, "Pictures", NULL, NULL, NULL, 0, 0},                                            \
        {OPT_CHOICE,  0,                                                                           \
         "on-bad",    &on_bad,                                                                     \
         "skip|stop", "an unreadable picture is listed and skipped (default) or stops the job",    \
         0,           0},                                                                          \
        {OPT_INT, 'j', "workers", &(p)->workers, "N", "decoding threads (default: one per core)",  \
         0,       256},                                                                            \
        {OPT_INT, 0,   "forward-batch", &(p)->batch, "N", "pictures per forward pass (default 8)", \
         1,       4096},                                                                           \
        {OPT_CHOICE,                                                                               \
         0,                                                                                        \
         "precision",                                                                              \
         &precision,                                                                               \
         "auto|fp32|bf16|int8",                                                                    \
         "of the network (default auto: bf16 if fast and within 1 % of fp32, or as the model "     \
         "says; "                                                                                  \
         "int8 in train is refused if accuracy drops by more than half a point)",                  \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        OPT_STRING, 0, "cache", &(p)->cache, "DIR",                                                \
            "feature cache (default $GRAFT_CACHE or ~/.cache/graft; '' for none)", 0, 0            \
    }

struct ui_pre {
    int img_size, resize_to;
    const char *mean, *std;
    int channels, resize, filter;
    enum graft_channels planes;
    struct graft_preprocess pre;
};
#define PRE_OPTIONS(u, labels_target)                                                              \
    {OPT_GROUP, 0, "Model input", NULL, NULL, NULL, 0, 0},                                         \
        {OPT_STRING, 0,                                                                            \
         "labels",   labels_target,                                                                \
         "FILE",     "class names of the source model, one a line",                                \
         0,          0},                                                                           \
        {OPT_INT,    0,                                                                            \
         "img-size", &(u)->img_size,                                                               \
         "N",        "width and height of the model's input, if the network can",                  \
         1,          8192},                                                                        \
        {OPT_INT, 0,   "resize-to", &(u)->resize_to, "N", "short side before the centre crop",     \
         1,       8192},                                                                           \
        {OPT_CHOICE,                                                                               \
         0,                                                                                        \
         "resize",                                                                                 \
         &(u)->resize,                                                                             \
         "shortest|stretch|letterbox",                                                             \
         "how a picture becomes that size",                                                        \
         0,                                                                                        \
         0},                                                                                       \
        {OPT_CHOICE,                                                                               \
         0,                                                                                        \
         "interpolation",                                                                          \
         &(u)->filter,                                                                             \
         "nearest|bilinear|bicubic|lanczos|box",                                                   \
         "filter, as in Pillow",                                                                   \
         0,                                                                                        \
         0},                                                                                       \
        {OPT_CHOICE,                                                                               \
         0,                                                                                        \
         "channels",                                                                               \
         &(u)->channels,                                                                           \
         "rgb|bgr|grey|rgba",                                                                      \
         "planes of the model's input; another number of them changes the first layer",            \
         0,                                                                                        \
         0},                                                                                       \
        {OPT_STRING,                                                                               \
         0,                                                                                        \
         "mean",                                                                                   \
         &(u)->mean,                                                                               \
         "A,B,C",                                                                                  \
         "input = (pixel/255 - mean) / std, for the planes that the network was made for",         \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        OPT_STRING, 0, "std", &(u)->std, "A,B,C", "see --mean", 0, 0                               \
    }

void ui_pre_init(struct ui_pre *u);
/* When any of the options was given: what the model says with these changes, in o->preprocess. */
int ui_pre_apply(struct ui *ui, struct ui_pre *u, const char *model, struct graft_load_options *o);

/* -1 or an exit status. The events hold `ui`. Ctrl-C from here on asks the job to stop. */
int ui_open(struct ui *ui, struct graft_events *ev);
void ui_close(struct ui *ui);
/* Says what went wrong and gives the exit status that belongs to it. */
int ui_fail(struct ui *ui, const struct graft_error *err);
/* A JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void put_json_string(FILE *f, const char *s);
/* Text from files and of file names: control characters become '?', so that they neither steer the
   terminal nor break lines. */
void put_text(FILE *f, const char *s);
/* Standard output could be written to the end? Else a message and EXIT_RUN. */
int ui_flush(void);

int cmd_bench(const struct command *c, int argc, char **argv);
int cmd_check(const struct command *c, int argc, char **argv);
int cmd_convert(const struct command *c, int argc, char **argv);
int cmd_eval(const struct command *c, int argc, char **argv);
int cmd_features(const struct command *c, int argc, char **argv);
int cmd_inspect(const struct command *c, int argc, char **argv);
int cmd_predict(const struct command *c, int argc, char **argv);
int cmd_pretrain(const struct command *c, int argc, char **argv);
int cmd_train(const struct command *c, int argc, char **argv);

#endif
