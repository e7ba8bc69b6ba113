/* match.h: which of our networks a file's tensors belong to, and what the file says about its images.
 *
 * The network is found by comparing names: every network of models.def is built, small, with each option that changes names or kernels
 * (stem, batch normalisation, biases, projections), and compared with the file's names as they are and under every name map. The best
 * one must share at least half of its tensors. The width follows from the shapes. What the user has set stays as it is.
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
} weights_match;

/* E_MODEL: nothing fits; names the nearest network. Before config_finish. */
status weights_match_network(weights *w, config *c, weights_match *m);

/* Entries of a safetensors file's metadata that speak of preprocessing: mean and std (of pixels 0 to 1), crop (pixels), crop_pct,
 * interpolation, channels (RGB, BGR), padding (same, symmetric); or graft.preprocess. E_MODEL naming the entry when its value makes no sense. */
status weights_adopt_metadata(const weights *w, config *c);

/* The same of a preprocessing at hand. over: options that are set give way. */
status preprocess_to_options(const preprocess *p, config *c, const char *from, bool over);

/* Says which options that set, one line each. */
void weights_list_adopted(const config *c, logger *log);

/* model_transfer of any file that weights_open reads, under the name map that fits g best. */
status weights_transfer(graph *g, const char *path, transfer_report *report);

/* Names of the parameters whose shape depends on the number of classes, in a: NULL-terminated. */
status weights_head_names(const config *c, arena *a, const char ***names);

#endif
