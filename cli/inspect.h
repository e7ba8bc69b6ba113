/* inspect.h: what the files of `graft inspect` share. */
#ifndef GRAFT_CLI_INSPECT_H
#define GRAFT_CLI_INSPECT_H

#include "cli/cli.h"
#include "models/import/weights.h"

void inspect_put_text(cli_context *c, const char *key, const char *value);
void inspect_put_int(cli_context *c, const char *key, int64_t value);
void inspect_classes(cli_context *c, const char *const *name, int64_t count);
void inspect_preprocess(cli_context *c, const preprocess *p);
/* Size, memory, with --layers the layers, with --graph the picture. */
status inspect_graph(cli_context *c, const graph *g, const char *title, bool is_engine);

/* ONNX, PyTorch, safetensors, darknet. */
status inspect_foreign(cli_context *c, const char *path, weights_kind kind);

#endif
