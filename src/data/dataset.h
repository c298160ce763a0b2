/* Which pictures there are, what they are called and which part each plays: from folders or lists,
   in an order that does not depend on the file system.

   A folder is read as one of
   - split folders: some of `train`, `val` (or `valid`, `validation`) and `test`, each with a folder
     per class, or with a metadata list of its own. Taken as such where there are no other folders,
     or where `train` and another are beside them;
   - a folder per class; folders inside a class folder belong to it;
   - pictures without labels, when it has no folders;
   - a list, when it contains metadata.csv or metadata.jsonl (Hugging Face imagefolder).
   A file is a list when it ends in .csv, .tsv or .jsonl, else a single picture without a label.

   A list has a column file_name, filename, path, image or file, and perhaps label, class or target,
   and split, group, weight; other columns are ignored. Paths in it are relative to the list.

   Classes are sorted bytewise, as torchvision does, and are the union over all splits. */
#ifndef GR_DATA_DATASET_H
#define GR_DATA_DATASET_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "data/sniff.h"

enum gr_split { GR_SPLIT_NONE, GR_SPLIT_TRAIN, GR_SPLIT_VAL, GR_SPLIT_TEST };
#define GR_N_SPLITS 4

struct gr_source;

struct gr_example {
    const char *path;
    int label; /* index into classes, or -1 */
    enum gr_split split;
    const char *group;     /* examples of one group never go to different splits; NULL: alone */
    double weight;         /* 1 where none is given */
    enum gr_format format; /* by its first bytes */
    uint64_t size;         /* bytes */
};

/* A file that is no example, and why. */
struct gr_bad_file {
    const char *path, *why;
};

struct gr_dataset {
    const char **classes;
    size_t n_classes;
    struct gr_example *examples;
    size_t n;
    bool splits_given; /* by the data themselves */
    struct gr_bad_file *bad;
    size_t n_bad;
    const char **notes; /* what was noticed while reading, one line each */
    size_t n_notes;
    size_t n_hidden; /* hidden files and those that systems leave behind, skipped */
    const struct gr_source
        *source;           /* the program gives the pictures (data/source.h); NULL: files */
    struct gr_arena arena; /* owns all text */
    size_t cap_examples, cap_bad, cap_notes;
};

const char *gr_split_name(enum gr_split split); /* "none", "train", "val", "test" */

/* Fills *ds (to be cleared with gr_dataset_clear). Unreadable files and files that are no pictures
   go to `bad`; a broken list is an error that names line and column; so is a data set without a
   single picture. */
enum graft_status gr_dataset_open(const char *path, struct gr_dataset *ds, struct graft_error *err);
void gr_dataset_clear(struct gr_dataset *ds);

/* Gives every labelled example a split. Where the data give splits these are kept and the fractions
   are not used, with one rule: without a test part, the val part becomes the test part (then choose
   models by cross-validation inside train). Only a train part counts as no splits.
   Else stratified by class and fixed by the seed: fraction * class size to test and to val,
   rounded, at least one of each wanted for a class of three or more (groups permitting), at least
   one left in train. Unlabelled examples stay NONE. */
enum graft_status gr_dataset_split(struct gr_dataset *ds, uint64_t seed, double val_fraction,
                                   double test_fraction, struct graft_error *err);

/* ---- lists; used by gr_dataset_open ---- */

/* Adds the rows of a list. `split`: of all rows that do not say. Labels are kept as text in
 *labels (parallel to examples, NULL: none), to become indices when all are known. */
struct gr_labels {
    const char **text;
    size_t cap;
};
enum graft_status gr_list_read(const char *path, enum gr_split split, struct gr_dataset *ds,
                               struct gr_labels *labels, struct graft_error *err);
bool gr_is_list(const char *path); /* by its extension */

/* Adds the picture at `path` (moved into the arena by copy) after a look at its first bytes, or
   adds it to `bad`. NOMEM only. */
enum graft_status gr_dataset_add(struct gr_dataset *ds, struct gr_labels *labels, const char *path,
                                 const char *label, enum gr_split split, const char *group,
                                 double weight, struct graft_error *err);
enum graft_status gr_dataset_bad(struct gr_dataset *ds, const char *path, const char *why,
                                 struct graft_error *err);
enum graft_status gr_dataset_note(struct gr_dataset *ds, struct graft_error *err, const char *fmt,
                                  ...) GR_PRINTF(3, 4);
/* When all are added: ds->classes, the class of each, ds->splits_given. */
enum graft_status gr_dataset_classes(struct gr_dataset *ds, const struct gr_labels *labels,
                                     struct graft_error *err);
enum gr_split gr_split_of_name(const char *name); /* any case; NONE when it is none */

/* ---- the check before training ---- */

enum gr_severity { GR_NOTE, GR_WARNING, GR_ERROR };

struct gr_finding {
    enum gr_severity severity;
    const char *text; /* one line */
};

struct gr_findings {
    struct gr_finding *items;
    size_t n, cap;
    size_t n_errors, n_warnings;
    struct gr_arena arena;
};

/* What is known of an example's file from having read it. */
struct gr_file_fact {
    bool known; /* false: the check reads the file itself */
    struct gr_hash content;
    enum graft_status status;
    const char *message; /* of a bad one; borrowed during the call */
};

/* Errors: the same picture in two splits, or with two labels. Warnings: duplicates, unreadable
   files, classes with fewer than five examples or missing in a split. Notes: names that differ
   little, extensions that do not match the content, and what reading noticed.
   `facts`: one per example, or NULL. */
enum graft_status gr_dataset_check(const struct gr_dataset *ds, const struct gr_file_fact *facts,
                                   struct gr_findings *findings, struct graft_error *err);
/* "error: ...\n" per finding, worst first. */
void gr_findings_print(const struct gr_findings *findings, struct gr_buf *out);
void gr_findings_clear(struct gr_findings *findings);

#endif
