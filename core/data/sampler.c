#include "core/data/sampler.h"

#include <inttypes.h>
#include <string.h>

#include "core/base/rng.h"

static status group_by_class(sampler *s, const dataset *ds)
{
    s->members = ARENA_ARRAY(&s->memory, int64_t, ds->count);
    s->deck = ARENA_ARRAY(&s->memory, int64_t, ds->count);
    s->class_first = ARENA_ARRAY(&s->memory, int64_t, ds->class_count + 1);
    s->chance = ARENA_ARRAY(&s->memory, double, ds->class_count);
    s->cursor = ARENA_ARRAY(&s->memory, int64_t, ds->class_count);
    s->round = ARENA_ARRAY(&s->memory, int64_t, ds->class_count);
    if (!s->members || !s->deck || !s->round || !s->class_first || !s->chance || !s->cursor)
        return FAIL_MEMORY((size_t)ds->count * 2 * sizeof(int64_t));
    for (int64_t i = 0; i < ds->count; i++) s->class_first[ds->samples[i].class_index + 1]++;
    for (int64_t c = 0; c < ds->class_count; c++) {
        s->class_first[c + 1] += s->class_first[c];
        s->cursor[c] = s->class_first[c];
    }
    for (int64_t i = 0; i < ds->count; i++) s->members[s->cursor[ds->samples[i].class_index]++] = i;
    return OK;
}

static status set_chances(sampler *s, const spec_data *options)
{
    double sum = 0;
    if (options->class_weights.count != s->class_count)
        return FAIL(E_USAGE,
            "data.class_weights has %" PRId64 " values, expected one for each of the %" PRId64 " classes",
            options->class_weights.count, s->class_count);
    for (int64_t c = 0; c < s->class_count; c++) {
        sum += options->class_weights.value[c] * (double)(s->class_first[c + 1] - s->class_first[c]);
        s->chance[c] = sum;
    }
    return sum > 0 ? OK : FAIL(E_USAGE, "data.class_weights: expected at least one weight above 0");
}

status sampler_init(sampler *s, const dataset *ds, const spec_data *options, uint64_t seed)
{
    *s = (sampler){.sampling = options ? options->sampling : SAMPLING_SHUFFLE, .seed = seed, .count = ds->count,
        .class_count = ds->class_count};
    if (s->sampling == SAMPLING_SHUFFLE) return OK;
    for (int64_t i = 0; i < ds->count; i++)
        if (ds->samples[i].class_index < 0 || ds->samples[i].class_index >= ds->class_count)
            return FAIL(E_DATA, "%s: has no class, which data.sampling needs", ds->samples[i].name);
    status result = group_by_class(s, ds);
    if (result == OK && s->sampling == SAMPLING_WEIGHTED) result = set_chances(s, options);
    if (result != OK) sampler_free(s);
    return result;
}

void sampler_free(sampler *s)
{
    arena_free(&s->memory);
    *s = (sampler){0};
}

static int64_t deal(sampler *s, rng *r, int64_t c)
{
    int64_t first = s->class_first[c], n = s->class_first[c + 1] - first;
    if (s->cursor[c] == n) {
        s->cursor[c] = 0;
        rng_shuffle(r, s->deck + first, n);
    }
    return s->deck[first + s->cursor[c]++];
}

static int64_t draw_class(const sampler *s, rng *r)
{
    double at = rng_uniform_double(r) * s->chance[s->class_count - 1];
    int64_t low = 0, high = s->class_count - 1;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (at < s->chance[middle]) high = middle;
        else low = middle + 1;
    }
    return low;
}

static void balanced_order(sampler *s, rng *r, int64_t *order)
{
    int64_t classes = 0;
    for (int64_t c = 0; c < s->class_count; c++)
        if (s->class_first[c + 1] > s->class_first[c]) s->round[classes++] = c;
    for (int64_t i = 0; i < s->count;) {
        rng_shuffle(r, s->round, classes);
        for (int64_t k = 0; k < classes && i < s->count; k++, i++) order[i] = deal(s, r, s->round[k]);
    }
}

void sampler_order(sampler *s, int64_t epoch, int64_t *order)
{
    rng r = rng_make(s->seed, RNG_SHUFFLE, (uint64_t)epoch);
    if (s->sampling == SAMPLING_SHUFFLE) {
        for (int64_t i = 0; i < s->count; i++) order[i] = i;
        rng_shuffle(&r, order, s->count);
        return;
    }
    memcpy(s->deck, s->members, (size_t)s->count * sizeof *s->deck);
    for (int64_t c = 0; c < s->class_count; c++) {
        s->cursor[c] = 0;
        rng_shuffle(&r, s->deck + s->class_first[c], s->class_first[c + 1] - s->class_first[c]);
    }
    if (s->sampling == SAMPLING_BALANCED) balanced_order(s, &r, order);
    else for (int64_t i = 0; i < s->count; i++) order[i] = deal(s, &r, draw_class(s, &r));
}
