/* engine.h: the deployed network as one file: data only, never code.
 *
 * Little-endian. docs/FORMATS.md specifies it for readers in other languages.
 *
 *     offset  bytes  header
 *          0      8  magic "GRAFTENG"
 *          8      4  u32 version = 1
 *         12      4  u32 number of sections = 3
 *         16      8  u64 bytes of the whole file
 *         24     16  XXH3-128 (low, high u64) of the header and the section table, these 16 bytes taken as 0
 *         40     24  zero
 *         64  64 x 3 section table, in file order:
 *                      0   8  tag: "META", "GRAPH", "WEIGHTS", padded with zero
 *                      8   8  u64 offset, a multiple of 64
 *                     16   8  u64 bytes
 *                     24  16  XXH3-128 of the section (low, high)
 *                     40  24  zero
 *     The sections follow without gaps but zero padding to a multiple of 64; the file ends with the last section's
 *     padding.
 *
 *     META     JSON object: precision, task (absent: classification), output, source, classes, preprocess, calibration,
 *              layers
 *     GRAPH    JSON as graph_write_json writes it (model.h)
 *     WEIGHTS  the values of every PARAM, STATE and CONST edge, in the order of GRAPH's edges, each at a multiple of 64
 *              with zero padding behind: the layout in memory, so that the file's bytes are used where they were read
 *
 * Every byte is covered by a checksum or must be zero: every truncation and every flipped byte is found on loading.
 * Sizes are compared with the file's length before anything is allocated.
 *
 *     engine e;
 *     TRY(engine_load(&e, "model.engine"));
 *     runner *r;
 *     TRY_OUT(runner_create(&r, &e.graph, dev, 16));
 */
#ifndef GRAFT_EXPORT_ENGINE_H
#define GRAFT_EXPORT_ENGINE_H

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/graph/graph.h"
#include "core/tensor/preprocess.h"

enum { ENGINE_VERSION = 2, ENGINE_ALIGN = 64 }; /* classifiers are written as version 1, which earlier builds read */

/* One conv2d or linear layer. */
typedef struct engine_layer {
    const char *name, *op;
    bool integer;          /* INT8 products                                                  */
    float in_scale;        /* of its input; 0 in float engines                               */
    float out_scale;       /* of its result; 0: stored as a float                            */
    double sqnr_db;        /* of the layer alone in INT8, on calibration images; 0: unknown  */
    int64_t macs;          /* for one image                                                  */
    const char *reason;    /* why it is float in an INT8 engine; ""                          */
} engine_layer;

typedef struct engine {
    graph graph;                      /* fused (and quantised), batch 1; input 0 "image", outputs the task's  */
    arena memory;                     /* of the strings and arrays below                                   */
    spec_engine_precision precision;
    const char *task;                 /* what it is for (core/task/task.h); "": classification             */
    bool sigmoid;                     /* scores become probabilities by sigmoid, else softmax              */
    const char **class_name;          /* [class_count] */
    int64_t class_count;
    preprocess preprocess;
    hash128 source_hash;              /* XXH3-128 of the model file it was made from                       */
    const char *source_name;          /* that file's base name                                             */
    const char *calibrator;           /* "" in float engines                                               */
    int64_t calibration_images, check_images;
    double float_score, score;        /* points on the check images; negative: not measured                */
    engine_layer *layers;             /* [layer_count] */
    int64_t layer_count;
    hash128 file_hash;                /* of the file it was read from or written to                        */
    file_map map;                     /* the file's copy in memory, where the graph's values lie           */
} engine;

status engine_save(engine *e, const char *path); /* atomic; sets file_hash */
/* E_MODEL saying what is wrong: no engine, version, length, checksum by section,
 * content. e is initialised by the call. */
status engine_load(engine *e, const char *path);
/* The same from memory, which must be aligned to 64 bytes and outlive e.
 * trust_checksums: false is for fuzzing alone. */
status engine_parse(engine *e, const uint8_t *bytes, size_t count, const char *what, bool check_checksums);
void engine_free(engine *e); /* accepts a zeroed one */

bool engine_is_engine(const char *path); /* by the magic */
/* E_MODEL when the engine was not made from the model file with this hash: it is stale. */
status engine_check_source(const engine *e, hash128 model_hash, const char *model_path, const char *engine_path);

/* What META holds (docs/FORMATS.md), as one JSON object. */
void engine_describe(const engine *e, json_writer *w);
const char *engine_precision_name(spec_engine_precision p);                       /* "f32", "f16", "int8" */
const char *engine_layer_precision(const engine *e, const engine_layer *l);       /* the same, of one layer */
double engine_integer_part(const engine *e); /* part of the multiply-adds in INT8: 0 to 1 */

#endif
