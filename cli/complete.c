/* What can follow on the command line, as bash, fish and zsh want to be told? */
#include "cli.h"
#include <string.h>

enum what { CHOICE, FILES, FOLDERS, OWN }; /* what an option's argument is */

static enum what argument(const struct opt *o)
{
    return o->kind == OPT_CHOICE  ? CHOICE
           : opt_takes_files(o)   ? FILES
           : opt_takes_folders(o) ? FOLDERS
                                  : OWN;
}

/* `s` with a backslash before each character of `special`. */
static void put_escaped(const char *s, const char *special)
{
    for (; *s; s++) {
        if (strchr(special, *s))
            putchar('\\');
        putchar(*s);
    }
}

/* The words of "a|b|c" with spaces between them. */
static void put_words(const char *words)
{
    for (; *words; words++)
        putchar(*words == '|' ? ' ' : *words);
}

/* ---- bash ---------------------------------------------------------------------------------- */

static void bash_names(const struct command *c, const struct opt *opts)
{
    printf("    %s) words='--help", c->name);
    for (const struct opt *o = opts; o->name; o++)
        if (o->kind != OPT_GROUP)
            printf(" --%s", o->name);
    printf("' ;;\n");
}

static void bash_arguments(const struct command *c, const struct opt *opts)
{
    for (const struct opt *o = opts; o->name; o++) {
        if (o->kind == OPT_GROUP || o->kind == OPT_FLAG)
            continue;
        printf("    '%s --%s'", c->name, o->name);
        if (o->letter)
            printf(" | '%s -%c'", c->name, o->letter);
        switch (argument(o)) {
        case CHOICE:
            fputs(") words='", stdout);
            put_words(o->arg);
            puts("' ;;");
            break;
        case FILES:
            puts(") compopt -o default; return ;;");
            break;
        case FOLDERS:
            puts(") compopt -o dirnames; return ;;");
            break;
        case OWN:
            puts(") return ;;");
            break;
        }
    }
}

static void put_bash(void)
{
    fputs("# bash completion for graft, written by: graft --completion bash\n"
          "_graft()\n{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
          "    COMPREPLY=()\n"
          "    if [ \"$cur\" = = ]; then\n"
          "        cur=\n"
          "    elif [ \"$prev\" = = ]; then # --option=value is three words here\n"
          "        prev=${COMP_WORDS[COMP_CWORD-2]}\n"
          "    fi\n"
          "    case \"${COMP_WORDS[1]} $prev\" in\n",
          stdout);
    for (const struct command *c = commands; c->name; c++)
        opt_show(c, bash_arguments);
    fputs("    *)\n"
          "        case $COMP_CWORD,$cur in\n"
          "        1,*) words='",
          stdout);
    for (const struct command *c = commands; c->name; c++)
        printf("%s ", c->name);
    fputs("--help --version' ;;\n"
          "        *,-*) _graft_options \"${COMP_WORDS[1]}\" ;;\n"
          "        *) compopt -o default; return ;;\n"
          "        esac ;;\n"
          "    esac\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
          "_graft_options() # sets the caller's words\n{\n"
          "    case $1 in\n",
          stdout);
    for (const struct command *c = commands; c->name; c++)
        opt_show(c, bash_names);
    fputs("    esac\n}\ncomplete -F _graft graft\n", stdout);
}

/* ---- fish ---------------------------------------------------------------------------------- */

static void fish_rows(const struct command *c, const struct opt *opts)
{
    for (const struct opt *o = opts; o->name; o++) {
        if (o->kind == OPT_GROUP)
            continue;
        printf("complete -c graft -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
        if (o->letter)
            printf(" -s %c", o->letter);
        if (o->kind != OPT_FLAG)
            switch (argument(o)) {
            case CHOICE:
                fputs(" -x -a '", stdout);
                put_words(o->arg);
                putchar('\'');
                break;
            case FILES:
                fputs(" -r -F", stdout);
                break;
            case FOLDERS:
                fputs(" -x -a '(__fish_complete_directories)'", stdout);
                break;
            case OWN:
                fputs(" -x", stdout);
                break;
            }
        fputs(" -d '", stdout);
        put_escaped(o->help, "\\'");
        puts("'");
    }
}

static void put_fish(void)
{
    fputs("# fish completion for graft, written by: graft --completion fish\n"
          "complete -c graft -n __fish_use_subcommand -f\n"
          "complete -c graft -n __fish_use_subcommand -l version -s V -d 'print the version'\n"
          "complete -c graft -l help -s h -d 'show the options'\n",
          stdout);
    for (const struct command *c = commands; c->name; c++) {
        printf("complete -c graft -n __fish_use_subcommand -a %s -d '", c->name);
        put_escaped(c->help, "\\'");
        puts("'");
        opt_show(c, fish_rows);
    }
}

/* ---- zsh ----------------------------------------------------------------------------------- */

/* Inside single quotes, with what _arguments and _describe would take for their own escaped. */
static void put_zsh(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\'", stdout);
        else if (strchr("[]:\\", *s))
            putchar('\\');
        putchar(*s);
    }
}

static void zsh_rows(const struct command *c, const struct opt *opts)
{
    printf("    %s)\n        _arguments -s '(-h --help)'{-h,--help}'[show the options]'", c->name);
    for (const struct opt *o = opts; o->name; o++) {
        if (o->kind == OPT_GROUP)
            continue;
        const char *equals = o->kind == OPT_FLAG ? "" : "=";
        fputs(" \\\n            ", stdout);
        if (o->letter)
            printf("'(-%c --%s)'{-%c%s,--%s%s}'[", o->letter, o->name, o->letter,
                   *equals ? "+" : "", o->name, equals);
        else
            printf("'--%s%s[", o->name, equals);
        put_zsh(o->help);
        putchar(']');
        if (*equals) {
            putchar(':');
            put_zsh(o->arg);
            switch (argument(o)) {
            case CHOICE:
                fputs(":(", stdout);
                put_words(o->arg);
                putchar(')');
                break;
            case FILES:
                fputs(":_files", stdout);
                break;
            case FOLDERS:
                fputs(":_files -/", stdout);
                break;
            case OWN:
                fputs(": ", stdout);
                break;
            }
        }
        putchar('\'');
    }
    puts(" \\\n            '*:file:_files' ;;");
}

static void put_zsh_file(void)
{
    fputs("#compdef graft\n# zsh completion for graft, written by: graft --completion zsh\n"
          "if ((CURRENT == 2)); then\n"
          "    local -a commands=(\n",
          stdout);
    for (const struct command *c = commands; c->name; c++) {
        printf("        '%s:", c->name);
        put_zsh(c->help);
        puts("'");
    }
    fputs("    )\n"
          "    _describe command commands\n"
          "    [[ $PREFIX == -* ]] && compadd -- --help --version\n"
          "    return\n"
          "fi\n"
          "shift words\n"
          "((CURRENT--))\n"
          "case $words[1] in\n",
          stdout);
    for (const struct command *c = commands; c->name; c++)
        opt_show(c, zsh_rows);
    fputs("esac\n", stdout);
}

bool complete_write(const char *shell)
{
    if (!strcmp(shell, "bash"))
        put_bash();
    else if (!strcmp(shell, "fish"))
        put_fish();
    else if (!strcmp(shell, "zsh"))
        put_zsh_file();
    else
        return false;
    return true;
}
