#include <string.h>

#include "core/train/evaluator.h"

status evaluate_dataset(evaluation *e, const dataset *data, const preprocess *p, const spec *s, int64_t batch_size, evaluation_options o)
{
    if (data->count == 0) return FAIL(E_DATA, "%s: no images to evaluate on", data->path);
    loader *l;
    TRY(loader_create(&l, &(loader_options){.data = data, .preprocess = *p, .data_options = &s->data, .batch_size = batch_size,
        .threads = (int32_t)s->data.threads, .prefetch = (int32_t)s->data.prefetch, .world = 1, .seed = (uint64_t)s->train.seed,
        .log = o.log}));
    o.total = data->count;
    status result = evaluation_run(e, l, &o);
    loader_destroy(l);
    if (result == OK && e->metrics.count < data->count)
        return FAIL(E_DATA, "%s: %lld of %lld images have no class", data->path, (long long)(data->count - e->metrics.count),
            (long long)data->count);
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
