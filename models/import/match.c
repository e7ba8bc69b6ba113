#include "models/import/match.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/graph/model_layout.h"
#include "models/import/match_internal.h"

bool match_is_weight(const edge *e) { return e->kind == EDGE_PARAM || e->kind == EDGE_STATE; }

/* The same kind of tensor, whatever the channels: rank and kernel. */
static bool is_alike(const edge *e, const safetensor *t)
{
    shape s = layout_file_shape(e);
    if (e->layout == LAYOUT_LINEAR && t->shape.rank == 4) return true;
    if (s.rank != t->shape.rank) return false;
    return s.rank != 4 || (s.dim[2] == t->shape.dim[2] && s.dim[3] == t->shape.dim[3]);
}

/* ------------------------------------------------------------------------------------------- building one candidate */

bool candidate_takes(const candidate *k, const char *key) { return strstr(k->entry->options, key) != NULL; }

/* The user's [model], then the network and the candidate's options. */
static status configure(const search *s, const candidate *k, config *c)
{
    TRY(config_init(c));
    status result = OK;
    for (int32_t i = 0; i < option_count && result == OK; i++) {
        const option *o = &option_table[i];
        bool head = strcmp(o->key, "head") == 0; /* what is looked for is a classifier */
        if (strcmp(o->section, "model") != 0 || head || !config_is_set(s->given, "model", o->key)) continue;
        result = config_set(c, "model", o->key, s->given->text[i], "given");
    }
    if (result == OK) result = config_set(c, "model", "arch", k->entry->name, "guess");
    for (int32_t i = 0; i < k->options && result == OK; i++)
        result = config_set(c, "model", k->key[i], k->value[i], "guess");
    if (result == OK) result = models_set_defaults(c);
    if (result != OK) config_free(c);
    return result;
}

status candidate_build(const search *s, const candidate *k, double width, int64_t classes, graph *g)
{
    config c;
    *g = (graph){0};
    TRY(configure(s, k, &c));
    if (width > 0) c.spec.model.width = width;
    if (c.error_count == 0 && models_build(g, &c.spec, classes) != OK) graph_free(g);
    config_free(&c);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ searching */

/* Keeps in k the set that fits best. */
static status rate(search *s, candidate *k)
{
    graph g;
    k->score = INT64_MIN;
    k->set = NULL;
    TRY(candidate_build(s, k, candidate_takes(k, "width") ? SMALLEST_WIDTH : 0, 1, &g));
    for (int32_t i = 0; g.node_count && i < s->sets.count; i++) {
        int64_t matched = 0, wanted = 0;
        for (int64_t e = 0; e < g.edge_count; e++) {
            if (!match_is_weight(&g.edges[e])) continue;
            const safetensor *t = name_set_find(&s->sets.set[i], g.edges[e].name);
            wanted++;
            matched += t && is_alike(&g.edges[e], t);
        }
        if (!name_set_is_better(&s->sets.set[i], matched, k->set, k->matched)) continue;
        k->score = 2 * matched - wanted, k->set = &s->sets.set[i], k->matched = matched, k->wanted = wanted;
    }
    graph_free(&g);
    return OK;
}

static bool fits_wholly(const candidate *k) { return k->set && k->matched == k->wanted && k->matched == k->set->count; }

/* One option after the other, kept if it fits better. */
static status rate_options(search *s, candidate *k)
{
    static const struct { const char *key, *value; } choices[] = {{"stem", "small"}, {"use_batch_norm", "true"},
        {"use_batch_norm", "false"}, {"use_bias", "true"}, {"all_projections", "true"}};
    TRY(rate(s, k));
    for (size_t i = 0; i < sizeof choices / sizeof *choices && !fits_wholly(k); i++) {
        candidate changed = *k;
        if (!candidate_takes(k, choices[i].key) || config_is_set(s->given, "model", choices[i].key) || k->options == 4)
            continue;
        changed.key[changed.options] = choices[i].key;
        changed.value[changed.options++] = choices[i].value;
        TRY(rate(s, &changed));
        if (changed.score > k->score) *k = changed;
    }
    return OK;
}

/* Names of the networks as they are by default: what stands in front of them in the file is a prefix. */
static status list_known(search *s, const char ***names, int64_t *count)
{
    bool fixed = config_is_set(s->given, "model", "arch");
    int64_t capacity = 0;
    status result = OK;
    for (const model_entry *e = model_table; e->name && result == OK; e++) {
        candidate k = {.entry = e};
        graph g;
        if (fixed && strcmp(e->name, s->given->spec.model.arch) != 0) continue;
        TRY(candidate_build(s, &k, candidate_takes(&k, "width") ? SMALLEST_WIDTH : 0, 1, &g));
        result = array_reserve((void **)names, &capacity, *count + g.edge_count, sizeof **names);
        for (int64_t i = 0; result == OK && i < g.edge_count; i++) {
            if (!match_is_weight(&g.edges[i])) continue;
            if (!((*names)[(*count)++] = arena_strdup(&s->memory, g.edges[i].name))) result = FAIL_MEMORY(64);
        }
        graph_free(&g);
    }
    return result;
}

static status make_sets(search *s)
{
    const char **known = NULL;
    int64_t count = 0;
    status result = list_known(s, &known, &count);
    if (result == OK) result = name_sets_make(&s->sets, &s->memory, s->w, known, count);
    free(known);
    return result;
}

/* The first names of the file and of the nearest network, side by side. */
static status refuse_network(search *s, candidate *best)
{
    enum { SHOWN = 3 };
    const char *found = "", *expected = "";
    graph g;
    if (best->matched == 0) { /* the nearest is any: then the network as it is by default */
        best->options = 0;
        TRY(rate(s, best));
    }
    for (int64_t i = 0; i < s->w->count && i < SHOWN && found; i++)
        found = arena_printf(&s->memory, "%s%s%.100s", found, i ? ", " : "", s->w->tensors[i].name);
    TRY(candidate_build(s, best, candidate_takes(best, "width") ? SMALLEST_WIDTH : 0, 1, &g));
    for (int64_t i = 0, shown = 0; i < g.edge_count && shown < SHOWN && expected; i++)
        if (match_is_weight(&g.edges[i]))
            expected = arena_printf(&s->memory, "%s%s%.100s", expected, shown++ ? ", " : "", g.edges[i].name);
    graph_free(&g);
    if (!found || !expected) return FAIL_MEMORY(100);
    return FAIL(E_MODEL,
        "%s: no network here has such tensors: the nearest is %s with %" PRId64 " of its %" PRId64
        " by name. The file has %s%s; %s has %s, ... Another network comes in as ONNX; a darknet network with its .cfg",
        s->w->what ? s->w->what : "the file", best->entry->name, best->matched, best->wanted,
        *found ? found : "no tensors", s->w->count > SHOWN ? ", ..." : "", best->entry->name, expected);
}

static status search_networks(search *s, candidate *best)
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
    if (best->matched == 0 || 2 * best->matched < best->wanted) return refuse_network(s, best);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ the head */

status weights_head_names(const config *c, arena *a, const char ***names)
{
    graph g[2] = {{{0}}};
    spec small = c->spec;
    const model_entry *entry = models_find(small.model.arch);
    int64_t count = 0;
    status result = OK;
    if (entry && strstr(entry->options, "width")) small.model.width = SMALLEST_WIDTH;
    for (int i = 0; i < 2; i++) TRY_OUT(models_build(&g[i], &small, i + 1));
    *names = ARENA_ARRAY(a, const char *, g[0].edge_count + 1);
    if (!*names) TRY_OUT(FAIL_MEMORY((size_t)g[0].edge_count * sizeof **names));
    for (int64_t i = 0; i < g[0].edge_count; i++) {
        const edge *e = &g[0].edges[i];
        if (!match_is_weight(e) || shape_equal(e->shape, g[1].edges[i].shape)) continue;
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

static int by_place(const void *a, const void *b)
{
    const safetensor *x = ((const named_tensor *)a)->tensor, *y = ((const named_tensor *)b)->tensor;
    return x < y ? -1 : x > y;
}

/* w's tensors become those of the set, under its names and in the file's order. */
static status take_set(weights *w, const name_set *set)
{
    named_tensor *sorted = arena_memdup(&w->memory, set->by_name, (size_t)set->count * sizeof *sorted);
    safetensor *renamed = ARENA_ARRAY(&w->memory, safetensor, set->count);
    if (!sorted || !renamed) return FAIL_MEMORY((size_t)set->count * sizeof *renamed);
    if (set->count) qsort(sorted, (size_t)set->count, sizeof *sorted, by_place);
    for (int64_t i = 0; i < set->count; i++) {
        renamed[i] = *sorted[i].tensor;
        if (!(renamed[i].name = arena_strdup(&w->memory, sorted[i].name))) return FAIL_MEMORY(strlen(sorted[i].name));
    }
    TRY(weights_take_prefix(w, set->prefix->text));
    w->tensors = renamed, w->count = set->count;
    return OK;
}

/* Other tensors that would fit as well. */
static status note_others(const search *s, const candidate *k, arena *a, const char **note)
{
    const name_prefix *taken = k->set->prefix, *other = NULL;
    *note = "";
    for (int32_t i = 0; i < s->sets.count; i++) {
        const name_set *set = &s->sets.set[i];
        int64_t matched = 0;
        for (int64_t t = 0; t < k->set->count; t++) matched += name_set_find(set, k->set->by_name[t].name) != NULL;
        if (set->prefix == taken || 10 * matched < 9 * k->matched) continue;
        other = set->prefix;
        break;
    }
    if (!other) return OK;
    const char *average = taken->average ? ", the average of the weights over the training (EMA)" : "";
    size_t length = strlen(other->text);
    *note =
        arena_printf(a, "%s* is taken%s; --weights %.*s takes %s", taken->text, average, length ? (int)length - 1 : 1,
            length ? other->text : ".", taken->average && !other->average ? "the raw ones" : "the others");
    return *note ? OK : FAIL_MEMORY(64);
}

/* Rows of the file's head, if a row has the length that the network needs: what is allocated
 * stays in proportion to the file. */
static status count_classes(const candidate *k, config *c, weights_match *m)
{
    const char **names;
    arena a = {0};
    graph g = {0};
    status result = OK;
    TRY_OUT(models_set_defaults(c));
    TRY_OUT(weights_head_names(c, &a, &names));
    TRY_OUT(models_build(&g, &c->spec, 1));
    for (int i = 0; names[i]; i++) {
        const safetensor *t = name_set_find(k->set, names[i]);
        edge_id e = graph_find_edge(&g, names[i]);
        if (!t || e == EDGE_NONE || t->shape.rank == 0 || t->shape.dim[0] < 1) continue;
        if (shape_count(t->shape) / t->shape.dim[0] == shape_count(g.edges[e].shape)) m->classes = t->shape.dim[0];
    }
out:
    graph_free(&g);
    arena_free(&a);
    return result;
}

/* The head by its place in the network, then what the answer needs. */
static status finish_match(search *s, candidate *best, weights *w, config *c, weights_match *m)
{
    double width;
    graph g;
    TRY(candidate_build(s, best, candidate_takes(best, "width") ? SMALLEST_WIDTH : 0, 1, &g));
    status result = match_head(&g, best->set, &w->memory, &best->matched, &m->head_note);
    graph_free(&g);
    TRY(result);
    TRY(match_width(s, best, &width, &m->fitting_width));
    TRY(set_options(best, width, c));
    TRY(count_classes(best, c, m));
    TRY(note_others(s, best, &w->memory, &m->note));
    m->names = best->set->map->what, m->matched = best->matched, m->wanted = best->wanted;
    return take_set(w, best->set);
}

status weights_match_network(weights *w, config *c, weights_match *m)
{
    search s = {.w = w, .given = c};
    candidate best;
    *m = (weights_match){.names = "", .note = "", .head_note = ""};
    status result = make_sets(&s);
    if (result == OK) result = search_networks(&s, &best);
    if (result == OK) result = finish_match(&s, &best, w, c, m);
    arena_free(&s.memory);
    return result;
}

/* --------------------------------------------------------------------------------------- into a graph that is there */

static int64_t count_shared(const graph *g, const name_set *set)
{
    int64_t shared = 0;
    for (int64_t i = 0; i < g->edge_count; i++) {
        const safetensor *t = match_is_weight(&g->edges[i]) ? name_set_find(set, g->edges[i].name) : NULL;
        shared += t && is_alike(&g->edges[i], t);
    }
    return shared;
}

static status make_sets_for(search *s, const graph *g)
{
    int64_t count = 0;
    const char **known = ARENA_ARRAY(&s->memory, const char *, g->edge_count);
    if (!known) return FAIL_MEMORY((size_t)g->edge_count * sizeof *known);
    for (int64_t i = 0; i < g->edge_count; i++)
        if (match_is_weight(&g->edges[i])) known[count++] = g->edges[i].name;
    return name_sets_make(&s->sets, &s->memory, s->w, known, count);
}

/* Tensors outside the prefix count as unexpected too. */
status weights_report_outside(const weights *w, transfer_report *r)
{
    const char **list = ARENA_ARRAY(&r->memory, const char *, r->unexpected_count + w->outside_count);
    if (!list) return FAIL_MEMORY((size_t)w->outside_count * sizeof *list);
    if (r->unexpected_count) memcpy(list, r->unexpected, (size_t)r->unexpected_count * sizeof *list);
    for (int64_t i = 0; i < w->outside_count; i++) {
        if (match_is_counter(w->outside[i].name)) continue;
        if (!(list[r->unexpected_count++] = arena_strdup(&r->memory, w->outside[i].name))) return FAIL_MEMORY(64);
    }
    r->unexpected = list;
    return OK;
}

/* Layers of another shape: the network and width that the file's tensors have, if they are a network of ours. */
static status advise(weights *w, transfer_report *r)
{
    config guess;
    weights_match m;
    TRY(config_init(&guess));
    if (weights_match_network(w, &guess, &m) == OK) {
        const spec_model *s = &guess.spec.model;
        r->advice =
            m.wanted == m.matched
                ? arena_printf(&r->memory, "its tensors are those of model.arch=%s model.width=%g", s->arch, s->width)
                : NULL;
    }
    config_free(&guess);
    return OK;
}

static status transfer_best(graph *g, weights *w, transfer_report *report)
{
    search s = {.w = w};
    name_set *best = NULL;
    int64_t most = -1, renamed = 0;
    const char *head_note;
    weights whole = *w;
    status result = OK;
    TRY_OUT(make_sets_for(&s, g));
    for (int32_t i = 0; i < s.sets.count; i++) {
        int64_t shared = count_shared(g, &s.sets.set[i]);
        if (name_set_is_better(&s.sets.set[i], shared, best, most)) most = shared, best = &s.sets.set[i];
    }
    TRY_OUT(match_head(g, best, &w->memory, &renamed, &head_note));
    candidate k = {.set = best, .matched = most};
    const char *note;
    TRY_OUT(note_others(&s, &k, &w->memory, &note));
    TRY_OUT(take_set(w, best));
    TRY_OUT(model_transfer_tensors(g, w->tensors, w->count, report));
    TRY_OUT(weights_report_outside(w, report));
    report->note = arena_strdup(&report->memory, *w->note ? w->note : note);
    whole.memory = w->memory;
    if (report->reshaped_count > 2) result = advise(&whole, report);
    w->memory = whole.memory;
out:
    arena_free(&s.memory);
    return result;
}

status weights_transfer(graph *g, const char *path, transfer_report *report)
{
    weights w;
    *report = (transfer_report){0};
    TRY(weights_open(&w, path, NULL));
    status result = transfer_best(g, &w, report);
    weights_close(&w);
    if (result != OK) transfer_report_free(report);
    return result;
}
