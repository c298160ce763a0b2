/* What do the tests learn from where drawing must cost nothing? Checks, columns and rows of any
   colours under uneven light and noise. */
#include <stdbool.h>

#include "draw.h"

static void draw_stripes(struct picture *p, int class_id, struct rng *r)
{
    double width = between(r, 1, 2), px = between(r, 0, 8), py = between(r, 0, 8);
    double noisy = between(r, 0.04, 0.16);
    double slope_x = between(r, -2, 2) / 255, slope_y = between(r, -2, 2) / 255;
    double paper[3], ink[3];
    for (int c = 0; c < 3; c++) {
        paper[c] = between(r, 0.15, 0.85);
        double sign = uniform(r) < 0.5 ? -1 : 1;
        ink[c] = paper[c] + sign * between(r, 0.2, 0.43);
    }
    for (int y = 0; y < p->size; y++)
        for (int x = 0; x < p->size; x++) {
            int column = (int)((x + px) / width) & 1, row = (int)((y + py) / width) & 1;
            bool dark = class_id == 0 ? column ^ row : class_id == 1 ? column : row;
            double light = slope_x * (x - p->size / 2) + slope_y * (y - p->size / 2);
            double *to = &p->px[y * p->size + x].r;
            for (int c = 0; c < 3; c++)
                to[c] = (dark ? ink : paper)[c] + light + noisy * (uniform(r) - 0.5);
        }
}

static const char *const classes[] = {"checks", "columns", "rows"};

const struct kind stripes_kind = {.name = "stripes",
                                  .what = "checks, columns and rows under noise",
                                  .n_classes = 3,
                                  .default_size = 32,
                                  .classes = classes,
                                  .draw = draw_stripes,
                                  .quality_low = 100,
                                  .quality_high = 100};
