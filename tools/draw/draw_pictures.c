/* Which pictures do the demonstration and the tests learn from? Labelled JPEG files that this
   program draws, so that no picture needs to be kept or fetched. A picture depends on the kind, the
   seed, its part, its class and its number alone: a larger set holds the smaller one. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jpeglib.h>

#include "draw.h"

static const struct kind *const kinds[] = {&leaves_kind, &stripes_kind};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

struct options {
    const char *out;
    const struct kind *kind;
    long per_class, test, first, size, seed;
};

static int usage(FILE *to)
{
    fprintf(to, "usage: draw_pictures OUT [--kinds NAME] [--per-class N] [--test N] [--first N]\n"
                "                     [--size PIXELS] [--seed N]\n"
                "Draws OUT/CLASS/NUMBER.jpg; with --test N also that many to test on, and then\n"
                "OUT/train/CLASS/ and OUT/test/CLASS/. --first: the number of the first (1).\n");
    for (int i = 0; i < N_KINDS; i++)
        fprintf(to, "  --kinds %-8s %s\n", kinds[i]->name, kinds[i]->what);
    return to == stdout ? 0 : 2;
}

static bool number(const char *text, long low, long high, long *out)
{
    char *end;
    errno = 0;
    *out = strtol(text, &end, 10);
    return !errno && end != text && !*end && *out >= low && *out <= high;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.kind = kinds[0], .per_class = 40, .first = 1, .seed = 1};
    const struct {
        const char *name;
        long *value, low, high;
    } rows[] = {{"--per-class", &o->per_class, 1, 100000},
                {"--test", &o->test, 0, 100000},
                {"--first", &o->first, 0, 1000000},
                {"--size", &o->size, 8, 2048},
                {"--seed", &o->seed, 0, 1000000000}};
    for (int i = 1; i < argc; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof rows / sizeof *rows && !known; k++)
            if (!strcmp(argv[i], rows[k].name)) {
                known =
                    i + 1 < argc && number(argv[i + 1], rows[k].low, rows[k].high, rows[k].value);
                if (!known) {
                    fprintf(stderr, "draw_pictures: %s needs a number from %ld to %ld\n",
                            rows[k].name, rows[k].low, rows[k].high);
                    return false;
                }
                i++;
            }
        if (!known && !strcmp(argv[i], "--kinds") && i + 1 < argc) {
            i++;
            for (int k = 0; k < N_KINDS; k++)
                if (!strcmp(argv[i], kinds[k]->name)) {
                    o->kind = kinds[k];
                    known = true;
                }
        }
        if (!known && argv[i][0] != '-' && !o->out) {
            o->out = argv[i];
            known = true;
        }
        if (!known)
            return false;
    }
    if (!o->size)
        o->size = o->kind->default_size;
    return o->out != NULL;
}

static bool write_jpeg(const char *path, const struct picture *p, int quality)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jpeg.err = jpeg_std_error(&errors); /* ends the program on an error */
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, f);
    jpeg.image_width = jpeg.image_height = (JDIMENSION)p->size;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    if (quality >= 90) /* colour in full, as most programs do */
        jpeg.comp_info[0].h_samp_factor = jpeg.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&jpeg, TRUE);
    JSAMPLE *row = allocate((size_t)p->size, 3);
    for (int y = 0; y < p->size; y++) {
        const double *from = &p->px[y * p->size].r;
        for (int i = 0; i < 3 * p->size; i++)
            row[i] = (JSAMPLE)(clamp(from[i], 0, 1) * 255 + 0.5);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
    return !fclose(f);
}

static bool make_folder(const char *path)
{
    bool ok = !mkdir(path, 0777) || errno == EEXIST;
    if (!ok)
        fprintf(stderr, "draw_pictures: %s: %s\n", path, strerror(errno));
    return ok;
}

/* Draws one picture into its file. */
static bool draw_one(const struct options *o, const char *folder, int part, int class_id,
                     long number)
{
    struct picture p = {(int)o->size, allocate((size_t)(o->size * o->size), sizeof *p.px)};
    struct rng r = {(uint64_t)o->seed};
    r.state = mix_bits(r.state) ^ (uint64_t)part;
    r.state = mix_bits(r.state) ^ (uint64_t)class_id;
    r.state = mix_bits(mix_bits(r.state) ^ (uint64_t)number);
    int quality =
        o->kind->quality_low + below(&r, o->kind->quality_high - o->kind->quality_low + 1);
    o->kind->draw(&p, class_id, &r);
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%03ld.jpg", folder, o->kind->classes[class_id], number);
    bool ok = write_jpeg(path, &p, quality);
    free(p.px);
    if (!ok)
        fprintf(stderr, "draw_pictures: %s: %s\n", path, strerror(errno));
    return ok;
}

static bool draw_part(const struct options *o, const char *folder, int part, long first, long n)
{
    char path[4096];
    if (!make_folder(folder))
        return false;
    for (int c = 0; c < o->kind->n_classes; c++) {
        snprintf(path, sizeof path, "%s/%s", folder, o->kind->classes[c]);
        if (!make_folder(path))
            return false;
    }
    long total = n * o->kind->n_classes;
    int n_bad = 0;
#pragma omp parallel for schedule(dynamic) reduction(+ : n_bad)
    for (long i = 0; i < total; i++)
        n_bad += !draw_one(o, folder, part, (int)(i / n), first + i % n);
    return n_bad == 0;
}

int main(int argc, char **argv)
{
    struct options o;
    if (argc == 2 && !strcmp(argv[1], "--help"))
        return usage(stdout);
    if (!parse(argc, argv, &o))
        return usage(stderr);
    char train[4096], test[4096];
    snprintf(train, sizeof train, "%s%s", o.out, o.test ? "/train" : "");
    snprintf(test, sizeof test, "%s/test", o.out);
    bool ok = make_folder(o.out) && draw_part(&o, train, 0, o.first, o.per_class) &&
              (!o.test || draw_part(&o, test, 1, 1, o.test));
    return ok ? 0 : 1;
}
