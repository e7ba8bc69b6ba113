#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/probe.h"
#include "core/base/text.h"
#include "core/base/cpu.h"
#include "core/base/version.h"
#include "core/data/dataset.h"
#include "core/data/image.h"
#include "core/device/device.h"

static void put(json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    json_put_string(w, *value ? value : NULL);
}

static void put_int(json_writer *w, const char *key, int64_t value)
{
    json_key(w, key);
    json_put_int(w, value);
}

/* The kernel that a typical layer of an f32 network or of an INT8 engine gets on this CPU. */
static const char *convolution_kernel(dtype type)
{
    conv2d_desc d = {.n = 1, .ih = 56, .iw = 56, .ic = 64, .oh = 56, .ow = 56, .oc = 64, .kh = 3, .kw = 3, .sh = 1,
                     .sw = 1, .pt = 1, .pl = 1, .pb = 1, .pr = 1, .dil_h = 1, .dil_w = 1, .groups = 1,
                     .src_type = type, .weight_type = type, .dst_type = type, .compute = COMPUTE_F32};
    d.epilogue.has_bias = true;
    d.epilogue.has_scale = type == DTYPE_I8;
    d.epilogue.act = ACT_RELU;
    d.epilogue.add_scale = 1;
    const kernel *k;
    return kernel_select(&k, OP_CONV2D_FORWARD, BACKEND_CPU, &d, NULL, NULL) == OK ? k->name : "none";
}

/* As the build names them: "80 90a +90"; "" without CUDA. */
static const char *cuda_architectures(void)
{
    return device_api_cuda.architectures ? device_api_cuda.architectures : "";
}

/* "kernels for sm_80, sm_90a and PTX of compute_90 for later GPUs" */
static void cuda_text(char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "%s", *cuda_architectures() ? "kernels for" : "not built in");
    for (const char *a = cuda_architectures(); *a && used < bytes; a += strspn(a, " ")) {
        int length = (int)strcspn(a, " ");
        const char *comma = a == cuda_architectures() ? "" : ",";
        if (*a == '+')
            used +=
                (size_t)snprintf(text + used, bytes - used, "; PTX of compute_%.*s for later GPUs", length - 1, a + 1);
        else used += (size_t)snprintf(text + used, bytes - used, "%s sm_%.*s", comma, length, a);
        a += length;
    }
}

static void put_probe(json_writer *w, const probe *p)
{
    put(w, "version", GRAFT_VERSION);
    put(w, "cpu", p->cpu_model);
    put(w, "isa", p->isa);
    json_key(w, "vnni");
    json_put_bool(w, p->vnni);
    put_int(w, "cpus", p->cpus);
    put_int(w, "memory_bytes", p->memory_bytes);
    put_int(w, "memory_free_bytes", p->memory_free_bytes);
    put(w, "onednn", p->onednn);
    put(w, "kernel_f32", convolution_kernel(DTYPE_F32));
    put(w, "kernel_int8", convolution_kernel(DTYPE_I8));
    put(w, "cuda_architectures", cuda_architectures());
    put(w, "cuda_driver", p->cuda_driver);
    put(w, "cuda_problem", p->cuda_problem);
    json_key(w, "gpus");
    json_begin_array(w);
    for (int32_t i = 0; i < p->gpu_count; i++) {
        json_begin_object(w);
        put(w, "name", p->gpu_name[i]);
        put_int(w, "memory_bytes", p->gpu_bytes[i]);
        json_end_object(w);
    }
    json_end_array(w);
    char formats[512];
    image_formats_text(formats, sizeof formats, true, true);
    put(w, "images", formats);
    image_formats_text(formats, sizeof formats, false, true);
    put(w, "images_not_built_in", formats);
    json_key(w, "data_sets");
    json_begin_array(w);
    for (int32_t i = 0; dataset_readers[i]; i++) json_put_string(w, dataset_readers[i]->name);
    json_end_array(w);
    put(w, "nccl", p->nccl);
    put(w, "mpi", p->mpi);
}

status cli_version(cli_context *c)
{
    probe p;
    probe_machine(&p);
    put_probe(&c->result, &p);
    char cuda[256];
    cuda_text(cuda, sizeof cuda);
    cli_print(c, "Graft " GRAFT_VERSION "\noneDNN %s\nCUDA %s\n", *p.onednn ? p.onednn : "not built in", cuda);
    return OK;
}

static void print_images(const cli_context *c)
{
    char read[512], absent[512];
    image_formats_text(read, sizeof read, true, true);
    image_formats_text(absent, sizeof absent, false, true);
    for (const char *label = "images", *rest = read; *rest; label = "") {
        size_t length = text_fold(rest, 80);
        cli_print(c, "%-10s %.*s\n", label, (int)length, rest);
        rest += length + strspn(rest + length, " ");
    }
    if (*absent) cli_print(c, "           not built in, install before building: %s\n", absent);
}

static void print_probe(const cli_context *c, const probe *p)
{
    char total[32], available[32], cuda[256];
    cuda_text(cuda, sizeof cuda);
    format_bytes((double)p->memory_bytes, total);
    format_bytes((double)p->memory_free_bytes, available);
    cli_print(c, "graft      %s\n", GRAFT_VERSION);
    cli_print(c, "cpu        %s\n", p->cpu_model);
    cli_print(c, "           %d processor%s for this process, %s, %s\n", (int)p->cpus, p->cpus == 1 ? "" : "s", p->isa,
              p->vnni ? "VNNI" : "no VNNI");
    cli_print(c, "memory     %s, %s available\n", total, available);
    cli_print(c, "oneDNN     %s\n", *p->onednn ? p->onednn : "not built in");
    cli_print(
        c, "kernels    f32 %s\n           int8 %s\n", convolution_kernel(DTYPE_F32), convolution_kernel(DTYPE_I8));
    for (int32_t i = 0; i < p->gpu_count; i++) {
        char bytes[32];
        format_bytes((double)p->gpu_bytes[i], bytes);
        cli_print(c, "gpu %-6d %s, %s\n", (int)i, p->gpu_name[i], bytes);
    }
    if (p->gpu_count == 0) cli_print(c, "gpu        none: %s\n", p->cuda_problem);
    if (*p->cuda_driver) cli_print(c, "driver     CUDA %s\n", p->cuda_driver);
    cli_print(c, "CUDA       %s\n", cuda);
    print_images(c);
    cli_print(c, "data sets ");
    for (int32_t i = 0; dataset_readers[i]; i++)
        cli_print(c, " %s%s", dataset_readers[i]->name, dataset_readers[i + 1] ? "," : "\n");
    cli_print(c, "NCCL       %s\n", *p->nccl ? p->nccl : "not found (needed for several GPUs only)");
    cli_print(c, "MPI        %s\n", *p->mpi ? p->mpi : "not found (needed for several GPUs only)");
}

/* What the findings mean for somebody who wants to train, in sentences. */
static void verdict(const probe *p, char *text, size_t bytes)
{
    device *dev = NULL;
    bool cuda = p->gpu_count > 0 && device_open(&dev, SPEC_DEVICE_CUDA, 0, 0, NULL) == OK;
    char gpu[256];
    if (cuda) snprintf(gpu, sizeof gpu, "Training and engines use the GPU %s. ", p->gpu_name[0]);
    else if (p->gpu_count > 0)
        snprintf(gpu, sizeof gpu, "A GPU is there, but it cannot be used (%.160s): everything runs on the CPU. ",
                 status_message());
    else snprintf(gpu, sizeof gpu, "Everything runs on the CPU. ");
    device_close(dev);
    bool fast = cpu_isa_widest() >= CPU_ISA_AVX2, limited = !cpu_isa_allowed(CPU_ISA_AVX512);
    const char *speed =
        !*p->onednn ? "This build is without oneDNN, so convolutions are slow: install libdnnl-dev and build again."
        : limited   ? "GRAFT_CPU_ISA limits the CPU's kernels: expect longer runs."
        : !fast     ? "The CPU is old (no AVX2): expect long runs."
        : p->vnni   ? "The CPU backend is complete: fast convolutions, INT8 at full speed (VNNI)."
                    : "The CPU backend is complete, but INT8 gains little: the CPU has no VNNI.";
    const char *memory = p->memory_free_bytes && p->memory_free_bytes < (int64_t)1 << 30
                             ? " Less than 1 GiB of memory is free: use small batches." : "";
    snprintf(text, bytes, "%s%s%s", gpu, speed, memory);
}

static status run(cli_context *c)
{
    probe p;
    char text[768];
    probe_machine(&p);
    print_probe(c, &p);
    put_probe(&c->result, &p);
    verdict(&p, text, sizeof text);
    cli_print(c, "\n%s\n", text);
    put(&c->result, "verdict", text);
    return OK;
}

const cli_command command_doctor = {
    .name = "doctor",
    .summary = "say what this machine has and what runs on it",
    .description = "CPU and its instruction sets, memory, oneDNN, GPUs and their driver, image formats, NCCL, MPI; and "
                   "what follows from it.",
    .run = run,
};
