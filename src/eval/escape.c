/* How is hostile text written down safely? */
#include "eval/escape.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* Bytes of the valid UTF-8 character at s, 0 where there is none (RFC 3629). */
static size_t utf8_length(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80)
        return 1;
    size_t n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++) /* stops at the closing NUL */
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
               (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f);
    return bad ? 0 : n;
}

/* Appends the character at s and returns how many bytes of s that was. */
static size_t put_char(struct gr_buf *b, const char *s)
{
    size_t n = utf8_length(s);
    if (n)
        gr_buf_append(b, s, n);
    else
        gr_buf_puts(b, REPLACEMENT);
    return n ? n : 1;
}

static void put_utf8(struct gr_buf *b, const char *s)
{
    while (*s)
        s += put_char(b, s);
}

char *gr_utf8_clean(const char *s)
{
    struct gr_buf b;
    gr_buf_init(&b, 0);
    put_utf8(&b, s);
    return gr_buf_take(&b);
}

void gr_put_csv(struct gr_buf *b, const char *s)
{
    /* a reader may trim spaces at the ends of a bare field */
    size_t n = strlen(s);
    bool quote = strpbrk(s, "\",\r\n") || (n && (s[0] == ' ' || s[n - 1] == ' '));
    if (!quote) {
        put_utf8(b, s);
        return;
    }
    gr_buf_puts(b, "\"");
    while (*s) {
        if (*s == '"')
            gr_buf_puts(b, "\"");
        s += put_char(b, s);
    }
    gr_buf_puts(b, "\"");
}

void gr_put_html(struct gr_buf *b, const char *s)
{
    while (*s) {
        unsigned char c = (unsigned char)*s;
        if (strchr("&<>\"'", c)) {
            gr_buf_printf(b, "&#%d;", c);
            s++;
        } else if (c < 0x20 || c == 0x7f) {
            gr_buf_puts(b, REPLACEMENT);
            s++;
        } else {
            s += put_char(b, s);
        }
    }
}

void gr_put_markdown(struct gr_buf *b, const char *s)
{
    while (*s) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f) {
            gr_buf_puts(b, " ");
            s++;
        } else if (strchr("&<>", c)) { /* Markdown passes HTML on */
            gr_buf_printf(b, "&#%d;", c);
            s++;
        } else {
            if (strchr("\\`*_[]!|~", c))
                gr_buf_puts(b, "\\");
            s += put_char(b, s);
        }
    }
}
