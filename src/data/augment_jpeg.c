/* What does saving as JPEG do to pixels? */
#include "base/mem.h"
#include "data/augment_ops.h"
#include "data/image_formats.h"
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <jpeglib.h>

struct session {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr destination;
    struct gr_augmenter *g;
    size_t size;
    jmp_buf escape;
    char text[JMSG_LENGTH_MAX];
};

static void on_error(j_common_ptr c)
{
    struct session *s = c->client_data;
    c->err->format_message(c, s->text);
    longjmp(s->escape, 1);
}

static void on_message(j_common_ptr c, int level)
{
    (void)c;
    (void)level;
}

static void start(j_compress_ptr c)
{
    struct session *s = c->client_data;
    s->destination.next_output_byte = s->g->jpeg;
    s->destination.free_in_buffer = s->g->jpeg_cap;
}

static boolean full(j_compress_ptr c) /* the buffer holds more than any such picture needs */
{
    struct session *s = c->client_data;
    snprintf(s->text, sizeof s->text, "a JPEG of more than %zu bytes", s->g->jpeg_cap);
    longjmp(s->escape, 1);
}

static void finish(j_compress_ptr c)
{
    struct session *s = c->client_data;
    s->size = s->g->jpeg_cap - s->destination.free_in_buffer;
}

enum graft_status gr_pixels_jpeg(struct gr_augmenter *g, uint8_t *rgb, int w, int h, int quality,
                                 struct graft_error *err)
{
    const size_t row = 3 * (size_t)w, need = 4 * row * (size_t)h + 65536;
    if (g->jpeg_cap < need) {
        gr_free(g->jpeg);
        g->jpeg_cap = 0;
        g->jpeg = gr_alloc(need);
        if (!g->jpeg)
            return gr_error_nomem(err);
        g->jpeg_cap = need;
    }
    struct session s = {.g = g};
    s.c.err = jpeg_std_error(&s.errors);
    s.c.client_data = &s;
    s.errors.error_exit = on_error;
    s.errors.emit_message = on_message;
    if (setjmp(s.escape)) {
        jpeg_destroy_compress(&s.c);
        return gr_error(err, GRAFT_E_COMPUTE, "JPEG augmentation: %s", s.text);
    }
    jpeg_create_compress(&s.c);
    s.destination = (struct jpeg_destination_mgr){
        .init_destination = start, .empty_output_buffer = full, .term_destination = finish};
    s.c.dest = &s.destination;
    s.c.image_width = (JDIMENSION)w;
    s.c.image_height = (JDIMENSION)h;
    s.c.input_components = 3;
    s.c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&s.c);
    jpeg_set_quality(&s.c, quality, TRUE);
    jpeg_start_compress(&s.c, TRUE);
    for (size_t y = 0; y < (size_t)h; y++) {
        JSAMPROW line = rgb + y * row;
        jpeg_write_scanlines(&s.c, &line, 1);
    }
    jpeg_finish_compress(&s.c);
    jpeg_destroy_compress(&s.c);
    enum graft_status st = gr_image_decode(g->jpeg, s.size, NULL, NULL, &g->image, err);
    for (size_t y = 0; y < (size_t)h && !st; y++)
        memcpy(rgb + y * row, g->image.rgb + y * g->image.stride, row);
    return st;
}
