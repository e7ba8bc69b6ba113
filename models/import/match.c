#include "models/import/match.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/graph/model_layout.h"
#include "models/import/names.h"
#include "models/models.h"

enum { MAX_MAPS = 16 };
#define SMALLEST_WIDTH 0.0625

/* The file's tensors under one name map, by name. */
typedef struct name_set {
    const name_map *map;
    safetensor *tensors; /* [count] in file order */
    const safetensor **by_name;
    int64_t count;       /* tensors that a network could want: counters are not in it */
} name_set;

typedef struct search {
    const weights *w;
    const config *given;
    arena memory;
    name_set sets[MAX_MAPS];
    int32_t set_count;
} search;

/* One network with its options, and how well it fits. */
typedef struct candidate {
    const model_entry *entry;
    const char *key[4], *value[4]; /* options beyond the network's defaults */
    int32_t options;
    const name_set *set;
    int64_t matched, wanted, score;
} candidate;

static bool is_counter(const char *name)
{
    static const char suffix[] = "num_batches_tracked";
    size_t length = strlen(name), tail = sizeof suffix - 1;
    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const safetensor *const *)a)->name, (*(const safetensor *const *)b)->name);
}

static status make_set(search *s, const name_map *map)
{
    name_set *set = &s->sets[s->set_count++];
    set->map = map;
    set->tensors = ARENA_ARRAY(&s->memory, safetensor, s->w->count);
    set->by_name = ARENA_ARRAY(&s->memory, const safetensor *, s->w->count);
    if (!set->tensors || !set->by_name) return FAIL_MEMORY((size_t)s->w->count * sizeof(safetensor));
    for (int64_t i = 0; i < s->w->count; i++) {
        if (is_counter(s->w->tensors[i].name)) continue;
        safetensor *t = &set->tensors[set->count];
        *t = s->w->tensors[i];
        TRY(names_map(map, &s->memory, t->name, &t->name));
        set->by_name[set->count++] = t;
    }
    if (set->count) qsort(set->by_name, (size_t)set->count, sizeof *set->by_name, by_name);
    return OK;
}

static const safetensor *find(const name_set *set, const char *name)
{
    safetensor key = {.name = name};
    const safetensor *wanted = &key;
    const safetensor **found = set->count ? bsearch(&wanted, set->by_name, (size_t)set->count, sizeof wanted, by_name) : NULL;
    return found ? *found : NULL;
}

static bool is_weight(const edge *e) { return e->kind == EDGE_PARAM || e->kind == EDGE_STATE; }

/* The same kind of tensor, whatever the channels: rank and kernel. */
static bool is_alike(const edge *e, const safetensor *t)
{
    shape s = layout_file_shape(e);
    if (e->layout == LAYOUT_LINEAR && t->shape.rank == 4) return true;
    if (s.rank != t->shape.rank) return false;
    return s.rank != 4 || (s.dim[2] == t->shape.dim[2] && s.dim[3] == t->shape.dim[3]);
}

/* ------------------------------------------------------------------------------------------------ building one candidate */

static bool takes(const candidate *k, const char *key) { return strstr(k->entry->options, key) != NULL; }

/* The user's [model], then the network and the candidate's options. */
static status configure(const search *s, const candidate *k, config *c)
{
    TRY(config_init(c));
    status result = OK;
    for (int32_t i = 0; i < option_count && result == OK; i++) {
        const option *o = &option_table[i];
        if (strcmp(o->section, "model") != 0 || !config_is_set(s->given, "model", o->key)) continue;
        char *value = config_value_text(s->given, &c->memory, o);
        result = value ? config_set(c, "model", o->key, value, "given") : FAIL_MEMORY(64);
    }
    if (result == OK) result = config_set(c, "model", "arch", k->entry->name, "guess");
    for (int32_t i = 0; i < k->options && result == OK; i++) result = config_set(c, "model", k->key[i], k->value[i], "guess");
    if (result == OK) result = models_set_defaults(c);
    if (result != OK) config_free(c);
    return result;
}

/* g stays empty when the options do not go together. */
static status build(const search *s, const candidate *k, double width, int64_t classes, graph *g)
{
    config c;
    *g = (graph){0};
    TRY(configure(s, k, &c));
    if (width > 0) c.spec.model.width = width;
    if (c.error_count == 0 && models_build(g, &c.spec.model, classes) != OK) graph_free(g);
    config_free(&c);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ searching */

/* Keeps in k the set that fits best. */
static status rate(const search *s, candidate *k)
{
    graph g;
    k->score = INT64_MIN;
    TRY(build(s, k, takes(k, "width") ? SMALLEST_WIDTH : 0, 1, &g));
    for (int32_t i = 0; g.node_count && i < s->set_count; i++) {
        int64_t matched = 0, wanted = 0;
        for (int64_t e = 0; e < g.edge_count; e++) {
            if (!is_weight(&g.edges[e])) continue;
            const safetensor *t = find(&s->sets[i], g.edges[e].name);
            wanted++;
            matched += t && is_alike(&g.edges[e], t);
        }
        int64_t score = 2 * matched - wanted - s->sets[i].count;
        if (score <= k->score) continue;
        k->score = score, k->set = &s->sets[i], k->matched = matched, k->wanted = wanted;
    }
    graph_free(&g);
    return OK;
}

/* One option after the other, kept if it fits better. */
static status rate_options(const search *s, candidate *k)
{
    static const struct { const char *key, *value; } choices[] = {{"stem", "small"}, {"use_batch_norm", "true"},
        {"use_batch_norm", "false"}, {"use_bias", "true"}, {"all_projections", "true"}};
    TRY(rate(s, k));
    for (size_t i = 0; i < sizeof choices / sizeof *choices && k->score < 0; i++) {
        candidate changed = *k;
        if (!takes(k, choices[i].key) || config_is_set(s->given, "model", choices[i].key) || k->options == 4) continue;
        changed.key[changed.options] = choices[i].key;
        changed.value[changed.options++] = choices[i].value;
        TRY(rate(s, &changed));
        if (changed.score > k->score) *k = changed;
    }
    return OK;
}

static status search_networks(const search *s, candidate *best)
{
    const spec_model *m = &s->given->spec.model;
    bool fixed = config_is_set(s->given, "model", "arch");
    *best = (candidate){.score = INT64_MIN};
    for (const model_entry *e = model_table; e->name; e++) {
        if (fixed && strcmp(e->name, m->arch) != 0) continue;
        candidate k = {.entry = e};
        TRY(rate_options(s, &k));
        if (k.score > best->score) *best = k;
    }
    if (best->score == INT64_MIN)
        return FAIL(E_USAGE, "model.arch = %s: no such network, or options that do not go together", m->arch);
    if (best->matched == 0 || 2 * best->matched < best->wanted)
        return FAIL(E_MODEL, "%s: no network here has such tensors: the nearest is %s with %lld of its %lld by name. Another network comes in "
            "as ONNX; a darknet network with its .cfg", s->w->st.what ? s->w->st.what : "the file", best->entry->name,
            (long long)best->matched, (long long)best->wanted);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ width, head */

static status count_misfits(const search *s, const candidate *k, double width, int64_t *misfits)
{
    graph g;
    *misfits = INT64_MAX;
    TRY(build(s, k, width, 1, &g));
    if (!g.node_count) return OK;
    *misfits = 0;
    for (int64_t i = 0; i < g.edge_count; i++) {
        const edge *e = &g.edges[i];
        const safetensor *t = is_weight(e) ? find(k->set, e->name) : NULL;
        *misfits += t && !shape_equal(layout_file_shape(e), t->shape);
    }
    graph_free(&g);
    return OK;
}

static status find_width(const search *s, const candidate *k, double *width)
{
    static const double usual[] = {1, 0.25, 0.5, 0.75, 0.35, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.2, 1.3, 1.4, 1.5, 2, 4};
    int64_t least = INT64_MAX;
    *width = 1;
    if (!takes(k, "width") || config_is_set(s->given, "model", "width")) return OK;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        int64_t misfits;
        TRY(count_misfits(s, k, usual[i], &misfits));
        if (misfits < least) least = misfits, *width = usual[i];
        if (i == 0 && misfits <= 2) break; /* weight and bias of the head */
    }
    return OK;
}

status weights_head_names(const config *c, arena *a, const char ***names)
{
    graph g[2] = {{{0}}};
    spec_model small = c->spec.model;
    const model_entry *entry = models_find(small.arch);
    int64_t count = 0;
    status result = OK;
    if (entry && strstr(entry->options, "width")) small.width = SMALLEST_WIDTH;
    for (int i = 0; i < 2; i++) TRY_OUT(models_build(&g[i], &small, i + 1));
    *names = ARENA_ARRAY(a, const char *, g[0].edge_count + 1);
    if (!*names) TRY_OUT(FAIL_MEMORY((size_t)g[0].edge_count * sizeof **names));
    for (int64_t i = 0; i < g[0].edge_count; i++) {
        const edge *e = &g[0].edges[i];
        if (!is_weight(e) || shape_equal(e->shape, g[1].edges[i].shape)) continue;
        if (!((*names)[count++] = arena_strdup(a, e->name))) TRY_OUT(FAIL_MEMORY(strlen(e->name)));
    }
out:
    for (int i = 0; i < 2; i++) graph_free(&g[i]);
    return result;
}

/* ------------------------------------------------------------------------------------------------ the answer */

static status set_options(const candidate *k, double width, config *c)
{
    char text[32];
    TRY(config_set(c, "model", "arch", k->entry->name, "the file's tensors"));
    for (int32_t i = 0; i < k->options; i++) TRY(config_set(c, "model", k->key[i], k->value[i], "the file's tensors"));
    if (width == 1 || config_is_set(c, "model", "width")) return OK;
    number_text(width, text);
    return config_set(c, "model", "width", text, "the file's tensors");
}

static status rename_tensors(weights *w, const name_map *map)
{
    safetensor *copy = ARENA_ARRAY(&w->memory, safetensor, w->count);
    if (!copy) return FAIL_MEMORY((size_t)w->count * sizeof *copy);
    for (int64_t i = 0; i < w->count; i++) {
        copy[i] = w->tensors[i];
        TRY(names_map(map, &w->memory, copy[i].name, &copy[i].name));
    }
    w->tensors = copy;
    return OK;
}

/* Rows of the file's head, if a row has the length that the network needs: what is allocated stays in proportion to the file. */
static status count_classes(const candidate *k, config *c, weights_match *m)
{
    const char **names;
    arena a = {0};
    graph g = {0};
    status result = OK;
    TRY_OUT(models_set_defaults(c));
    TRY_OUT(weights_head_names(c, &a, &names));
    TRY_OUT(models_build(&g, &c->spec.model, 1));
    for (int i = 0; names[i]; i++) {
        const safetensor *t = find(k->set, names[i]);
        edge_id e = graph_find_edge(&g, names[i]);
        if (!t || e == EDGE_NONE || t->shape.rank == 0 || t->shape.dim[0] < 1) continue;
        if (shape_count(t->shape) / t->shape.dim[0] == shape_count(g.edges[e].shape)) m->classes = t->shape.dim[0];
    }
out:
    graph_free(&g);
    arena_free(&a);
    return result;
}

status weights_match_network(weights *w, config *c, weights_match *m)
{
    search s = {.w = w, .given = c};
    candidate best;
    double width;
    status result = OK;
    *m = (weights_match){0};
    for (const name_map *map = name_maps; map->what && s.set_count < MAX_MAPS; map++) TRY_OUT(make_set(&s, map));
    TRY_OUT(search_networks(&s, &best));
    TRY_OUT(find_width(&s, &best, &width));
    TRY_OUT(set_options(&best, width, c));
    *m = (weights_match){.names = best.set->map->what, .matched = best.matched, .wanted = best.wanted};
    TRY_OUT(count_classes(&best, c, m));
    TRY_OUT(rename_tensors(w, best.set->map));
out:
    arena_free(&s.memory);
    return result;
}

/* ------------------------------------------------------------------------------------------------ into a graph that is there */

static int64_t count_shared(const graph *g, const name_set *set)
{
    int64_t shared = 0;
    for (int64_t i = 0; i < g->edge_count; i++) {
        const safetensor *t = is_weight(&g->edges[i]) ? find(set, g->edges[i].name) : NULL;
        shared += t && is_alike(&g->edges[i], t);
    }
    return shared;
}

static status transfer_best(graph *g, const weights *w, transfer_report *report)
{
    search s = {.w = w};
    const name_set *best = NULL;
    int64_t most = -1;
    status result = OK;
    for (const name_map *map = name_maps; map->what && s.set_count < MAX_MAPS; map++) TRY_OUT(make_set(&s, map));
    for (int32_t i = 0; i < s.set_count; i++) {
        int64_t shared = count_shared(g, &s.sets[i]);
        if (shared > most) most = shared, best = &s.sets[i];
    }
    result = model_transfer_tensors(g, best->tensors, best->count, report);
out:
    arena_free(&s.memory);
    return result;
}

status weights_transfer(graph *g, const char *path, transfer_report *report)
{
    weights w;
    *report = (transfer_report){0};
    TRY(weights_open(&w, path));
    status result = transfer_best(g, &w, report);
    weights_close(&w);
    return result;
}
