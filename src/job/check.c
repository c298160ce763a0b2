/* Is a data set fit for training? */
#include "base/events.h"
#include "job/pictures.h"

enum graft_status graft_check(const char *data, const struct graft_data_options *o,
                              const struct graft_events *ev, struct graft_error *err)
{
    struct gr_pictures p = {0};
    struct gr_findings findings = {0};
    enum graft_status s = gr_pictures_open(data, o, ev, &p, err);
    if (!s)
        s = gr_pictures_check(&p, ev, &findings, err);
    if (!s)
        gr_note(ev, "check", "%zu to be mended, %zu warnings", findings.n_errors,
                findings.n_warnings);
    if (!s && findings.n_errors)
        s = gr_error(err, GRAFT_E_CHECK, "%s: %zu thing%s must be mended", data, findings.n_errors,
                     findings.n_errors > 1 ? "s" : "");
    gr_findings_clear(&findings);
    gr_pictures_clear(&p);
    return s;
}
