/* safetensors_format.h: what the reader and the writer of safetensors files share. */
#ifndef GRAFT_GRAPH_SAFETENSORS_FORMAT_H
#define GRAFT_GRAPH_SAFETENSORS_FORMAT_H

#include "core/base/dtype.h"

enum { SAFETENSORS_LENGTH_BYTES = 8, SAFETENSORS_MAX_HEADER = 100000000 };

extern const char *const safetensors_type_name[DTYPE_COUNT]; /* "F32" */

#define SAFETENSORS_CHECKSUMS "graft.checksums"
#define SAFETENSORS_SELF "header" /* the checksum of the header itself */
/* What stands in front of it in the file: the first metadata entry is JSON within a JSON string. */
#define SAFETENSORS_MARK "{\\\"" SAFETENSORS_SELF "\\\":\\\""

#endif
