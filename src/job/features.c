/* Which vectors does a network give for pictures, as a file? */
#include "base/events.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "job/result.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Moves the rows of readable pictures together; their number. */
static size_t pack(struct gr_pictures *p)
{
    size_t n = 0, width = (size_t)p->width;
    for (size_t i = 0; i < p->ds.n; i++)
        if (p->ok[i]) {
            memmove(p->x + n * width, p->x + i * width, width * sizeof *p->x);
            n++;
        }
    return n;
}

static void put_csv_field(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        if (*s == '"')
            fputc('"', f);
        fputc(*s, f);
    }
    fputc('"', f);
}

static enum graft_status write_csv(const struct gr_pictures *p, const char *path,
                                   struct graft_error *err)
{
    struct gr_outfile o;
    const float *x = p->x;
    enum graft_status s = gr_outfile_open(&o, path, err);
    if (s)
        return s;
    fputs("path,label", o.f);
    for (int64_t k = 0; k < p->width; k++)
        fprintf(o.f, ",f%lld", (long long)k);
    fputc('\n', o.f);
    for (size_t i = 0; i < p->ds.n; i++) {
        const struct gr_example *e = &p->ds.examples[i];
        if (!p->ok[i])
            continue;
        put_csv_field(o.f, e->path);
        fputc(',', o.f);
        put_csv_field(o.f, e->label >= 0 ? p->ds.classes[e->label] : "");
        for (int64_t k = 0; k < p->width; k++)
            fprintf(o.f, ",%.9g", *x++);
        fputc('\n', o.f);
    }
    return gr_outfile_commit(&o, err);
}

/* One line per row: path, tab, label. */
static enum graft_status write_paths(const struct gr_pictures *p, const char *path,
                                     struct graft_error *err)
{
    struct gr_outfile o;
    char *name = gr_sprintf("%s.paths.txt", path);
    enum graft_status s = name ? gr_outfile_open(&o, name, err) : gr_error_nomem(err);
    gr_free(name);
    if (s)
        return s;
    for (size_t i = 0; i < p->ds.n; i++) {
        const struct gr_example *e = &p->ds.examples[i];
        if (p->ok[i])
            fprintf(o.f, "%s\t%s\n", e->path, e->label >= 0 ? p->ds.classes[e->label] : "");
    }
    return gr_outfile_commit(&o, err);
}

static enum graft_status write_rows(struct gr_pictures *p, const char *path, const char *ending,
                                    struct graft_error *err)
{
    size_t n = pack(p);
    const int64_t dims[2] = {(int64_t)n, p->width};
    if (!strcmp(ending, ".csv"))
        return write_csv(p, path, err);
    enum graft_status s;
    if (!strcmp(ending, ".npy")) {
        struct gr_outfile o;
        s = gr_outfile_open(&o, path, err);
        if (!s) {
            gr_npy_write_header(o.f, dims[0], dims[1]);
            for (size_t i = 0; i < n; i++)
                gr_npy_append(o.f, p->x + i * (size_t)p->width, p->width);
            s = gr_outfile_commit(&o, err);
        }
    } else {
        const char *name = "features";
        const struct gr_tensor t = {.dtype = GR_F32,
                                    .shape = gr_shape_from(2, dims),
                                    .size = n * (size_t)p->width * sizeof *p->x,
                                    .data = p->x};
        s = gr_safetensors_write(path, 1, &name, &t, 0, NULL, NULL, err);
    }
    return s ? s : write_paths(p, path, err);
}

enum graft_status graft_features(const struct graft_features_options *o,
                                 const struct graft_events *ev, struct graft_error *err)
{
    struct gr_model m = {0};
    struct gr_network net = {0};
    struct gr_pictures p = {0};
    const char *ending = o->out ? strrchr(o->out, '.') : NULL, *from = o->from;
    char base[PATH_MAX];
    if (!o->data || !o->out)
        return gr_error(err, GRAFT_E_ARG, "data and out must be given");
    if (!ending ||
        (strcmp(ending, ".npy") && strcmp(ending, ".csv") && strcmp(ending, ".safetensors")))
        return gr_error(err, GRAFT_E_ARG, "%s: the name must end in .npy, .safetensors or .csv",
                        o->out);
    enum graft_status s = gr_data_options_check(&o->pictures, err);
    if (!s)
        s = gr_job_check_out(o->out, err);
    if (!s && !from) {
        s = graft_base_model(base, sizeof base, err);
        from = base;
    }
    if (!s)
        s = gr_job_open_model(from, &o->load, &m, err);
    if (!s)
        s = gr_network_features(&m, o->cut, o->pictures.batch, o->pictures.precision, &net, err);
    if (!s && !o->from)
        gr_job_tell_base(from, ev);
    if (!s)
        gr_job_tell_notes(&m, ev);
    if (!s)
        s = gr_pictures_open_any(o->data, &o->pictures, ev, &p, err);
    if (!s)
        s = gr_pictures_stop(&p, &o->pictures, err);
    if (!s)
        s = gr_network_settle(&net, &m, &p, &o->pictures, ev, err);
    if (!s)
        s = gr_pictures_run(&p, &net, &o->pictures, "features", ev, err);
    if (!s)
        s = write_rows(&p, o->out, ending, err);
    if (!s)
        gr_note(ev, "features", "wrote %s: %lld pictures x %lld, cut at '%s'", o->out,
                (long long)((int64_t)p.ds.n - p.n_bad), (long long)p.width, net.cut);
    gr_pictures_clear(&p);
    gr_network_clear(&net);
    gr_model_clear(&m);
    return s;
}
