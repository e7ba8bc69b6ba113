#include "core/task/evaluator.h"

#include <inttypes.h>

/* A sample without truth would be left out silently. */
static status check_truth(const task_setting *t)
{
    const dataset *data = t->data;
    label_source labels;
    int64_t lacking = 0;
    if (data->count == 0) return FAIL(E_DATA, "%s: no images to evaluate on", data->path);
    TRY(t->task->labels(&labels, t));
    if (labels.capacity == 0) TRY(dataset_refuse_boxes(data));
    for (int64_t i = 0; i < data->count; i++) lacking += labels.refuse(&labels, &data->samples[i]) != NULL;
    if (lacking > 0)
        return FAIL(E_DATA, "%s: %" PRId64 " of %" PRId64 " images have no class", data->path, lacking, data->count);
    return OK;
}

status evaluate_dataset(evaluation *e, int64_t batch_size, evaluation_options o)
{
    const task_setting *t = &e->setting;
    loader *l;
    TRY(check_truth(t));
    const loader_options options = loader_options_from_spec(t->spec, t->data, t->preprocess, batch_size, o.log);
    TRY(loader_create(&l, &options));
    o.total = t->data->count;
    status result = evaluation_run(e, l, &o);
    loader_destroy(l);
    return result;
}
