/* Learns from pictures that are in no file, then looks at frames as they come. The "camera" is
   drawn here: 48x36 frames of a striped or checked cloth in uneven light, in YUYV (what many
   cameras give and no network takes), which this program makes into RGB itself.
   ./camera MODEL OUT.onnx */
#include <graft.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 48, HEIGHT = 36, N_CLASSES = 3, N_TRAIN = 180, N_FRAMES = 64, BATCH = 8 };
static const char *const names[N_CLASSES] = {"checks", "columns", "rows"};

/* ---- the camera ------------------------------------------------------------------------------ */

static double uniform(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

/* Frame number `i` shows class i % 3; Y Cb Y Cr for each two pixels. A pure function of i: graft
   may ask for a picture again. */
static void grab(int64_t i, uint8_t *yuyv)
{
    uint64_t state = (uint64_t)i * 1000003u;
    const int kind = (int)(i % N_CLASSES);
    const double width = 1 + uniform(&state), px = 8 * uniform(&state), py = 8 * uniform(&state);
    const double paper = 60 + 120 * uniform(&state), ink = paper * (0.2 + 0.4 * uniform(&state));
    const double light = uniform(&state) - 0.5, cb = 108 + 40 * uniform(&state),
                 cr = 108 + 40 * uniform(&state);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            const int column = (int)((x + px) / width) & 1, row = (int)((y + py) / width) & 1;
            const int dark = kind == 0 ? column ^ row : kind == 1 ? column : row;
            uint8_t *p = yuyv + 2 * (y * WIDTH + x);
            p[0] = (uint8_t)((dark ? ink : paper) + light * (x - WIDTH / 2) + 8 * uniform(&state));
            p[1] = (uint8_t)(x & 1 ? cr : cb);
        }
}

/* ---- our own preprocessing: the middle of the frame, YCbCr (BT.601) to RGB, at the network's size
 */

static uint8_t level(double v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5);
}

static void prepare(const struct graft_preprocess *pre, int64_t i, uint8_t *rgb)
{
    uint8_t yuyv[2 * WIDTH * HEIGHT];
    grab(i, yuyv);
    for (int y = 0; y < pre->height; y++)
        for (int x = 0; x < pre->width; x++, rgb += 3) {
            const int from_x = (WIDTH - HEIGHT) / 2 + x * HEIGHT / pre->width;
            const uint8_t *row = yuyv + 2 * WIDTH * (y * HEIGHT / pre->height);
            const uint8_t *pair = row + 4 * (from_x / 2);
            const double luma = row[2 * from_x], cb = pair[1] - 128.0, cr = pair[3] - 128.0;
            rgb[0] = level(luma + 1.402 * cr);
            rgb[1] = level(luma - 0.344136 * cb - 0.714136 * cr);
            rgb[2] = level(luma + 1.772 * cb);
        }
}

/* ---- learning: graft asks for pictures --------------------------------------------------------
 */

static void describe(void *user, int64_t i, struct graft_example *e)
{
    const struct graft_preprocess *pre = user;
    e->label = names[i % N_CLASSES];
    e->width = pre->width;
    e->height = pre->height;
}

static bool give(void *user, int64_t i, uint8_t *rgb) /* in several threads at once */
{
    const struct graft_preprocess *pre = user;
    prepare(pre, i, rgb);
    return true;
}

static enum graft_status learn(const char *from, const char *out, struct graft_error *err)
{
    struct graft_preprocess pre; /* what is left to graft: mean and std */
    const struct graft_source source = {&pre, N_TRAIN, describe, give, {NULL}};
    const struct graft_model_info *info;
    struct graft_model *model = NULL;
    struct graft_train_options o;
    struct graft_result *result = NULL;
    enum graft_status s = graft_model_load(from, NULL, &model, err);
    if (!s)
        s = graft_model_inspect(model, &info, err);
    if (!s) {
        pre = info->preprocess;
        pre.resize = GRAFT_RESIZE_STRETCH; /* our pictures have the size already */
        graft_train_options_init(&o);
        o.data = "camera"; /* a name for the report */
        o.from = from;
        o.out = out;
        o.load.preprocess = &pre; /* goes into the new model */
        o.pictures.source = &source;
        o.pictures.test = 0.2;
        s = graft_train(&o, NULL, &result, err);
    }
    if (!s)
        printf("%sverdict: %s\n", result->table, result->verdict);
    graft_result_free(result);
    graft_model_free(model);
    return s;
}

/* ---- looking: frames one by one as pixels, and eight at once as floats ------------------------
 */

static int is_right(int64_t i, const float *probs)
{
    int best = 0;
    for (int c = 1; c < N_CLASSES; c++)
        if (probs[c] > probs[best])
            best = c;
    return best == i % N_CLASSES; /* labels are sorted, as our names are */
}

/* (p * scale - mean) / std, plane by plane: what the network takes. */
static void normalise(const struct graft_preprocess *pre, const uint8_t *rgb, float *x)
{
    const int n = pre->width * pre->height;
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < n; i++)
            *x++ = (float)((rgb[3 * i + c] * pre->scale - pre->mean[c]) / pre->std[c]);
}

static enum graft_status watch(const char *path, struct graft_error *err)
{
    struct graft_model *model = NULL;
    struct graft_predictor *p = NULL;
    const struct graft_model_info *info = NULL;
    uint8_t *rgb = NULL;
    float *x = NULL, probs[BATCH * N_CLASSES];
    int right = 0, right_floats = 0;
    enum graft_status s = graft_model_load(path, NULL, &model, err);
    if (!s)
        s = graft_model_inspect(model, &info, err);
    if (!s)
        s = graft_predictor_new(model, GRAFT_PRECISION_FP32, &p, err);
    if (s)
        goto out;
    const struct graft_preprocess *pre = &info->preprocess;
    const size_t n = (size_t)pre->width * (size_t)pre->height * 3;
    rgb = malloc(n);
    x = malloc(BATCH * n * sizeof *x);
    if (!rgb || !x) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    for (int64_t i = N_TRAIN; !s && i < N_TRAIN + N_FRAMES; i++) { /* frames it has not seen */
        prepare(pre, i, rgb);
        s = graft_predict_pixels(p, rgb, pre->width, pre->height, 3 * (size_t)pre->width, probs,
                                 err);
        right += !s && is_right(i, probs);
    }
    for (int64_t i = N_TRAIN; !s && i < N_TRAIN + N_FRAMES; i += BATCH) {
        for (int k = 0; k < BATCH; k++) {
            prepare(pre, i + k, rgb);
            normalise(pre, rgb, x + (size_t)k * n);
        }
        s = graft_predict_batch(p, BATCH, x, probs, err);
        for (int k = 0; !s && k < BATCH; k++)
            right_floats += is_right(i + k, probs + k * N_CLASSES);
    }
    if (!s)
        printf("%d of %d new frames right; %d as floats of our own\n", right, N_FRAMES,
               right_floats);
out:
    free(x);
    free(rgb);
    graft_predictor_free(p);
    graft_model_free(model);
    return s;
}

int main(int argc, char **argv)
{
    struct graft_error err;
    if (argc != 3)
        return fprintf(stderr, "usage: camera MODEL OUT.onnx\n"), 2;
    if (learn(argv[1], argv[2], &err) || watch(argv[2], &err))
        return fprintf(stderr, "%s\n", err.message), 1;
    return 0;
}
