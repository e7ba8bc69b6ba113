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
