/* gpu.h: the imaginary GPU. Internal to kernels/simt. */
#ifndef GRAFT_SIMT_GPU_H
#define GRAFT_SIMT_GPU_H

#include <stdbool.h>
#include <stdint.h>
#include <cuda_runtime_api.h>

int64_t gpu_setting(const char *variable, int64_t otherwise); /* a number from the environment */
int32_t gpu_sm(void);           /* 80: GRAFT_SIMT_SM */
int32_t gpu_shared_bytes(void); /* that one block can ask for */

/* Keeps the text for cudaGetErrorString of this host thread and yields the code. */
cudaError_t gpu_error(cudaError_t code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* memory.c: whether [at, at + bytes) may be read and written by the device's side of a copy; by the host's. */
cudaError_t memory_check(const void *at, size_t bytes, bool device, const char *what);

/* stream.c: whether a capture is under way that forbids this host thread to allocate or to wait. */
bool capture_active(void);

#endif
