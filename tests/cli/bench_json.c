/* Is what `graft bench --json` wrote to standard input a document whose steps add up? Prints
   operator and node of each step. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_number(v) && json_number_value(v) >= 0)
        return json_number_value(v);
    fprintf(stderr, "'%s' is no number from 0 on\n", key);
    return NAN;
}

int main(void)
{
    json_error_t e;
    json_t *doc = json_loadf(stdin, JSON_REJECT_DUPLICATES, &e);
    if (!doc)
        return fprintf(stderr, "line %d: %s\n", e.line, e.text), 1;
    const json_t *steps = json_object_get(doc, "steps"), *step;
    const json_t *peaks = json_object_get(doc, "peaks");
    const double total = number(doc, "step_seconds"), batch = number(doc, "batch");
    double sum = 0, all = 0;
    size_t i;
    json_array_foreach(steps, i, step)
    {
        sum += number(step, "seconds");
        all += number(step, "flops") + number(step, "bytes") + number(step, "share");
        printf("%s %s\n", json_string_value(json_object_get(step, "op")),
               json_string_value(json_object_get(step, "node")));
    }
    /* examples a second belong to whole runs, seconds and all */
    const double whole = number(doc, "seconds") * number(doc, "examples_per_second");
    int ok = json_array_size(steps) > 0 && fabs(sum - total) <= 1e-6 * total &&
             fabs(whole - batch) <= 1e-6 * batch && isfinite(all) &&
             number(peaks, "fp32_flops_per_second") > 1e8 &&
             number(peaks, "bf16_flops_per_second") > 1e8 &&
             number(peaks, "int8_ops_per_second") > 1e8;
    const json_t *memory = json_object_get(peaks, "memory"), *block;
    json_array_foreach(memory, i, block) ok = ok && number(block, "bytes_per_second") > 1e7;
    ok = ok && json_array_size(memory) > 1 && total > 0 && number(doc, "first_seconds") > 0 &&
         number(doc, "work_bytes") > 0;
    if (!ok)
        fprintf(stderr, "%zu steps, their sum %g, total %g\n", json_array_size(steps), sum, total);
    json_decref(doc);
    return !ok;
}
