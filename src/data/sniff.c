/* Which picture format are these bytes in? */
#include "data/sniff.h"
#include <string.h>
#include <strings.h>

enum gr_format gr_sniff(const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    if (size >= 3 && p[0] == 0xff && p[1] == 0xd8 && p[2] == 0xff)
        return GR_FORMAT_JPEG;
    if (size >= 8 && !memcmp(p, "\x89PNG\r\n\x1a\n", 8))
        return GR_FORMAT_PNG;
    if (size >= 12 && !memcmp(p, "RIFF", 4) && !memcmp(p + 8, "WEBP", 4))
        return GR_FORMAT_WEBP;
    if (size >= 6 && (!memcmp(p, "GIF87a", 6) || !memcmp(p, "GIF89a", 6)))
        return GR_FORMAT_GIF;
    /* "BM" alone is too weak: text starts so too. The four reserved bytes are nearly always 0, but
       some writers use them, so ask for a plausible pixel offset (14 + smallest header) instead. */
    if (size >= 14 && p[0] == 'B' && p[1] == 'M' && p[12] == 0 && p[13] == 0 &&
        (p[10] >= 26 || p[11] > 0))
        return GR_FORMAT_BMP;
    return GR_FORMAT_UNKNOWN;
}

const char *gr_format_name(enum gr_format format)
{
    static const char *const names[] = {"unknown", "JPEG", "PNG", "WebP", "BMP", "GIF"};
    size_t i = (size_t)format;
    return i < sizeof names / sizeof *names ? names[i] : names[0];
}

enum gr_format gr_format_of_name(const char *path)
{
    static const struct {
        const char *extension;
        enum gr_format format;
    } table[] = {
        {"jpg", GR_FORMAT_JPEG},  {"jpeg", GR_FORMAT_JPEG}, {"jpe", GR_FORMAT_JPEG},
        {"jfif", GR_FORMAT_JPEG}, {"png", GR_FORMAT_PNG},   {"webp", GR_FORMAT_WEBP},
        {"bmp", GR_FORMAT_BMP},   {"dib", GR_FORMAT_BMP},   {"gif", GR_FORMAT_GIF},
    };
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    if (!dot || (slash && dot < slash))
        return GR_FORMAT_UNKNOWN;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!strcasecmp(dot + 1, table[i].extension))
            return table[i].format;
    }
    return GR_FORMAT_UNKNOWN;
}
