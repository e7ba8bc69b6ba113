/* conv2d_forward and conv2d_dsrc as blocked matrix products: what runs without oneDNN, and what oneDNN refuses. f32,
 * and i8 forward. A piece is GEMM_ROWS pixels by BLOCK_COLS channels. The data gradient gathers ddst where a tap
 * meets an output, zeros elsewhere. */
#include "kernels/cpu/conv2d_gemm.h"

enum { BLOCK_COLS = EPILOGUE_MOST };

/* The product of one group: pixels x terms times terms x channels. */
typedef struct product {
    int64_t rows, cols, depth, panels; /* panels: of TILE_COLS channels */
} product;

static product product_of(const conv2d_desc *d, bool forward)
{
    int64_t icg = d->ic / d->groups, ocg = d->oc / d->groups, taps = (int64_t)d->kh * d->kw;
    product p = {
        forward ? d->n * d->oh * d->ow : d->n * d->ih * d->iw, forward ? ocg : icg, taps * (forward ? icg : ocg), 0};
    p.panels = (p.cols + TILE_COLS - 1) / TILE_COLS;
    return p;
}

static size_t packed_floats(const conv2d_desc *d, bool forward)
{
    product p = product_of(d, forward);
    return (size_t)(d->groups * p.panels * p.depth * TILE_COLS);
}

static size_t forward_packed_bytes(const void *desc, const void *state)
{
    (void)state;
    return packed_floats(desc, true) * sizeof(float);
}

static size_t dsrc_packed_bytes(const void *desc, const void *state)
{
    (void)state;
    return packed_floats(desc, false) * sizeof(float);
}

/* Panels of TILE_COLS channels, each [depth, TILE_COLS], the last one filled up with zeros. */
static void pack_panel(float *panel, const conv2d_desc *d, const void *weight, int64_t g, int64_t first, bool forward)
{
    int64_t icg = d->ic / d->groups, ocg = d->oc / d->groups, taps = (int64_t)d->kh * d->kw;
    product p = product_of(d, forward);
    for (int64_t k = 0; k < p.depth; k++)
        for (int64_t c = 0; c < TILE_COLS; c++) {
            int64_t channel = first + c, at;
            if (forward) at = (g * ocg + channel) * p.depth + k;
            else at = ((g * ocg + k % ocg) * taps + k / ocg) * icg + channel;
            float w = 0.0f;
            if (channel < p.cols) epilogue_load(&w, weight, d->weight_type, at, 1);
            panel[k * TILE_COLS + c] = w;
        }
}

static status pack(const kernel_call *call, bool forward)
{
    const conv2d_desc *d = call->desc;
    product p = product_of(d, forward);
#pragma omp parallel for schedule(static) if (packed_floats(d, forward) > CPU_SERIAL)
    for (int64_t k = 0; k < d->groups * p.panels; k++)
        pack_panel((float *)call->packed + k * p.depth * TILE_COLS, d, call->in[1], k / p.panels,
            k % p.panels * TILE_COLS, forward);
    return OK;
}

static status forward_pack(const kernel_call *call)
{
    return pack(call, true);
}

static status dsrc_pack(const kernel_call *call)
{
    return pack(call, false);
}

/* Terms [k, k + count) of input pixel `row`: the outputs that its taps reach. */
static void gather_ddst(
    float *a, const conv2d_desc *d, const float *ddst, int64_t g, int64_t row, int64_t k, int64_t count)
{
    int64_t ocg = d->oc / d->groups, ix = row % d->iw, iy = row / d->iw % d->ih, n = row / (d->iw * d->ih);
    while (count > 0) {
        int64_t tap = k / ocg, from = k % ocg, width = cpu_min(ocg - from, count);
        int64_t y = iy + d->pt - tap / d->kw * d->dil_h, x = ix + d->pl - tap % d->kw * d->dil_w;
        bool meets = y >= 0 && x >= 0 && y % d->sh == 0 && x % d->sw == 0 && y / d->sh < d->oh && x / d->sw < d->ow;
        if (meets)
            memcpy(a, ddst + ((n * d->oh + y / d->sh) * d->ow + x / d->sw) * d->oc + g * ocg + from,
                (size_t)width * sizeof *a);
        else
            memset(a, 0, (size_t)width * sizeof *a);
        a += width, k += width, count -= width;
    }
}

/* The sums of one piece; integers where the tensors are. */
typedef union sums {
    float f[GEMM_ROWS][BLOCK_COLS];
    int32_t i[GEMM_ROWS][BLOCK_COLS];
} sums;

static void add_tile(sums *s, const float *tile, int64_t row, int64_t col, bool integer)
{
    for (int64_t r = 0; r < TILE_ROWS; r++, tile += TILE_COLS) {
        if (integer)
            for (int64_t c = 0; c < TILE_COLS; c++) s->i[row + r][col + c] += (int32_t)tile[c];
        else
            for (int64_t c = 0; c < TILE_COLS; c++) s->f[row + r][col + c] += tile[c];
    }
}

/* A piece: rows from `row` on, channels from `col` on. */
static void multiply(sums *s, const kernel_call *call, bool forward, int64_t g, int64_t row, int64_t rows, int64_t col)
{
    const conv2d_desc *d = call->desc;
    product p = product_of(d, forward);
    bool integer = d->weight_type == DTYPE_I8;
    int64_t first = col / TILE_COLS, panels = cpu_min(BLOCK_COLS / TILE_COLS, p.panels - first);
    float a[GEMM_ROWS * GEMM_DEPTH], tile[TILE_ROWS * TILE_COLS];
    memset(s, 0, sizeof *s);
    for (int64_t k = 0; k < p.depth; k += GEMM_DEPTH) {
        int64_t depth = cpu_min(GEMM_DEPTH, p.depth - k), padded = (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
        for (int64_t r = 0; r < padded; r++) {
            float *to = a + r * GEMM_DEPTH;
            if (r >= rows) memset(to, 0, (size_t)depth * sizeof *to);
            else if (forward) gemm_gather(to, d, call->in[0], g, row + r, k, depth);
            else gather_ddst(to, d, call->in[0], g, row + r, k, depth);
        }
        for (int64_t n = 0; n < panels; n++) {
            const float *b = (const float *)call->packed + ((g * p.panels + first + n) * p.depth + k) * TILE_COLS;
            for (int64_t r = 0; r < padded; r += TILE_ROWS) {
                gemm_tile(tile, a + r * GEMM_DEPTH, GEMM_DEPTH, b, depth);
                add_tile(s, tile, r, n * TILE_COLS, integer);
            }
        }
    }
}

static void finish_row(const kernel_call *call, const sums *s, int64_t r, int64_t at, int64_t channel, int64_t count)
{
    const conv2d_desc *d = call->desc;
    float y[BLOCK_COLS];
    if (d->weight_type == DTYPE_I8)
        for (int64_t c = 0; c < count; c++) y[c] = (float)s->i[r][c];
    else memcpy(y, s->f[r], (size_t)count * sizeof *y);
    epilogue_store(call, y, at, channel, count);
}

static status run(const kernel_call *call, bool forward)
{
    const conv2d_desc *d = call->desc;
    product p = product_of(d, forward);
    int64_t down = (p.rows + GEMM_ROWS - 1) / GEMM_ROWS, across = (p.cols + BLOCK_COLS - 1) / BLOCK_COLS;
#pragma omp parallel for schedule(static) if ((double)p.rows * (double)p.cols * (double)p.depth > 65536.0)
    for (int64_t k = 0; k < d->groups * down * across; k++) {
        int64_t g = k / (down * across), row = k / across % down * GEMM_ROWS, col = k % across * BLOCK_COLS;
        int64_t rows = cpu_min(GEMM_ROWS, p.rows - row), cols = cpu_min(BLOCK_COLS, p.cols - col),
                channel = g * p.cols + col;
        sums s;
        multiply(&s, call, forward, g, row, rows, col);
        for (int64_t r = 0; r < rows; r++) {
            int64_t at = (row + r) * d->groups * p.cols + channel;
            if (forward) finish_row(call, &s, r, at, channel, cols);
            else memcpy((float *)call->out[0] + at, s.f[r], (size_t)cols * sizeof(float));
        }
    }
    return OK;
}

static status forward_run(const kernel_call *call)
{
    return run(call, true);
}

static status dsrc_run(const kernel_call *call)
{
    return run(call, false);
}

static bool is_byte(dtype type)
{
    return type == DTYPE_I8 || type == DTYPE_U8;
}

static const char *forward_refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    const conv2d_epilogue *e = &d->epilogue;
    if (d->weight_type == DTYPE_I8) {
        if (is_byte(d->dst_type) && !cpu_act_is_simple(e->act))
            return "exponential rounded to an integer: not bit for bit";
    } else if (d->src_type != DTYPE_F32) {
        return "f32 and i8 only";
    }
    if (d->compute != COMPUTE_F32) return "no reduced products of f32 tensors";
    if (d->transform.enabled) return "no input transform";
    if (e->stats) return "no statistics";
    return CPU_REFUSE();
}

static const char *dsrc_refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    if (d->src_type != DTYPE_F32 || d->weight_type != DTYPE_F32 || d->dst_type != DTYPE_F32) return "f32 only";
    if (d->compute != COMPUTE_F32) return "no reduced products of f32 tensors";
    return CPU_REFUSE();
}

CPU_KERNEL_AS(conv2d_forward, gemm, OP_CONV2D_FORWARD, .refuse = forward_refuse, .packed_bytes = forward_packed_bytes,
              .pack = forward_pack, .run = forward_run);
CPU_KERNEL_AS(conv2d_dsrc, gemm, OP_CONV2D_DSRC, .refuse = dsrc_refuse, .packed_bytes = dsrc_packed_bytes,
    .pack = dsrc_pack, .run = dsrc_run);
