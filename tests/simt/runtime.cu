/* runtime.cu: the CUDA runtime API of kernels/simt as the device layer uses it: memory, copies, captured graphs,
 * errors; and launches from several host threads. Expected are the rules of the CUDA runtime's manual. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/common.cuh"

static int tests, failures;

static void ok(bool good, const char *name)
{
    printf("%s %d - %s\n", good ? "ok" : "not ok", ++tests, name);
    if (!good) printf("# last error: %s; %s\n", cudaGetErrorString(cudaPeekAtLastError()), status_message());
    failures += !good;
}

static __global__ void add_index(int32_t *data, int32_t factor, int32_t count)
{
    int32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) data[i] += factor * i;
}

enum { COUNT = 1000 };

static bool all_are(const void *device, int32_t factor)
{
    int32_t host[COUNT];
    if (cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost) != cudaSuccess) return false;
    for (int32_t i = 0; i < COUNT; i++)
        if (host[i] != factor * i) return false;
    return true;
}

static status enqueue(void *data, int32_t factor, cudaStream_t stream)
{
    return launch(add_index, dim3(blocks_for(COUNT, 128)), dim3(128), 0, stream, (int32_t *)data, factor, COUNT);
}

/* ------------------------------------------------------------------------------------------------ graphs */

static void test_graph(void)
{
    cudaStream_t main_stream, side;
    cudaEvent_t fork, join;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    void *a, *b;
    cudaStreamCreateWithFlags(&main_stream, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&fork, cudaEventDisableTiming);
    cudaEventCreateWithFlags(&join, cudaEventDisableTiming);
    cudaMalloc(&a, COUNT * 4);
    cudaMalloc(&b, COUNT * 4);
    cudaMemset(a, 0xff, COUNT * 4);

    ok(cudaStreamBeginCapture(main_stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess, "a capture begins");
    {
        int32_t factor = 2; /* gone when the graph runs: arguments are copied */
        cudaMemsetAsync(a, 0, COUNT * 4, main_stream);
        enqueue(a, factor, main_stream);
        factor = 99;
    }
    cudaEventRecord(fork, main_stream);
    cudaStreamWaitEvent(side, fork, 0);
    cudaMemcpyAsync(b, a, COUNT * 4, cudaMemcpyDeviceToDevice, side);
    enqueue(b, 1, side);
    cudaEventRecord(join, side);
    cudaStreamWaitEvent(main_stream, join, 0);
    enqueue(a, 3, main_stream);
    void *refused = NULL;
    ok(cudaMalloc(&refused, 64) == cudaErrorStreamCaptureUnsupported, "no allocation during a capture");
    ok(cudaStreamEndCapture(main_stream, &graph) == cudaSuccess, "a capture ends");
    int32_t first;
    cudaMemcpy(&first, a, 4, cudaMemcpyDeviceToHost);
    ok(first == -1, "nothing of a captured stream has run");
    ok(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess, "a graph is instantiated");
    cudaGraphDestroy(graph);
    bool good = true;
    for (int i = 0; i < 3; i++) {
        good = good && cudaGraphLaunch(exec, main_stream) == cudaSuccess &&
               cudaStreamSynchronize(main_stream) == cudaSuccess;
        good = good && all_are(a, 5) && all_are(b, 3);
    }
    ok(good, "a graph of two streams runs three times, in the order of its events");
    ok(enqueue(b, 1, side) == OK && all_are(b, 4), "the second stream has left the capture");
    cudaGraphExecDestroy(exec);

    cudaStreamBeginCapture(main_stream, cudaStreamCaptureModeThreadLocal);
    ok(cudaStreamSynchronize(main_stream) == cudaErrorStreamCaptureUnsupported,
        "a captured stream cannot be waited for");
    ok(cudaStreamEndCapture(main_stream, &graph) == cudaErrorStreamCaptureInvalidated && !graph,
        "which spoils the capture");
    cudaStreamDestroy(main_stream);
    cudaStreamDestroy(side);
    cudaEventDestroy(fork);
    cudaEventDestroy(join);
    cudaFree(a);
    cudaFree(b);
}

/* ------------------------------------------------------------------------------------------------ memory */

static void test_memory(void)
{
    void *data, *pinned;
    char host[64] = {0};
    setenv("GRAFT_SIMT_MEMORY_MB", "1", 1);
    size_t free_bytes, total_bytes;
    ok(cudaMalloc(&data, 2 << 20) == cudaErrorMemoryAllocation && !data, "more memory than the GPU has");
    ok(cudaMalloc(&data, 600 << 10) == cudaSuccess && (uintptr_t)data % 256 == 0, "memory is aligned to 256 bytes");
    cudaMemGetInfo(&free_bytes, &total_bytes);
    ok(total_bytes == 1 << 20 && free_bytes == (1 << 20) - (600 << 10), "free memory is counted");
    ok(cudaMemcpy(data, host, (600 << 10) + 1, cudaMemcpyHostToDevice) == cudaErrorInvalidValue, "a copy past the end");
    ok(cudaMemcpy(host, data, 64, cudaMemcpyHostToDevice) == cudaErrorInvalidValue, "a copy in the wrong direction");
    ok(cudaMemcpy((char *)data + 64, host, 64, cudaMemcpyHostToDevice) == cudaSuccess, "a copy inside");
    ok(cudaMemset(host, 0, 64) == cudaErrorInvalidValue, "cudaMemset of host memory");
    ok(cudaFree((char *)data + 256) == cudaErrorInvalidValue, "freeing what was not allocated");
    ok(cudaFree(data) == cudaSuccess && cudaFree(data) == cudaErrorInvalidValue, "freeing twice");
    ok(cudaHostAlloc(&pinned, 100, cudaHostAllocDefault) == cudaSuccess && cudaFree(pinned) == cudaErrorInvalidValue,
        "pinned memory is no device memory");
#ifdef __SANITIZE_ADDRESS__
    cudaFreeHost(pinned); /* the sanitizer would end the program at the overrun */
#else
    ((char *)pinned)[100] = 1;
    ok(cudaFreeHost(pinned) == cudaErrorIllegalAddress, "an overrun of pinned memory is found when it is freed");
#endif
    unsetenv("GRAFT_SIMT_MEMORY_MB");
}

static void test_devices(void)
{
    int value;
    setenv("GRAFT_SIMT_DEVICES", "0", 1);
    ok(cudaGetDeviceCount(&value) == cudaErrorNoDevice && value == 0, "no device");
    setenv("GRAFT_SIMT_DEVICES", "2", 1);
    ok(cudaGetDeviceCount(&value) == cudaSuccess && value == 2 && cudaSetDevice(2) == cudaErrorInvalidDevice,
        "two devices");
    unsetenv("GRAFT_SIMT_DEVICES");
    setenv("GRAFT_SIMT_SM", "75", 1);
    cuda_properties p;
    ok(cuda_properties_get(&p) == OK && p.sm == 75 && p.shared_bytes == 65536, "GRAFT_SIMT_SM=75");
    setenv("GRAFT_SIMT_SM", "90", 1);
    ok(cuda_properties_get(&p) == OK && p.sm == 90 && p.shared_bytes == 232448, "GRAFT_SIMT_SM=90");
    unsetenv("GRAFT_SIMT_SM");
}

/* ------------------------------------------------------------------------------------------------ host threads */

static void *launch_often(void *data)
{
    for (int i = 0; i < 50; i++)
        if (enqueue(data, 1, NULL) != OK) return data;
    return NULL;
}

static void test_threads(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    void *data[THREADS], *failed = NULL;
    bool good = true;
    for (int i = 0; i < THREADS; i++) {
        cudaMalloc(&data[i], COUNT * 4);
        cudaMemset(data[i], 0, COUNT * 4);
        pthread_create(&threads[i], NULL, launch_often, data[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &failed);
        good = good && !failed && all_are(data[i], 50);
        cudaFree(data[i]);
    }
    ok(good, "four host threads launch at the same time");
}

int main(void)
{
    test_graph();
    test_memory();
    test_devices();
    test_threads();
    printf("1..%d\n", tests);
    return failures != 0;
}
