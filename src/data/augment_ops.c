/* What do the single augmentations do to pixels? */
#include "data/augment_ops.h"
#include "base/rng.h"
#include <math.h>
#include <string.h>

static uint8_t to_byte(double v) /* as C casts after clipping: truncated */
{
    return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
}

static int grey_of(const uint8_t *p)
{
    return (int)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
}

/* Pillow's Image.blend in single precision: from `base` towards `v`. */
static uint8_t blend(int base, int v, float factor)
{
    return to_byte((float)base + factor * (float)(v - base));
}

/* ---- places ---- */

void gr_pixels_flip(uint8_t *rgb, int w, int h)
{
    for (int y = 0; y < h; y++, rgb += 3 * (size_t)w) {
        for (int a = 0, b = w - 1; a < b; a++, b--) {
            uint8_t t[3];
            memcpy(t, rgb + 3 * a, 3);
            memcpy(rgb + 3 * a, rgb + 3 * b, 3);
            memcpy(rgb + 3 * b, t, 3);
        }
    }
}

void gr_pixels_erase(uint8_t *rgb, int w, struct gr_rect r, const uint8_t fill[3])
{
    for (int y = r.y; y < r.y + r.height; y++) {
        uint8_t *p = rgb + 3 * ((size_t)y * (size_t)w + (size_t)r.x);
        for (int x = 0; x < r.width; x++, p += 3)
            memcpy(p, fill, 3);
    }
}

void gr_pixels_affine(uint8_t *rgb, int w, int h, const double m[6], const uint8_t fill[3],
                      uint8_t *scratch)
{
    uint8_t *q = scratch;
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++, q += 3) {
            double u = floor(m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2]);
            double v = floor(m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5]);
            bool inside = u >= 0 && u < w && v >= 0 && v < h;
            memcpy(q, inside ? rgb + 3 * ((size_t)v * (size_t)w + (size_t)u) : fill, 3);
        }
    }
    memcpy(rgb, scratch, 3 * (size_t)w * (size_t)h);
}

/* ---- colours ---- */

void gr_pixels_brightness(uint8_t *rgb, size_t n, double factor)
{
    uint8_t table[256];
    for (int v = 0; v < 256; v++)
        table[v] = blend(0, v, (float)factor);
    for (size_t i = 0; i < 3 * n; i++)
        rgb[i] = table[rgb[i]];
}

void gr_pixels_contrast(uint8_t *rgb, size_t n, double factor)
{
    uint64_t sum = 0;
    uint8_t table[256];
    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)grey_of(rgb + 3 * i);
    int mean = (int)((double)sum / (double)n + 0.5);
    for (int v = 0; v < 256; v++)
        table[v] = blend(mean, v, (float)factor);
    for (size_t i = 0; i < 3 * n; i++)
        rgb[i] = table[rgb[i]];
}

void gr_pixels_saturation(uint8_t *rgb, size_t n, double factor)
{
    for (size_t i = 0; i < n; i++, rgb += 3) {
        int grey = grey_of(rgb);
        for (int c = 0; c < 3; c++)
            rgb[c] = blend(grey, rgb[c], (float)factor);
    }
}

void gr_pixels_hue(uint8_t *rgb, size_t n, double shift)
{
    for (size_t i = 0; i < n; i++, rgb += 3) {
        int r = rgb[0], g = rgb[1], b = rgb[2];
        int most = r > g ? (r > b ? r : b) : (g > b ? g : b);
        int least = r < g ? (r < b ? r : b) : (g < b ? g : b);
        double span = most - least, hue;
        if (most == least)
            continue;
        if (most == r)
            hue = (g - b) / span;
        else if (most == g)
            hue = 2 + (b - r) / span;
        else
            hue = 4 + (r - g) / span;
        hue += 6 * shift + 12; /* positive */
        for (int c = 0; c < 3; c++) {
            /* how far the hue lies from this channel's: 0..3 sixths of the circle */
            double away = fabs(fmod(hue - 2 * c + 3, 6) - 3);
            double part = away <= 1 ? 1 : away >= 2 ? 0 : 2 - away;
            rgb[c] = to_byte(least + span * part + 0.5);
        }
    }
}

void gr_pixels_posterize(uint8_t *rgb, size_t n, int bits)
{
    unsigned mask = bits >= 8 ? 255 : ~((1u << (8 - bits)) - 1) & 255;
    for (size_t i = 0; i < 3 * n; i++)
        rgb[i] &= (uint8_t)mask;
}

void gr_pixels_solarize(uint8_t *rgb, size_t n, int threshold)
{
    for (size_t i = 0; i < 3 * n; i++)
        rgb[i] = rgb[i] >= threshold ? (uint8_t)(255 - rgb[i]) : rgb[i];
}

static void apply_tables(uint8_t *rgb, size_t n, uint8_t table[3][256])
{
    for (size_t i = 0; i < 3 * n; i++)
        rgb[i] = table[i % 3][rgb[i]];
}

static void histograms(const uint8_t *rgb, size_t n, size_t count[3][256])
{
    memset(count, 0, 3 * sizeof count[0]);
    for (size_t i = 0; i < 3 * n; i++)
        count[i % 3][rgb[i]]++;
}

void gr_pixels_autocontrast(uint8_t *rgb, size_t n)
{
    size_t count[3][256];
    uint8_t table[3][256];
    histograms(rgb, n, count);
    for (int c = 0; c < 3; c++) {
        int low = 0, high = 255;
        while (low < 255 && !count[c][low])
            low++;
        while (high > 0 && !count[c][high])
            high--;
        double scale = high > low ? 255.0 / (high - low) : 1;
        double offset = high > low ? -low * scale : 0;
        for (int v = 0; v < 256; v++)
            table[c][v] = to_byte(v * scale + offset);
    }
    apply_tables(rgb, n, table);
}

void gr_pixels_equalize(uint8_t *rgb, size_t n)
{
    size_t count[3][256];
    uint8_t table[3][256];
    histograms(rgb, n, count);
    for (int c = 0; c < 3; c++) {
        size_t last = 0, sum = 0, n_used = 0;
        for (int v = 0; v < 256; v++) {
            n_used += count[c][v] > 0;
            sum += count[c][v];
            last = count[c][v] ? count[c][v] : last;
        }
        size_t step = n_used > 1 ? (sum - last) / 255 : 0, so_far = step / 2;
        for (int v = 0; v < 256; v++) {
            size_t to = step ? so_far / step : (size_t)v;
            table[c][v] = (uint8_t)(to > 255 ? 255 : to);
            so_far += count[c][v];
        }
    }
    apply_tables(rgb, n, table);
}

/* ---- neighbourhoods ---- */

void gr_pixels_sharpness(uint8_t *rgb, int w, int h, double factor, uint8_t *scratch)
{
    const size_t row = 3 * (size_t)w, size = row * (size_t)h;
    memcpy(scratch, rgb, size); /* Pillow's SMOOTH leaves the border as it is */
    for (int y = 1; y + 1 < h; y++) {
        for (size_t i = 3; i + 3 < row; i++) {
            const uint8_t *p = rgb + (size_t)y * row + i;
            int sum = p[0] * 4;
            for (ptrdiff_t dy = -1; dy <= 1; dy++)
                for (ptrdiff_t dx = -3; dx <= 3; dx += 3)
                    sum += p[dy * (ptrdiff_t)row + dx];
            scratch[(size_t)y * row + i] = to_byte(sum / 13.0 + 0.5);
        }
    }
    for (size_t i = 0; i < size; i++)
        rgb[i] = blend(scratch[i], rgb[i], (float)factor);
}

static int mirror(int i, int n)
{
    while (i < 0 || i >= n) {
        if (n == 1)
            return 0;
        i = i < 0 ? -i : 2 * (n - 1) - i;
    }
    return i;
}

#define BLUR_RADIUS 24

/* One line of n pixels, `step` bytes apart. */
static void blur_line(const uint8_t *from, uint8_t *to, int n, size_t step, int radius,
                      const float *kernel)
{
    for (int i = 0; i < n; i++) {
        float sum[3] = {0.5f, 0.5f, 0.5f};
        for (int k = -radius; k <= radius; k++) {
            int at = i + k;
            const uint8_t *p = from + step * (size_t)(at < 0 || at >= n ? mirror(at, n) : at);
            for (int c = 0; c < 3; c++)
                sum[c] += kernel[k + radius] * p[c];
        }
        for (int c = 0; c < 3; c++)
            to[step * (size_t)i + (size_t)c] = to_byte(sum[c]);
    }
}

void gr_pixels_blur(uint8_t *rgb, int w, int h, double sigma, uint8_t *scratch)
{
    float kernel[2 * BLUR_RADIUS + 1];
    double sum = 0;
    int radius = 3 * sigma < BLUR_RADIUS ? (int)ceil(3 * sigma) : BLUR_RADIUS;
    for (int k = -radius; k <= radius; k++)
        sum += exp(-0.5 * k * k / (sigma * sigma));
    for (int k = -radius; k <= radius; k++)
        kernel[k + radius] = (float)(exp(-0.5 * k * k / (sigma * sigma)) / sum);
    const size_t row = 3 * (size_t)w;
    for (size_t y = 0; y < (size_t)h; y++)
        blur_line(rgb + y * row, scratch + y * row, w, 3, radius, kernel);
    for (size_t x = 0; x < (size_t)w; x++)
        blur_line(scratch + 3 * x, rgb + 3 * x, h, row, radius, kernel);
}

void gr_pixels_noise(uint8_t *rgb, size_t n, double sigma, uint64_t seed)
{
    const double scale = sigma * sqrt(3.0) / 65536; /* four uniform numbers: variance 4/12 */
    for (size_t i = 0; i < 3 * n; i++) {
        uint64_t r = gr_rng_mix(seed + i);
        double sum = (double)(r & 0xffff) + (double)(r >> 16 & 0xffff) +
                     (double)(r >> 32 & 0xffff) + (double)(r >> 48);
        rgb[i] = to_byte(rgb[i] + (sum - 2 * 65535.0) * scale + 0.5);
    }
}
