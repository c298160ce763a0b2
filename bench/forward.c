/* How long does one warm prediction take, from pixels in memory to probabilities?

   usage: forward MODEL PIXELS.rgb SIDE fp32|bf16 REPS PROBS.f32
   PIXELS.rgb holds SIDE x SIDE x 3 bytes; the network gets them without resizing. Prints the mean
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

int main(int argc, char **argv)
{
    if (argc != 7)
        return fprintf(stderr, "usage: forward MODEL PIXELS SIDE fp32|bf16 REPS PROBS\n"), 2;
    int side = atoi(argv[3]), reps = atoi(argv[5]), code = 1;
    size_t size = (size_t)side * (size_t)side * 3;
    bool bf16 = !strcmp(argv[4], "bf16");
    struct graft_preprocess pre;
    struct graft_load_options load;
    struct graft_model *model = NULL;
    struct graft_predictor *p = NULL;
    struct graft_error err = {.message = "cannot read the pixels or write the probabilities"};
    uint8_t *rgb = malloc(size);
    float *probs = NULL;
    graft_preprocess_init(&pre);
    pre.width = pre.height = pre.resize_to = side;
    graft_load_options_init(&load);
    load.preprocess = &pre;
    if (!rgb || !read_all(argv[2], rgb, size) || graft_model_load(argv[1], &load, &model, &err) ||
        graft_predictor_new(model, bf16 ? GRAFT_PRECISION_BF16 : GRAFT_PRECISION_FP32, &p, &err))
        goto out;
    size_t n = (size_t)graft_predictor_n_classes(p);
    double start = 0;
    probs = calloc(n, sizeof *probs);
    for (int i = -3; i < reps; i++) { /* three to warm up */
        if (i == 0)
            start = now();
        if (!probs || graft_predict_pixels(p, rgb, side, side, (size_t)side * 3, probs, &err))
            goto out;
    }
    printf("{\"seconds\": %.9f}\n", (now() - start) / reps);
    code = !write_all(argv[6], probs, n * sizeof *probs);
out:
    if (code)
        fprintf(stderr, "%s\n", err.message);
    graft_predictor_free(p);
    graft_model_free(model);
    free(probs);
    free(rgb);
    return code;
}
