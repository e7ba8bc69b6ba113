/* conv2d_dweight as blocked matrix products, f32: dweight [oc, terms] += transpose of ddst [pixels, oc] times gathered
 * src [pixels, terms]. A piece is BLOCK_OC channels by BLOCK_TERMS terms by a band of pixels; the bands, needed only
 * where the weights give too few pieces to share out, are added in order. */
#include "kernels/cpu/bias.h"
#include "kernels/cpu/conv2d_gemm.h"

enum { BLOCK_OC = 48, BLOCK_TERMS = 256, MAX_BANDS = 8, ENOUGH_PIECES = 16 };

typedef struct cut {
    int64_t pixels, ocg, depth; /* of a group */
    int64_t down, across, bands;
} cut;

static cut cut_of(const conv2d_desc *d)
{
    cut c = {.pixels = d->n * d->oh * d->ow,
        .ocg = d->oc / d->groups,
        .depth = (int64_t)d->kh * d->kw * (d->ic / d->groups)};
    c.down = (c.ocg + BLOCK_OC - 1) / BLOCK_OC;
    c.across = (c.depth + BLOCK_TERMS - 1) / BLOCK_TERMS;
    int64_t pieces = c.down * c.across * d->groups;
    c.bands = pieces >= ENOUGH_PIECES ? 1 : cpu_min(MAX_BANDS, (c.pixels + 511) / 512);
    return c;
}

/* Scratch: partial dbias, then dweight per band. */
static size_t scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    const conv2d_desc *d = desc;
    cut c = cut_of(d);
    return bias_scratch_bytes(d) + (size_t)(c.bands * d->oc * c.depth) * sizeof(float);
}

/* GEMM_ROWS pixels of ddst, BLOCK_OC channels, the tail filled up with zeros. */
static void load_ddst(float *to, const conv2d_desc *d, const float *ddst, int64_t pixel, int64_t pixels,
    int64_t channel, int64_t channels)
{
    for (int64_t r = 0; r < pixels; r++) {
        memcpy(to + r * BLOCK_OC, ddst + (pixel + r) * d->oc + channel, (size_t)channels * sizeof *to);
        memset(to + r * BLOCK_OC + channels, 0, (size_t)(BLOCK_OC - channels) * sizeof *to);
    }
}

typedef struct block {
    float sum[BLOCK_OC * BLOCK_TERMS];
    float ddst[GEMM_ROWS * BLOCK_OC], src[GEMM_ROWS * BLOCK_TERMS];
} block;

static void multiply(block *b, const kernel_call *call, int64_t g, int64_t channel, int64_t channels, int64_t term,
    int64_t terms, int64_t from, int64_t to)
{
    const conv2d_desc *d = call->desc;
    int64_t width = (terms + TILE_COLS - 1) / TILE_COLS * TILE_COLS;
    memset(b->sum, 0, sizeof b->sum);
    for (int64_t pixel = from; pixel < to; pixel += GEMM_ROWS) {
        int64_t pixels = cpu_min(GEMM_ROWS, to - pixel);
        load_ddst(b->ddst, d, call->in[1], pixel, pixels, channel, channels);
        for (int64_t r = 0; r < pixels; r++) {
            float *row = b->src + r * BLOCK_TERMS;
            gemm_gather(row, d, call->in[0], g, pixel + r, term, terms);
            memset(row + terms, 0, (size_t)(width - terms) * sizeof *row);
        }
        for (int64_t c = 0; c < width; c += TILE_COLS)
            for (int64_t r = 0; r < channels; r += TILE_ROWS)
                gemm_tile_transposed(
                    b->sum + r * BLOCK_TERMS + c, BLOCK_TERMS, b->ddst + r, BLOCK_OC, b->src + c, BLOCK_TERMS, pixels);
    }
}

static void run_piece(const kernel_call *call, const cut *c, float *partial, int64_t piece)
{
    const conv2d_desc *d = call->desc;
    int64_t band = piece % c->bands, across = piece / c->bands % c->across,
            down = piece / (c->bands * c->across) % c->down;
    int64_t g = piece / (c->bands * c->across * c->down);
    int64_t channel = g * c->ocg + down * BLOCK_OC, channels = cpu_min(BLOCK_OC, (g + 1) * c->ocg - channel);
    int64_t term = across * BLOCK_TERMS, terms = cpu_min(BLOCK_TERMS, c->depth - term);
    block b;
    multiply(
        &b, call, g, channel, channels, term, terms, c->pixels * band / c->bands, c->pixels * (band + 1) / c->bands);
    float *to = partial + (band * d->oc + channel) * c->depth + term;
    for (int64_t r = 0; r < channels; r++)
        memcpy(to + r * c->depth, b.sum + r * BLOCK_TERMS, (size_t)terms * sizeof *to);
}

static status run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    cut c = cut_of(d);
    double *bias = call->scratch;
    float *partial = (float *)(void *)((char *)call->scratch + bias_scratch_bytes(d)), *dweight = call->out[0];
    int64_t pieces = d->groups * c.down * c.across * c.bands, weights = d->oc * c.depth;
#pragma omp parallel for schedule(static) if ((double)c.pixels * (double)weights > 65536.0)
    for (int64_t k = 0; k < pieces; k++) run_piece(call, &c, partial, k);
#pragma omp parallel for schedule(static) if (weights > CPU_SERIAL)
    for (int64_t i = 0; i < weights; i++) {
        float sum = partial[i];
        for (int64_t band = 1; band < c.bands; band++) sum += partial[band * weights + i];
        dweight[i] += sum;
    }
    if (call->out[1]) bias_accumulate(d, call->out[1], call->in[1], bias);
    return OK;
}

static const char *refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    if (d->src_type != DTYPE_F32 || d->weight_type != DTYPE_F32 || d->dst_type != DTYPE_F32) return "f32 only";
    if (d->transform.enabled) return "no input transform";
    if (d->compute != COMPUTE_F32) return "no reduced products of f32 tensors";
    return CPU_REFUSE();
}

CPU_KERNEL_AS(conv2d_dweight, gemm, OP_CONV2D_DWEIGHT, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = run);
