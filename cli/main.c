/* Which command was asked for? */
#include "cli.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct command commands[] = {
    {"bench", "MODEL", "time a model, step by step", cmd_bench,
     "Every step of the plan as it runs: milliseconds, GFLOP/s and GB/s, and how much that is of "
     "what the machine could do with so many operations and bytes (roof%). Its peaks are measured "
     "first, with loops that do nothing else. Speeds count a direct computation, so that an "
     "algorithm that needs fewer operations (Winograd) may pass 100 %. The numbers that go in are "
     "made up.",
     "$ graft bench resnet18.onnx --batch 8 --precision fp32\n"
     "$ graft bench resnet18.onnx --train --batch 32\n"},
    {"check", "DATA", "look at pictures before training", cmd_check,
     "Reports unreadable files, wrong endings, duplicates, the same picture in two splits or under "
     "two labels, tiny classes and labels that look alike. Exit status 4 when something must be "
     "mended.",
     "$ graft check flowers/\n"},
    {"convert", "MODEL -o OUT", "write a model as ONNX or safetensors", cmd_convert,
     "Reads any model that graft can read; the ending of OUT chooses the format.",
     "$ graft convert resnet20.th -o resnet20.onnx\n"},
    {"eval", "MODEL DATA", "measure a model on labelled pictures", cmd_eval,
     "Classes are matched by name. The test/ folder (or split column) is used where there is one, "
     "else all pictures; --split chooses.",
     "$ graft eval flowers.onnx flowers/test\n"},
    {"features", "DATA [--from MODEL] -o OUT", "export feature vectors", cmd_features,
     "One row for each readable picture, in the order of DATA, as .npy, .safetensors or .csv; the "
     "paths are written beside it as OUT.paths.txt (inside it for .csv).",
     "$ graft features flowers/ --from resnet18.pth -o flowers.npy\n"},
    {"inspect", "MODEL", "show what is in a model file", cmd_inspect,
     "Stages, shapes, parameters, multiply-adds, the head found, cut points, preprocessing, labels "
     "and all unsupported operators at once.",
     "$ graft inspect resnet18.pth\n"},
    {"predict", "MODEL PICTURE...", "classify pictures", cmd_predict,
     "A picture may be a folder. Prints path, class and probability, one picture a line.",
     "$ graft predict flowers.onnx photo.jpg\n"},
    {"pretrain", "DATA --arch NAME -o OUT.onnx", "make a source model from random weights",
     cmd_pretrain,
     "Trains a whole network on many labelled pictures (thousands). The result is an ordinary "
     "model "
     "for 'graft train --from'. Interrupt at any time: --resume goes on from the last epoch.",
     "$ graft pretrain cifar10/ --arch resnet20 -o cifar10.onnx\n"},
    {"train", "DATA [--from MODEL] -o OUT.onnx", "turn labelled pictures into a classifier",
     cmd_train,
     "DATA is a folder with a folder of pictures per class (with or without train/, val/ and test/ "
     "around them), or a CSV, TSV or JSONL list. The frozen network runs once per picture and its "
     "features are kept, so that a second run takes no time. Everything about the run is written "
     "to OUT.onnx.run/.",
     "$ graft train flowers/ --from resnet18.pth -o flowers.onnx\n"
     "$ graft train list.csv --from mobilenet_v2.onnx --head knn:5 -o mine.onnx\n"},
    {0},
};

static int usage(FILE *f)
{
    fprintf(f, "graft %s - transfer learning in C\n\nusage: graft COMMAND [OPTIONS]\n\n",
            graft_version());
    for (const struct command *c = commands; c->name; c++)
        fprintf(f, "  %-10s %s\n", c->name, c->help);
    fprintf(f, "\n'graft COMMAND --help' shows the options of a command.\n");
    return f == stdout ? EXIT_OK : EXIT_USAGE;
}

static const struct command *find(const char *name)
{
    for (const struct command *c = commands; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

static int unknown(const char *name)
{
    fprintf(stderr, "graft: '%s' is not a command; 'graft --help' lists them\n", name);
    return EXIT_USAGE;
}

/* Decoding threads and computing threads share the cores. libgomp's threads spin for milliseconds
   when they wait, which takes the cores from the others, and it reads how long from the environment
   when it is loaded: so the tool starts itself once more, with a short spin, unless the person has
   chosen. This costs 3 ms; without it two jobs at once run many times slower. */
static void shorten_spin(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || setenv("GOMP_SPINCOUNT", "2000", 1))
        return;
    self[n] = 0;
    execv(self, argv); /* where this fails we go on as we are */
}

int main(int argc, char **argv)
{
    shorten_spin(argv);
    if (argc < 2)
        return usage(stderr);
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        usage(stdout);
        return ui_flush();
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        printf("graft %s\n", graft_version());
        return ui_flush();
    }
    if (!strcmp(name, "--man") && argc <= 3) {
        const struct command *c = argc == 3 ? find(argv[2]) : NULL;
        if (argc == 3 && !c)
            return unknown(argv[2]);
        man_write(c);
        return ui_flush();
    }
    if (!strcmp(name, "--completion")) {
        if (argc == 3 && complete_write(argv[2]))
            return ui_flush();
        fprintf(stderr, "graft: --completion takes the name of a shell: bash, fish or zsh\n");
        return EXIT_USAGE;
    }
    const struct command *c = find(name);
    return c ? c->run(c, argc - 1, argv + 1) : unknown(name);
}
