/* weights.h: the tensors of any file of weights, by name. What the file is, its content says, not its name.
 *
 *     weights w;
 *     TRY(weights_open(&w, "resnet18.pth", NULL));
 *     for (int64_t i = 0; i < w.count; i++) use(&w.tensors[i]);
 *     weights_close(&w);
 *
 * PyTorch: the ZIP form of torch.save (since 1.6). The dictionary of tensors may stand alone or in a checkpoint, beside
 * others: checkpoint.h says which one is taken. Strided views are made contiguous. Names are the file's; what stands in
 * front of all that fit a network (module., model., _orig_mod.module., ...) match.h takes off.
 */
#ifndef GRAFT_MODELS_IMPORT_WEIGHTS_H
#define GRAFT_MODELS_IMPORT_WEIGHTS_H

#include "core/graph/model.h"

typedef enum weights_kind {
    WEIGHTS_GRAFT,       /* a Graft model: graph and weights */
    WEIGHTS_SAFETENSORS, /* any other safetensors file       */
    WEIGHTS_PYTORCH,     /* torch.save, ZIP form             */
    WEIGHTS_ONNX,
    WEIGHTS_DARKNET,     /* no names: darknet.h reads it     */
    WEIGHTS_ENGINE       /* a Graft engine: no weights to train from */
} weights_kind;

const char *weights_kind_name(weights_kind kind); /* "PyTorch" */

/* E_MODEL: none of these; what is known of other programs, git-lfs pointers and web pages are named
 * (core/base/disguise.h). E_IO. */
status weights_detect(const char *path, weights_kind *kind);

/* One dictionary of tensors in a checkpoint. */
typedef struct weights_group {
    const char *name; /* "model.state_dict"; "": the file's own */
    int64_t tensors;
    int32_t depth;
    bool average;     /* its name says EMA */
} weights_group;

typedef struct weights {
    weights_kind kind;
    const char *what;           /* the path, for messages */
    const safetensor *tensors;  /* [count] data may be unaligned */
    int64_t count;
    const safetensor
        *outside; /* [outside_count] not under the prefix that was taken off the others, with their whole names */
    int64_t outside_count;
    bool whole_names;           /* nothing is to be taken off names: the user chose "." */
    const char *prefix;         /* "model.module." that was taken off; "" */
    const weights_group *groups; /* [group_count] PYTORCH */
    int64_t group_count, chosen;
    const char *note;           /* which weights of several were taken, and how to get the others; "" */
    arena memory;
    safetensors st; /* SAFETENSORS, GRAFT: also the metadata (safetensors_meta) */
    file_map map;   /* PYTORCH */
} weights;

/* GRAFT (checksums verified), SAFETENSORS, PYTORCH; E_MODEL for other kinds and for what is damaged. name: which of
 * several weights, by the name of their dictionary or by the beginning of their tensors' names ("teacher"; ".": what
 * has no prefix); NULL: checkpoint.h chooses; E_USAGE with those there are when there are no such ones. w is
 * initialised by the call. */
status weights_open(weights *w, const char *path, const char *name);
void weights_close(weights *w); /* accepts a zeroed one */

/* Takes the prefix off the tensors that begin with it; the others move to `outside`. */
status weights_take_prefix(weights *w, const char *prefix);

/* The tensors of a PyTorch file in memory; lists and copies live in a. name: as above. E_MODEL. */
typedef struct pytorch_weights {
    safetensor *tensors;
    int64_t count;
    const weights_group *groups; /* [group_count] */
    int64_t group_count, chosen;
    bool named;                  /* chosen is the group called `name` */
    const char *note;
} pytorch_weights;
status pytorch_read(
    arena *a, const uint8_t *bytes, size_t count, const char *what, const char *name, pytorch_weights *w);

/* "state_dict (62 tensors), state_dict_ema (62 tensors)", in a. */
const char *weights_list_groups(arena *a, const weights_group *groups, int64_t count);

#endif
