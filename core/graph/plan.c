#include "core/device/tuning.h"
#include "core/graph/plan_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------- structure */

/* The graph without values: those of a large model would double the host's memory. */
static status copy_structure(plan *p, const graph *g)
{
    graph *c = &p->graph;
    arena *a = &p->memory;
    *c = *g;
    c->memory = (arena){0};
    c->node_capacity = g->node_count;
    c->edge_capacity = g->edge_count;
    c->nodes = arena_memdup(a, g->nodes, (size_t)g->node_count * sizeof *g->nodes);
    c->edges = arena_memdup(a, g->edges, (size_t)g->edge_count * sizeof *g->edges);
    if (!c->nodes || !c->edges) return E_MEMORY;
    for (int64_t i = 0; i < g->node_count; i++) {
        node *n = &c->nodes[i];
        n->name = arena_strdup(a, n->name);
        if (n->attr) n->attr = arena_memdup(a, n->attr, n->op->attr_bytes);
        if (!n->name || (g->nodes[i].attr && !n->attr)) return E_MEMORY;
    }
    for (int64_t i = 0; i < g->edge_count; i++) {
        c->edges[i].name = arena_strdup(a, c->edges[i].name);
        c->edges[i].data = NULL;
        if (!c->edges[i].name) return E_MEMORY;
    }
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- kernels */

static pack_when when_to_pack(const plan *p, const graph *g, const plan_step *s)
{
    if (!s->packed_bytes) return PACK_NONE;
    edge_id w = s->binding.weight_in >= 0 ? s->binding.in[s->binding.weight_in] : EDGE_NONE;
    if (w < 0) return PACK_ALWAYS;
    if (plan_narrow_has(p, w)) return PACK_TRAINED;
    switch (g->edges[w].kind) {
    case EDGE_CONST: return PACK_ONCE;
    case EDGE_PARAM: return g->edges[w].frozen ? PACK_FROZEN : PACK_TRAINED;
    default: return PACK_ALWAYS;
    }
}

/* A checkpoint's choice, else this GPU's fastest, else NULL: the best that accepts. */
static const char *preferred(const plan *p, const plan_options *o, int64_t index, const kernel_binding *b)
{
    if (index < o->variant_count) return o->variants[index];
    return p->dev->tuned ? tuning_find(p->dev->tuned, b->op, &b->desc) : NULL;
}

static status prepare_step(plan *p, plan_step *s, const graph *g, const plan_options *o, int64_t index)
{
    const node *n = &g->nodes[s->node];
    kernel_binding *b = &s->binding;
    memset(b, 0, sizeof *b);
    for (int i = 0; i < KERNEL_MAX_IN; i++) b->in[i] = EDGE_NONE;
    for (int i = 0; i < KERNEL_MAX_OUT; i++) b->out[i] = EDGE_NONE;
    b->weight_in = -1;
    if (n->op->over_ranks) {
        b->in[0] = n->in[0];
        b->out[0] = n->out[0];
        p->variant[index] = n->op->name;
        if (!o->sums || !o->sums->captures) p->all.off = true;
        return OK;
    }
    if (!n->op->describe) return FAIL(E_INTERNAL, "%s: op %s must be lowered before it can run", n->name, n->op->name);
    TRY(n->op->describe(g, n, b));
    const char *verbose = getenv("GRAFT_VERBOSE");
    bool speak = verbose && *verbose && strcmp(verbose, "0") != 0;
    if (speak) fprintf(stderr, "%s (%s)\n", n->name, n->op->name);
    TRY(kernel_select(&s->kernel, b->op, o->reference ? BACKEND_REF : p->dev->api->kernels, &b->desc,
        preferred(p, o, index, b), speak ? stderr : NULL));
    const kernel *k = s->kernel;
    s->call.desc = &b->desc;
    if (k->create) TRY(k->create(&b->desc, &s->call.state));
    if (k->scratch_bytes) s->scratch_bytes = k->scratch_bytes(&b->desc, s->call.state);
    if (k->packed_bytes) s->packed_bytes = k->packed_bytes(&b->desc, s->call.state);
    s->pack = when_to_pack(p, g, s);
    s->packed_offset = p->use.packed_bytes;
    p->use.packed_bytes += ((int64_t)s->packed_bytes + LIVE_ALIGN - 1) / LIVE_ALIGN * LIVE_ALIGN;
    p->variant[index] = k->name;
    return OK;
}

static status prepare_steps(plan *p, const graph *g, const plan_options *o)
{
    p->steps = ARENA_ARRAY(&p->memory, plan_step, g->node_count);
    p->variant = ARENA_ARRAY(&p->memory, const char *, g->node_count);
    p->rows = ARENA_ARRAY(&p->memory, plan_profile_row, g->node_count);
    if (!p->steps || !p->variant || !p->rows) return E_MEMORY;
    for (node_id n = p->first_node; n < p->end_node; n++) {
        if (g->nodes[n].op->alias || plan_narrow_has(p, g->nodes[n].out[0])) continue;
        plan_step *s = &p->steps[p->step_count++];
        s->node = n;
        TRY(prepare_step(p, s, g, o, p->step_count - 1));
    }
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- memory */

static int64_t round_up(int64_t bytes) { return (bytes + LIVE_ALIGN - 1) / LIVE_ALIGN * LIVE_ALIGN; }

static bool has_gradients(const graph *g)
{
    for (int64_t i = 0; i < g->edge_count; i++)
        if (g->edges[i].kind == EDGE_GRAD) return true;
    return false;
}

/* What the plan takes by itself, beside an existing store. */
static int64_t own_bytes(const plan_memory *m, bool with_store)
{
    int64_t bytes = m->const_bytes + m->activation_bytes + m->scratch_bytes + m->packed_bytes;
    return with_store ? bytes + m->param_bytes + m->state_bytes + m->grad_bytes : bytes;
}

static status measure(plan *p, const graph *g, const plan_options *o, const store_layout *l)
{
    plan_memory *m = &p->use;
    m->packed_bytes += plan_narrow_bytes(p);
    m->param_bytes = l->bytes[BLOCK_WEIGHTS] + l->bytes[BLOCK_OTHER];
    m->state_bytes = l->bytes[BLOCK_STATE];
    bool gradients = o->store ? param_store_gradients(o->store) != NULL : has_gradients(g);
    m->grad_bytes = gradients ? l->bytes[BLOCK_WEIGHTS] : 0;
    for (edge_id e = 0; e < g->edge_count; e++)
        if (g->edges[e].kind == EDGE_CONST) m->const_bytes += round_up(plan_edge_bytes(g, e));
    TRY(plan_place_edges(p));
    m->total_bytes = own_bytes(m, true);
    return OK;
}

static status refuse_memory(const plan *p, int64_t needed, int64_t available, const char *whose)
{
    const plan_memory *m = &p->use;
    const graph *g = &p->graph;
    char part[9][32];
    const int64_t bytes[9] = {needed, available, m->param_bytes, m->grad_bytes, m->state_bytes, m->activation_bytes,
        m->scratch_bytes, m->packed_bytes, m->const_bytes};
    for (int i = 0; i < 9; i++) format_bytes((double)bytes[i], part[i]);
    int64_t batch =
        g->input_count > 0 && g->edges[g->inputs[0]].shape.rank > 0 ? g->edges[g->inputs[0]].shape.dim[0] : 1;
    int64_t growing = m->activation_bytes + m->scratch_bytes, left = available - (needed - growing);
    int64_t fits = left > 0 ? (int64_t)((double)left / ((double)growing / (double)batch)) : 0;
    char advice[128];
    if (fits > 0) snprintf(advice, sizeof advice, "about batch %" PRId64 " would fit", fits);
    else snprintf(advice, sizeof advice, "no batch size fits: use a smaller network or input");
    return FAIL_LINES(E_MEMORY,
        "batch %" PRId64 " needs %s, %s %s\n"
        "    weights        %s\n    gradients      %s\n    statistics     %s\n    activations    %s\n"
        "    scratch        %s\n    packed weights %s\n    constants      %s\n%s",
        batch, part[0], whose, part[1], part[2], part[3], part[4], part[5], part[6], part[7], part[8], advice);
}

static status check_memory(const plan *p, const plan_options *o)
{
    int64_t needed = own_bytes(&p->use, o->store == NULL);
    if (o->memory_limit > 0) {
        if (p->use.total_bytes > o->memory_limit)
            return refuse_memory(p, p->use.total_bytes, o->memory_limit, "the limit is");
        return OK;
    }
    int64_t available, total;
    TRY(p->dev->api->memory(p->dev, &available, &total));
    return needed > available ? refuse_memory(p, needed, available, "the device has free") : OK;
}

static status locate_kept(plan *p, edge_id e)
{
    const edge *d = &p->graph.edges[e];
    const store_entry *entry;
    TRY(param_store_entry(p->store, d, &entry));
    p->edge_data[e] = param_store_data(p->store, entry);
    if (d->kind != EDGE_PARAM || d->grad < 0) return OK;
    p->edge_data[d->grad] = param_store_gradient(p->store, entry);
    if (!p->edge_data[d->grad]) return FAIL(E_INTERNAL, "%s wants a gradient, the parameter store has none", d->name);
    return OK;
}

static status locate_edges(plan *p, const graph *g)
{
    int64_t constant = 0;
    for (edge_id e = 0; e < g->edge_count; e++) {
        const edge *d = &g->edges[e];
        if (d->kind == EDGE_PARAM || d->kind == EDGE_STATE) TRY(locate_kept(p, e));
        if (d->kind == EDGE_CONST) {
            p->edge_data[e] = (char *)p->constants.data + constant;
            TRY(device_upload(p->dev, p->edge_data[e], d->data, (size_t)plan_edge_bytes(g, e)));
            constant += round_up(plan_edge_bytes(g, e));
        }
        if (p->edge_block[e] >= 0) p->edge_data[e] = (char *)p->activations.data + p->blocks[p->edge_block[e]].offset;
    }
    for (edge_id e = 0; e < g->edge_count; e++) {
        p->edge_data[e] = p->edge_data[p->edge_root[e]];
        if (g->edges[e].kind == EDGE_GRAD && !p->edge_data[e])
            return FAIL(E_INTERNAL, "gradient edge %s belongs to no parameter", g->edges[e].name);
    }
    return OK;
}

static void bind_calls(plan *p)
{
    for (int64_t i = 0; i < p->step_count; i++) {
        plan_step *s = &p->steps[i];
        for (int k = 0; k < KERNEL_MAX_IN; k++)
            s->call.in[k] = s->binding.in[k] < 0 ? NULL : p->edge_data[s->binding.in[k]];
        for (int k = 0; k < KERNEL_MAX_OUT; k++)
            s->call.out[k] = s->binding.out[k] < 0 ? NULL : p->edge_data[s->binding.out[k]];
        if (s->scratch_bytes) s->call.scratch = (char *)p->activations.data + p->blocks[s->scratch_block].offset;
        if (s->packed_bytes) s->call.packed = (char *)p->packed.data + s->packed_offset;
        s->call.stream = p->dev->stream;
    }
}

static status allocate(plan *p, const graph *g, const plan_options *o)
{
    p->store = o->store;
    if (!p->store) {
        p->owns_store = true;
        TRY(param_store_create(&p->store, g, p->dev, has_gradients(g)));
    }
    TRY(buffer_init(&p->activations, p->dev, (size_t)(p->use.activation_bytes + p->use.scratch_bytes), "activations"));
    TRY(buffer_init(&p->packed, p->dev, (size_t)(p->use.packed_bytes - plan_narrow_bytes(p)), "packed weights"));
    TRY(buffer_init(&p->constants, p->dev, (size_t)p->use.const_bytes, "constants"));
    TRY_ALLOC(p->edge_data, ARENA_ARRAY(&p->memory, void *, g->edge_count));
    TRY(plan_narrow_allocate(p));
    TRY(locate_edges(p, g));
    bind_calls(p);
    return OK;
}

/* What is free may lie in pieces, or go to another process in the meantime. */
static status allocate_or_explain(plan *p, const graph *g, const plan_options *o)
{
    int64_t available, total;
    TRY(p->dev->api->memory(p->dev, &available, &total));
    status result = allocate(p, g, o);
    if (result != E_MEMORY) return result;
    return refuse_memory(
        p, own_bytes(&p->use, o->store == NULL), available, "the device refused, although it had free");
}

/* ---------------------------------------------------------------------------------------------------- the plan */

/* Everything but the device's memory. */
static status prepare(plan **out, const graph *g, device *dev, const plan_options *o)
{
    plan *p;
    TRY_ALLOC(p, heap_alloc_array(1, sizeof *p));
    p->dev = dev;
    p->keep_activations = o->keep_activations;
    p->profile = o->profile;
    p->sums = o->sums;
    p->first_node = o->first;
    p->end_node = o->end > 0 ? o->end : (node_id)g->node_count;
    dev->api->enter(dev);
    replay_init(&p->all, dev);
    replay_init(&p->repack, dev);
    status result = OK;
    store_layout fresh;
    const store_layout *l = o->store ? param_store_layout(o->store) : &fresh;
    if (!o->store) TRY_OUT(store_layout_make(&fresh, &p->memory, g));
    if (p->profile) { /* NULL on the CPU */
        TRY_OUT(dev->api->event_create(dev, &p->begin));
        TRY_OUT(dev->api->event_create(dev, &p->end));
    }
    TRY_OUT(copy_structure(p, g));
    TRY_OUT(plan_narrow_find(p, l, o));
    TRY_OUT(prepare_steps(p, g, o));
    TRY_OUT(measure(p, g, o, l));
    *out = p;
    return OK;
out:
    plan_destroy(p);
    return result;
}

static status check_sums(const graph *g, const plan_options *o)
{
    for (node_id n = 0; n < g->node_count; n++)
        if (g->nodes[n].op->over_ranks && !o->sums)
            return FAIL(E_INTERNAL, "%s sums over ranks: plan_options.sums", g->nodes[n].name);
    return OK;
}

status plan_create(plan **p, const graph *g, device *dev, const plan_options *options)
{
    static const plan_options none;
    const plan_options *o = options ? options : &none;
    *p = NULL;
    TRY(check_sums(g, o));
    plan *made;
    TRY(prepare(&made, g, dev, o));
    status result = OK;
    TRY_OUT(check_memory(made, o));
    TRY_OUT(allocate_or_explain(made, g, o));
    TRY_OUT(device_ready(dev));
    *p = made;
    return OK;
out:
    plan_destroy(made);
    return result;
}

void plan_destroy(plan *p)
{
    if (!p) return;
    for (int64_t i = 0; i < p->step_count; i++)
        if (p->steps[i].call.state && p->steps[i].kernel->destroy) p->steps[i].kernel->destroy(p->steps[i].call.state);
    replay_free(&p->all);
    replay_free(&p->repack);
    if (p->begin) p->dev->api->event_destroy(p->dev, p->begin);
    if (p->end) p->dev->api->event_destroy(p->dev, p->end);
    buffer_free(&p->activations);
    buffer_free(&p->packed);
    plan_narrow_free(p);
    buffer_free(&p->constants);
    if (p->owns_store) param_store_destroy(p->store);
    arena_free(&p->memory);
    free(p);
}

const graph *plan_graph(const plan *p) { return &p->graph; }

status plan_measure(const graph *g, device *dev, const plan_options *options, plan_memory *m)
{
    static const plan_options none;
    plan *p;
    TRY(prepare(&p, g, dev, options ? options : &none));
    *m = p->use;
    plan_destroy(p);
    return OK;
}

const plan_memory *plan_memory_use(const plan *p) { return &p->use; }

const kernel *plan_kernel(const plan *p, int64_t i, const void **desc)
{
    *desc = &p->steps[i].binding.desc;
    return p->steps[i].kernel;
}

int64_t plan_variants(const plan *p, const char *const **names)
{
    *names = p->variant;
    return p->step_count;
}
