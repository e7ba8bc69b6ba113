/* The last layer under another name than the network's: whoever puts a dropout in front of it makes fc.1.weight of
 * fc.weight. */
#include <string.h>

#include "core/ops/op.h"
#include "models/import/match_internal.h"

static bool begins_with_part(const char *name, const char *part, size_t length)
{
    return strncmp(name, part, length) == 0 && (name[length] == '.' || name[length] == 0);
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);
    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

/* The layer behind an output, looked for through what keeps channels. */
static const node *find_layer(const graph *g, int32_t output)
{
    edge_id e = g->outputs[output];
    for (int64_t steps = 0; steps <= g->node_count && e != EDGE_NONE && g->edges[e].producer != NODE_NONE; steps++) {
        const node *n = &g->nodes[g->edges[e].producer];
        if (n->op->coupling == COUPLE_WEIGHT && n->in_count > 1 && n->in[1] != EDGE_NONE) return n;
        e = n->in_count > 0 ? n->in[0] : EDGE_NONE;
    }
    return NULL;
}

/* Length of the first parts of the layer's name that no other layer's name begins with: "classifier" of
 * classifier.1.weight in SqueezeNet, "classifier.6" in VGG. 0: none. */
static size_t find_region(const graph *g, const node *layer, const char *weight)
{
    const char *end = strrchr(weight, '.');
    for (const char *dot = weight; end && dot <= end && (dot = strchr(dot, '.')); dot++) {
        size_t length = (size_t)(dot - weight);
        bool shared = false;
        for (int64_t i = 0; i < g->edge_count && !shared; i++) {
            bool own = false;
            for (int32_t k = 1; k < layer->in_count; k++) own |= layer->in[k] == i;
            shared = !own && match_is_weight(&g->edges[i]) && begins_with_part(g->edges[i].name, weight, length);
        }
        if (!shared) return length;
    }
    return 0;
}

typedef struct region {
    named_tensor *weight, *bias;
    int64_t others;
    const char *names; /* the first of them, for messages */
} region;

static status find_other_heads(region *r, arena *a, const name_set *set, const char *name, size_t length)
{
    enum { LISTED = 4 };
    int64_t seen = 0;
    *r = (region){.names = ""};
    for (int64_t i = 0; i < set->count; i++) {
        named_tensor *n = &set->by_name[i];
        if (strncmp(n->name, name, length) != 0 || n->name[length] != '.') continue;
        if (seen++ < LISTED) r->names = arena_printf(a, "%s%s%.80s", r->names, seen > 1 ? ", " : "", n->name);
        if (!r->names) return FAIL_MEMORY(80);
        if (ends_with(n->name, ".weight") && n->tensor->shape.rank >= 2 && !r->weight) r->weight = n;
        else if (ends_with(n->name, ".bias") && n->tensor->shape.rank == 1 && !r->bias) r->bias = n;
        else r->others++;
    }
    return OK;
}

static bool is_one_layer(const region *r)
{
    if (!r->weight || r->others) return false;
    if (!r->bias) return true;
    size_t stem = strlen(r->weight->name) - strlen("weight");
    return strlen(r->bias->name) == stem + strlen("bias") && strncmp(r->weight->name, r->bias->name, stem) == 0;
}

static status rename_layer(const graph *g, const node *layer, const region *r, arena *a, int64_t *matched)
{
    named_tensor *const found[] = {r->weight, r->bias};
    for (int32_t k = 1; k <= 2 && k < layer->in_count; k++) {
        if (layer->in[k] == EDGE_NONE || !found[k - 1]) continue;
        found[k - 1]->name = arena_strdup(a, g->edges[layer->in[k]].name);
        if (!found[k - 1]->name) return FAIL_MEMORY(64);
        ++*matched;
    }
    return OK;
}

status match_head(const graph *g, name_set *set, arena *a, int64_t *matched, const char **note)
{
    *note = "";
    for (int32_t output = 0; output < g->output_count; output++) {
        const node *layer = find_layer(g, output);
        const char *weight = layer ? g->edges[layer->in[1]].name : NULL;
        size_t length = weight && !name_set_find(set, weight) ? find_region(g, layer, weight) : 0;
        region r;
        if (length == 0) continue;
        TRY(find_other_heads(&r, a, set, weight, length));
        if (!*r.names) continue;
        if (!is_one_layer(&r)) {
            *note = arena_printf(a, "its last layer %.*s is more than one layer (%s), which is none of Graft's",
                (int)length, weight, r.names);
            if (!*note) return FAIL_MEMORY(length);
            continue;
        }
        TRY(rename_layer(g, layer, &r, a, matched));
        name_set_sort(set);
    }
    return OK;
}
