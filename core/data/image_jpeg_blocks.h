/* image_jpeg_blocks.h: where libjpeg keeps the coefficients of a JPEG that comes in several scans (a progressive one).
 *
 * libjpeg holds them, two bytes for each, until the picture is complete: with the picture, three times its size. Here
 * they are given back to the system row by row as the picture is made of them, so that both together never need more
 * than twice.
 */
#ifndef GRAFT_DATA_IMAGE_JPEG_BLOCKS_H
#define GRAFT_DATA_IMAGE_JPEG_BLOCKS_H

#include <stdio.h>

#include <jpeglib.h>

typedef struct jpeg_blocks {
    struct jvirt_barray_control *arrays; /* one per component */
    void (*realize_others)(j_common_ptr info);
} jpeg_blocks;

/* Behind jpeg_create_decompress; info->client_data begins with the jpeg_blocks. Memory that cannot be had is libjpeg's
 * JERR_OUT_OF_MEMORY. */
void jpeg_blocks_install(jpeg_blocks *blocks, j_decompress_ptr info);
/* Whenever libjpeg is through with them, also after an error. Accepts a zeroed one. */
void jpeg_blocks_free(jpeg_blocks *blocks);

#endif
