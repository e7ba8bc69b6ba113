#include "core/train/step_io.h"

#include <string.h>

enum { ALIGN = 256 };

static size_t padded(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static edge_id input_of(const trainable *g, int input)
{
    return input == 0 ? g->image : input == 1 ? g->sample_keys : g->label[input - 2];
}

int64_t step_io_bytes(const device *dev, const trainable *g)
{
    if (!dev->api->overlaps) return 0;
    size_t bytes = padded((size_t)g->graph.edges[g->image].shape.dim[0] * sizeof(image_source));
    for (int i = 0; i < STEP_INPUTS; i++) bytes += padded(trainable_bytes(g, input_of(g, i)));
    return (int64_t)bytes;
}

static status init_slots(step_io *io)
{
    const device_api *api = io->dev->api;
    for (int i = 0; i < STEP_SLOTS; i++) {
        step_slot *s = &io->slot[i];
        TRY(api->host_alloc(io->dev, TERM_MAX * sizeof *s->term, (void **)&s->term));
        TRY(api->event_create(io->dev, &s->event));
    }
    return OK;
}

static status init_overlap(step_io *io, const trainable *g)
{
    device *dev = io->dev;
    io->overlapped = dev->api->overlaps;
    if (!io->overlapped) return OK;
    TRY(dev->api->stream_create(dev, &io->copy_stream));
    TRY(dev->api->event_create(dev, &io->arrived));
    TRY(dev->api->event_create(dev, &io->taken));
    return buffer_init(&io->staged, dev, (size_t)step_io_bytes(dev, g), "the next batch");
}

/* The loader leaves pictures where their floats would be: picture i begins at byte i * bytes / n. */
static status init_warp(step_io *io, const preprocess *p)
{
    device *dev = io->dev;
    if (!io->overlapped)
        return FAIL(E_USAGE,
            "data.gpu_augment = true needs a GPU: set it to false, or run with device = cuda where there is one");
    io->warp_desc = (image_warp_desc){.n = io->n,
        .height = p->height,
        .width = p->width,
        .bytes = (int64_t)io->bytes[0],
        .channels = p->channels,
        .dst_channels = p->channels,
        .type = DTYPE_F32,
        .bgr = p->bgr};
    for (int32_t c = 0; c < 3; c++) {
        io->warp_desc.mean[c] = p->mean[c];
        io->warp_desc.std[c] = c < p->channels ? p->std[c] : 1;
    }
    TRY(dev->api->host_alloc(dev, (size_t)io->n * sizeof *io->table, (void **)&io->table));
    return kernel_select(&io->warp, OP_IMAGE_WARP, dev->api->kernels, &io->warp_desc, NULL, NULL);
}

status step_io_init(step_io *io, device *dev, plan *p, const trainable *g, loader *l, const preprocess *raw)
{
    *io = (step_io){.dev = dev, .plan = p, .loader = l, .terms = g->terms, .n = g->graph.edges[g->image].shape.dim[0]};
    for (int i = 0; i < STEP_INPUTS; i++) {
        io->input[i] = input_of(g, i);
        io->bytes[i] = trainable_bytes(g, io->input[i]);
    }
    status result = init_slots(io);
    if (result == OK) result = init_overlap(io, g);
    if (result == OK && raw) result = init_warp(io, raw);
    if (result != OK) step_io_free(io);
    return result;
}

void step_io_free(step_io *io)
{
    if (!io->dev) return;
    const device_api *api = io->dev->api;
    if (io->copy_stream) (void)api->stream_sync(io->dev, io->copy_stream);
    for (int i = 0; i < STEP_SLOTS; i++) {
        step_slot *s = &io->slot[i];
        if (s->term) api->host_release(io->dev, s->term);
        api->event_destroy(io->dev, s->event);
    }
    api->event_destroy(io->dev, io->arrived);
    api->event_destroy(io->dev, io->taken);
    api->stream_destroy(io->dev, io->copy_stream);
    buffer_free(&io->staged);
    if (io->table) api->host_release(io->dev, io->table);
    *io = (step_io){0};
}

static const void *batch_data(const batch *b, int input)
{
    return input == 0 ? (const void *)b->images : input == 1 ? (const void *)b->sample_keys : b->label[input - 2];
}

static void fill_table(step_io *io, const batch *b)
{
    for (int64_t i = 0; i < io->n; i++) {
        const picture *p = &b->pictures[i];
        image_source *s = &io->table[i];
        *s = (image_source){.offset = i * (io->warp_desc.bytes / io->n),
            .width = p->width,
            .height = p->height,
            .radius_x = p->radius[0],
            .radius_y = p->radius[1],
            .fill = (float)p->fill,
            .has_color = p->has_color};
        memcpy(s->inverse, p->inverse, sizeof s->inverse);
        memcpy(s->color, p->color, sizeof s->color);
    }
}

/* Sends a batch to the staged inputs. */
static status stage(step_io *io, const batch *b, void *stream)
{
    device *dev = io->dev;
    char *to = io->staged.data;
    for (int i = 0; i < STEP_INPUTS; i++) {
        if (!io->bytes[i]) continue;
        TRY(dev->api->copy_in(dev, to, batch_data(b, i), io->bytes[i], stream));
        to += padded(io->bytes[i]);
    }
    if (!io->warp) return OK;
    fill_table(io, b);
    return dev->api->copy_in(dev, to, io->table, (size_t)io->n * sizeof *io->table, stream);
}

/* Staged inputs become the plan's; raw pictures are warped on the way. */
static status unstage(step_io *io, plan *p)
{
    device *dev = io->dev;
    const char *from = io->staged.data, *table = from;
    for (int i = 0; i < STEP_INPUTS; i++) table += io->bytes[i] ? padded(io->bytes[i]) : 0;
    for (int i = 0; i < STEP_INPUTS; i++) {
        if (!io->bytes[i]) continue;
        void *to = plan_edge_data(p, io->input[i]);
        if (i == 0 && io->warp)
            TRY(io->warp->run(
                &(kernel_call){.desc = &io->warp_desc, .out = {to}, .in = {from, table}, .stream = dev->stream}));
        else TRY(dev->api->copy(dev, to, from, io->bytes[i], dev->stream));
        from += padded(io->bytes[i]);
    }
    return OK;
}

/* The batch that was prefetched moves within the device, which takes microseconds. */
static status use_staged(step_io *io)
{
    device *dev = io->dev;
    TRY(dev->api->event_wait(dev, io->arrived, dev->stream));
    TRY(unstage(io, io->plan));
    TRY(dev->api->event_record(dev, io->taken, dev->stream));
    io->slot[io->fed++ % STEP_SLOTS].replaced = io->next->replaced;
    return OK;
}

status step_io_set_inputs(step_io *io, plan *p, const batch *b)
{
    if (!io->warp) {
        for (int i = 0; i < STEP_INPUTS; i++)
            if (io->bytes[i]) TRY(plan_set_input(p, io->input[i], batch_data(b, i), io->bytes[i]));
        return OK;
    }
    if (io->next) BUG("step_io_set_inputs while a batch is under way");
    TRY(stage(io, b, io->dev->stream));
    TRY(unstage(io, p));
    return io->dev->api->stream_sync(io->dev, io->dev->stream);
}

status step_io_feed(step_io *io)
{
    if (!io->next) TRY(step_io_prefetch(io));
    const batch *b = io->next;
    if (io->overlapped) {
        TRY(use_staged(io));
        /* Its memory is the loader's again once it has been read. */
        TRY(io->dev->api->event_sync(io->dev, io->arrived));
        io->next = NULL;
        return OK;
    }
    io->next = NULL;
    TRY(step_io_set_inputs(io, io->plan, b));
    io->slot[io->fed++ % STEP_SLOTS].replaced = b->replaced;
    return OK;
}

status step_io_prefetch(step_io *io)
{
    device *dev = io->dev;
    const batch *b;
    if (io->next) return OK;
    TRY(loader_next(io->loader, &b));
    if (!io->overlapped) {
        io->next = b;
        return OK;
    }
    device_range_push(dev, "copy batch");
    TRY(dev->api->event_wait(dev, io->taken, io->copy_stream));
    TRY(stage(io, b, io->copy_stream));
    TRY(dev->api->event_record(dev, io->arrived, io->copy_stream));
    device_range_pop(dev);
    io->next = b;
    return OK;
}

status step_io_send(step_io *io)
{
    device *dev = io->dev;
    step_slot *s = &io->slot[io->sent % STEP_SLOTS];
    if (io->sent - io->received >= STEP_SLOTS || io->sent >= io->fed) BUG("step_io_send out of order");
    for (int32_t i = 0; i < io->terms.count; i++)
        TRY(dev->api->copy_out(
            dev, &s->term[i], plan_edge_data(io->plan, io->terms.item[i].edge), sizeof *s->term, dev->stream));
    TRY(dev->api->event_record(dev, s->event, dev->stream));
    io->sent++;
    return OK;
}

status step_io_receive(step_io *io, step_result *r)
{
    const step_slot *s = &io->slot[io->received % STEP_SLOTS];
    if (io->received >= io->sent) BUG("step_io_receive out of order");
    TRY(io->dev->api->event_sync(io->dev, s->event));
    io->received++;
    *r = (step_result){.n = io->n, .replaced = s->replaced};
    for (int32_t i = 0; i < io->terms.count; i++) r->term[i] = s->term[i];
    return OK;
}

status step_io_drop(step_io *io)
{
    if (!io->next) return OK;
    io->next = NULL;
    return io->overlapped ? io->dev->api->stream_sync(io->dev, io->copy_stream) : OK;
}
