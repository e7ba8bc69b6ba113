/* A build without libwebp: files are known, and refused by their name. */
#include "core/data/image_codecs.h"

const image_codec codec_webp = {"webp", "WebP", "libwebp-dev", NULL, NULL, NULL};
