/* How long does one warm prediction take, from what lies in memory to probabilities?

   usage: forward pixels MODEL PIXELS.rgb SIDE fp32|bf16 REPS PROBS.f32
          forward arrays MODEL INPUTS.f32 N fp32|bf16 REPS PROBS.f32
   PIXELS.rgb holds SIDE x SIDE x 3 bytes; the network gets them without resizing. INPUTS.f32 holds
   N prepared pictures as the network takes them; they are predicted in batches. Prints the mean
   seconds of one prediction as JSON and writes the probabilities. */
#include <graft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool read_all(const char *path, void *p, size_t size)
{
    FILE *f = fopen(path, "rb");
    bool ok = f && fread(p, 1, size, f) == size;
    if (f)
        fclose(f);
    return ok;
}

static bool write_all(const char *path, const void *p, size_t size)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(p, 1, size, f) == size;
    return f && !fclose(f) && ok;
}

struct job {
    bool arrays;
    int n, reps, side; /* pictures, rounds over them, of one that comes as pixels */
    void *input;
    float *probs;
};

static enum graft_status predict(struct graft_predictor *p, const struct job *j,
                                 struct graft_error *err)
{
    if (j->arrays)
        return graft_predict_batch(p, j->n, j->input, j->probs, err);
    return graft_predict_pixels(p, j->input, j->side, j->side, (size_t)j->side * 3, j->probs, err);
}

int main(int argc, char **argv)
{
    if (argc != 8)
        return fprintf(stderr, "usage: forward pixels|arrays MODEL INPUT SIDE|N fp32|bf16 REPS "
                               "PROBS\n"),
               2;
    struct job j = {!strcmp(argv[1], "arrays"), 1, atoi(argv[6]), atoi(argv[4]), NULL, NULL};
    size_t size = (size_t)j.side * (size_t)j.side * 3;
    int code = 1;
    bool bf16 = !strcmp(argv[5], "bf16");
    struct graft_preprocess pre;
    struct graft_load_options load;
    struct graft_model *model = NULL;
    struct graft_predictor *p = NULL;
    const struct graft_model_info *info;
    struct graft_error err = {.message = "cannot read the input or write the probabilities"};
    graft_preprocess_init(&pre);
    graft_load_options_init(&load);
    if (!j.arrays) {
        pre.width = pre.height = pre.resize_to = j.side;
        load.preprocess = &pre;
    }
    if (graft_model_load(argv[2], &load, &model, &err) || graft_model_inspect(model, &info, &err) ||
        graft_predictor_new(model, bf16 ? GRAFT_PRECISION_BF16 : GRAFT_PRECISION_FP32, &p, &err))
        goto out;
    if (j.arrays) {
        j.n = j.side;
        size = (size_t)j.n * 3 * (size_t)info->preprocess.width * (size_t)info->preprocess.height *
               sizeof(float);
    }
    size_t n = (size_t)j.n * (size_t)graft_predictor_n_classes(p);
    double start = 0;
    j.input = malloc(size);
    j.probs = malloc(n * sizeof *j.probs);
    if (!j.input || !j.probs || !read_all(argv[3], j.input, size))
        goto out;
    for (int i = -2; i < j.reps; i++) { /* two to warm up */
        if (i == 0)
            start = now();
        if (predict(p, &j, &err))
            goto out;
    }
    printf("{\"seconds\": %.9f}\n", (now() - start) / j.reps / j.n);
    code = !write_all(argv[7], j.probs, n * sizeof *j.probs);
out:
    if (code)
        fprintf(stderr, "%s\n", err.message);
    graft_predictor_free(p);
    graft_model_free(model);
    free(j.probs);
    free(j.input);
    return code;
}
