/* What safetensors metadata say about images, as options. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "models/import/match.h"
#include "models/models.h"

static const char origin[] = "the file's metadata";

typedef struct adopter {
    const weights *w;
    config *c;
} adopter;

static status bad(const adopter *a, const char *key, const char *value, const char *expected)
{
    return FAIL(E_MODEL, "%s: metadata %s = %s: expected %s", a->w->st.what, key, value, expected);
}

static status set(const adopter *a, const char *section, const char *key, const char *value)
{
    return config_is_set(a->c, section, key) ? OK : config_set(a->c, section, key, value, origin);
}

static status adopt_crop(const adopter *a, const char *key, const char *value)
{
    int64_t side;
    if (!text_to_int(value, &side) || side < 1 || side > 8192) return bad(a, key, value, "a side in pixels");
    TRY(set(a, "model", "input_width", value));
    return set(a, "model", "input_height", value);
}

static status adopt_fraction(const adopter *a, const char *key, const char *value)
{
    double fraction;
    if (!text_to_number(value, &fraction) || !(fraction > 0 && fraction <= 1))
        return bad(a, key, value, "a part of the side");
    return set(a, "data", "crop_fraction", value);
}

static status adopt_crop_size(const adopter *a, const char *key, const char *value)
{
    int64_t side;
    if (!text_to_int(value, &side) || side < 1 || side > 65536) return bad(a, key, value, "a side in pixels");
    return set(a, "data", "crop_size", value);
}

static status adopt_interpolation(const adopter *a, const char *key, const char *value)
{
    int known;
    if (option_choice_find("data", "interpolation", value, &known)) return set(a, "data", "interpolation", value);
    return bad(a, key, value, "bilinear, bicubic, nearest or linear");
}

static status adopt_channels(const adopter *a, const char *key, const char *value)
{
    if (strcmp(value, "RGB") == 0 || strcmp(value, "BGR") == 0) return OK; /* BGR: with mean and std */
    if (strcmp(value, "L") == 0) return set(a, "model", "channels", "1");
    return bad(a, key, value, "RGB, BGR or L");
}

static status adopt_padding(const adopter *a, const char *key, const char *value)
{
    if (strcmp(value, "symmetric") == 0) return OK;
    if (strcmp(value, "same") != 0) return bad(a, key, value, "same or symmetric");
    return set(a, "model", "padding", "same");
}

static const struct entry {
    const char *key;
    status (*adopt)(const adopter *a, const char *key, const char *value);
    bool frames; /* says how a classifier frames its pictures, which nothing else follows */
} entries[] = {{"crop", adopt_crop, true}, {"crop_pct", adopt_fraction, true}, {"crop_size", adopt_crop_size, true},
    {"interpolation", adopt_interpolation, false}, {"channels", adopt_channels, false},
    {"padding", adopt_padding, false}};

/* "0.485,0.456,0.406", of pixels 0 to 1. */
static status read_three(const adopter *a, const char *key, const char *text, double value[3])
{
    char copy[128], *rest = copy;
    int count = 0;
    bool fine = strlen(text) < sizeof copy;
    if (fine) strcpy(copy, text);
    for (char *word = fine ? strsep(&rest, ",") : NULL; word; word = strsep(&rest, ","))
        fine = fine && count < 3 && text_to_number(word, &value[count++]);
    return fine && count == 3 ? OK : bad(a, key, text, "three numbers with commas between");
}

/* Of pixels 0 to 255; a grey network has one value. */
static status set_list(const adopter *a, const char *key, const double value[3])
{
    char text[3][32], all[128];
    for (int i = 0; i < 3; i++) number_text(255 * value[i], text[i]);
    bool grey = a->c->spec.model.channels == 1;
    snprintf(all, sizeof all, grey ? "%s" : "%s %s %s", text[0], text[1], text[2]);
    return set(a, "data", key, all);
}

static bool is_near(double value[2][3], const double usual[2][3])
{
    bool same = true;
    for (int i = 0; i < 6; i++) same = same && fabs(value[i / 3][i % 3] - usual[i / 3][i % 3]) < 1e-6;
    return same;
}

static status adopt_mean_and_std(const adopter *a)
{
    static const double torch[2][3] = {{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}};
    static const double caffe[2][3] = {{103.939 / 255, 116.779 / 255, 123.68 / 255}, {1 / 255.0, 1 / 255.0, 1 / 255.0}};
    const char *mean = safetensors_meta(&a->w->st, "mean"), *deviation = safetensors_meta(&a->w->st, "std");
    const char *channels = safetensors_meta(&a->w->st, "channels");
    bool bgr = channels && strcmp(channels, "BGR") == 0;
    double value[2][3];
    if (config_is_set(a->c, "data", "preprocess")) return OK;
    if (!mean || !deviation) return bgr ? bad(a, "channels", channels, "mean and std beside it") : OK;
    TRY(read_three(a, "mean", mean, value[0]));
    TRY(read_three(a, "std", deviation, value[1]));
    for (int i = 0; i < 3; i++)
        if (!(value[1][i] > 0)) return bad(a, "std", deviation, "numbers above 0");
    if (bgr && is_near(value, caffe)) return set(a, "data", "preprocess", "caffe");
    if (bgr)
        return bad(a, "mean", mean,
            "of a BGR network the mean and deviation of data.preprocess = caffe; no other is known here");
    if (a->c->spec.model.channels != 1 && is_near(value, torch)) return set(a, "data", "preprocess", "torch");
    TRY(set(a, "data", "preprocess", "custom"));
    TRY(set_list(a, "mean", value[0]));
    return set_list(a, "std", value[1]);
}

/* ------------------------------------------------------------------------------------------------ Graft's own files */

/* Options on their way into c; `over`: even those that are set. */
typedef struct writer {
    config *c;
    const char *origin;
    bool over;
} writer;

static status put(const writer *w, const char *section, const char *key, const char *value)
{
    return !w->over && config_is_set(w->c, section, key) ? OK : config_set(w->c, section, key, value, w->origin);
}

static status put_int(const writer *w, const char *section, const char *key, int32_t value)
{
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    return put(w, section, key, text);
}

/* The shortest decimals that are these floats. */
static status put_floats(const writer *w, const char *key, const float *value, int32_t count)
{
    char text[128] = "", one[32];
    for (int32_t i = 0; i < count; i++) {
        for (int digits = 1; digits <= 9; digits++) {
            snprintf(one, sizeof one, "%.*g", digits, (double)value[i]);
            if (strtof(one, NULL) == value[i]) break;
        }
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", one);
    }
    return put(w, "data", key, text);
}

static bool same_pixels(const preprocess *a, const preprocess *b)
{
    bool same = a->bgr == b->bgr;
    for (int32_t i = 0; i < a->channels; i++) same = same && a->mean[i] == b->mean[i] && a->std[i] == b->std[i];
    return same;
}

/* Blue first is known with caffe's mean only; else it stays as it was, and the trainer warns. */
static status put_pixels(const writer *w, const preprocess *p)
{
    const spec_model channels = {.channels = p->channels};
    if (!w->over && config_is_set(w->c, "data", "preprocess")) return OK;
    for (int i = 0; i < PREPROCESS_CUSTOM; i++) {
        preprocess known;
        TRY(preprocess_from_spec(&known, &channels, &(spec_data){.preprocess = (spec_preprocess)i}));
        if (same_pixels(p, &known)) return put(w, "data", "preprocess", option_choice("data", "preprocess", i));
    }
    if (p->bgr) return OK;
    TRY(put(w, "data", "preprocess", "custom"));
    TRY(put_floats(w, "mean", p->mean, p->channels));
    return put_floats(w, "std", p->std, p->channels);
}

/* What holds for the pixels of any picture, however it is framed. */
static status adopt_pixels(const preprocess *p, config *c)
{
    const writer w = {c, origin, false};
    TRY(put_int(&w, "model", "channels", p->channels));
    return put_pixels(&w, p);
}

status preprocess_to_options(const preprocess *p, config *c, const char *from, bool over)
{
    const writer w = {c, from, over};
    TRY(put_int(&w, "model", "input_width", p->width));
    TRY(put_int(&w, "model", "input_height", p->height));
    TRY(put_int(&w, "model", "channels", p->channels));
    TRY(put(&w, "data", "resize", option_choice("data", "resize", p->resize)));
    TRY(put(&w, "data", "interpolation", option_choice("data", "interpolation", p->interpolation)));
    TRY(put_floats(&w, "crop_fraction", &p->crop_fraction, 1));
    TRY(put_int(&w, "data", "crop_size", p->crop_size));
    return put_pixels(&w, p);
}

static status adopt_own(const weights *w, config *c, const char *text)
{
    arena a = {0};
    json *object;
    preprocess p;
    const char *task = safetensors_meta(&w->st, "graft.task");
    bool framed_alike = (task && *task) == (*models_task(&c->spec.model) != 0); /* classifiers name no task */
    status result = json_parse(&a, text, strlen(text), w->st.what, &object);
    if (result == OK) result = preprocess_read(&p, object);
    if (result == OK) result = framed_alike ? preprocess_to_options(&p, c, origin, false) : adopt_pixels(&p, c);
    arena_free(&a);
    return result;
}

status weights_adopt_metadata(const weights *w, config *c)
{
    adopter a = {w, c};
    const char *own = safetensors_meta(&w->st, "graft.preprocess");
    if (own) return adopt_own(w, c, own);
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        const char *value = safetensors_meta(&w->st, entries[i].key);
        if (value && (!entries[i].frames || !*models_task(&c->spec.model)))
            TRY(entries[i].adopt(&a, entries[i].key, value));
    }
    return adopt_mean_and_std(&a);
}

void weights_list_adopted(const config *c, logger *log)
{
    for (int32_t i = 0; i < option_count; i++)
        if (strcmp(c->origin[i], origin) == 0)
            log_info(log, "    %s.%s = %s (%s)", option_table[i].section, option_table[i].key, c->text[i], origin);
}
