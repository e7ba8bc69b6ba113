/* export_net.h: a small residual network with random weights and random images, for the tests of export/. */
#ifndef GRAFT_TESTS_EXPORT_NET_H
#define GRAFT_TESTS_EXPORT_NET_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit_test.h"

#include "core/base/rng.h"
#include "core/device/device.h"
#include "core/graph/model.h"
#include "export/calibrate.h"
#include "export/export.h"
#include "models/models.h"
#include "tests/unit/net_fill.h"

enum { NET_SIDE = 24, NET_CHANNELS = 3, NET_CLASSES = 5, NET_IMAGE = NET_SIDE * NET_SIDE * NET_CHANNELS };

/* resnet10 with a quarter of the channels, or another arch. */
static status net_model(model *m, const char *arch, double width)
{
    static const char *const names[NET_CLASSES] = {"ant", "bee", "cat", "dog", "elk: \"big\""};
    spec_model options = {.arch = arch, .input_width = NET_SIDE, .input_height = NET_SIDE, .channels = NET_CHANNELS,
                          .stem = STEM_IMAGENET, .width = width, .use_batch_norm = true, .use_pooling = true,
                          .bn_momentum = 0.1, .bn_epsilon = 1e-5};
    *m = (model){.spec_text = "", .info_json = "{}"};
    TRY(models_build(&m->graph, &(spec){.model = options}, NET_CLASSES));
    net_fill(&m->graph, 7);
    m->preprocess = (preprocess){.width = NET_SIDE,
        .height = NET_SIDE,
        .channels = NET_CHANNELS,
        .mean = {120, 115, 100},
        .std = {60, 60, 60},
        .resize = RESIZE_STRETCH,
        .crop_fraction = 1};
    m->file_hash = (hash128){0x0123456789abcdef, 0xfedcba9876543210};
    return model_set_classes(m, names, NET_CLASSES);
}

/* A source of `count` random images in batches of any size, forwards or backwards. */
typedef struct net_images {
    int64_t count, batch, at;
    bool backwards;
    float *pixels; /* [count, NET_IMAGE] */
    float *buffer; /* [batch, NET_IMAGE] */
} net_images;

static inline net_images net_images_make(int64_t count, int64_t batch, bool backwards)
{
    net_images s = {.count = count, .batch = batch, .backwards = backwards};
    s.pixels = malloc((size_t)count * NET_IMAGE * sizeof(float));
    s.buffer = malloc((size_t)batch * NET_IMAGE * sizeof(float));
    for (int64_t i = 0; i < count; i++) {
        rng r = rng_make(3, RNG_TEST, 1000 + (uint64_t)i);
        float level = rng_normal(&r);
        for (int64_t k = 0; k < NET_IMAGE; k++) s.pixels[i * NET_IMAGE + k] = level + rng_normal(&r);
    }
    return s;
}

static inline void net_images_free(net_images *s)
{
    free(s->pixels);
    free(s->buffer);
}

static inline status net_rewind(void *context)
{
    ((net_images *)context)->at = 0;
    return OK;
}

static inline status net_next(void *context, const float **images, int64_t *count)
{
    net_images *s = context;
    for (*count = 0; *count < s->batch && s->at < s->count; s->at++, ++*count) {
        int64_t i = s->backwards ? s->count - 1 - s->at : s->at;
        memcpy(s->buffer + *count * NET_IMAGE, s->pixels + i * NET_IMAGE, NET_IMAGE * sizeof(float));
    }
    *images = s->buffer;
    return OK;
}

static inline calibration_data net_data(net_images *s)
{
    return (calibration_data){.context = s, .rewind = net_rewind, .next = net_next};
}

enum { NET_IMAGES = 12 };

/* A model and its fused float network, images, and a device to run on. */
typedef struct net_fixture {
    device *dev;
    model m;
    graph fused;
    float *scale; /* [fused.edge_count], of who measures it */
    net_images images;
    calibration_data data;
} net_fixture;

static inline int net_fixture_open(void **state)
{
    net_fixture *f = calloc(1, sizeof *f);
    if (!f || device_open(&f->dev, SPEC_DEVICE_CPU, 0, 1, NULL) != OK) return 1;
    if (net_model(&f->m, "resnet10", 0.25) != OK || export_float_graph(&f->fused, &f->m.graph) != OK) return 1;
    f->images = net_images_make(NET_IMAGES, 4, false);
    f->data = net_data(&f->images);
    *state = f;
    return 0;
}

static inline int net_fixture_close(void **state)
{
    net_fixture *f = *state;
    net_images_free(&f->images);
    graph_free(&f->fused);
    model_free(&f->m);
    device_close(f->dev);
    free(f->scale);
    free(f);
    return 0;
}

#endif
