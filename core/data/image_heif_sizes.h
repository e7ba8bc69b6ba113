/* image_heif_sizes.h: how large the coded pictures of a HEIF file are. libheif checks what the container says, and its
 * decoders allocate what the coded data say.
 */
#ifndef GRAFT_DATA_IMAGE_HEIF_SIZES_H
#define GRAFT_DATA_IMAGE_HEIF_SIZES_H

#include <stddef.h>
#include <stdint.h>

/* The largest width x height of the HEVC parameter sets and AV1 sequence headers in the file, those of the properties
 * (hvcC, av1C) and those within the items; 0: none was found; INT64_MAX: more than can be (or items that lie in each
 * other again and again). Anything that is not valid is passed over: libheif will say so. */
int64_t heif_coded_pixels(const uint8_t *bytes, size_t count);

#endif
