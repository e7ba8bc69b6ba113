/* weights.h: the tensors of any file of weights, by name. What the file is, its content says, not its name.
 *
 *     weights w;
 *     TRY(weights_open(&w, "resnet18.pth"));
 *     for (int64_t i = 0; i < w.count; i++) use(&w.tensors[i]);
 *     weights_close(&w);
 *
 * PyTorch: the ZIP form of torch.save (since 1.6). The dictionary of tensors may stand alone or in a checkpoint under state_dict, model,
 * model_state_dict, net, network, params or weights, or as the only one there. A prefix that all names share because of a wrapper
 * (module., model., backbone., _orig_mod.) is taken off. Strided views are made contiguous.
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

/* E_MODEL: none of these; old PyTorch files, HDF5, gzip and tar are named. E_IO. */
status weights_detect(const char *path, weights_kind *kind);

typedef struct weights {
    weights_kind kind;
    const safetensor *tensors; /* [count] data may be unaligned */
    int64_t count;
    arena memory;
    safetensors st; /* SAFETENSORS, GRAFT: also the metadata (safetensors_meta) */
    file_map map;   /* PYTORCH */
} weights;

/* GRAFT (checksums verified), SAFETENSORS, PYTORCH; E_MODEL for other kinds and for what is damaged. w is initialised by the call. */
status weights_open(weights *w, const char *path);
void weights_close(weights *w); /* accepts a zeroed one */

/* The tensors of a PyTorch file in memory; lists and copies live in a. */
status pytorch_read(arena *a, const uint8_t *bytes, size_t count, const char *what, safetensor **tensors, int64_t *tensor_count);

#endif
