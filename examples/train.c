/* A folder of labelled pictures and a pre-trained network become a classifier.
   cc train.c $(pkg-config --cflags --libs graft) && ./a.out flowers/ resnet18.pth flowers.onnx
   Ctrl-C stops it cleanly. */
#include <graft.h>
#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t stop;

static void on_interrupt(int sig)
{
    (void)sig;
    stop = 1;
}

static bool cancelled(void *user)
{
    (void)user;
    return stop;
}

static void note(void *user, enum graft_level level, const char *topic, const char *text)
{
    (void)user;
    fprintf(stderr, "%s%s: %s\n", level == GRAFT_WARNING ? "warning: " : "", topic, text);
}

static void progress(void *user, const char *topic, int64_t done, int64_t total, const char *unit)
{
    (void)user;
    fprintf(stderr, "\r%s %lld of %lld %s%s", topic, (long long)done, (long long)total, unit,
            done < total ? "" : "\n");
}

int main(int argc, char **argv)
{
    const struct graft_events events = {NULL, note, progress, cancelled};
    struct graft_train_options o;
    struct graft_result *result;
    struct graft_error err;
    if (argc != 4)
        return fprintf(stderr, "usage: train FOLDER MODEL OUT.onnx\n"), 2;
    signal(SIGINT, on_interrupt);
    graft_train_options_init(&o); /* always: it knows the defaults */
    o.data = argv[1];
    o.from = argv[2];
    o.out = argv[3];
    if (graft_train(&o, &events, &result, &err)) {
        fprintf(stderr, "%s: %s\n", graft_status_name(err.status), err.message);
        return err.status == GRAFT_E_CANCELLED ? 130 : 1;
    }
    const struct graft_metrics *m = &result->rows[result->n_rows - 1].metrics;
    printf("%s", result->table);
    printf("verdict: %s\n", result->verdict);
    printf("%.1f %% of %lld test pictures right; wrote %s\n", 100 * m->accuracy, (long long)m->n,
           result->out);
    graft_result_free(result);
    return 0;
}
