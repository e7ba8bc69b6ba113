/* darknet.h: darknet's files. A .cfg describes a network, a .weights holds its numbers in the
 * order of its layers, without names.
 *
 * .weights, little-endian: i32 major, minor, revision; images seen as u64 if 10 major + minor >= 2, else u32; major or
 * minor above 1000: weights of connected layers stand transposed. Then f32, for each layer that has any:
 *     convolutional   bias[n]; with batch normalisation scale[n], mean[n], variance[n]; weight[n][c / groups][k][k]
 *     connected       bias[n]; weight[n][in]; with batch normalisation scale[n], mean[n], variance[n]
 * With batch normalisation "bias" is its shift. The file must end exactly behind the last layer.
 *
 * Darknet has normalised in two ways: (x - mean) / sqrt(variance + 1e-5), as current versions and all GPU code, and, in
 * the original CPU code, (x - mean) / (sqrt(variance) + 1e-6). The second is stored as the first: variance' =
 * (sqrt(variance) + 1e-6)^2 - 1e-12 with epsilon 1e-12, which is the same number.
 *
 *     darknet_cfg cfg;
 *     TRY(darknet_cfg_read(&cfg, "tiny.cfg"));
 *     TRY(darknet_build(&g, &cfg, (float)DARKNET_EPSILON_OF(DARKNET_EPSILON_INSIDE)));
 *     TRY(darknet_load(&g, "tiny.weights", DARKNET_EPSILON_INSIDE));
 */
#ifndef GRAFT_MODELS_IMPORT_DARKNET_H
#define GRAFT_MODELS_IMPORT_DARKNET_H

#include "core/graph/graph.h"

typedef struct darknet_pair {
    const char *key, *value;
    int32_t line;
} darknet_pair;
typedef struct darknet_section {
    const char *name; /* "convolutional" */
    int32_t line;
    darknet_pair *pairs; /* [count] */
    int64_t count, capacity;
} darknet_section;
typedef struct darknet_cfg {
    arena memory;
    const char *what;
    darknet_section *sections; /* [count], the first is [net] or [network] */
    int64_t count, capacity;
    int32_t width, height, channels;
} darknet_cfg;

/* E_MODEL with file, line, key and value. The text of a cfg is at most 1 MiB. */
status darknet_cfg_read(darknet_cfg *cfg, const char *path);
status darknet_cfg_parse(darknet_cfg *cfg, const char *text, size_t bytes, const char *what);
void darknet_cfg_free(darknet_cfg *cfg); /* accepts a zeroed one */

/* The network of a classification cfg: convolutional, connected, maxpool, avgpool, softmax, cost, dropout, route,
 * shortcut, upsample. Layers are called layers.N with darknet's numbers, batch normalisations layers.N.bn. Input
 * "image" [1, h, w, c], output 0 logits [1, classes]. Another kind of layer, or a key that would change what a layer
 * computes, is refused with its line (E_MODEL). g is initialised by the call. */
status darknet_build(graph *g, const darknet_cfg *cfg, float epsilon);

typedef enum darknet_epsilon { DARKNET_EPSILON_INSIDE, DARKNET_EPSILON_OUTSIDE } darknet_epsilon;
/* the epsilon that g's batch normalisations need */
#define DARKNET_EPSILON_OF(form) ((form) == DARKNET_EPSILON_OUTSIDE ? 1e-12 : 1e-5)

/* Fills the convolutions, linear layers and batch normalisations of g in node order. E_MODEL: version, too
 * short (which layer), bytes left. */
status darknet_load(graph *g, const char *path, darknet_epsilon form);
status darknet_read(graph *g, const uint8_t *bytes, size_t count, const char *what, darknet_epsilon form);

/* Writes version 0.2.5. E_MODEL: a layer that the format cannot hold (a convolution with
 * bias and batch normalisation). */
status darknet_save(const graph *g, const char *path);
/* The cfg that goes with it. E_MODEL: a node that has no darknet layer. */
status darknet_cfg_save(const graph *g, const char *path);

#endif
