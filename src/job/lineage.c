/* Where does a model come from, written down so that it can be made again? */
#include "base/file.h"
#include "base/mem.h"
#include "eval/escape.h"
#include "job/result.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *text(const char *s)
{
    char *clean = s ? gr_utf8_clean(s) : NULL;
    json_t *j = clean ? json_string(clean) : s ? NULL : json_null();
    gr_free(clean);
    return j;
}

static json_t *hash_text(struct gr_hash h)
{
    char hex[33];
    snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
    return json_string(hex);
}

/* One hash for all pictures that were used, in their order. */
static json_t *data_hash(const struct gr_pictures *p)
{
    struct gr_hasher *h = gr_hasher_new();
    if (!h)
        return NULL;
    for (size_t i = 0; i < p->ds.n; i++)
        if (p->ok[i])
            gr_hasher_add(h, &p->hash[i], sizeof p->hash[i]);
    json_t *j = hash_text(gr_hasher_get(h));
    gr_hasher_free(h);
    return j;
}

static json_t *split_list(const struct gr_pictures *p, enum gr_split split)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < p->ds.n; i++)
        if (p->ok[i] && p->ds.examples[i].split == split &&
            json_array_append_new(list, text(p->ds.examples[i].path))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

enum graft_status gr_findings_write(const struct gr_findings *findings, const char *dir,
                                    struct graft_error *err)
{
    struct gr_buf b;
    char *path = gr_path_join(dir, "check.txt");
    gr_buf_init(&b, 0);
    gr_findings_print(findings, &b);
    enum graft_status s = path ? gr_report_flush(&b, path, err) : gr_error_nomem(err);
    gr_buf_clear(&b);
    gr_free(path);
    return s;
}

enum graft_status gr_lineage_write(const char *dir, const char *command,
                                   const struct graft_data_options *o, const char *from,
                                   const char *sha256, const struct gr_network *net,
                                   const struct gr_pictures *p, struct graft_error *err)
{
    struct gr_hash key;
    enum graft_status s = gr_network_hash(net, &key, err);
    if (s)
        return s;
    const struct {
        const char *key;
        json_t *value;
    } rows[] = {
        {"version", text(graft_version())},
        {"command", text(command)},
        {"seed", json_integer((json_int_t)o->seed)},
        {"source", text(from)},
        {"source_sha256", text(sha256)},
        {"cut", text(net->cut)},
        {"features", json_integer(net->width)},
        {"feature_key", hash_text(key)},
        {"precision", text(gr_precision_name(gr_network_precision(net)))},
        {"data", text(p->path)},
        {"data_hash", data_hash(p)},
        {"train", split_list(p, GR_SPLIT_TRAIN)},
        {"val", split_list(p, GR_SPLIT_VAL)},
        {"test", split_list(p, GR_SPLIT_TEST)},
    };
    json_t *root = json_object();
    bool ok = root != NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) /* takes the value even when it fails */
        ok = !json_object_set_new(root, rows[i].key, rows[i].value) && ok;
    char *dump = ok ? json_dumps(root, JSON_INDENT(1)) : NULL;
    char *path = gr_path_join(dir, "graft.json");
    struct gr_outfile f;
    s = dump && path ? gr_outfile_open(&f, path, err) : gr_error_nomem(err);
    if (!s) {
        fprintf(f.f, "%s\n", dump);
        s = gr_outfile_commit(&f, err);
    }
    free(dump);
    gr_free(path);
    json_decref(root);
    return s;
}
