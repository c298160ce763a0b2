/* Which picture format some bytes are in, judged by the bytes alone. */
#ifndef GR_DATA_SNIFF_H
#define GR_DATA_SNIFF_H

#include <stddef.h>

enum gr_format {
    GR_FORMAT_UNKNOWN,
    GR_FORMAT_JPEG,
    GR_FORMAT_PNG,
    GR_FORMAT_WEBP,
    GR_FORMAT_BMP,
    GR_FORMAT_GIF
};

#define GR_SNIFF_SIZE 16 /* so many leading bytes are enough */

enum gr_format gr_sniff(const void *bytes, size_t size);
/* "JPEG", "PNG", ... or "unknown". */
const char *gr_format_name(enum gr_format format);
/* What the extension of a file name promises (any case); UNKNOWN when it promises nothing that we
   know. Only for telling the person of a mismatch, never for choosing a decoder. */
enum gr_format gr_format_of_name(const char *path);

#endif
