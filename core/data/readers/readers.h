/* readers.h: the readers and what they share. Private to core/data. */
#ifndef GRAFT_DATA_READERS_H
#define GRAFT_DATA_READERS_H

#include "core/data/dataset.h"

extern const dataset_reader reader_folder, reader_idx, reader_cifar, reader_csv, reader_packed, reader_kitti,
    reader_voc, reader_coco, reader_yolo;

/* Files larger than this are not pictures. */
enum { MAX_IMAGE_FILE_BYTES = 1 << 30 };

const char *part_name(dataset_part part); /* "train", "val", "test"; "" for PART_WHOLE */
/* Is a folder of this name the part's: "train", "Val", "train2017"? */
bool is_part_folder(const char *name, dataset_part part);
/* Does the file `name` (its path: `path`) look like an image, by its ending or by its first bytes? Also of kinds that
 * cannot be decoded, so that they are reported instead of being passed over. Hidden files do not count, nor do folders.
 */
bool is_image_file(const char *path, const char *name);

/* `encoded` of readers whose sample names are paths. */
status read_sample_file(const dataset *ds, int64_t index, arena *a, const uint8_t **bytes, size_t *count);

/* Raw u8 pixels with `channels` 1 or 3, planar ([channels, height, width]) or not, as an image of options->channels. */
status image_from_raw(image *im, const uint8_t *pixels, int32_t width, int32_t height, int32_t channels, bool planar,
    const decode_options *options);

/* IDX, the format of MNIST: an array of u8, gzipped or not. */
typedef struct idx_array {
    int32_t rank;
    int64_t dim[4];
    const uint8_t *data; /* in memory of the arena, or of `bytes` when those are plain */
} idx_array;
/* E_DATA with `name` in the message: wrong magic, sizes that do not fit the data, truncated or broken gzip. */
status idx_parse(arena *a, const uint8_t *bytes, size_t count, const char *name, idx_array *out);

/* CSV as RFC 4180: commas, quoted fields with "" for a quote, LF or CRLF; empty lines are skipped. Otherwise than
 * there, blanks around a field count only inside quotes. */
typedef struct csv_row {
    int32_t line; /* 1-based, where the row starts */
    int32_t count;
    const char **field; /* [count] */
} csv_row;
/* E_DATA naming the line: a quote that is not closed, text behind a closing quote, a 0 byte. */
status csv_parse(arena *a, const char *text, size_t bytes, const char *name, csv_row **rows, int64_t *count);

/* Images without classes: never probed, what is left over. */
extern const dataset_reader reader_loose;
bool folder_has_images(const char *path);

/* What in `folder` is called as the part is (train; val, valid or validation; test; best in small letters) with `tail`
 * (".csv") behind it, and fits. NULL: nothing, or out of memory. */
char *part_path(arena *a, const char *folder, dataset_part part, const char *tail, bool (*fits)(const char *path));
char *folder_of_part(arena *a, const char *root, dataset_part part); /* of class folders; NULL: there is none */

#endif
