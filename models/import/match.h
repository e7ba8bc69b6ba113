/* match.h: which of our networks a file's tensors belong to, and what the file says about its images.
 *
 * The network is found by comparing names: every network of models.def is built, small, with each option that changes
 * names or kernels (stem, batch normalisation, biases, projections), and compared with the file's names as they are and
 * under every name map, each behind every prefix that stands in front of names of networks (prefix.h). The best one
 * must share at least half of its tensors; of prefixes that fit alike an average of weights (EMA) is taken. A last
 * layer inside a Sequential (fc.1.weight) is the last layer. The width follows from the shapes. What the user has set
 * stays as it is.
 *
 *     weights_match m;
 *     TRY(weights_match_network(&w, &config, &m));      // sets model.arch, renames w.tensors
 *     TRY(weights_adopt_metadata(&w, &config));         // sets the input size, data.mean, ...
 */
#ifndef GRAFT_MODELS_IMPORT_MATCH_H
#define GRAFT_MODELS_IMPORT_MATCH_H

#include "core/base/log.h"
#include "core/config/config.h"
#include "models/import/weights.h"

typedef struct weights_match {
    const char *names;     /* "timm's mobilenetv2"; "" for ours (torchvision's)                */
    int64_t matched;       /* tensors of the network that the file has by name                 */
    int64_t wanted;        /* tensors of the network                                           */
    int64_t classes;       /* rows of the head in the file; 0: the head is not there           */
    double fitting_width;  /* model.width that fits where the one that the user has set does not; 0 */
    const char *note;      /* which of several weights were taken by their prefix, and how to get the others; "" */
    const char *head_note; /* why the last layer is not there, when the file has more than one layer in its place; "" */
} weights_match;

/* Leaves in w the tensors behind the prefix, under the network's names; the others are w->outside. E_MODEL: nothing
 * fits; names the nearest network, and a few names of both. Before config_finish. Texts live in w. */
status weights_match_network(weights *w, config *c, weights_match *m);

/* Entries of a safetensors file's metadata that speak of preprocessing: mean and std (of pixels 0 to 1), crop (pixels),
 * crop_pct, interpolation, channels (RGB, BGR), padding (same, symmetric); or graft.preprocess. E_MODEL naming the
 * entry when its value makes no sense. */
status weights_adopt_metadata(const weights *w, config *c);

/* The same of a preprocessing at hand. over: options that are set give way. */
status preprocess_to_options(const preprocess *p, config *c, const char *from, bool over);

/* Says which options that set, one line each. */
void weights_list_adopted(const config *c, logger *log);

/* Adds w->outside to the unexpected ones. */
status weights_report_outside(const weights *w, transfer_report *report);

/* model_transfer of any file that weights_open reads, under the prefix and name map that fit g best. */
status weights_transfer(graph *g, const char *path, transfer_report *report);

/* Names of the parameters whose shape depends on the number of classes, in a: NULL-terminated. */
status weights_head_names(const config *c, arena *a, const char ***names);

#endif
