/* transpose.cu: dst dimension i is src dimension perm[i].
 *
 * direct: a thread an element of dst, gathered from src. packed: dimensions that stay neighbours are joined and those
 * of size 1 dropped; then either the last dimension stays last, and elements of up to 16 bytes are gathered (four in
 * flight), or it does not, and tiles of 32 x 32 elements, along the last dimension of src and the last of dst, turn in
 * shared memory: both sides are read and written along their own rows. The tile's rows are 33 elements apart, so that
 * its columns fall into different banks whatever the element's size. Bound by memory: one read, one write.
 */
#include "kernels/cuda/move.cuh"

constexpr int THREADS = 256, UNROLL = 4, TILE = 32, TILE_ROWS = THREADS / TILE;

/* Dimensions in dst's order: sizes, and how far apart their elements are in src. */
typedef struct shape {
    int32_t rank;
    int64_t dim[MOVE_MAX_RANK], src_stride[MOVE_MAX_RANK];
} shape;

/* ------------------------------------------------------------------------------------------------ gather */

/* Src element of dst element i. */
template <typename INDEX> static __device__ INDEX source_of(const shape &s, INDEX i)
{
    INDEX from = 0;
#pragma unroll
    for (int k = MOVE_MAX_RANK - 1; k >= 0;
         k--) { /* unrolled, so that the shape is indexed by constants and stays out of local memory */
        if (k >= s.rank) continue;
        INDEX dim = (INDEX)s.dim[k], rest = i / dim;
        from += (i - rest * dim) * (INDEX)s.src_stride[k];
        i = rest;
    }
    return from;
}

template <typename T, typename INDEX>
static __global__ void __launch_bounds__(THREADS, 2)
    gather_elements(T *__restrict__ dst, const T *__restrict__ src, INDEX count, shape s)
{
    INDEX stride = (INDEX)gridDim.x * THREADS;
    for (INDEX i = (INDEX)blockIdx.x * THREADS + (INDEX)threadIdx.x; i < count; i += UNROLL * stride) {
        T x[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (i + u * stride < count) x[u] = src[source_of(s, i + u * stride)];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (i + u * stride < count) dst[i + u * stride] = x[u];
    }
}

/* The descriptor's dimensions as they are. */
static shape shape_of(const transpose_desc *d)
{
    shape s = {};
    s.rank = d->rank;
    for (int32_t k = 0; k < d->rank; k++) {
        s.dim[k] = d->src_dim[d->perm[k]];
        s.src_stride[k] = product_of(d->src_dim + d->perm[k] + 1, d->rank - d->perm[k] - 1);
    }
    return s;
}

template <typename T> static status launch_gather(const kernel_call *call, shape s)
{
    int64_t count = product_of(s.dim, s.rank);
    unsigned blocks;
    TRY(blocks_on_device(&blocks, count, THREADS * UNROLL));
    if (is_short(count))
        return launch(gather_elements<T, int32_t>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0],
            call->in[0], count, s);
    return launch(
        gather_elements<T, int64_t>, dim3(blocks), dim3(THREADS), 0, call->stream, call->out[0], call->in[0], count, s);
}

static status direct_run(const kernel_call *call)
{
    const transpose_desc *d = (const transpose_desc *)call->desc;
    return FOR_ELEMENT(dtype_bytes(d->type), launch_gather, call, shape_of(d));
}

/* ------------------------------------------------------------------------------------------------ tiles */

/* Columns run along dst's last dimension, rows along the one that is src's last; the others,
 * at most four, are walked by z. */
typedef struct tiles {
    int64_t columns, rows;
    int64_t src_column, dst_row; /* strides; of a row in src and a column in dst they are 1 */
    int32_t rank;
    int64_t dim[MOVE_MAX_RANK], src_stride[MOVE_MAX_RANK], dst_stride[MOVE_MAX_RANK], count;
} tiles;

template <typename T>
static __global__ void __launch_bounds__(THREADS) turn_tiles(T *__restrict__ dst, const T *__restrict__ src, tiles t)
{
    SHARED(T, tile, [TILE][TILE + 1]);
    int64_t column_tiles = (t.columns + TILE - 1) / TILE;
    int64_t column = blockIdx.x % column_tiles * TILE, row = blockIdx.x / column_tiles * TILE;
    int x = threadIdx.x, y = threadIdx.y;
    for (int64_t z = blockIdx.z; z < t.count; z += gridDim.z) {
        int64_t left = z, from = 0, to = 0;
#pragma unroll
        for (int k = MOVE_MAX_RANK - 3; k >= 0; k--) {
            if (k >= t.rank) continue;
            from += left % t.dim[k] * t.src_stride[k];
            to += left % t.dim[k] * t.dst_stride[k];
            left /= t.dim[k];
        }
        __syncthreads(); /* the last tile may still be read */
#pragma unroll
        for (int j = 0; j < TILE; j += TILE_ROWS)
            if (row + x < t.rows && column + y + j < t.columns)
                tile[y + j][x] = src[from + (column + y + j) * t.src_column + row + x];
        __syncthreads();
#pragma unroll
        for (int j = 0; j < TILE; j += TILE_ROWS)
            if (column + x < t.columns && row + y + j < t.rows)
                dst[to + (row + y + j) * t.dst_row + column + x] = tile[x][y + j];
    }
}

template <typename T> static status launch_tiles(const kernel_call *call, tiles t)
{
    int64_t grid = ((t.columns + TILE - 1) / TILE) * ((t.rows + TILE - 1) / TILE);
    return launch(turn_tiles<T>, dim3((unsigned)grid, 1, (unsigned)(t.count < GRID_MAX ? t.count : GRID_MAX)),
        dim3(TILE, TILE_ROWS), 0, call->stream, call->out[0], call->in[0], t);
}

/* Drops dimensions of size 1 and joins neighbours of dst that are neighbours in src. */
static void join_dimensions(shape *s)
{
    int32_t rank = 0;
    for (int32_t k = 0; k < s->rank; k++) {
        if (s->dim[k] == 1) continue;
        if (rank > 0 && s->src_stride[rank - 1] == s->dim[k] * s->src_stride[k]) {
            s->dim[rank - 1] *= s->dim[k];
            s->src_stride[rank - 1] = s->src_stride[k];
            continue;
        }
        s->dim[rank] = s->dim[k];
        s->src_stride[rank++] = s->src_stride[k];
    }
    if (rank == 0) s->dim[0] = s->src_stride[0] = 1, rank = 1;
    s->rank = rank;
}

/* Where the last dimension stays last: makes one element of two as long as sizes and addresses allow.
 * Gives the bytes of an element. */
static size_t widen_elements(shape *s, size_t bytes, const kernel_call *call)
{
    while (bytes < 16 && s->dim[s->rank - 1] % 2 == 0 && aligned_to(call->out[0], 2 * bytes) &&
           aligned_to(call->in[0], 2 * bytes)) {
        bytes *= 2;
        s->dim[s->rank - 1] /= 2;
        for (int32_t k = 0; k < s->rank - 1; k++) s->src_stride[k] /= 2;
    }
    return bytes;
}

/* Of a shape whose last dimension does not stay last. */
static tiles tiles_of(const shape *s)
{
    tiles t = {};
    int32_t last = s->rank - 1;
    int64_t dst_stride = 1;
    t.count = 1;
    for (int32_t k = last; k >= 0; k--) {
        if (k == last) {
            t.columns = s->dim[k], t.src_column = s->src_stride[k];
        } else if (s->src_stride[k] == 1) {
            t.rows = s->dim[k], t.dst_row = dst_stride;
        } else {
            t.dim[t.rank] = s->dim[k], t.src_stride[t.rank] = s->src_stride[k], t.dst_stride[t.rank++] = dst_stride;
            t.count *= s->dim[k];
        }
        dst_stride *= s->dim[k];
    }
    return t;
}

static status packed_run(const kernel_call *call)
{
    const transpose_desc *d = (const transpose_desc *)call->desc;
    size_t bytes = dtype_bytes(d->type);
    shape s = shape_of(d);
    join_dimensions(&s);
    if (s.src_stride[s.rank - 1] != 1) return FOR_ELEMENT(bytes, launch_tiles, call, tiles_of(&s));
    bytes = widen_elements(&s, bytes, call);
    return FOR_ELEMENT(bytes, launch_gather, call, s);
}

CUDA_KERNEL(transpose__cuda_packed, OP_TRANSPOSE, .run = packed_run);
CUDA_KERNEL(transpose__cuda_direct, OP_TRANSPOSE, .run = direct_run);
