/* exif.h: the one fact of EXIF that changes pixels. */
#ifndef GRAFT_DATA_EXIF_H
#define GRAFT_DATA_EXIF_H

#include <stddef.h>
#include <stdint.h>

/* Orientation 1 to 8 from the payload of a JPEG's APP1 marker ("Exif\0\0" and a TIFF header behind it), of a PNG's eXIf
 * chunk or a WebP's EXIF chunk (the TIFF header alone). Anything absent, cut short or out of range gives 1 (upright): a
 * broken tag is no reason to refuse a picture.
 *
 *     int turn = exif_orientation(marker->data, marker->data_length);
 */
int exif_orientation(const uint8_t *bytes, size_t count);

#endif
