/* import_darknet.h: `graft import` of darknet's files. */
#ifndef GRAFT_CLI_IMPORT_DARKNET_H
#define GRAFT_CLI_IMPORT_DARKNET_H

#include "cli/cli.h"
#include "core/graph/model.h"

/* Fills m->graph from `path` and --cfg, or model.arch; sets what darknet's networks expect of their images unless the
 * user did; finishes the spec. m is the caller's to free in any case. */
status darknet_import(cli_context *c, const char *path, model *m, int64_t *classes);

#endif
