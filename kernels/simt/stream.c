/* stream.c: copies, streams, events and graphs. Work is done when it is enqueued; a captured stream
 * keeps it in its graph instead. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/simt/engine.h"
#include "kernels/simt/gpu.h"

typedef enum node_kind { NODE_LAUNCH, NODE_COPY, NODE_SET, NODE_HOST } node_kind;

typedef struct node {
    node_kind kind;
    launch l; /* closure: ours */
    void *dst;
    const void *src;
    size_t bytes;
    int value;
    cudaHostFn_t fn;
} node;

/* In order of capture, which is an order that all dependencies allow. Shared by the graph
 * and what is instantiated from it. */
struct CUgraph_st {
    node *nodes;
    size_t count, capacity;
    atomic_int owners;
    atomic_bool open; /* between begin and end of the capture */
};
struct CUgraphExec_st {
    cudaGraph_t graph;
};
/* A stream or event owns a share of the graph that it is part of, until it sees that the capture has ended. */
struct CUstream_st {
    cudaGraph_t capture;
    bool joined, broken; /* joined: by waiting for an event of the captured stream */
    enum cudaStreamCaptureMode mode;
};
struct CUevent_st {
    double seconds; /* 0: never recorded */
    cudaGraph_t capture;
    bool timed;
};

/* Captures under way: of the whole process (cudaStreamCaptureModeGlobal), and of this host thread (ThreadLocal).
 * A relaxed one forbids nothing. */
static atomic_int captures;
static _Thread_local int thread_captures;

bool capture_active(void)
{
    return atomic_load(&captures) > 0 || thread_captures > 0;
}

static void count_capture(enum cudaStreamCaptureMode mode, int change)
{
    if (mode == cudaStreamCaptureModeGlobal) atomic_fetch_add(&captures, change);
    if (mode == cudaStreamCaptureModeThreadLocal) thread_captures += change;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------ nodes */

static cudaError_t node_run(const node *n)
{
    switch (n->kind) {
    case NODE_LAUNCH:
        return launch_run(&n->l) == OK ? cudaSuccess : gpu_error(cudaErrorLaunchFailure, "%s", status_message());
    case NODE_COPY: memmove(n->dst, n->src, n->bytes); break;
    case NODE_SET: memset(n->dst, n->value, n->bytes); break;
    case NODE_HOST: n->fn(n->dst); break;
    }
    return cudaSuccess;
}

static void graph_release(cudaGraph_t g)
{
    if (!g || atomic_fetch_sub(&g->owners, 1) > 1) return;
    for (size_t i = 0; i < g->count; i++) free((void *)(uintptr_t)g->nodes[i].l.closure);
    free(g->nodes);
    free(g);
}

static cudaGraph_t graph_share(cudaGraph_t g)
{
    if (g) atomic_fetch_add(&g->owners, 1);
    return g;
}

/* The graph that *capture is part of, or NULL; lets go of one that has ended. */
static cudaGraph_t still_open(cudaGraph_t *capture)
{
    if (*capture && !atomic_load(&(*capture)->open)) {
        graph_release(*capture);
        *capture = NULL;
    }
    return *capture;
}

static cudaGraph_t capture_of(cudaStream_t stream)
{
    return stream ? still_open(&stream->capture) : NULL;
}

static cudaError_t graph_add(cudaGraph_t g, const node *n)
{
    if (g->count == g->capacity) {
        size_t more = g->capacity ? 2 * g->capacity : 64;
        node *grown = realloc(g->nodes, more * sizeof *grown);
        if (!grown) return gpu_error(cudaErrorMemoryAllocation, "out of memory");
        g->nodes = grown;
        g->capacity = more;
    }
    g->nodes[g->count++] = *n;
    return cudaSuccess;
}

static cudaError_t enqueue(const node *n, cudaStream_t stream)
{
    if (capture_of(stream)) return graph_add(stream->capture, n);
    if (!stream && capture_active())
        return gpu_error(
            cudaErrorStreamCaptureUnsupported, "work on the default stream while a stream is being captured");
    return node_run(n);
}

bool capture_launch(const launch *l, void *stream, status *result)
{
    cudaStream_t s = stream;
    if (!capture_of(s)) return false;
    node n = {.kind = NODE_LAUNCH, .l = *l};
    void *closure = aligned_alloc(64, (l->closure_bytes + 63) / 64 * 64);
    if (!closure) {
        *result = FAIL_MEMORY(l->closure_bytes);
        return true;
    }
    memcpy(closure, l->closure, l->closure_bytes);
    n.l.closure = closure;
    *result = graph_add(s->capture, &n) == cudaSuccess ? OK : FAIL_MEMORY(sizeof n);
    return true;
}

/* ------------------------------------------------------------------------------------------------ copies */

static cudaError_t check_copy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    if ((unsigned)kind > cudaMemcpyDefault)
        return gpu_error(cudaErrorInvalidMemcpyDirection, "invalid copy direction %d", (int)kind);
    if (kind == cudaMemcpyDefault || bytes == 0) return cudaSuccess;
    cudaError_t error =
        memory_check(dst, bytes, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice, "copy to");
    if (error != cudaSuccess) return error;
    return memory_check(src, bytes, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice, "copy from");
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    cudaError_t error = check_copy(dst, src, bytes, kind);
    if (error != cudaSuccess || bytes == 0) return error;
    return enqueue(&(node){.kind = NODE_COPY, .dst = dst, .src = src, .bytes = bytes}, stream);
}

cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    return cudaMemcpyAsync(dst, src, bytes, kind, NULL);
}

cudaError_t cudaMemsetAsync(void *data, int value, size_t bytes, cudaStream_t stream)
{
    if (bytes == 0) return cudaSuccess;
    cudaError_t error = memory_check(data, bytes, true, "cudaMemset");
    return error != cudaSuccess
               ? error
               : enqueue(&(node){.kind = NODE_SET, .dst = data, .value = value, .bytes = bytes}, stream);
}

cudaError_t cudaMemset(void *data, int value, size_t bytes)
{
    return cudaMemsetAsync(data, value, bytes, NULL);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void *context)
{
    return enqueue(&(node){.kind = NODE_HOST, .fn = fn, .dst = context}, stream);
}

/* ------------------------------------------------------------------------------------------------ streams */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    (void)flags;
    *stream = calloc(1, sizeof **stream);
    return *stream ? cudaSuccess : gpu_error(cudaErrorMemoryAllocation, "out of memory");
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, 0); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (!stream) return gpu_error(cudaErrorInvalidResourceHandle, "cudaStreamDestroy: no stream");
    if (stream->capture && !stream->joined) {
        atomic_store(&stream->capture->open, false);
        count_capture(stream->mode, -1);
    }
    graph_release(stream->capture);
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (!capture_of(stream)) return cudaSuccess;
    stream->broken = true;
    return gpu_error(cudaErrorStreamCaptureUnsupported, "cudaStreamSynchronize on a stream that is being captured");
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    if (!event) return gpu_error(cudaErrorInvalidResourceHandle, "cudaStreamWaitEvent: no event");
    if (!still_open(&event->capture)) return cudaSuccess;
    if (!stream)
        return gpu_error(cudaErrorStreamCaptureUnsupported, "the default stream cannot wait for a captured event");
    if (!capture_of(stream)) stream->capture = graph_share(event->capture), stream->joined = true;
    return cudaSuccess;
}

/* ------------------------------------------------------------------------------------------------ events */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = calloc(1, sizeof **event);
    if (!*event) return gpu_error(cudaErrorMemoryAllocation, "out of memory");
    (*event)->timed = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    if (!event) return gpu_error(cudaErrorInvalidResourceHandle, "cudaEventDestroy: no event");
    graph_release(event->capture);
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (!event) return gpu_error(cudaErrorInvalidResourceHandle, "cudaEventRecord: no event");
    graph_release(event->capture);
    event->capture = graph_share(capture_of(stream));
    event->seconds = now();
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    if (!event) return gpu_error(cudaErrorInvalidResourceHandle, "cudaEventSynchronize: no event");
    return still_open(&event->capture) ? gpu_error(cudaErrorCapturedEvent, "the host cannot wait for a captured event")
                                       : cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }

cudaError_t cudaEventElapsedTime(float *time_ms, cudaEvent_t begin, cudaEvent_t end)
{
    if (!begin || !end || begin->seconds == 0 || end->seconds == 0 || !begin->timed || !end->timed)
        return gpu_error(
            cudaErrorInvalidResourceHandle, "cudaEventElapsedTime: an event was never recorded, or is not timed");
    *time_ms = (float)(1e3 * (end->seconds - begin->seconds));
    return cudaSuccess;
}

/* ------------------------------------------------------------------------------------------------ graphs */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    if (!stream) return gpu_error(cudaErrorStreamCaptureUnsupported, "the default stream cannot be captured");
    if (capture_of(stream)) return gpu_error(cudaErrorInvalidValue, "the stream is already being captured");
    stream->capture = calloc(1, sizeof *stream->capture);
    if (!stream->capture) return gpu_error(cudaErrorMemoryAllocation, "out of memory");
    atomic_store(&stream->capture->owners, 1);
    atomic_store(&stream->capture->open, true);
    stream->joined = stream->broken = false;
    stream->mode = mode;
    count_capture(mode, 1);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = NULL;
    if (!capture_of(stream) || stream->joined)
        return gpu_error(cudaErrorInvalidValue, "this stream's capture was not begun");
    cudaGraph_t captured = stream->capture;
    stream->capture = NULL;
    atomic_store(&captured->open, false);
    count_capture(stream->mode, -1);
    if (stream->broken) {
        graph_release(captured);
        return gpu_error(cudaErrorStreamCaptureInvalidated, "something that cannot be captured was called meanwhile");
    }
    *graph = captured;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *state)
{
    bool capturing = capture_of(stream);
    *state = !capturing       ? cudaStreamCaptureStatusNone
             : stream->broken ? cudaStreamCaptureStatusInvalidated
                              : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    (void)flags;
    *exec = NULL;
    if (!graph) return gpu_error(cudaErrorInvalidValue, "cudaGraphInstantiate: no graph");
    *exec = calloc(1, sizeof **exec);
    if (!*exec) return gpu_error(cudaErrorMemoryAllocation, "out of memory");
    (*exec)->graph = graph_share(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    if (!exec) return gpu_error(cudaErrorInvalidValue, "cudaGraphLaunch: no graph");
    if (capture_of(stream))
        return gpu_error(cudaErrorStreamCaptureUnsupported, "a graph inside a graph is not supported here");
    for (size_t i = 0; i < exec->graph->count; i++) {
        cudaError_t error = node_run(&exec->graph->nodes[i]);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    (void)stream;
    return exec ? cudaSuccess : gpu_error(cudaErrorInvalidValue, "cudaGraphUpload: no graph");
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    if (!exec) return gpu_error(cudaErrorInvalidValue, "cudaGraphExecDestroy: no graph");
    graph_release(exec->graph);
    free(exec);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    if (!graph) return gpu_error(cudaErrorInvalidValue, "cudaGraphDestroy: no graph");
    graph_release(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, void **nodes, size_t *count)
{
    for (size_t i = 0; nodes && i < *count && i < graph->count; i++) nodes[i] = &graph->nodes[i];
    *count = graph->count;
    return cudaSuccess;
}
