/* A build without libheif: files are known, and refused by their name. */
#include "core/data/image_codecs.h"

const image_codec codec_heif = {"heif", "HEIC and AVIF", "libheif-dev", NULL, NULL, NULL};
