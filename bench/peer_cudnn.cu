/* peer_cudnn.cu: our convolutions beside cuDNN's fastest algorithm, shape by shape, on the GPU at hand.
 *
 *     peer_cudnn bench/shapes/resnet50-bf16.txt [OP]
 *
 * Every conv2d line of the shapes file (OP DESCRIPTOR COUNT) is run by the variant that kernel_select picks and by
 * cuDNN, on the same random data, in turns: 31 times, each a batch of calls of about a millisecond; the median of each,
 * the median of the ratios (above 1: ours is faster), and our part of a peak that a register-only loop of the same
 * products reaches here. Results are compared before they are timed. cuDNN gets NHWC tensors, as much workspace as it
 * asks for, and the kind of product that the descriptor names; it has no f32 products of f16 accumulated in f16.
 * Epilogues are left out of both. Packing of weights is counted for ours, as a training step pays it.
 */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <cudnn.h>

#include "kernels/cuda/common.cuh"

constexpr int SAMPLES = 31;

#define DNN_TRY(call)                                                                                                  \
    do {                                                                                                               \
        cudnnStatus_t s_ = (call);                                                                                     \
        if (s_ != CUDNN_STATUS_SUCCESS) return FAIL(E_DEVICE, "%s: %s", #call, cudnnGetErrorString(s_));               \
    } while (0)

/* ------------------------------------------------------------------------------------------------ peak */

typedef enum product { PRODUCT_F32, PRODUCT_F16, PRODUCT_BF16, PRODUCT_TF32 } product;

constexpr int CHAINS = 8, PEAK_ROUNDS = 2048;

/* 8 independent chains of products per warp, 8 warps per block; the sums are stored so that nothing is left out. */
template <product P> static __global__ void __launch_bounds__(256) peak_kernel(float *out, uint32_t seed)
{
    float sum[CHAINS][4] = {};
    uint32_t a[4] = {seed, seed, seed, seed}, b[2] = {seed, seed};
    union { uint32_t u; float f; } x = {seed};
    for (int r = 0; r < PEAK_ROUNDS; r++)
#pragma unroll
        for (int c = 0; c < CHAINS; c++) {
            if (P == PRODUCT_F16) ptx_mma_f16_k16(sum[c], a, b);
            if (P == PRODUCT_BF16) ptx_mma_bf16_k16(sum[c], a, b);
            if (P == PRODUCT_TF32) ptx_mma_tf32_k8(sum[c], a, b);
            for (int i = 0; i < 4 && P == PRODUCT_F32; i++) sum[c][i] = fmaf(x.f, x.f, sum[c][i]);
        }
    float total = 0;
    for (int c = 0; c < CHAINS; c++)
        for (int i = 0; i < 4; i++) total += sum[c][i];
    out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

template <product P> static status peak_of(double *flops)
{
    cuda_properties gpu;
    TRY(cuda_properties_get(&gpu));
    unsigned blocks = (unsigned)gpu.processors * 8;
    double per_warp_round = P == PRODUCT_F32 ? 2.0 * (double)WARP * 4 * CHAINS
                                             : 2.0 * 16 * 8 * (P == PRODUCT_TF32 ? 8 : 16) * CHAINS,
           best = 0;
    float *out, ms;
    cudaEvent_t begin, end;
    CUDA_TRY(cudaMalloc((void **)&out, blocks * 256 * sizeof *out));
    CUDA_TRY(cudaEventCreate(&begin));
    CUDA_TRY(cudaEventCreate(&end));
    for (int i = 0; i < 20; i++) {
        CUDA_TRY(cudaEventRecord(begin, 0));
        TRY(launch(peak_kernel<P>, dim3(blocks), dim3(256), 0, NULL, out, 0x3c003c00u));
        CUDA_TRY(cudaEventRecord(end, 0));
        CUDA_TRY(cudaEventSynchronize(end));
        CUDA_TRY(cudaEventElapsedTime(&ms, begin, end));
        best = std::max(best, per_warp_round * PEAK_ROUNDS * 8 * blocks / (ms * 1e-3));
    }
    cudaEventDestroy(begin), cudaEventDestroy(end), cudaFree(out);
    *flops = best;
    return OK;
}

static product product_of(const conv2d_desc *d)
{
    if (d->src_type == DTYPE_F16 || d->compute == COMPUTE_F16) return PRODUCT_F16;
    if (d->src_type == DTYPE_BF16 || d->compute == COMPUTE_BF16) return PRODUCT_BF16;
    return d->compute == COMPUTE_TF32 ? PRODUCT_TF32 : PRODUCT_F32;
}

/* ------------------------------------------------------------------------------------------------ one shape */

/* Tensors by role; ours and theirs write to different results. */
typedef struct shape_run {
    kernel_op op;
    conv2d_desc d;
    const kernel *k;
    void *src, *weight, *dst, *ours, *theirs; /* ours, theirs: the op's result */
    kernel_call call;
    cudnnHandle_t dnn;
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    int algorithm;
    void *workspace;
    size_t workspace_bytes;
} shape_run;

static int64_t src_count(const conv2d_desc *d) { return d->n * d->ih * d->iw * d->ic; }
static int64_t dst_count(const conv2d_desc *d) { return d->n * d->oh * d->ow * d->oc; }
static int64_t weight_count(const conv2d_desc *d) { return d->oc * d->kh * d->kw * (d->ic / d->groups); }

static int64_t result_count(const shape_run *r)
{
    return r->op == OP_CONV2D_FORWARD ? dst_count(&r->d)
           : r->op == OP_CONV2D_DSRC  ? src_count(&r->d)
                                      : weight_count(&r->d);
}

static dtype result_type(const shape_run *r)
{
    return r->op == OP_CONV2D_DWEIGHT ? r->d.weight_type : r->d.src_type;
}

static status random_tensor(void **at, dtype type, int64_t count, uint64_t seed)
{
    rng g = rng_make(seed, RNG_TEST, 0);
    std::vector<char> host((size_t)count * dtype_bytes(type));
    for (int64_t i = 0; i < count; i++) dtype_store(host.data(), type, i, 2 * rng_uniform_double(&g) - 1);
    CUDA_TRY(cudaMalloc(at, host.size()));
    CUDA_TRY(cudaMemcpy(*at, host.data(), host.size(), cudaMemcpyHostToDevice));
    return OK;
}

static status ours_open(shape_run *r)
{
    const conv2d_desc *d = &r->d;
    TRY(kernel_select(&r->k, r->op, BACKEND_CUDA, d, NULL, NULL));
    kernel_call *c = &r->call;
    c->desc = d;
    if (r->k->create) TRY(r->k->create(d, &c->state));
    size_t scratch = r->k->scratch_bytes ? r->k->scratch_bytes(d, c->state) : 0,
           packed = r->k->packed_bytes ? r->k->packed_bytes(d, c->state) : 0;
    if (scratch) CUDA_TRY(cudaMalloc(&c->scratch, scratch));
    if (packed) CUDA_TRY(cudaMalloc(&c->packed, packed));
    c->out[0] = r->ours;
    c->in[0] = r->op == OP_CONV2D_DSRC ? r->dst : r->src;
    c->in[1] = r->op == OP_CONV2D_DWEIGHT ? r->dst : r->weight;
    return OK;
}

static status ours_run(const shape_run *r)
{
    if (r->call.packed) TRY(r->k->pack(&r->call));
    return r->k->run(&r->call);
}

static cudnnDataType_t dnn_type(dtype type)
{
    return type == DTYPE_F16 ? CUDNN_DATA_HALF : type == DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

static cudnnMathType_t dnn_math(const conv2d_desc *d)
{
    if (d->src_type == DTYPE_F32 && (d->compute == COMPUTE_F16 || d->compute == COMPUTE_BF16))
        return CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION;
    return d->src_type == DTYPE_F32 && d->compute == COMPUTE_F32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
}

/* Their fastest algorithm of those that find allows. */
static status theirs_open(shape_run *r)
{
    const conv2d_desc *d = &r->d;
    int found = 0;
    if (d->pt != d->pb || d->pl != d->pr) return FAIL(E_USAGE, "uneven pads");
    DNN_TRY(cudnnCreateTensorDescriptor(&r->x));
    DNN_TRY(cudnnCreateTensorDescriptor(&r->y));
    DNN_TRY(cudnnCreateFilterDescriptor(&r->w));
    DNN_TRY(cudnnCreateConvolutionDescriptor(&r->conv));
    DNN_TRY(cudnnSetTensor4dDescriptor(
        r->x, CUDNN_TENSOR_NHWC, dnn_type(d->src_type), (int)d->n, (int)d->ic, (int)d->ih, (int)d->iw));
    DNN_TRY(cudnnSetTensor4dDescriptor(
        r->y, CUDNN_TENSOR_NHWC, dnn_type(d->dst_type), (int)d->n, (int)d->oc, (int)d->oh, (int)d->ow));
    DNN_TRY(cudnnSetFilter4dDescriptor(
        r->w, dnn_type(d->src_type), CUDNN_TENSOR_NHWC, (int)d->oc, (int)(d->ic / d->groups), d->kh, d->kw));
    DNN_TRY(cudnnSetConvolution2dDescriptor(
        r->conv, d->pt, d->pl, d->sh, d->sw, d->dil_h, d->dil_w, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    DNN_TRY(cudnnSetConvolutionGroupCount(r->conv, d->groups));
    DNN_TRY(cudnnSetConvolutionMathType(r->conv, dnn_math(d)));
    if (r->op == OP_CONV2D_FORWARD) {
        cudnnConvolutionFwdAlgoPerf_t best;
        DNN_TRY(cudnnFindConvolutionForwardAlgorithm(r->dnn, r->x, r->w, r->conv, r->y, 1, &found, &best));
        r->algorithm = best.algo, r->workspace_bytes = best.memory;
    } else if (r->op == OP_CONV2D_DSRC) {
        cudnnConvolutionBwdDataAlgoPerf_t best;
        DNN_TRY(cudnnFindConvolutionBackwardDataAlgorithm(r->dnn, r->w, r->y, r->conv, r->x, 1, &found, &best));
        r->algorithm = best.algo, r->workspace_bytes = best.memory;
    } else {
        cudnnConvolutionBwdFilterAlgoPerf_t best;
        DNN_TRY(cudnnFindConvolutionBackwardFilterAlgorithm(r->dnn, r->x, r->y, r->conv, r->w, 1, &found, &best));
        r->algorithm = best.algo, r->workspace_bytes = best.memory;
    }
    if (!found) return FAIL(E_DEVICE, "cuDNN has no algorithm");
    if (r->workspace_bytes) CUDA_TRY(cudaMalloc(&r->workspace, r->workspace_bytes));
    return OK;
}

static status theirs_run(const shape_run *r)
{
    const float one = 1, none = 0;
    if (r->op == OP_CONV2D_FORWARD)
        DNN_TRY(cudnnConvolutionForward(r->dnn, &one, r->x, r->src, r->w, r->weight, r->conv,
            (cudnnConvolutionFwdAlgo_t)r->algorithm, r->workspace, r->workspace_bytes, &none, r->y, r->theirs));
    else if (r->op == OP_CONV2D_DSRC)
        DNN_TRY(cudnnConvolutionBackwardData(r->dnn, &one, r->w, r->weight, r->y, r->dst, r->conv,
            (cudnnConvolutionBwdDataAlgo_t)r->algorithm, r->workspace, r->workspace_bytes, &none, r->x, r->theirs));
    else
        DNN_TRY(cudnnConvolutionBackwardFilter(r->dnn, &one, r->x, r->src, r->y, r->dst, r->conv,
            (cudnnConvolutionBwdFilterAlgo_t)r->algorithm, r->workspace, r->workspace_bytes, &none, r->w, r->theirs));
    return OK;
}

/* Root of the mean squared difference over that of ours: both are roundings of the same sums. */
static status difference(const shape_run *r, double *relative)
{
    int64_t count = result_count(r);
    dtype mine = result_type(r), other = r->d.src_type;
    std::vector<char> a((size_t)count * dtype_bytes(mine)), b((size_t)count * dtype_bytes(other));
    CUDA_TRY(cudaMemcpy(a.data(), r->ours, a.size(), cudaMemcpyDeviceToHost));
    CUDA_TRY(cudaMemcpy(b.data(), r->theirs, b.size(), cudaMemcpyDeviceToHost));
    double sum = 0, error = 0;
    for (int64_t i = 0; i < count; i++) {
        double x = dtype_load(a.data(), mine, i), y = dtype_load(b.data(), other, i);
        sum += x * x, error += (x - y) * (x - y);
    }
    *relative = sum > 0 ? sqrt(error / sum) : error;
    return OK;
}

/* ------------------------------------------------------------------------------------------------ timing */

static status time_of(status (*run)(const shape_run *), const shape_run *r, int calls, cudaEvent_t begin,
    cudaEvent_t end, double *seconds)
{
    float ms;
    CUDA_TRY(cudaEventRecord(begin, 0));
    for (int i = 0; i < calls; i++) TRY(run(r));
    CUDA_TRY(cudaEventRecord(end, 0));
    CUDA_TRY(cudaEventSynchronize(end));
    CUDA_TRY(cudaEventElapsedTime(&ms, begin, end));
    *seconds = ms * 1e-3 / calls;
    return OK;
}

static double median(std::vector<double> v)
{
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}

typedef struct timing {
    double ours, theirs, ratio; /* seconds; theirs / ours */
} timing;

static status compare(const shape_run *r, timing *t)
{
    cudaEvent_t begin, end;
    std::vector<double> ours(SAMPLES), theirs(SAMPLES), ratio(SAMPLES);
    CUDA_TRY(cudaEventCreate(&begin));
    CUDA_TRY(cudaEventCreate(&end));
    double once = 0, warm = 0;
    while (warm < 0.2) { /* until clocks are steady */
        TRY(time_of(ours_run, r, 1, begin, end, &once));
        warm += once + 1e-5;
    }
    int calls = (int)(1e-3 / once) + 1;
    for (int i = 0; i < SAMPLES; i++) {
        TRY(time_of(ours_run, r, calls, begin, end, &ours[i]));
        TRY(time_of(theirs_run, r, calls, begin, end, &theirs[i]));
        ratio[i] = theirs[i] / ours[i];
    }
    cudaEventDestroy(begin), cudaEventDestroy(end);
    *t = (timing){median(ours), median(theirs), median(ratio)};
    return OK;
}

static void shape_close(shape_run *r)
{
    void *memory[] = {r->src, r->weight, r->dst, r->ours, r->theirs, r->call.scratch, r->call.packed, r->workspace};
    for (void *m : memory) cudaFree(m);
    if (r->k && r->k->destroy) r->k->destroy(r->call.state);
    if (r->x) cudnnDestroyTensorDescriptor(r->x);
    if (r->y) cudnnDestroyTensorDescriptor(r->y);
    if (r->w) cudnnDestroyFilterDescriptor(r->w);
    if (r->conv) cudnnDestroyConvolutionDescriptor(r->conv);
}

static status shape_time(shape_run *r, double *error, timing *t)
{
    const conv2d_desc *d = &r->d;
    size_t result = (size_t)result_count(r) * 4;
    TRY(random_tensor(&r->src, d->src_type, src_count(d), 1));
    TRY(random_tensor(&r->weight, d->src_type, weight_count(d), 2));
    TRY(random_tensor(&r->dst, d->dst_type, dst_count(d), 3));
    CUDA_TRY(cudaMalloc(&r->ours, result));
    CUDA_TRY(cudaMalloc(&r->theirs, result));
    CUDA_TRY(cudaMemset(r->ours, 0, result)); /* dweight accumulates */
    TRY(ours_open(r));
    TRY(theirs_open(r));
    TRY(ours_run(r));
    TRY(theirs_run(r));
    TRY(difference(r, error));
    return compare(r, t);
}

/* ------------------------------------------------------------------------------------------------ program */

static status run_file(const char *path, const char *only)
{
    static const char *const words[] = {"conv2d_forward", "conv2d_dsrc", "conv2d_dweight"};
    char line[2048], op[64], text[1024];
    double peak[4] = {}, ours = 0, theirs = 0, logs = 0;
    int count, shapes = 0;
    FILE *f = fopen(path, "r");
    cudnnHandle_t dnn;
    if (!f) return FAIL(E_USAGE, "%s: cannot open", path);
    TRY(peak_of<PRODUCT_F32>(&peak[PRODUCT_F32]));
    TRY(peak_of<PRODUCT_F16>(&peak[PRODUCT_F16]));
    TRY(peak_of<PRODUCT_BF16>(&peak[PRODUCT_BF16]));
    TRY(peak_of<PRODUCT_TF32>(&peak[PRODUCT_TF32]));
    DNN_TRY(cudnnCreate(&dnn));
    printf("# measured peaks, TFLOP/s: f32 %.1f f16 %.1f bf16 %.1f tf32 %.1f; cuDNN %zu\n", peak[0] / 1e12,
        peak[1] / 1e12, peak[2] / 1e12, peak[3] / 1e12, cudnnGetVersion());
    printf("# ours ms | cuDNN ms | cuDNN / ours | TFLOP/s | %% of peak | difference | count | variant | shape\n");
    while (fgets(line, sizeof line, f)) {
        count = 1;
        if (line[0] == '#' || sscanf(line, "%63s %1023s %d", op, text, &count) < 2) continue;
        shape_run r = {};
        int which = 0;
        while (which < 3 && strcmp(op, words[which]) != 0) which++;
        if (which == 3 || (only && strcmp(op, only) != 0)) continue;
        r.op = (kernel_op)(OP_CONV2D_FORWARD + which), r.dnn = dnn;
        TRY(kernel_desc_parse(r.op, text, &r.d));
        r.d.epilogue = conv2d_epilogue{};
        r.d.transform = conv2d_transform{};
        double error = 0, flops = kernel_flops(r.op, &r.d);
        timing t = {};
        if (shape_time(&r, &error, &t) != OK) {
            printf("skipped: %s | %s %s\n", status_message(), op, text);
        } else {
            printf("%9.4f | %9.4f | %6.3f | %8.2f | %5.1f | %.1e | %d | %s | %s\n", t.ours * 1e3, t.theirs * 1e3,
                t.ratio, flops / t.ours / 1e12, 100 * flops / t.ours / peak[product_of(&r.d)], error, count, r.k->name,
                text);
            ours += t.ours * count, theirs += t.theirs * count, logs += log(t.ratio), shapes++;
        }
        shape_close(&r);
    }
    fclose(f);
    cudnnDestroy(dnn);
    if (shapes)
        printf("# %d shapes: ours %.3f ms, cuDNN %.3f ms; geometric mean of the ratios %.3f\n", shapes, ours * 1e3,
            theirs * 1e3, exp(logs / shapes));
    return OK;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: peer_cudnn SHAPES [OP]\n");
        return 2;
    }
    if (run_file(argv[1], argc > 2 ? argv[2] : NULL) == OK) return 0;
    fprintf(stderr, "peer_cudnn: %s\n", status_message());
    return 1;
}
