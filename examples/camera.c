/* Learns from pictures that are in no file, then looks at frames as they come. The "camera" is
   drawn here: 48x36 frames of a striped or checked cloth in uneven light, in YUYV (what many
   cameras give and no network takes), which this program makes into RGB itself.
   ./camera MODEL OUT.onnx */
#include <graft.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 48, HEIGHT = 36, N_CLASSES = 3, N_TRAIN = 180, N_FRAMES = 60 };
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

/* ---- our own preprocessing: YCbCr (BT.601, full range) to RGB -------------------------------- */

static uint8_t level(double v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5);
}

static void to_rgb(const uint8_t *yuyv, uint8_t *rgb)
{
    for (int i = 0; i < WIDTH * HEIGHT; i++, rgb += 3) {
        const uint8_t *pair = yuyv + 4 * (i / 2);
        const double y = yuyv[2 * i], cb = pair[1] - 128.0, cr = pair[3] - 128.0;
        rgb[0] = level(y + 1.402 * cr);
        rgb[1] = level(y - 0.344136 * cb - 0.714136 * cr);
        rgb[2] = level(y + 1.772 * cb);
    }
}

/* ---- what graft asks --------------------------------------------------------------------------
 */

static void describe(void *user, int64_t i, struct graft_example *e)
{
    (void)user;
    e->label = names[i % N_CLASSES];
    e->width = WIDTH;
    e->height = HEIGHT;
}

static bool give(void *user, int64_t i, uint8_t *rgb) /* in several threads at once */
{
    uint8_t frame[2 * WIDTH * HEIGHT];
    (void)user;
    grab(i, frame);
    to_rgb(frame, rgb);
    return true;
}

static enum graft_status learn(const char *from, const char *out, struct graft_error *err)
{
    const struct graft_source source = {.n = N_TRAIN, .describe = describe, .read = give};
    struct graft_train_options o;
    struct graft_result *result = NULL;
    graft_train_options_init(&o);
    o.data = "camera"; /* a name for the report */
    o.from = from;
    o.out = out;
    o.pictures.source = &source;
    o.pictures.test = 0.2;
    enum graft_status s = graft_train(&o, NULL, &result, err);
    if (!s)
        printf("%sverdict: %s\n", result->table, result->verdict);
    graft_result_free(result);
    return s;
}

static enum graft_status watch(const char *path, struct graft_error *err)
{
    struct graft_model *model = NULL;
    struct graft_predictor *p = NULL;
    uint8_t frame[2 * WIDTH * HEIGHT], rgb[3 * WIDTH * HEIGHT];
    float probs[N_CLASSES];
    int right = 0;
    enum graft_status s = graft_model_load(path, NULL, &model, err);
    if (!s)
        s = graft_predictor_new(model, GRAFT_PRECISION_AUTO, &p, err);
    for (int64_t i = N_TRAIN; !s && i < N_TRAIN + N_FRAMES; i++) { /* frames it has not seen */
        int best = 0;
        grab(i, frame);
        to_rgb(frame, rgb);
        s = graft_predict_pixels(p, rgb, WIDTH, HEIGHT, 3 * WIDTH, probs, err);
        for (int c = 1; c < N_CLASSES; c++)
            if (probs[c] > probs[best])
                best = c;
        right += best == i % N_CLASSES; /* the labels are sorted, as our names are */
    }
    if (!s)
        printf("%d of %d new frames right\n", right, N_FRAMES);
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
