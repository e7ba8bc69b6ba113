#include "core/data/image_jpeg_blocks.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jerror.h>

/* Block rows above the one that is asked for which are still read: smoothing looks two rows of up to four blocks back.
 */
enum { ROWS_BACK = 16 };

/* libjpeg knows the name of this struct alone. */
struct jvirt_barray_control {
    struct jvirt_barray_control *next;
    JDIMENSION blocks_per_row, rows;
    JBLOCKROW *row; /* [rows] */
    uint8_t *memory;
    size_t bytes, given_back;
};

static struct jvirt_barray_control *request(
    j_common_ptr info, int pool, boolean zero, JDIMENSION blocks_per_row, JDIMENSION rows, JDIMENSION access)
{
    jpeg_blocks *blocks = info->client_data;
    (void)pool, (void)zero, (void)access;
    struct jvirt_barray_control *a = calloc(1, sizeof *a);
    if (!a) ERREXIT1(info, JERR_OUT_OF_MEMORY, 1);
    a->blocks_per_row = blocks_per_row;
    a->rows = rows;
    a->next = blocks->arrays;
    blocks->arrays = a;
    return a;
}

/* Fresh pages are zero, as libjpeg asks for. */
static void realize(j_common_ptr info)
{
    jpeg_blocks *blocks = info->client_data;
    blocks->realize_others(info);
    for (struct jvirt_barray_control *a = blocks->arrays; a; a = a->next) {
        if (a->memory) continue;
        a->bytes = (size_t)a->rows * a->blocks_per_row * sizeof(JBLOCK);
        void *memory = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        a->memory = memory == MAP_FAILED ? NULL : memory;
        a->row = malloc((size_t)a->rows * sizeof *a->row);
        if (!a->memory || !a->row) ERREXIT1(info, JERR_OUT_OF_MEMORY, 2);
        for (JDIMENSION i = 0; i < a->rows; i++)
            a->row[i] = (JBLOCKROW)(a->memory + (size_t)i * a->blocks_per_row * sizeof(JBLOCK));
    }
}

static JBLOCKARRAY access_rows(
    j_common_ptr info, struct jvirt_barray_control *a, JDIMENSION first, JDIMENSION count, boolean writable)
{
    if (!a->memory || first > a->rows || count > a->rows - first) ERREXIT(info, JERR_BAD_VIRTUAL_ACCESS);
    if (!writable && first > ROWS_BACK) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        size_t end = (size_t)(first - ROWS_BACK) * a->blocks_per_row * sizeof(JBLOCK) / page * page;
        if (end > a->given_back)
            madvise(a->memory + a->given_back, end - a->given_back, MADV_DONTNEED), a->given_back = end;
    }
    return a->row + first;
}

void jpeg_blocks_install(jpeg_blocks *blocks, j_decompress_ptr info)
{
    *blocks = (jpeg_blocks){.realize_others = info->mem->realize_virt_arrays};
    info->mem->request_virt_barray = request;
    info->mem->realize_virt_arrays = realize;
    info->mem->access_virt_barray = access_rows;
}

void jpeg_blocks_free(jpeg_blocks *blocks)
{
    for (struct jvirt_barray_control *a = blocks->arrays, *next; a; a = next) {
        next = a->next;
        if (a->memory) munmap(a->memory, a->bytes);
        free(a->row);
        free(a);
    }
    blocks->arrays = NULL;
}
