#include "core/onnx/import.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------- names */

static int compare_values(const void *a, const void *b)
{
    return strcmp(((const onnx_value *)a)->name, ((const onnx_value *)b)->name);
}

static onnx_value *find_value(const onnx_import_state *s, const char *name)
{
    return bsearch(&(onnx_value){.name = name}, s->values, (size_t)s->value_count, sizeof *s->values, compare_values);
}

/* Every name that the file defines, once. An input that is also an initialiser (IR
 * versions below 4) is the initialiser. */
static status collect_names(onnx_import_state *s)
{
    const onnx_file *f = s->f;
    int64_t most = f->tensor_count + f->input_count, at = 0;
    for (int64_t i = 0; i < f->node_count; i++) most += f->nodes[i].out_count;
    onnx_value *v = s->values = ARENA_ARRAY(&s->memory, onnx_value, most);
    if (!v) return FAIL_MEMORY(most * sizeof *v);
    for (int64_t i = 0; i < f->tensor_count; i++)
        v[at++] = (onnx_value){
            .name = f->tensors[i].name, .constant = &f->tensors[i], .edge = EDGE_NONE, .shape = f->tensors[i].shape};
    qsort(v, (size_t)at, sizeof *v, compare_values);
    s->value_count = at;
    for (int64_t i = 0; i < f->input_count; i++)
        if (!find_value(s, f->inputs[i].name)) v[at++] = (onnx_value){.name = f->inputs[i].name, .edge = EDGE_NONE};
    for (int64_t i = 0; i < f->node_count; i++)
        for (int32_t k = 0; k < f->nodes[i].out_count; k++)
            if (*f->nodes[i].out[k]) v[at++] = (onnx_value){.name = f->nodes[i].out[k], .edge = EDGE_NONE};
    qsort(v, (size_t)at, sizeof *v, compare_values);
    s->value_count = at;
    for (int64_t i = 1; i < at; i++)
        if (strcmp(v[i - 1].name, v[i].name) == 0)
            return FAIL(E_MODEL, "%s: '%s' is defined twice", f->what, v[i].name);
    return OK;
}

static status resolve_node(onnx_import_state *s, onnx_call *c, const onnx_file_node *n)
{
    for (int32_t k = 0; k < n->in_count; k++) {
        if (!*n->in[k]) continue;
        onnx_value *v = c->in[k] = find_value(s, n->in[k]);
        if (!v) return onnx_fail(c, "input %d, '%s', is defined nowhere", k, n->in[k]);
        v->readers++;
        v->reader = c;
    }
    for (int32_t k = 0; k < n->out_count; k++)
        if (*n->out[k]) c->out[k] = find_value(s, n->out[k]);
    return OK;
}

static status resolve(onnx_import_state *s)
{
    const onnx_file *f = s->f;
    s->calls = ARENA_ARRAY(&s->memory, onnx_call, f->node_count);
    s->outputs = ARENA_ARRAY(&s->memory, onnx_value *, f->output_count);
    if (!s->calls || !s->outputs) return FAIL_MEMORY(f->node_count * sizeof *s->calls);
    for (int64_t i = 0; i < f->node_count; i++) {
        const onnx_file_node *n = &f->nodes[i];
        onnx_call *c = &s->calls[i];
        *c = (onnx_call){.type = n->type,
            .name = *n->name       ? n->name
                    : n->out_count ? n->out[0]
                                   : n->type,
            .opset = f->opset,
            .in_count = n->in_count,
            .out_count = n->out_count,
            .attributes = n->attributes,
            .attribute_count = n->attribute_count,
            .g = s->g,
            .memory = &s->memory};
        if (*n->domain && strcmp(n->domain, "ai.onnx") != 0)
            return onnx_fail(c, "operators of domain %s are not supported", n->domain);
        TRY(resolve_node(s, c, n));
    }
    for (int64_t i = 0; i < f->output_count; i++) {
        if (!(s->outputs[i] = find_value(s, f->outputs[i].name)))
            return FAIL(E_MODEL, "%s: output '%s' is defined nowhere", f->what, f->outputs[i].name);
        s->outputs[i]->readers++;
    }
    return OK;
}

onnx_call *onnx_import_producer(const onnx_import_state *s, const onnx_value *v)
{
    for (int64_t i = s->f->node_count - 1; i >= 0; i--)
        for (int32_t k = 0; k < s->calls[i].out_count; k++)
            if (s->calls[i].out[k] == v) return &s->calls[i];
    return NULL;
}

/* ---------------------------------------------------------------------------------------------------- inputs */

/* Open dimensions: the batch is 1; height and width are the caller's. */
static status input_shape(const onnx_import_state *s, const onnx_port *p, shape *to)
{
    *to = (shape){.rank = p->rank};
    if (!p->has_shape) return FAIL(E_MODEL, "%s: input '%s' has no shape", s->f->what, p->name);
    bool last = p->rank == 4 && onnx_is_channels_last((shape){4, {1, p->dim[1], p->dim[2], p->dim[3]}});
    for (int32_t i = 0; i < p->rank; i++) {
        to->dim[i] = p->dim[i];
        if (to->dim[i] > 0) continue;
        if (i == 0) to->dim[i] = 1;
        else if (p->rank == 4 && i == (last ? 1 : 2) && s->height > 0) to->dim[i] = s->height;
        else if (p->rank == 4 && i == (last ? 2 : 3) && s->width > 0) to->dim[i] = s->width;
        else
            return FAIL(
                E_MODEL, "%s: dimension %d of input '%s' is open: give the size of the image", s->f->what, i, p->name);
    }
    return OK;
}

bool onnx_is_channels_last(shape s)
{
    bool first = s.dim[1] == 1 || s.dim[1] == 3, last = s.dim[3] == 1 || s.dim[3] == 3;
    for (int32_t i = 1; i < 3; i++) last = last && (s.dim[i] > 4 || s.dim[i] < 0);
    return last && !first;
}

static status add_input(onnx_import_state *s, const onnx_port *p)
{
    onnx_value *v = find_value(s, p->name);
    if (v->constant) return OK;
    if (!p->is_float) return FAIL(E_MODEL, "%s: input '%s' is not of floats", s->f->what, p->name);
    if (s->g->input_count >= GRAPH_MAX_INPUTS)
        return FAIL(E_MODEL, "%s: more than %d inputs", s->f->what, GRAPH_MAX_INPUTS);
    TRY(input_shape(s, p, &v->shape));
    shape ours = v->shape;
    onnx_order_plain(ours.rank, v->axis);
    if (ours.rank == 4 && !onnx_is_channels_last(ours)) onnx_order_last(4, 1, v->axis);
    for (int32_t i = 0; i < ours.rank; i++) ours.dim[i] = v->shape.dim[v->axis[i]];
    v->edge = graph_input(s->g, p->name, DTYPE_F32, ours);
    if (v->edge != EDGE_NONE) return OK;
    return FAIL(
        status_code() == E_MEMORY ? E_MEMORY : E_MODEL, "%s: input '%s': %s", s->f->what, p->name, status_message());
}

/* ---------------------------------------------------------------------------------------------------- nodes */

static bool is_defined(const onnx_value *v) { return v->constant || v->edge != EDGE_NONE; }

static const onnx_rule *find_rule(const char *type)
{
    for (int32_t i = 0; op_table[i]; i++)
        for (const onnx_rule *r = op_table[i]->onnx ? op_table[i]->onnx->read : NULL; r && r->type; r++)
            if (strcmp(r->type, type) == 0) return r;
    return NULL;
}

bool onnx_knows(const char *type) { return onnx_folds(type) || find_rule(type); }

/* All that is missing, at once: every operator with the first node of it. */
static status check_operators(const onnx_file *f)
{
    enum { MOST = 16 };
    arena a = {0};
    const char *missing = "", *seen[MOST];
    int64_t count = 0;
    for (int64_t i = 0; i < f->node_count && count < MOST && missing; i++) {
        const onnx_file_node *n = &f->nodes[i];
        bool known = onnx_knows(n->type);
        for (int64_t k = 0; k < count && !known; k++) known = strcmp(seen[k], n->type) == 0;
        if (known) continue;
        seen[count++] = n->type;
        missing = arena_printf(&a, "%s%snode '%s' (%s)", missing, *missing ? ", " : "",
            *n->name || !n->out_count ? n->name : n->out[0], n->type);
    }
    status result =
        count ? FAIL(E_MODEL, "%s: operators that are not supported: %s", f->what, missing ? missing : "(no memory)")
              : OK;
    arena_free(&a);
    return result;
}

static status check_results(const onnx_call *c)
{
    for (int32_t i = 0; i < c->attribute_count; i++)
        if (!c->attributes[i].used) return onnx_fail(c, "attribute %s is not supported", c->attributes[i].name);
    for (int32_t k = 0; k < c->in_count; k++)
        if (c->in[k] && !(c->in_used >> k & 1))
            return onnx_fail(c, "input %d, '%s', is not supported", k, c->in[k]->name);
    for (int32_t k = 0; k < c->out_count; k++)
        if (c->out[k] && c->out[k]->readers > 0 && !is_defined(c->out[k]))
            return onnx_fail(c, "output %d, '%s', is not supported", k, c->out[k]->name);
    return OK;
}

/* What an import may take beside the file: several copies of every weight, and some room. */
enum { MEMORY_FACTOR = 12, MEMORY_ROOM = 256 << 20 };

static status check_memory(const onnx_import_state *s, const onnx_call *c)
{
    size_t used = s->memory.used_bytes + s->g->memory.used_bytes;
    if (used <= MEMORY_FACTOR * s->f->memory.used_bytes + MEMORY_ROOM) return OK;
    return onnx_fail(c, "up to here the network takes %zu MiB, far more than its file", used >> 20);
}

static status read_call(onnx_call *c)
{
    bool done = false;
    if (c->done) return OK;
    for (int32_t k = 0; k < c->in_count; k++)
        if (c->in[k] && !is_defined(c->in[k]))
            return onnx_fail(c, "input %d, '%s', is read before it is made", k, c->in[k]->name);
    TRY(onnx_fold(c, &done));
    if (!done) {
        const onnx_rule *r = find_rule(c->type);
        if (!r) return onnx_fail(c, "this operator is not supported");
        TRY(r->read(c));
    }
    return check_results(c);
}

status onnx_import_nodes(onnx_import_state *s)
{
    TRY(check_operators(s->f));
    /* What meant something else before opset 7 had attributes that no rule knows, and is refused by them. */
    if (s->f->opset < 1 || s->f->opset > ONNX_NEWEST_OPSET)
        return FAIL(E_MODEL, "%s: opset %" PRId64 ", expected 1 to %d", s->f->what, s->f->opset, ONNX_NEWEST_OPSET);
    TRY(collect_names(s));
    TRY(resolve(s));
    for (int64_t i = 0; i < s->f->input_count; i++) TRY(add_input(s, &s->f->inputs[i]));
    for (int64_t i = 0; i < s->f->node_count; i++) {
        TRY(read_call(&s->calls[i]));
        TRY(check_memory(s, &s->calls[i]));
    }
    return OK;
}

status onnx_import_outputs(onnx_import_state *s)
{
    const onnx_file *f = s->f;
    if (f->output_count < 1 || f->output_count > GRAPH_MAX_OUTPUTS)
        return FAIL(E_MODEL, "%s: %" PRId64 " outputs, expected 1 to %d", f->what, f->output_count, GRAPH_MAX_OUTPUTS);
    onnx_call c = {.type = "output", .g = s->g, .memory = &s->memory};
    for (int64_t i = 0; i < f->output_count; i++) {
        edge_id e;
        c.name = f->outputs[i].name;
        if (s->outputs[i]->shape.rank == 4) TRY(onnx_image(&c, s->outputs[i], &e));
        else TRY(onnx_plain(&c, s->outputs[i], &e));
        TRY(graph_output(s->g, e));
    }
    return OK;
}

void onnx_import_free(onnx_import_state *s)
{
    arena_free(&s->memory);
    *s = (onnx_import_state){0};
}
