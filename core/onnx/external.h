/* external.h: values of tensors that lie in a file beside the model ("external data"), as exporters write them today.
 * Private to core/onnx.
 *
 * A model is what somebody sent. So a file is only read from the model's own folder, by its plain name, and only if it
 * is a regular file with that one name (file_input_open_beside); offset and length are compared with its size before
 * anything is allocated; and one file's bytes are read a few times at most (tied weights), so that a small file cannot
 * become large in memory; 8 GiB in all.
 */
#ifndef GRAFT_ONNX_EXTERNAL_H
#define GRAFT_ONNX_EXTERNAL_H

#include "core/base/file.h"
#include "core/base/hash.h"

enum { ONNX_EXTERNAL_MAX_FILES = 4096, ONNX_EXTERNAL_MAX_READS = 4 };

/* As the file has it: texts, NULL where absent. */
typedef struct onnx_place {
    const char *location, *offset, *length;
} onnx_place;

typedef struct onnx_external {
    const char *folder;     /* of the model                                     */
    const char *what;       /* the model, in messages                           */
    const char **name;      /* [file_count] files that were opened              */
    int64_t file_count, name_capacity;
    int64_t file_bytes;     /* of all of them                                   */
    int64_t tensors, bytes; /* that were read                                   */
    const char *current;    /* of `reader`, or NULL                             */
    file_input input;
    hash128 hash;           /* of all values, in the order in which they were read */
} onnx_external;

/* Opens the file and checks that `bytes` of tensor `name` are there; *offset is where. E_MODEL. */
status onnx_external_find(onnx_external *e, const char *tensor, const onnx_place *p, size_t bytes, int64_t *offset);
/* Reads them into memory of the caller's. E_MODEL. */
status onnx_external_read(onnx_external *e, const char *tensor, int64_t offset, void *to, size_t bytes);
void onnx_external_close(onnx_external *e);

#endif
