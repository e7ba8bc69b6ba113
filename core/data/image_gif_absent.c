/* A build without giflib: files are known, and refused by their name. */
#include "core/data/image_codecs.h"

const image_codec codec_gif = {"gif", "GIF", "libgif-dev", NULL, NULL, NULL};
