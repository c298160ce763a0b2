/* What do the words on the command line say? */
#include "cli.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_end(const struct opt *o)
{
    return !o->name;
}

void opt_show(const struct command *c, void (*show)(const struct command *, const struct opt *))
{
    struct command asked = *c;
    asked.show = show;
    c->run(&asked, 0, NULL);
}

bool opt_takes_files(const struct opt *o)
{
    return o->kind == OPT_STRING && (strstr(o->arg, "FILE") || strstr(o->arg, "MODEL"));
}

bool opt_takes_folders(const struct opt *o)
{
    return o->kind == OPT_STRING && !strcmp(o->arg, "DIR");
}

static void print_help(const struct command *c, const struct opt *opts)
{
    printf("usage: graft %s %s\n\n%c%s.\n\n%s\n", c->name, c->args, c->help[0] - 32, c->help + 1,
           c->text);
    bool options = false;
    for (const struct opt *o = opts; !is_end(o); o++) {
        char left[80];
        if (o->kind == OPT_GROUP) {
            printf("\n%s:\n", o->name);
            options = true;
            continue;
        }
        if (!options)
            printf("\nOptions:\n");
        options = true;
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", o->letter ? "-" : " ",
                 o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name, o->arg ? " " : "",
                 o->arg ? o->arg : "");
        if (strlen(left) > 26)
            printf("  %s\n  %26s  %s\n", left, "", o->help);
        else
            printf("  %-26s  %s\n", left, o->help);
    }
    printf("\nExample:\n%s", c->examples);
}

static int wrong(const struct command *c, const char *fmt, const char *a, const char *b)
{
    fprintf(stderr, "graft %s: ", c->name);
    fprintf(stderr, fmt, a, b);
    fprintf(stderr, "; see 'graft %s --help'\n", c->name);
    return EXIT_USAGE;
}

static bool read_choice(const char *words, const char *value, int *out)
{
    size_t n = strlen(value);
    for (int i = 0; words; i++) {
        const char *end = strchr(words, '|');
        size_t len = end ? (size_t)(end - words) : strlen(words);
        if (len == n && !memcmp(words, value, n)) {
            *out = i;
            return true;
        }
        words = end ? end + 1 : NULL;
    }
    return false;
}

static bool read_size(const char *value, size_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long v = strtoull(value, &end, 10);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (*value < '0' || *value > '9' || errno || !v || (*end && (!unit || end[1])) ||
        v > SIZE_MAX >> shift)
        return false;
    *out = (size_t)v << shift;
    return true;
}

/* False when `value` is not what the option takes. */
static bool set(const struct opt *o, const char *value)
{
    char *end = NULL;
    errno = 0;
    switch (o->kind) {
    case OPT_STRING:
        *(const char **)o->target = value;
        return true;
    case OPT_INT: {
        long v = strtol(value, &end, 10);
        if (end == value || *end || errno || v < o->min || v > o->max)
            return false;
        *(int *)o->target = (int)v;
        return true;
    }
    case OPT_SEED: {
        unsigned long long v = strtoull(value, &end, 10);
        if (end == value || *end || errno || *value == '-')
            return false;
        *(uint64_t *)o->target = v;
        return true;
    }
    case OPT_SIZE:
        return read_size(value, o->target);
    case OPT_REAL: {
        double v = strtod(value, &end);
        if (end == value || *end || !isfinite(v) || v < o->min || v > o->max)
            return false;
        *(double *)o->target = v;
        return true;
    }
    case OPT_CHOICE:
        return read_choice(o->arg, value, o->target);
    default:
        return false;
    }
}

static const struct opt *find(const struct opt *opts, const char *arg, size_t len)
{
    for (const struct opt *o = opts; !is_end(o); o++) {
        if (o->kind == OPT_GROUP)
            continue;
        if (arg[1] != '-' ? len == 2 && o->letter && o->letter == arg[1]
                          : strlen(o->name) == len - 2 && !memcmp(o->name, arg + 2, len - 2))
            return o;
    }
    return NULL;
}

int opt_parse(const struct command *c, const struct opt *opts, int argc, char **argv, int *n)
{
    if (c->show) {
        c->show(c, opts);
        return EXIT_OK;
    }
    bool only_words = false;
    *n = 0;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (only_words || arg[0] != '-' || !arg[1]) {
            argv[(*n)++] = arg;
            continue;
        }
        if (!strcmp(arg, "--")) {
            only_words = true;
            continue;
        }
        if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
            print_help(c, opts);
            return EXIT_OK;
        }
        const char *equals = arg[1] == '-' ? strchr(arg, '=') : NULL;
        const struct opt *o = find(opts, arg, equals ? (size_t)(equals - arg) : strlen(arg));
        if (!o)
            return wrong(c, "unknown option '%s'%s", arg, "");
        if (o->kind == OPT_FLAG) {
            if (equals)
                return wrong(c, "--%s takes no argument%s", o->name, "");
            *(bool *)o->target = true;
            continue;
        }
        const char *value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!value)
            return wrong(c, "--%s needs an argument: %s", o->name, o->arg);
        if (!set(o, value)) {
            if (o->kind == OPT_INT || o->kind == OPT_REAL)
                fprintf(stderr, "graft %s: --%s is '%s', expected a number from %.10g to %.10g\n",
                        c->name, o->name, value, o->min, o->max);
            else
                fprintf(stderr, "graft %s: --%s is '%s', expected %s\n", c->name, o->name, value,
                        o->arg);
            return EXIT_USAGE;
        }
    }
    return -1;
}
