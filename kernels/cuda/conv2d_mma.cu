/* conv2d_mma.cu: the variants on tensor cores: who takes what, with which tile, from which
 * weights. The kernel: conv2d_mma.cuh. */
#include "kernels/cuda/conv2d_mma.cuh"

#include <stdlib.h>

/* ----------------------------------------------------------------------------------------------- what is to be done */

/* How one descriptor runs; made once. */
typedef struct mma_plan {
    status (*launch)(const mma_call *c);
    dtype element;    /* of packed weights, f32 for tf32 */
    mma_stage stage;
    bool packed;
    uint32_t tiles;   /* bits of conv2d_tile */
} mma_plan;

static int32_t chunk_elements(dtype element)
{
    return CHUNK / (int32_t)dtype_bytes(element);
}

/* Of `channels` per group; weights must be packed where `reordered`. */
static mma_plan plan_of(const conv2d_desc *d, int64_t channels, bool reordered, bool sm75)
{
    mma_plan p = {conv2d_mma_tf32, DTYPE_F32, STAGE_COPY, reordered, COPIED_TILES};
    bool staged = d->transform.enabled || sm75, narrowed = d->src_type == DTYPE_F32 && d->compute != COMPUTE_TF32;
    dtype type = d->compute == COMPUTE_F16 ? DTYPE_F16 : d->compute == COMPUTE_BF16 ? DTYPE_BF16 : d->src_type;
    if (type == DTYPE_F16) p.launch = sm75 ? conv2d_mma_f16_sm75 : narrowed ? conv2d_mma_f16_of_f32 : conv2d_mma_f16;
    if (type == DTYPE_BF16) p.launch = narrowed ? conv2d_mma_bf16_of_f32 : conv2d_mma_bf16;
    if (type == DTYPE_I8) p.launch = sm75 ? conv2d_mma_s8_sm75 : conv2d_mma_s8;
    if (type == DTYPE_U8) p.launch = conv2d_mma_u8;
    p.element = type == DTYPE_U8 ? DTYPE_I8 : type;
    if (channels % chunk_elements(p.element)) p.stage = STAGE_GATHER;
    else if (staged || narrowed) p.stage = STAGE_VECTOR;
    if (p.stage == STAGE_VECTOR) p.tiles = VECTOR_TILES;
    if (p.stage == STAGE_GATHER) p.tiles = GATHER_TILES;
    if (p.stage == STAGE_GATHER || d->src_type == DTYPE_F32) p.packed = true;
    return p;
}

static mma_plan forward_plan(const conv2d_desc *d, bool sm75)
{
    return plan_of(d, d->ic / d->groups, false, sm75);
}

static mma_plan dsrc_plan(const conv2d_desc *d, bool sm75)
{
    return plan_of(d, d->oc / d->groups, true, sm75);
}

/* Rows of packed weights are whole slices. */
static void set_pitch(conv2d_gemm *g, const mma_plan *p)
{
    int32_t depth = SLICE / (int32_t)dtype_bytes(p->element);
    if (p->packed) g->k_pitch = (g->k + depth - 1) / depth * depth;
}

static size_t packed_size(const conv2d_gemm *g, const mma_plan *p)
{
    return p->packed ? (size_t)g->groups * g->n * g->k_pitch * dtype_bytes(p->element) : 0;
}

/* ------------------------------------------------------------------------------------------------ state */

enum { MAX_PARITIES = 16 };

/* The tile of every launch, chosen when the plan is made. */
typedef struct mma_state {
    conv2d_tile tile[MAX_PARITIES];
} mma_state;

static conv2d_tile tile_for(const conv2d_gemm *g, const mma_plan *p, const cuda_properties *gpu)
{
    return conv2d_choose_tile(g->m, g->n, g->groups, gpu->processors, p->tiles);
}

static status state_make(mma_state **s, cuda_properties *gpu, void **state)
{
    TRY(cuda_properties_get(gpu));
    *state = *s = (mma_state *)calloc(1, sizeof **s);
    return *s ? OK : FAIL_MEMORY(sizeof **s);
}

/* ------------------------------------------------------------------------------------------------ forward */

/* tiles: which of the plan's may be chosen. */
static status forward_create_for(const conv2d_desc *d, void **state, bool sm75, uint32_t tiles)
{
    mma_plan p = forward_plan(d, sm75);
    p.tiles &= tiles;
    conv2d_gemm g = conv2d_gemm_forward(d);
    mma_state *s;
    cuda_properties gpu;
    TRY(state_make(&s, &gpu, state));
    s->tile[0] = tile_for(&g, &p, &gpu);
    return OK;
}

/* Scratch: statistics, one row of f64 per row of tiles. */
static int64_t stats_rows(const conv2d_desc *d, const mma_state *s)
{
    int64_t rows = s->tile[0] == TILE_256_128                                ? 256
                   : s->tile[0] == TILE_128_128 || s->tile[0] == TILE_128_64 ? 128
                                                                             : 64;
    return (d->n * d->oh * d->ow + rows - 1) / rows;
}

static size_t forward_scratch(const void *desc, const void *state)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    return d->epilogue.stats ? (size_t)(stats_rows(d, (const mma_state *)state) * 2 * d->oc) * sizeof(double) : 0;
}

static size_t forward_packed_for(const conv2d_desc *d, bool sm75)
{
    mma_plan p = forward_plan(d, sm75);
    conv2d_gemm g = conv2d_gemm_forward(d);
    set_pitch(&g, &p);
    return packed_size(&g, &p);
}

static status forward_pack_for(const kernel_call *call, bool sm75)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    mma_plan p = forward_plan(d, sm75);
    conv2d_gemm g = conv2d_gemm_forward(d);
    set_pitch(&g, &p);
    return p.packed
               ? conv2d_pack_weights(call->packed, p.element, &g, call->in[CONV2D_WEIGHT], d->weight_type, call->stream)
               : OK;
}

static status forward_run_for(const kernel_call *call, bool sm75)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    const mma_state *s = (const mma_state *)call->state;
    mma_plan p = forward_plan(d, sm75);
    mma_call c = {};
    c.g = conv2d_gemm_forward(d);
    set_pitch(&c.g, &p);
    c.in = conv2d_input_of(call), c.out = conv2d_output_of(call);
    c.src = call->in[CONV2D_SRC], c.weight = p.packed ? call->packed : call->in[CONV2D_WEIGHT];
    c.stats = d->epilogue.stats ? (double *)call->scratch : NULL;
    c.tile = s->tile[0], c.stage = p.stage, c.stream = call->stream;
    TRY(p.launch(&c));
    return c.stats ? conv2d_sum_parts((double *)call->out[1], c.stats, stats_rows(d, s), 2 * d->oc, call->stream) : OK;
}

/* ------------------------------------------------------------------------------------------------ dsrc */

static status dsrc_create_for(const conv2d_desc *d, void **state, bool sm75, uint32_t tiles)
{
    mma_plan p = dsrc_plan(d, sm75);
    p.tiles &= tiles;
    mma_state *s;
    cuda_properties gpu;
    TRY(state_make(&s, &gpu, state));
    for (int32_t i = 0; i < d->sh * d->sw; i++) {
        conv2d_gemm g = conv2d_gemm_dsrc(d, i / d->sw, i % d->sw);
        s->tile[i] = tile_for(&g, &p, &gpu);
    }
    return OK;
}

/* Weights of all parities, one after the other: every tap belongs to one of them. */
static size_t dsrc_packed_for(const conv2d_desc *d, bool sm75)
{
    mma_plan p = dsrc_plan(d, sm75);
    size_t bytes = 0;
    for (int32_t i = 0; i < d->sh * d->sw; i++) {
        conv2d_gemm g = conv2d_gemm_dsrc(d, i / d->sw, i % d->sw);
        set_pitch(&g, &p);
        bytes += packed_size(&g, &p);
    }
    return bytes;
}

static status dsrc_pack_for(const kernel_call *call, bool sm75)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    mma_plan p = dsrc_plan(d, sm75);
    char *packed = (char *)call->packed;
    for (int32_t i = 0; i < d->sh * d->sw; i++) {
        conv2d_gemm g = conv2d_gemm_dsrc(d, i / d->sw, i % d->sw);
        set_pitch(&g, &p);
        TRY(conv2d_pack_weights(packed, p.element, &g, call->in[1], d->weight_type, call->stream));
        packed += packed_size(&g, &p);
    }
    return OK;
}

static status dsrc_run_for(const kernel_call *call, bool sm75)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    const mma_state *s = (const mma_state *)call->state;
    mma_plan p = dsrc_plan(d, sm75);
    const char *packed = (const char *)call->packed;
    for (int32_t i = 0; i < d->sh * d->sw; i++) {
        mma_call c = {};
        c.g = conv2d_gemm_dsrc(d, i / d->sw, i % d->sw);
        set_pitch(&c.g, &p);
        c.out.dst = call->out[0];
        c.src = call->in[0], c.weight = packed;
        c.tile = s->tile[i], c.stage = p.stage, c.stream = call->stream;
        TRY(p.launch(&c));
        packed += packed_size(&c.g, &p);
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ refusals */

static const char *shape_refuse(const conv2d_desc *d)
{
    const char *why = conv2d_refuse_gemm(d);
    if (why) return why;
    if (d->kh > MAX_WINDOW || d->kw > MAX_WINDOW) return "a window above 16 x 16";
    if (d->groups > 1 && d->oc / d->groups * (d->ic / d->groups) < 64)
        return "groups of so few channels waste the tensor cores";
    return NULL;
}

static const char *gpu_refuse(int32_t least)
{
    cuda_properties gpu;
    if (cuda_properties_get(&gpu) != OK) return "this GPU: no device";
    if (least >= 80 && gpu.sm < 80) return "this GPU: needs sm_80";
    return NULL;
}

static bool is_integer(const conv2d_desc *d)
{
    return d->src_type == DTYPE_I8 || d->src_type == DTYPE_U8;
}

static const char *float_refuse(const conv2d_desc *d)
{
    if (d->src_type == DTYPE_F64 || is_integer(d)) return "f32, f16 and bf16 only";
    if (d->src_type == DTYPE_F32 && d->compute == COMPUTE_F32) return "tensor cores do not form products of f32";
    const char *why = shape_refuse(d);
    return why ? why : gpu_refuse(80);
}

static const char *sm75_refuse(const conv2d_desc *d)
{
    if (d->src_type != DTYPE_F16) return "f16 only";
    const char *why = shape_refuse(d);
    return why ? why : gpu_refuse(75);
}

/* Rounded to an integer, these must be the reference's to the bit: the direct kernel takes them through f64. */
static bool exponential(activation act)
{
    return act == ACT_SIGMOID || act == ACT_SWISH;
}

static const char *integer_refuse(const conv2d_desc *d)
{
    if (!is_integer(d)) return "i8 and u8 only";
    if (d->dst_type != DTYPE_F32 && exponential(d->epilogue.act)) return "sigmoid or swish, rounded to an integer";
    return shape_refuse(d);
}

static const char *i8_refuse(const conv2d_desc *d)
{
    const char *why = integer_refuse(d);
    return why ? why : gpu_refuse(80);
}

static const char *i8_sm75_refuse(const conv2d_desc *d)
{
    const char *why = integer_refuse(d);
    if (!why && d->src_type == DTYPE_U8) why = "u8: m8n8k16 of s8 only";
    return why ? why : gpu_refuse(75);
}

static const char *parities_refuse(const conv2d_desc *d)
{
    return (int64_t)d->sh * d->sw > MAX_PARITIES ? "more than 16 parities" : NULL;
}

/* ------------------------------------------------------------------------------------------------ variants */

static const char *forward_refuse(const void *desc) { return float_refuse((const conv2d_desc *)desc); }
static const char *forward_sm75_refuse(const void *desc) { return sm75_refuse((const conv2d_desc *)desc); }
static const char *forward_i8_refuse(const void *desc) { return i8_refuse((const conv2d_desc *)desc); }
static const char *forward_i8_sm75_refuse(const void *desc) { return i8_sm75_refuse((const conv2d_desc *)desc); }
static status forward_create(const void *desc, void **state)
{
    return forward_create_for((const conv2d_desc *)desc, state, false, COPIED_TILES);
}
static status forward_sm75_create(const void *desc, void **state)
{
    return forward_create_for((const conv2d_desc *)desc, state, true, COPIED_TILES);
}
static size_t forward_packed(const void *desc, const void *)
{
    return forward_packed_for((const conv2d_desc *)desc, false);
}
static size_t forward_sm75_packed(const void *desc, const void *)
{
    return forward_packed_for((const conv2d_desc *)desc, true);
}
static status forward_pack(const kernel_call *call) { return forward_pack_for(call, false); }
static status forward_sm75_pack(const kernel_call *call) { return forward_pack_for(call, true); }
static status forward_run(const kernel_call *call) { return forward_run_for(call, false); }
static status forward_sm75_run(const kernel_call *call) { return forward_run_for(call, true); }

static const char *dsrc_refuse(const void *desc)
{
    const char *why = parities_refuse((const conv2d_desc *)desc);
    return why ? why : float_refuse((const conv2d_desc *)desc);
}
static const char *dsrc_sm75_refuse(const void *desc)
{
    const char *why = parities_refuse((const conv2d_desc *)desc);
    return why ? why : sm75_refuse((const conv2d_desc *)desc);
}
static status dsrc_create(const void *desc, void **state)
{
    return dsrc_create_for((const conv2d_desc *)desc, state, false, COPIED_TILES);
}
static status dsrc_sm75_create(const void *desc, void **state)
{
    return dsrc_create_for((const conv2d_desc *)desc, state, true, COPIED_TILES);
}
static size_t dsrc_packed(const void *desc, const void *) { return dsrc_packed_for((const conv2d_desc *)desc, false); }
static size_t dsrc_sm75_packed(const void *desc, const void *)
{
    return dsrc_packed_for((const conv2d_desc *)desc, true);
}
static status dsrc_pack(const kernel_call *call) { return dsrc_pack_for(call, false); }
static status dsrc_sm75_pack(const kernel_call *call) { return dsrc_pack_for(call, true); }
static status dsrc_run(const kernel_call *call) { return dsrc_run_for(call, false); }
static status dsrc_sm75_run(const kernel_call *call) { return dsrc_run_for(call, true); }

#define FORWARD(technique, generation, why)                                                                            \
    extern const kernel conv2d_forward__cuda_##technique = {                                                           \
        .op = OP_CONV2D_FORWARD,                                                                                       \
        .backend = BACKEND_CUDA,                                                                                       \
        .name = "conv2d_forward__cuda_" #technique,                                                                    \
        .refuse = why,                                                                                                 \
        .create = generation##create,                                                                                  \
        .destroy = free,                                                                                               \
        .scratch_bytes = forward_scratch,                                                                              \
        .packed_bytes = generation##packed,                                                                            \
        .pack = generation##pack,                                                                                      \
        .run = generation##run,                                                                                        \
    }
#define DSRC(technique, generation)                                                                                    \
    extern const kernel conv2d_dsrc__cuda_##technique = {                                                              \
        .op = OP_CONV2D_DSRC,                                                                                          \
        .backend = BACKEND_CUDA,                                                                                       \
        .name = "conv2d_dsrc__cuda_" #technique,                                                                       \
        .refuse = generation##refuse,                                                                                  \
        .create = generation##create,                                                                                  \
        .destroy = free,                                                                                               \
        .packed_bytes = generation##packed,                                                                            \
        .pack = generation##pack,                                                                                      \
        .run = generation##run,                                                                                        \
    }
FORWARD(mma, forward_, forward_refuse);
FORWARD(mma_i8, forward_, forward_i8_refuse);
FORWARD(mma_sm75, forward_sm75_, forward_sm75_refuse);
FORWARD(mma_i8_sm75, forward_sm75_, forward_i8_sm75_refuse);
DSRC(mma, dsrc_);
DSRC(mma_sm75, dsrc_sm75_);

/* One tile each, whatever the shape: what a tuner times and a checkpoint may ask for by name, and every tile's way into
 * the checks. The variants above choose among them. */
#define TILE_VARIANTS(bm, bn)                                                                                          \
    static const char *forward_##bm##_##bn##_refuse(const void *desc)                                                  \
    {                                                                                                                  \
        const conv2d_desc *d = (const conv2d_desc *)desc;                                                              \
        const char *why = is_integer(d) ? i8_refuse(d) : float_refuse(d);                                              \
        return why ? why : forward_plan(d, false).tiles >> TILE_##bm##_##bn & 1 ? NULL : STAGED_ELSEWHERE;             \
    }                                                                                                                  \
    static status forward_##bm##_##bn##_create(const void *desc, void **state)                                         \
    {                                                                                                                  \
        return forward_create_for((const conv2d_desc *)desc, state, false, 1u << TILE_##bm##_##bn);                    \
    }                                                                                                                  \
    static const char *dsrc_##bm##_##bn##_refuse(const void *desc)                                                     \
    {                                                                                                                  \
        const char *why = dsrc_refuse(desc);                                                                           \
        return why                                                                         ? why                       \
               : dsrc_plan((const conv2d_desc *)desc, false).tiles >> TILE_##bm##_##bn & 1 ? NULL                      \
                                                                                           : STAGED_ELSEWHERE;         \
    }                                                                                                                  \
    static status dsrc_##bm##_##bn##_create(const void *desc, void **state)                                            \
    {                                                                                                                  \
        return dsrc_create_for((const conv2d_desc *)desc, state, false, 1u << TILE_##bm##_##bn);                       \
    }                                                                                                                  \
    extern const kernel conv2d_forward__cuda_mma_##bm##x##bn = {                                                       \
        .op = OP_CONV2D_FORWARD,                                                                                       \
        .backend = BACKEND_CUDA,                                                                                       \
        .name = "conv2d_forward__cuda_mma_" #bm "x" #bn,                                                               \
        .refuse = forward_##bm##_##bn##_refuse,                                                                        \
        .create = forward_##bm##_##bn##_create,                                                                        \
        .destroy = free,                                                                                               \
        .scratch_bytes = forward_scratch,                                                                              \
        .packed_bytes = forward_packed,                                                                                \
        .pack = forward_pack,                                                                                          \
        .run = forward_run,                                                                                            \
    };                                                                                                                 \
    extern const kernel conv2d_dsrc__cuda_mma_##bm##x##bn = {                                                          \
        .op = OP_CONV2D_DSRC,                                                                                          \
        .backend = BACKEND_CUDA,                                                                                       \
        .name = "conv2d_dsrc__cuda_mma_" #bm "x" #bn,                                                                  \
        .refuse = dsrc_##bm##_##bn##_refuse,                                                                           \
        .create = dsrc_##bm##_##bn##_create,                                                                           \
        .destroy = free,                                                                                               \
        .packed_bytes = dsrc_packed,                                                                                   \
        .pack = dsrc_pack,                                                                                             \
        .run = dsrc_run,                                                                                               \
    }

static const char STAGED_ELSEWHERE[] = "staged through registers: no such tile";
TILE_VARIANTS(256, 128);
TILE_VARIANTS(128, 128);
TILE_VARIANTS(128, 64);
TILE_VARIANTS(64, 64);
TILE_VARIANTS(64, 32);
