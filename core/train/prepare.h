/* prepare.h: the model that a run starts from: built and initialised, or taken from a file.
 *
 *     model m;
 *     bool fresh_head;
 *     TRY(prepare_model(&m, &setting, models_build, NULL, log, &fresh_head));
 *
 * model.pretrained names a model file. Its tensors that fit by name and shape replace the initial ones; what was
 * loaded, missing, unexpected or of another shape is said. When layers before the head fit by name but not by shape,
 * and the file is Graft's own, it is a pruned model: its graph replaces model.arch (as with model.load_graph = true). A
 * loaded graph whose head has another number of classes gets a fresh one.
 */
#ifndef GRAFT_TRAIN_PREPARE_H
#define GRAFT_TRAIN_PREPARE_H

#include "core/base/log.h"
#include "core/config/spec.h"
#include "core/graph/model.h"
#include "core/task/task.h"

/* models_build, handed in because core knows no networks. */
typedef status model_builder_fn(graph *g, const spec *s, int64_t classes);

/* model_transfer of files that core does not know (models/import). */
typedef status model_transfer_fn(graph *g, const char *path, transfer_report *report);

/* t: spec and classes. transfer: reads model.pretrained; NULL: model_transfer. m is initialised by the call.
 * *fresh_head: the last layer starts at random. E_USAGE, E_MODEL. */
status prepare_model(
    model *m, const task_setting *t, model_builder_fn *build, model_transfer_fn *transfer, logger *l, bool *fresh_head);

#endif
