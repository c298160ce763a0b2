/* Classifies the pictures whose names come in on standard input, one a line, for as long as they
   come. Everything is planned and reserved once: after the first pictures (the largest decides)
   graft allocates nothing more. find photos/ -type f | ./loop flowers.onnx */
#include <graft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int best_of(const float *probs, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (probs[i] > probs[best])
            best = i;
    return best;
}

int main(int argc, char **argv)
{
    struct graft_model *model = NULL;
    struct graft_predictor *p = NULL;
    struct graft_error err;
    float *probs = NULL;
    char path[4096];
    int code = 1, n;
    if (argc != 2)
        return fprintf(stderr, "usage: loop MODEL < NAMES\n"), 2;
    if (graft_model_load(argv[1], NULL, &model, &err) ||
        graft_predictor_new(model, GRAFT_PRECISION_AUTO, &p, &err)) {
        fprintf(stderr, "%s\n", err.message);
        goto out;
    }
    n = graft_predictor_n_classes(p);
    probs = malloc((size_t)n * sizeof *probs);
    if (!probs)
        goto out;
    code = 0;
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        if (graft_predict_file(p, path, probs,
                               &err)) { /* this picture is bad, the next may not be */
            fprintf(stderr, "%s\n", err.message);
            code = 1;
            continue;
        }
        int k = best_of(probs, n);
        printf("%s\t%s\t%.3f\n", path, graft_predictor_label(p, k), probs[k]);
    }
out:
    free(probs);
    graft_predictor_free(p); /* before its model; NULL is fine */
    graft_model_free(model);
    return code;
}
