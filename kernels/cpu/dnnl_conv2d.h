/* dnnl_conv2d.h: what the three oneDNN convolution variants share. Private to kernels/cpu/dnnl_*.c.
 *
 * Activations stay plain NHWC; weights are repacked into the layout that oneDNN picks (format `any`): with plain
 * weights it reaches 61 % of that speed. A state owns engine, stream, primitives and memory objects, so that a call
 * only sets handles: it allocates nothing. One call at a time per state.
 */
#ifndef GRAFT_CPU_DNNL_CONV2D_H
#define GRAFT_CPU_DNNL_CONV2D_H

#include <oneapi/dnnl/dnnl.h>

#include "kernels/cpu/isa.h"

/* The memory objects of a state. */
enum {
    SLOT_SRC,     /* src or dsrc            */
    SLOT_DST,     /* dst or ddst            */
    SLOT_PICKED,  /* weights as oneDNN wants them, or dweight as it computes it */
    SLOT_PLAIN,   /* weights as kernels.h has them */
    SLOT_BIAS,
    SLOT_SCRATCH,
    SLOT_COUNT
};

typedef struct dnnl_conv2d {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t conv;
    dnnl_primitive_t repack;        /* plain to picked; for dweight picked to plain, accumulating */
    dnnl_memory_t memory[SLOT_COUNT];
    dnnl_memory_desc_t picked;
    size_t picked_bytes, scratch_bytes;
} dnnl_conv2d;

#define DNNL_TRY(call) TRY(dnnl_conv2d_check((call), #call))

status dnnl_conv2d_check(dnnl_status_t code, const char *call);

/* The primitive descriptor of `op` for `d`; scale [oc] or NULL where the epilogue has none. The caller destroys it. */
dnnl_status_t dnnl_conv2d_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, kernel_op op, const conv2d_desc *d,
                                   const float *scale);

/* Limits oneDNN as GRAFT_CPU_ISA says (base: SSE4.1, the least that it knows), which it accepts before its first use
 * only. Comes therefore before every other call of a refusal; the reason where somebody else in this process has used
 * oneDNN without the limit, or NULL. */
const char *dnnl_conv2d_refuse_isa(void);

/* Why oneDNN cannot run `op` for `d`, or NULL: shared by all refusals, after the checks of the single op. */
const char *dnnl_conv2d_refuse(kernel_op op, const conv2d_desc *d);

/* Engine, stream, memory objects, repacking and, unless the scales are still unknown, the convolution itself. */
status dnnl_conv2d_create(dnnl_conv2d **state, kernel_op op, const conv2d_desc *d);
void dnnl_conv2d_destroy(void *state);

/* (Re)makes state->conv with these scales. */
status dnnl_conv2d_compile(dnnl_conv2d *state, kernel_op op, const conv2d_desc *d, const float *scale);

size_t dnnl_conv2d_scratch_bytes(const void *desc, const void *state);
size_t dnnl_conv2d_packed_bytes(const void *desc, const void *state);
status dnnl_conv2d_set(dnnl_conv2d *state, int slot, const void *data);

/* Runs a primitive on `count` arguments and waits. */
status dnnl_conv2d_execute(dnnl_conv2d *state, dnnl_primitive_t primitive, const dnnl_exec_arg_t *args, int count);

/* Weights into state's layout, from call->in[CONV2D_WEIGHT] (`plain`) to call->packed. */
status dnnl_conv2d_repack(dnnl_conv2d *state, const void *plain, void *packed);

#endif
