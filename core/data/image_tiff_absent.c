/* A build without libtiff: files are known, and refused by their name. */
#include "core/data/image_codecs.h"

const image_codec codec_tiff = {"tiff", "TIFF", "libtiff-dev", NULL, NULL, NULL};
