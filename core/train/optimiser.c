#include "core/train/optimiser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static update_rule rule_of(spec_optimizer_type type)
{
    switch (type) {
    case OPTIMIZER_ADAM: return UPDATE_ADAM;
    case OPTIMIZER_ADAMW: return UPDATE_ADAMW;
    case OPTIMIZER_RMSPROP: return UPDATE_RMSPROP;
    default: return UPDATE_SGD;
    }
}

/* SGD without momentum needs no moments; RMSprop's first moment is its momentum, the second its mean square. */
static bool needs_moment1(const spec *s)
{
    return s->optimizer.type == OPTIMIZER_ADAM || s->optimizer.type == OPTIMIZER_ADAMW || s->optimizer.momentum > 0;
}

static bool needs_moment2(const spec *s)
{
    return s->optimizer.type != OPTIMIZER_SGD;
}

static void describe_update(optimiser_desc *d, const spec *s, const param_store *store)
{
    const spec_optimizer *o = &s->optimizer;
    double w = s->train.regularizer_weight;
    *d = (optimiser_desc){.count = param_store_count(store),
        .segments = param_store_segments(store),
        .rule = rule_of(o->type),
        .momentum = (float)o->momentum,
        .beta1 = (float)o->beta1,
        .beta2 = (float)o->beta2,
        .rho = (float)o->rho,
        .epsilon = (float)o->epsilon,
        .weight_decay = (float)o->weight_decay,
        .clip_norm = (float)s->train.clip_norm,
        .l1_weight = s->train.regularizer == REGULARIZER_L1 ? (float)w : 0,
        .l2_weight = s->train.regularizer == REGULARIZER_L2 ? (float)w : 0,
        .ema_decay = (float)s->train.ema_decay,
        .nesterov = o->nesterov};
}

static status upload_segments(optimiser *o, const spec *s, const float *rates)
{
    int32_t count = o->desc.segments;
    param_segment *table = calloc((size_t)count + 1, sizeof *table);
    if (!table) return FAIL_MEMORY(count * sizeof *table);
    for (int32_t i = 0; i < count; i++) {
        const param_info *info = param_store_info(o->store, i);
        /* Vectors are batch-norm parameters and biases. */
        bool vector = info->shape.rank <= 1;
        table[i] = (param_segment){.offset = info->offset,
            .count = info->count,
            .rate_factor = info->frozen ? 0
                           : rates      ? rates[i]
                                        : 1,
            .decay_factor = vector && !s->train.regularize_bn_bias ? 0 : 1};
    }
    size_t bytes = (size_t)count * sizeof *table;
    status result = buffer_init(&o->segments, o->dev, bytes, "table of parameters");
    if (result == OK) result = device_upload(o->dev, o->segments.data, table, bytes);
    free(table);
    return result;
}

static status init_buffers(optimiser *o, const spec *s, const float *rates)
{
    device *dev = o->dev;
    int64_t states;
    float *state = param_store_state(o->store, &states);
    size_t bytes = (size_t)o->desc.count * sizeof(float), state_bytes = (size_t)states * sizeof(float);
    bool averaged = s->train.ema_decay > 0;
    TRY(upload_segments(o, s, rates));
    TRY(buffer_init(&o->state, dev, sizeof(step_state), "step state"));
    TRY(dev->api->host_alloc(dev, sizeof *o->sent, (void **)&o->sent));
    TRY(dev->api->host_alloc(dev, sizeof *o->received, (void **)&o->received));
    if (needs_moment1(s)) TRY(buffer_init(&o->moment1, dev, bytes, "first moments of the optimiser"));
    if (needs_moment2(s)) TRY(buffer_init(&o->moment2, dev, bytes, "second moments of the optimiser"));
    TRY(buffer_init(&o->kept_state, dev, state_bytes, "copy of the running statistics"));
    if (!averaged) return OK;
    TRY(buffer_init(&o->ema, dev, bytes, "averaged weights"));
    TRY(buffer_init(&o->ema_state, dev, state_bytes, "averaged running statistics"));
    TRY(buffer_init(&o->spare, dev, bytes > state_bytes ? bytes : state_bytes, "spare copy of the weights"));
    TRY(dev->api->copy(dev, o->ema.data, param_store_weights(o->store), bytes, dev->stream));
    return states ? dev->api->copy(dev, o->ema_state.data, state, state_bytes, dev->stream) : OK;
}

static status pick(const optimiser *o, const kernel **k, void **state, kernel_op op, const void *desc,
    const state_list *variants, int32_t index, size_t *scratch)
{
    const char *prefer = variants && index < variants->count ? variants->item[index] : NULL;
    TRY(kernel_select(k, op, o->dev->api->kernels, desc, prefer, NULL));
    if ((*k)->create) TRY((*k)->create(desc, state));
    size_t bytes = (*k)->scratch_bytes ? (*k)->scratch_bytes(desc, *state) : 0;
    if (bytes > *scratch) *scratch = bytes;
    return OK;
}

static status init_kernels(optimiser *o, const spec *s, const state_list *variants)
{
    size_t scratch = 0;
    TRY(pick(o, &o->check, &o->check_state, OP_GRAD_CHECK, &o->desc, variants, 0, &scratch));
    TRY(pick(o, &o->update, &o->update_state, OP_OPTIMISER, &o->desc, variants, 1, &scratch));
    int64_t states;
    param_store_state(o->store, &states);
    if (s->train.ema_decay > 0 && states > 0) {
        float decay = (float)s->train.ema_decay;
        o->mix_desc = (binary_desc){
            .n = 1, .pixels = 1, .channels = states, .type = DTYPE_F32, .a_scale = decay, .b_scale = 1 - decay};
        TRY(pick(o, &o->mix, &o->mix_state, OP_ADD, &o->mix_desc, variants, 2, &scratch));
    }
    return buffer_init(&o->scratch, o->dev, scratch, "scratch of the optimiser");
}

status optimiser_init(
    optimiser *o, device *dev, param_store *store, const spec *s, const state_list *variants, const float *rates)
{
    *o = (optimiser){.dev = dev, .store = store, .loss_scale = 1};
    replay_init(&o->update_all, dev);
    describe_update(&o->desc, s, store);
    status result = init_buffers(o, s, rates);
    if (result == OK) result = init_kernels(o, s, variants);
    if (result != OK) optimiser_free(o);
    return result;
}

void optimiser_free(optimiser *o)
{
    replay_free(&o->update_all);
    if (o->sent) o->dev->api->host_release(o->dev, o->sent);
    if (o->received) o->dev->api->host_release(o->dev, o->received);
    if (o->check && o->check->destroy) o->check->destroy(o->check_state);
    if (o->update && o->update->destroy) o->update->destroy(o->update_state);
    if (o->mix && o->mix->destroy) o->mix->destroy(o->mix_state);
    buffer *all[] = {&o->segments, &o->state, &o->moment1, &o->moment2, &o->ema, &o->ema_state, &o->spare,
        &o->kept_state, &o->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) buffer_free(all[i]);
    *o = (optimiser){0};
}

int32_t optimiser_variants(const optimiser *o, const char *names[3])
{
    names[0] = o->check->name;
    names[1] = o->update->name;
    names[2] = o->mix ? o->mix->name : "";
    return 3;
}

status optimiser_begin(optimiser *o)
{
    int64_t count;
    float *state = param_store_state(o->store, &count);
    if (count == 0) return OK;
    return o->dev->api->copy(o->dev, o->kept_state.data, state, (size_t)count * sizeof(float), o->dev->stream);
}

status optimiser_restore_state(optimiser *o)
{
    int64_t count;
    float *state = param_store_state(o->store, &count);
    if (count == 0) return OK;
    return o->dev->api->copy(o->dev, state, o->kept_state.data, (size_t)count * sizeof(float), o->dev->stream);
}

/* The same calls with the same arguments in every step: what changes is in the memory behind `sent`. */
static status check_and_update(void *optimiser_)
{
    optimiser *o = optimiser_;
    device *dev = o->dev;
    float *grad = param_store_gradients(o->store), *weight = param_store_weights(o->store);
    TRY(dev->api->copy_in(dev, o->state.data, o->sent, sizeof *o->sent, dev->stream));

    kernel_call check = {.desc = &o->desc,
        .in = {grad, o->segments.data},
        .out = {o->state.data},
        .scratch = o->scratch.data,
        .state = o->check_state,
        .stream = dev->stream};
    TRY(o->check->run(&check));

    kernel_call update = {.desc = &o->desc, .in = {grad, o->segments.data}, .scratch = o->scratch.data,
        .state = o->update_state, .stream = dev->stream};
    update.out[OPTIMISER_WEIGHT] = weight;
    update.out[OPTIMISER_MOMENT1] = o->moment1.data;
    update.out[OPTIMISER_MOMENT2] = o->moment2.data;
    update.out[OPTIMISER_EMA] = o->ema.data;
    update.out[OPTIMISER_STATE] = o->state.data;
    update.out[OPTIMISER_GRAD_ZEROED] = grad;
    TRY(o->update->run(&update));
    return dev->api->copy_out(dev, o->received, o->state.data, sizeof *o->received, dev->stream);
}

status optimiser_step(optimiser *o, comm *c, double rate, int64_t applied)
{
    device *dev = o->dev;
    if (c->world > 1)
        TRY(comm_all_reduce_sum(c, param_store_gradients(o->store), o->desc.count, DTYPE_F32, dev->stream));
    *o->sent = (step_state){.learning_rate = (float)rate,
        .loss_scale = o->loss_scale,
        .clip_factor = 1,
        .step = applied,
        .finite = 1,
        .bad_segment = -1};
    device_range_push(dev, "update");
    status result = replay_run(&o->update_all, check_and_update, o);
    device_range_pop(dev);
    param_store_changed(o->store);
    return result;
}

status optimiser_result(optimiser *o, step_state *result)
{
    TRY(device_sync(o->dev));
    *result = *o->received;
    if (result->finite) return OK;
    TRY(o->dev->api->zero(
        o->dev, param_store_gradients(o->store), (size_t)o->desc.count * sizeof(float), o->dev->stream));
    return optimiser_restore_state(o);
}

status optimiser_average_state(optimiser *o)
{
    if (!o->mix) return OK;
    int64_t count;
    float *state = param_store_state(o->store, &count);
    kernel_call call = {.desc = &o->mix_desc,
        .in = {o->ema_state.data, state},
        .out = {o->ema_state.data},
        .scratch = o->scratch.data,
        .state = o->mix_state,
        .stream = o->dev->stream};
    return o->mix->run(&call);
}

static status exchange(optimiser *o, void *a, void *b, size_t bytes)
{
    device *dev = o->dev;
    if (bytes == 0) return OK;
    TRY(dev->api->copy(dev, o->spare.data, a, bytes, dev->stream));
    TRY(dev->api->copy(dev, a, b, bytes, dev->stream));
    return dev->api->copy(dev, b, o->spare.data, bytes, dev->stream);
}

status optimiser_swap_ema(optimiser *o)
{
    if (!o->ema.data) return OK;
    int64_t states;
    float *state = param_store_state(o->store, &states);
    TRY(exchange(o, param_store_weights(o->store), o->ema.data, (size_t)o->desc.count * sizeof(float)));
    TRY(exchange(o, state, o->ema_state.data, (size_t)states * sizeof(float)));
    param_store_changed(o->store);
    o->swapped = !o->swapped;
    return OK;
}

int64_t optimiser_bytes(const spec *s, int64_t count, int64_t state_count)
{
    bool averaged = s->train.ema_decay > 0;
    int64_t weights = (needs_moment1(s) ? 1 : 0) + (needs_moment2(s) ? 1 : 0) + (averaged ? 2 : 0);
    return 4 * (weights * count + (averaged ? 2 : 1) * state_count);
}

/* Device memory behind block i of a state file. */
static int32_t list_blocks(
    const optimiser *o, state_block blocks[STATE_MAX_BLOCKS], void *device_data[STATE_MAX_BLOCKS])
{
    size_t bytes = (size_t)o->desc.count * sizeof(float);
    int32_t count = 0;
    const struct { const char *name; void *data; size_t bytes; } all[] = {
        {"moment1", o->moment1.data, bytes}, {"moment2", o->moment2.data, bytes},
        {"weight", o->ema.data ? param_store_weights(o->store) : NULL, bytes},
        {"state", o->ema.data ? param_store_state(o->store, &(int64_t){0}) : NULL, o->ema_state.bytes},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!all[i].data || all[i].bytes == 0) continue;
        blocks[count] = (state_block){.name = all[i].name, .bytes = all[i].bytes};
        device_data[count++] = all[i].data;
    }
    return count;
}

int32_t optimiser_blocks(const optimiser *o, state_block blocks[STATE_MAX_BLOCKS])
{
    void *device_data[STATE_MAX_BLOCKS];
    return list_blocks(o, blocks, device_data);
}

status optimiser_download(optimiser *o, const state_block *blocks, int32_t count)
{
    state_block known[STATE_MAX_BLOCKS];
    void *device_data[STATE_MAX_BLOCKS];
    if (o->swapped || list_blocks(o, known, device_data) != count) BUG("optimiser_download out of order");
    for (int32_t i = 0; i < count; i++)
        TRY(device_download(o->dev, (void *)blocks[i].data, device_data[i], blocks[i].bytes));
    return OK;
}

status optimiser_upload(optimiser *o, const train_state *s)
{
    state_block known[STATE_MAX_BLOCKS];
    void *device_data[STATE_MAX_BLOCKS];
    int32_t count = list_blocks(o, known, device_data);
    for (int32_t i = 0; i < count; i++) {
        const state_block *b = state_find(s, known[i].name);
        if (!b || b->bytes != known[i].bytes)
            return FAIL(E_MODEL,
                "the state file has no block \"%s\" of %zu bytes: it is of another network or optimiser", known[i].name,
                known[i].bytes);
        TRY(device_upload(o->dev, device_data[i], b->data, b->bytes));
    }
    param_store_changed(o->store);
    return OK;
}

uint64_t optimiser_layout(const param_store *store)
{
    uint64_t hash = hash64("layout", 6);
    for (int32_t i = 0; i < param_store_segments(store); i++) {
        const param_info *info = param_store_info(store, i);
        const uint64_t row[4] = {hash, hash64_text(info->name), (uint64_t)info->offset, (uint64_t)info->count};
        hash = hash64(row, sizeof row);
    }
    return hash;
}
