/* session.c: one variant's run: guarded memory on the host or the device, what it must
 * not touch, the same bits twice. */
#include "tests/check/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 512, ALIGN = 256 };

static size_t room_of(const guarded *g)
{
    return g->exact ? g->bytes : 2 * GUARD + (g->bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* 0xf5: as f32, f16 and bf16 huge numbers, so that reading the bands shows, too. Exact: without bands, for those who
 * watch accesses (kernels/simt, compute-sanitizer). */
static guarded guarded_make(size_t bytes, int fill, device *dev, bool exact)
{
    guarded g = {.bytes = bytes, .dev = dev, .exact = exact};
    size_t room = room_of(&g);
    g.base = aligned_alloc(ALIGN, (room + ALIGN) / ALIGN * ALIGN);
    if (!g.base) BUG("out of memory");
    memset(g.base, 0xf5, room);
    g.at = exact ? g.base : g.base + GUARD;
    memset(g.at, fill, bytes);
    if (dev && bytes && dev->api->alloc(dev, room, (void **)&g.remote) != OK) BUG("%s", status_message());
    return g;
}

static void guarded_free(guarded *g)
{
    if (g->remote) g->dev->api->release(g->dev, g->remote);
    free(g->base);
}

/* The pointer that a kernel gets. */
static void *guarded_data(const guarded *g)
{
    if (!g->bytes) return NULL;
    return g->dev ? g->remote + (g->at - g->base) : g->at;
}

static bool guarded_intact(const guarded *g)
{
    if (g->exact || !g->base) return true;
    size_t room = room_of(g);
    for (size_t i = 0; i < GUARD; i++)
        if ((unsigned char)g->base[i] != 0xf5) return false;
    for (size_t i = GUARD + g->bytes; i < room; i++)
        if ((unsigned char)g->base[i] != 0xf5) return false;
    return true;
}

static status guarded_send(const guarded *g)
{
    return g->remote ? device_upload(g->dev, g->remote, g->base, room_of(g)) : OK;
}

static status guarded_fetch(const guarded *g)
{
    return g->remote ? device_download(g->dev, g->base, g->remote, room_of(g)) : OK;
}

status session_each(session *s, status (*visit)(const guarded *))
{
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) TRY(visit(&s->in[i]));
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) TRY(visit(&s->out[i]));
    TRY(visit(&s->scratch));
    return visit(&s->packed);
}

void session_open(session *s, const check_case *c, const kernel *k, const session_options *o)
{
    device *dev = k->backend == BACKEND_CUDA ? o->dev : NULL;
    *s = (session){.dev = dev, .call = {.desc = &c->desc, .state = o->state, .stream = dev ? dev->stream : NULL}};
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) {
        const check_tensor *t = &c->tensors.out[i];
        if (!t->count) continue;
        s->out[i] = guarded_make(check_tensor_bytes(t), o->garbage, dev, o->exact);
        if (c->start.out[i]) memcpy(s->out[i].at, c->start.out[i], check_tensor_bytes(t));
        s->call.out[i] = guarded_data(&s->out[i]);
    }
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) {
        const check_tensor *t = &c->tensors.in[i];
        if (!t->count) continue;
        if (o->alias >= 0 && i == o->alias % 16) {
            memcpy(s->out[o->alias / 16].at, c->start.in[i], check_tensor_bytes(t));
            s->call.in[i] = guarded_data(&s->out[o->alias / 16]);
            continue;
        }
        s->in[i] = guarded_make(check_tensor_bytes(t), 0, dev, o->exact);
        memcpy(s->in[i].at, c->start.in[i], check_tensor_bytes(t));
        s->call.in[i] = guarded_data(&s->in[i]);
    }
    s->scratch = guarded_make(k->scratch_bytes ? k->scratch_bytes(&c->desc, o->state) : 0, o->garbage, dev, o->exact);
    s->packed = guarded_make(k->packed_bytes ? k->packed_bytes(&c->desc, o->state) : 0, o->garbage, dev, o->exact);
    s->call.scratch = guarded_data(&s->scratch);
    s->call.packed = guarded_data(&s->packed);
}

void session_close(session *s)
{
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) guarded_free(&s->in[i]);
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) guarded_free(&s->out[i]);
    guarded_free(&s->scratch);
    guarded_free(&s->packed);
}

status session_start(session *s, const kernel *k)
{
    TRY(session_each(s, guarded_send));
    return k->pack ? k->pack(&s->call) : OK;
}

static bool session_run(session *s, const check_case *c, const kernel *k, char *why)
{
    status result = session_start(s, k);
    const char *phase = "pack";
    if (result == OK) phase = "run", result = k->run(&s->call);
    if (result == OK && s->dev) phase = "device", result = device_sync(s->dev);
    if (result == OK) result = session_each(s, guarded_fetch);
    if (result != OK) {
        snprintf(why, 256, "%s failed: %.200s", phase, status_message());
        return false;
    }
    const char *what = NULL;
    int32_t which = -1;
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) {
        if (!s->in[i].base) continue;
        if (!guarded_intact(&s->in[i])) what = "wrote beside input", which = i;
        if (memcmp(s->in[i].at, c->start.in[i], s->in[i].bytes) != 0) what = "changed input", which = i;
    }
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++)
        if (!guarded_intact(&s->out[i])) what = "wrote beside output", which = i;
    if (!guarded_intact(&s->scratch)) what = "wrote beside scratch", which = -1;
    if (!guarded_intact(&s->packed)) what = "wrote beside packed", which = -1;
    if (what) snprintf(why, 256, which >= 0 ? "%s %d" : "%s", what, which);
    return !what;
}

static bool same_bits(const session *a, const session *b, char *why)
{
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) {
        for (size_t at = 0; at < a->out[i].bytes; at++) {
            if (a->out[i].at[at] == b->out[i].at[at]) continue;
            snprintf(why, 256,
                "output %d differs at byte %zu of %zu between two runs (unwritten, or not the same bits)", i, at,
                a->out[i].bytes);
            return false;
        }
    }
    return true;
}

bool check_variant(const check_case *c, const kernel *k, device *dev, char *why)
{
    session_options o = {.dev = dev, .garbage = 0xff, .alias = -1};
    if (k->create && k->create(&c->desc, &o.state) != OK) {
        snprintf(why, 256, "create failed: %.200s", status_message());
        return false;
    }
    session first, second;
    session_open(&first, c, k, &o);
    bool good = session_run(&first, c, k, why);
    for (int32_t i = 0; i < KERNEL_MAX_OUT && good; i++)
        if (c->tensors.out[i].count) good = check_output(c, i, first.out[i].at, why);
    if (good) {
        /* Other garbage under the outputs, on a device without guard bands, and where the contract allows it
         * the output on top of an input. */
        o.garbage = 0x5a;
        o.alias = c->family->alias ? c->family->alias(c->op, &c->desc) : -1;
        o.exact = first.dev != NULL;
        session_open(&second, c, k, &o);
        good = session_run(&second, c, k, why) && same_bits(&first, &second, why);
        session_close(&second);
    }
    session_close(&first);
    if (k->destroy) k->destroy(o.state);
    return good;
}
