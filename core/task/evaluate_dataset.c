#include <string.h>

#include "core/task/evaluator.h"

/* A sample without truth would be left out silently. */
static status check_truth(const task_setting *t)
{
    const dataset *data = t->data;
    label_source labels;
    int64_t lacking = 0;
    if (data->count == 0) return FAIL(E_DATA, "%s: no images to evaluate on", data->path);
    TRY(t->task->labels(&labels, t));
    for (int64_t i = 0; i < data->count; i++) lacking += labels.refuse(&labels, &data->samples[i]) != NULL;
    if (lacking > 0)
        return FAIL(E_DATA, "%s: %lld of %lld images have no class", data->path, (long long)lacking, (long long)data->count);
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

status check_same_classes(const dataset *data, const char *const *class_name, int64_t class_count, const char *model_path)
{
    if (data->class_count != class_count)
        return FAIL(E_DATA, "%s has %lld classes, %s knows %lld", data->path, (long long)data->class_count, model_path,
            (long long)class_count);
    for (int64_t i = 0; i < class_count; i++)
        if (strcmp(data->class_name[i], class_name[i]) != 0)
            return FAIL(E_DATA, "class %lld is \"%s\" in %s and \"%s\" in %s: labels would be mixed up", (long long)i, data->class_name[i],
                data->path, class_name[i], model_path);
    return OK;
}
