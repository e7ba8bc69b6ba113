#include <stdlib.h>
#include <string.h>

#include "models/import/match_internal.h"

bool match_is_counter(const char *name)
{
    static const char suffix[] = "num_batches_tracked";
    size_t length = strlen(name), tail = sizeof suffix - 1;
    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const named_tensor *)a)->name, ((const named_tensor *)b)->name);
}

void name_set_sort(name_set *set)
{
    if (set->count) qsort(set->by_name, (size_t)set->count, sizeof *set->by_name, by_name);
}

static status make_set(name_set *set, arena *a, const weights *w, const name_prefix *prefix, const name_map *map)
{
    size_t length = strlen(prefix->text);
    *set = (name_set){.prefix = prefix, .map = map, .by_name = ARENA_ARRAY(a, named_tensor, w->count)};
    if (!set->by_name) return FAIL_MEMORY((size_t)w->count * sizeof *set->by_name);
    for (int64_t i = 0; i < w->count; i++) {
        const safetensor *t = &w->tensors[i];
        named_tensor *n = &set->by_name[set->count];
        if (strncmp(t->name, prefix->text, length) != 0 || match_is_counter(t->name)) continue;
        n->tensor = t;
        TRY(names_map(map, a, t->name + length, &n->name));
        set->count++;
    }
    name_set_sort(set);
    return OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

status name_sets_make(name_sets *sets, arena *a, const weights *w, const char **known, int64_t known_count)
{
    if (known_count) qsort(known, (size_t)known_count, sizeof *known, by_text);
    sets->count = 0;
    TRY(prefixes_find(a, w->tensors, w->count, known, known_count, sets->prefixes, &sets->prefix_count));
    if (w->whole_names) sets->prefix_count = 1;
    for (int32_t p = 0; p < sets->prefix_count; p++) {
        int32_t maps = 0;
        for (const name_map *m = name_maps; m->what && maps < NAME_MAPS_MAX; m++, maps++)
            TRY(make_set(&sets->set[sets->count++], a, w, &sets->prefixes[p], m));
    }
    return OK;
}

const safetensor *name_set_find(const name_set *set, const char *name)
{
    const named_tensor key = {.name = name}, *found =
        set->count ? bsearch(&key, set->by_name, (size_t)set->count, sizeof key, by_name) : NULL;
    return found ? found->tensor : NULL;
}

bool name_set_is_better(const name_set *a, int64_t matched, const name_set *b, int64_t b_matched)
{
    if (!b || matched != b_matched) return !b || matched > b_matched;
    if (a->prefix->average != b->prefix->average) return a->prefix->average;
    return a->prefix->parts < b->prefix->parts;
}
