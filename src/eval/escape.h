/* Names from outside, written into CSV, HTML and Markdown without breaking them. Bytes that are
   not UTF-8 become U+FFFD everywhere. */
#ifndef GR_EVAL_ESCAPE_H
#define GR_EVAL_ESCAPE_H

#include "base/bytes.h"

/* Valid UTF-8, otherwise as it is; for JSON. NULL when out of memory; free with gr_free. */
char *gr_utf8_clean(const char *s);
/* One RFC 4180 field, quoted where it must be. */
void gr_put_csv(struct gr_buf *b, const char *s);
/* Text or a double-quoted attribute value; control characters become U+FFFD. */
void gr_put_html(struct gr_buf *b, const char *s);
/* Plain text inside a line that has already begun, also in a table cell. */
void gr_put_markdown(struct gr_buf *b, const char *s);

#endif
