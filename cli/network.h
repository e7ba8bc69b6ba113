/* network.h: a model file or an engine file, ready to predict. For the commands that take either.
 *
 *     network n;
 *     TRY(network_open(&n, path, NULL, dev, batch_size));
 *     TRY_OUT(runner_run(n.runner, scores, images, count));
 *     network_close(&n);
 */
#ifndef GRAFT_CLI_NETWORK_H
#define GRAFT_CLI_NETWORK_H

#include "cli/cli.h"
#include "core/task/task.h"
#include "core/graph/model.h"
#include "export/engine.h"
#include "export/runner.h"

typedef struct network {
    bool is_engine;
    const task *task;               /* what it is for                                           */
    engine engine;                  /* is_engine                                                */
    model model;                    /* else; with batch normalisation folded and fused in graph */
    graph graph;
    runner *runner;
    const preprocess *preprocess;
    const char *const *class_name;  /* [class_count] */
    int64_t class_count;
    bool sigmoid;                   /* scores become probabilities by sigmoid, else by softmax   */
    hash128 file_hash;
} network;

/* n is initialised by the call. limits: of what is found, as task.set_limits; NULL:
 * the network's own. E_MODEL, E_IO. */
status network_open(network *n, const char *path, const spec_infer *limits, device *dev, int64_t max_batch);
void network_close(network *n); /* accepts a zeroed one */

/* E_MODEL unless n, read from engine_path, was made from the model file model_path (NULL: nothing is compared). */
status network_check_source(const network *n, const char *engine_path, const char *model_path);

/* Weights and biases of any type; in a model also those of its batch normalisations. */
int64_t network_parameters(const network *n);

/* An evaluator_run_fn (core/task/evaluator.h); context: a network. */
status network_predict(void *context, const batch *b, float *const *output);

/* Takes what the model was trained with (a model's spec_text) for every option of the sections ("data model") that
 * neither a file nor the command line has set. A data set that they name replaces all of the model's. Paths are not
 * taken (train.output, data.cache), but for two kinds: the places of the data set, which are only read and are said,
 * and model.pretrained, which becomes model_path, the model itself. Before cli_finish_spec. */
status cli_adopt_spec(cli_context *c, const char *spec_text, const char *sections, const char *model_path);
/* How a model's scores become probabilities, from its spec_text. */
status spec_text_loss(const char *spec_text, spec_loss *loss);

/* Was the network trained on this data set? By the paths in the model's spec; of an engine and of an imported model
 * nobody knows: false. */
status network_saw_data(const network *n, const spec_data *data, bool *saw);

#endif
