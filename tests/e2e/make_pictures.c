/* Which pictures do the end-to-end tests learn from? Discs, squares and crosses of any size, place
   and colour under noise, as BMP files in a folder per class: a task that nearest pixels cannot do
   well. usage: make_pictures DIR N_PER_CLASS SEED [SIZE] */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static uint64_t state;

static double uniform(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static uint8_t level(double v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* kind 0: checks, 1: columns, 2: rows */
static void draw(int kind, int size, uint8_t *bgr)
{
    double width = 1 + uniform(), px = 8 * uniform(), py = 8 * uniform();
    double ink[3], paper[3], noise = 10 + 30 * uniform();
    double slope_x = 4 * (uniform() - 0.5), slope_y = 4 * (uniform() - 0.5); /* uneven light */
    for (int c = 0; c < 3; c++) {
        paper[c] = 40 + 175 * uniform();
        ink[c] = paper[c] + (uniform() < 0.5 ? -1 : 1) * (50 + 60 * uniform());
    }
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            int column = (int)((x + px) / width) & 1, row = (int)((y + py) / width) & 1;
            bool dark = kind == 0 ? column ^ row : kind == 1 ? column : row;
            for (int c = 0; c < 3; c++)
                bgr[(y * size + x) * 3 + c] =
                    level((dark ? ink : paper)[c] + slope_x * (x - size / 2) +
                          slope_y * (y - size / 2) + noise * (uniform() - 0.5));
        }
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static bool write_bmp(const char *path, int size, const uint8_t *bgr)
{
    uint8_t head[54] = {'B', 'M'}, pad[4] = {0};
    size_t row = (size_t)size * 3, padding = (4 - row % 4) % 4;
    put32(head + 2, (uint32_t)(54 + (row + padding) * (size_t)size));
    put32(head + 10, 54);
    put32(head + 14, 40);
    put32(head + 18, (uint32_t)size);
    put32(head + 22, (uint32_t)size);
    head[26] = 1;
    head[28] = 24;
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    fwrite(head, 1, sizeof head, f);
    for (int y = size - 1; y >= 0; y--) {
        fwrite(bgr + (size_t)y * row, 1, row, f);
        fwrite(pad, 1, padding, f);
    }
    return !fclose(f);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"checks", "columns", "rows"};
    if (argc < 4) {
        fprintf(stderr, "usage: make_pictures DIR N_PER_CLASS SEED [SIZE]\n");
        return 2;
    }
    int n = atoi(argv[2]), size = argc > 4 ? atoi(argv[4]) : 32;
    unsigned seed = (unsigned)atoi(argv[3]);
    uint8_t *bgr = size > 0 && size <= 4096 ? malloc((size_t)size * (size_t)size * 3) : NULL;
    char path[4096];
    if (!bgr)
        return 1;
    mkdir(argv[1], 0777);
    for (int c = 0; c < 3; c++) {
        snprintf(path, sizeof path, "%s/%s", argv[1], names[c]);
        if (mkdir(path, 0777) && errno != EEXIST)
            return 1;
        for (int i = 0; i < n; i++) {
            state = (uint64_t)seed * 1000003u + (uint64_t)c * 100000007u + (uint64_t)i * 7919u;
            draw(c, size, bgr);
            snprintf(path, sizeof path, "%s/%s/%u-%04d.bmp", argv[1], names[c], seed, i);
            if (!write_bmp(path, size, bgr))
                return 1;
        }
    }
    free(bgr);
    return 0;
}
