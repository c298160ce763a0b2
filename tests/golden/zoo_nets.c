/* Which weights does zoo_golden.py give a network? */
#include "golden/zoo_nets.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void golden_uniform(const char *name, float *v, size_t n, double scale, double shift)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    for (size_t i = 0; i < n; i++) {
        uint64_t z = h + (i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        v[i] = (float)((double)(z >> 40) / 16777216.0 * scale + shift);
    }
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

void golden_add(struct gr_weights *w, const char *name, int rank, const int64_t *dim)
{
    struct gr_shape shape = gr_shape_from(rank, dim);
    struct gr_tensor t;
    double scale = 0.5, shift = 0.75;
    if (gr_tensor_new(GR_F32, &shape, &t, NULL))
        abort();
    if (rank > 1) {
        double bound = sqrt(6.0 / (double)gr_shape_count_range(&shape, 1, rank));
        scale = 2 * bound, shift = -bound;
    } else if (ends_with(name, "running_var")) {
        scale = 1, shift = 0.5;
    } else if (ends_with(name, "running_mean") || ends_with(name, "bias")) {
        scale = 0.2, shift = -0.1;
    }
    golden_uniform(name, gr_tensor_mut(&t), (size_t)gr_tensor_count(&t), scale, shift);
    if (gr_weights_add(w, name, &t, NULL))
        abort();
}

static void add_line(struct gr_weights *w, const char *kind, const char *name, const char *numbers)
{
    static const char *const bn[] = {"weight", "bias", "running_mean", "running_var"};
    char full[256], *end;
    int64_t dim[GR_MAX_RANK];
    int rank = 0;
    while (rank < GR_MAX_RANK && (dim[rank] = strtoll(numbers, &end, 10)) > 0) {
        rank++;
        numbers = end;
    }
    for (int i = 0; i < (*kind == 'b' ? 4 : kind[1] == 'b' ? 2 : 1); i++) {
        snprintf(full, sizeof full, "%s.%s", name, bn[i]);
        golden_add(w, full, i ? 1 : rank, dim);
    }
}

bool golden_read(FILE *f, struct golden_net *net)
{
    char line[4096], kind[8], name[200];
    int at;
    memset(net, 0, sizeof *net);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "net %ldx%ld %n", &net->height, &net->width, &at) == 2) {
            snprintf(net->title, sizeof net->title, "%s", line + at);
        } else if (!strncmp(line, "out ", 4)) {
            char *p = line + 4, *end;
            net->out = gr_alloc_array(4096, sizeof *net->out);
            for (double v = strtod(p, &end); end != p; v = strtod(p, &end)) {
                net->out[net->n_out++] = v;
                p = end;
            }
            return true;
        } else if (sscanf(line, "%7s %199s %n", kind, name, &at) == 2) {
            add_line(&net->weights, kind, name, line + at);
        }
    }
    return false;
}

void golden_clear(struct golden_net *net)
{
    gr_weights_clear(&net->weights);
    gr_free(net->out);
    memset(net, 0, sizeof *net);
}
