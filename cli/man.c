/* What does the manual say about a command? */
#include "cli.h"
#include <ctype.h>
#include <string.h>

/* Text as roff prints it unchanged: no hyphens, quotes or requests of its own. */
static void put_roff(const char *s, bool upper)
{
    bool line_start = true;
    for (; *s; s++) {
        if (line_start && (*s == '.' || *s == '\''))
            fputs("\\&", stdout);
        line_start = *s == '\n';
        switch (*s) {
        case '-':
            fputs("\\-", stdout);
            break;
        case '\\':
            fputs("\\e", stdout);
            break;
        case '\'':
            fputs("\\(aq", stdout);
            break;
        case '`':
            fputs("\\(ga", stdout);
            break;
        case '^':
            fputs("\\(ha", stdout);
            break;
        case '~':
            fputs("\\(ti", stdout);
            break;
        default:
            putchar(upper ? toupper((unsigned char)*s) : *s);
        }
    }
}

static void put_roff_text(const char *s)
{
    put_roff(s, false);
}

static void title(const char *command)
{
    fputs(".TH GRAFT", stdout);
    if (command) {
        fputs("\\-", stdout);
        put_roff(command, true);
    }
    printf(" 1 \"\" \"graft %s\" \"User Commands\"\n.SH NAME\n", graft_version());
}

static void put_option(const struct opt *o)
{
    fputs(".TP\n", stdout);
    if (o->letter)
        printf("\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", stdout);
    put_roff_text(o->name);
    fputs("\\fR", stdout);
    if (o->arg) {
        fputs(" \\fI", stdout);
        put_roff_text(o->arg);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    put_roff_text(o->help);
    putchar('\n');
}

static void put_command(const struct command *c, const struct opt *opts)
{
    title(c->name);
    printf("graft\\-%s \\- ", c->name);
    put_roff_text(c->help);
    printf("\n.SH SYNOPSIS\n\\fBgraft %s\\fR ", c->name);
    put_roff_text(c->args);
    fputs(" [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n", stdout);
    put_roff_text(c->text);
    fputs("\n.SH OPTIONS\n", stdout);
    for (const struct opt *o = opts; o->name; o++) {
        if (o->kind == OPT_GROUP) {
            fputs(".SS ", stdout);
            put_roff_text(o->name);
            putchar('\n');
        } else {
            put_option(o);
        }
    }
    fputs(".SH EXAMPLES\n.nf\n", stdout);
    put_roff_text(c->examples);
    fputs(".fi\n.SH SEE ALSO\n.BR graft (1)\nfor exit status and environment\n", stdout);
}

static void put_tool(void)
{
    title(NULL);
    fputs("graft \\- transfer learning: a pre\\-trained network becomes your classifier\n"
          ".SH SYNOPSIS\n\\fBgraft\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n"
          "Results go to standard output, notes and progress to standard error. Each command has a "
          "page of its own; \\fBgraft\\fR \\fICOMMAND\\fR \\fB\\-\\-help\\fR says the same.\n"
          ".SH COMMANDS\n",
          stdout);
    for (const struct command *c = commands; c->name; c++) {
        printf(".TP\n.BR graft\\-%s (1)\n", c->name);
        put_roff_text(c->help);
        putchar('\n');
    }
    fputs(".SH OPTIONS\n"
          ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nlist the commands\n"
          ".TP\n\\fB\\-V\\fR, \\fB\\-\\-version\\fR\nprint the version\n"
          ".TP\n\\fB\\-\\-man\\fR [\\fICOMMAND\\fR]\nwrite this page or that of a command in roff\n"
          ".TP\n\\fB\\-\\-completion\\fR \\fIbash|fish|zsh\\fR\n"
          "write completions for a shell; packages install them\n"
          ".SH EXIT STATUS\n"
          "0 done; 1 run\\-time failure; 2 usage; 3 bad or unsupported input; 4 data check failed; "
          "5 a required figure was not reached; 130 interrupted.\n"
          ".SH ENVIRONMENT\n.TP\nGRAFT_CACHE\nfolder of the feature cache\n"
          ".TP\nOMP_NUM_THREADS\nthreads for computing (default: one per core)\n"
          ".TP\nNO_COLOR\nno colours\n",
          stdout);
}

void man_write(const struct command *c)
{
    if (c)
        opt_show(c, put_command);
    else
        put_tool();
}
