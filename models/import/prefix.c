#include "models/import/prefix.h"

#include <stdlib.h>
#include <string.h>

#include "models/import/checkpoint.h"
#include "models/import/names.h"

enum { MAX_PARTS = 6, LEAST_NAMES = 4 };

/* A known name was found behind the first `length` bytes of `text`. */
typedef struct vote {
    const char *text;
    size_t length;
} vote;

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static status is_known(const char *name, const char *const *known, int64_t count, bool *yes)
{
    arena a = {0};
    status result = OK;
    *yes = false;
    for (const name_map *m = name_maps; m->what && !*yes && count; m++) {
        const char *mapped;
        TRY_OUT(names_map(m, &a, name, &mapped));
        *yes = (m == name_maps || mapped != name) && bsearch(&mapped, known, (size_t)count, sizeof *known, by_text);
    }
out:
    arena_free(&a);
    return result;
}

static int by_prefix(const void *a, const void *b)
{
    const vote *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return memcmp(x->text, y->text, x->length);
}

/* Most names first; then an average before the raw weights, then the shorter one, then the first by alphabet. */
static int by_names(const void *a, const void *b)
{
    const name_prefix *x = a, *y = b;
    if (x->names != y->names) return x->names > y->names ? -1 : 1;
    if (x->average != y->average) return x->average ? -1 : 1;
    if (x->parts != y->parts) return x->parts < y->parts ? -1 : 1;
    return strcmp(x->text, y->text);
}

static status collect(const safetensor *tensors, int64_t count, const char *const *known, int64_t known_count,
    vote **votes, int64_t *vote_count)
{
    int64_t capacity = 0;
    for (int64_t i = 0; i < count; i++) {
        const char *rest = tensors[i].name;
        for (int32_t part = 0; part < MAX_PARTS && (rest = strchr(rest, '.')); part++) {
            bool yes;
            TRY(is_known(++rest, known, known_count, &yes));
            if (!yes) continue;
            TRY(array_reserve((void **)votes, &capacity, *vote_count + 1, sizeof **votes));
            (*votes)[(*vote_count)++] = (vote){tensors[i].name, (size_t)(rest - tensors[i].name)};
        }
    }
    return OK;
}

static status summarise(arena *a, const vote *votes, int64_t count, name_prefix **all, int64_t *all_count)
{
    *all = ARENA_ARRAY(a, name_prefix, count);
    if (!*all) return FAIL_MEMORY((size_t)count * sizeof **all);
    for (int64_t i = 0; i < count; i++) {
        if (i == 0 || by_prefix(&votes[i - 1], &votes[i]) != 0) {
            name_prefix p = {.text = arena_strndup(a, votes[i].text, votes[i].length)};
            if (!p.text) return FAIL_MEMORY(votes[i].length);
            for (const char *dot = p.text; (dot = strchr(dot, '.')); dot++) p.parts++;
            p.average = text_names_average(p.text);
            (*all)[(*all_count)++] = p;
        }
        (*all)[*all_count - 1].names++;
    }
    return OK;
}

status prefixes_find(arena *a, const safetensor *tensors, int64_t count, const char *const *known, int64_t known_count,
    name_prefix *list, int32_t *found)
{
    vote *votes = NULL;
    name_prefix *all = NULL;
    int64_t vote_count = 0, all_count = 0;
    list[0] = (name_prefix){.text = ""};
    *found = 1;
    status result = collect(tensors, count, known, known_count, &votes, &vote_count);
    if (result == OK && vote_count) {
        qsort(votes, (size_t)vote_count, sizeof *votes, by_prefix);
        result = summarise(a, votes, vote_count, &all, &all_count);
    }
    free(votes);
    if (all_count) qsort(all, (size_t)all_count, sizeof *all, by_names);
    for (int64_t i = 0; result == OK && i < all_count && *found < PREFIXES_MAX; i++)
        if (all[i].names >= LEAST_NAMES && 8 * all[i].names >= all[0].names) list[(*found)++] = all[i];
    return result;
}
