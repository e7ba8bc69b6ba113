#include "models/import/checkpoint.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NESTING = 4,
    NAME_BYTES = 160,
    LISTED = 6,
    MAX_GROUPS = 1024 /* an optimiser may keep one dictionary for every tensor */
};

/* A dictionary that has been found, under `key` of another one. */
typedef struct place {
    const pickle_value *dictionary;
    const char *key;
    int64_t parent; /* index of its place, -1: it is the file's own */
    int32_t depth;
} place;

typedef struct walk {
    checkpoint *c;
    place *queue; /* heap */
    int64_t count, capacity;
    bool *seen;   /* heap; by number of the dictionary */
    int64_t seen_capacity;
} walk;

static bool is_boundary(char before, char after)
{
    if (!isalpha((unsigned char)before) || !isalpha((unsigned char)after)) return true;
    return islower((unsigned char)before) && isupper((unsigned char)after);
}

bool text_names_average(const char *text)
{
    for (const char *at = text; (at = strcasestr(at, "ema")); at++) {
        bool begins = at == text || is_boundary(at[-1], at[0]);
        bool ends =
            at[3] == 0 || is_boundary(at[2], at[3]) || (isupper((unsigned char)at[3]) && islower((unsigned char)at[4]));
        if (begins && ends) return true;
    }
    return false;
}

/* Tensors by which dictionaries are compared: counters and numbers are in one or the other. */
static int64_t count_tensors(const pickle_value *d, bool scalars)
{
    int64_t count = 0;
    for (int64_t i = 0; i < d->count; i += 2) {
        const pickle_value *v = d->items[i + 1];
        if (d->items[i]->kind != PICKLE_TEXT || v->kind != PICKLE_TENSOR) continue;
        count += scalars || v->items[1]->count > 0;
    }
    return count;
}

/* "model.state_dict" */
static const char *name_of(const walk *w, const place *p)
{
    const char *name = "";
    for (; p->parent >= 0 && name; p = &w->queue[p->parent])
        name = arena_printf(w->c->memory, "%.*s%s%s", NAME_BYTES, p->key, *name ? "." : "", name);
    return name;
}

static status add_group(walk *w, const place *p)
{
    checkpoint *c = w->c;
    int64_t tensors = count_tensors(p->dictionary, true);
    if (tensors == 0 || c->count == MAX_GROUPS) return OK;
    if (c->count == c->capacity) {
        int64_t capacity = c->capacity ? 2 * c->capacity : 8;
        weights_group *groups = ARENA_ARRAY(c->memory, weights_group, capacity);
        const pickle_value **dictionary = ARENA_ARRAY(c->memory, const pickle_value *, capacity);
        if (!groups || !dictionary) return FAIL_MEMORY((size_t)capacity * sizeof *groups);
        if (c->count) memcpy(groups, c->groups, (size_t)c->count * sizeof *groups);
        if (c->count) memcpy(dictionary, c->dictionary, (size_t)c->count * sizeof *dictionary);
        c->groups = groups, c->dictionary = dictionary, c->capacity = capacity;
    }
    const char *name = name_of(w, p);
    if (!name) return FAIL_MEMORY(NAME_BYTES);
    c->groups[c->count] =
        (weights_group){.name = name, .tensors = tensors, .depth = p->depth, .average = text_names_average(name)};
    c->dictionary[c->count++] = p->dictionary;
    return OK;
}

static status enqueue(walk *w, const pickle_value *d, int64_t parent, const char *key, int32_t depth)
{
    if (depth > MAX_NESTING) return OK;
    TRY(array_reserve((void **)&w->seen, &w->seen_capacity, d->integer + 1, sizeof *w->seen));
    if (w->seen[d->integer]) return OK;
    w->seen[d->integer] = true;
    TRY(array_reserve((void **)&w->queue, &w->capacity, w->count + 1, sizeof *w->queue));
    w->queue[w->count++] = (place){d, key, parent, depth};
    return OK;
}

static status walk_all(walk *w, const pickle_value *root)
{
    TRY(enqueue(w, root, -1, "", 0));
    for (int64_t next = 0; next < w->count; next++) {
        const place p = w->queue[next]; /* the queue may move */
        TRY(add_group(w, &p));
        for (int64_t i = 0; i < p.dictionary->count; i += 2) {
            const pickle_value *key = p.dictionary->items[i], *v = p.dictionary->items[i + 1];
            if (key->kind == PICKLE_TEXT && v->kind == PICKLE_DICT) TRY(enqueue(w, v, next, key->text, p.depth + 1));
        }
    }
    return OK;
}

status checkpoint_list(checkpoint *c, arena *a, const pickle_value *root, const char *what)
{
    *c = (checkpoint){.memory = a, .raw = -1, .passed = -1};
    if (root->kind != PICKLE_DICT)
        return FAIL(E_MODEL, "%s: holds no dictionary of tensors: save model.state_dict() alone", what);
    walk w = {.c = c};
    status result = walk_all(&w, root);
    free(w.queue);
    free(w.seen);
    TRY(result);
    if (c->count) return OK;
    const char *keys = "";
    for (int64_t i = 0, shown = 0; i < root->count && shown < LISTED && keys; i += 2)
        if (root->items[i]->kind == PICKLE_TEXT)
            keys = arena_printf(a, "%s%s%.60s", keys, shown++ ? ", " : "", root->items[i]->text);
    return FAIL(E_MODEL, "%s: no dictionary of tensors; its keys are %s: save model.state_dict() alone", what,
        keys && *keys ? keys : "no texts");
}

/* ------------------------------------------------------------------------------------------------ the choice */

/* Place in the list of usual names of the first part; all parts must be usual. */
static int32_t rank_usual(const char *name)
{
    static const char *const usual[] = {
        "state_dict", "model_state_dict", "model", "net", "network", "params", "weights"};
    enum { COUNT = sizeof usual / sizeof *usual };
    int32_t rank = -1;
    for (const char *part = name; *part;) {
        size_t length = strcspn(part, ".");
        int32_t i = 0;
        while (i < COUNT && (strlen(usual[i]) != length || strncmp(usual[i], part, length) != 0)) i++;
        if (i == COUNT) return INT32_MAX;
        if (part == name) rank = i;
        part += length + (part[length] == '.');
    }
    return rank;
}

/* The raw weights, or the only ones. -1: several are alike. */
static int64_t choose_raw(const checkpoint *c)
{
    int64_t best = -1, alike = 0, averages = 0;
    int32_t best_rank = INT32_MAX;
    for (int64_t i = 0; i < c->count; i++) averages += c->groups[i].average;
    bool only_averages = averages == c->count;
    for (int64_t i = 0; i < c->count; i++) {
        int32_t rank = rank_usual(c->groups[i].name);
        if (c->groups[i].average && !only_averages) continue;
        if (rank < best_rank) best = i, best_rank = rank;
    }
    if (best >= 0) return best;
    for (int64_t i = 0; i < c->count; i++) {
        if (c->groups[i].average && !only_averages) continue;
        if (best < 0) best = i;
        alike += c->groups[i].depth == c->groups[best].depth;
    }
    return alike == 1 ? best : -1;
}

static int64_t find_average(checkpoint *c, int64_t raw)
{
    int64_t wanted = count_tensors(c->dictionary[raw], false), best = -1;
    for (int64_t i = 0; i < c->count; i++) {
        if (i == raw || !c->groups[i].average || c->groups[raw].average) continue;
        int64_t count = count_tensors(c->dictionary[i], false);
        if (10 * count < 9 * wanted) c->passed = i;
        if (10 * count >= 9 * wanted && (best < 0 || c->groups[i].depth < c->groups[best].depth)) best = i;
    }
    return best;
}

static int64_t find_named(const checkpoint *c, const char *name)
{
    int64_t found = -1, count = 0;
    for (int64_t i = 0; i < c->count; i++)
        if (strcmp(*c->groups[i].name ? c->groups[i].name : ".", name) == 0) return i;
    for (int64_t i = 0; i < c->count; i++) {
        const char *last = strrchr(c->groups[i].name, '.');
        if (last && strcmp(last + 1, name) == 0) found = i, count++;
    }
    return count == 1 ? found : -1;
}

status checkpoint_choose(checkpoint *c, const char *name, const char *what)
{
    c->raw = c->passed = -1;
    c->chosen = name ? find_named(c, name) : -1;
    c->named = c->chosen >= 0;
    if (c->named) return OK;
    c->chosen = choose_raw(c);
    if (c->chosen < 0)
        return FAIL(E_MODEL,
            "%s: several dictionaries of tensors and none of them called state_dict or model: %s; --weights NAME "
            "chooses, or save model.state_dict() alone",
            what, weights_list_groups(c->memory, c->groups, c->count));
    int64_t average = find_average(c, c->chosen);
    if (average >= 0) c->raw = c->chosen, c->chosen = average;
    return OK;
}
