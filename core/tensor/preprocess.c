#include "core/tensor/preprocess.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void set_channels(preprocess *p, const double mean[3], const double std[3], double grey_mean, double grey_std)
{
    for (int c = 0; c < 3; c++) {
        p->mean[c] = (float)(p->channels == 1 ? grey_mean : mean[c]);
        p->std[c] = (float)(p->channels == 1 ? grey_std : std[c]);
    }
}

static status set_custom(preprocess *p, const spec_data *data)
{
    if (data->mean.count != p->channels || data->std.count != p->channels)
        return FAIL(E_USAGE,
            "data.preprocess = custom: data.mean has %" PRId64 " and data.std %" PRId64
            " values, expected %d each (model.channels)",
            data->mean.count, data->std.count, p->channels);
    for (int c = 0; c < 3; c++) {
        int i = c < p->channels ? c : 0;
        if (!(data->std.value[i] > 0)) return FAIL(E_USAGE, "data.std = %g: expected more than 0", data->std.value[i]);
        p->mean[c] = (float)data->mean.value[i];
        p->std[c] = (float)data->std.value[i];
    }
    return OK;
}

status preprocess_from_spec(preprocess *p, const spec_model *model, const spec_data *data)
{
    static const double torch_mean[] = {123.675, 116.28, 103.53}, torch_std[] = {58.395, 57.12, 57.375};
    static const double caffe_mean[] = {103.939, 116.779, 123.68}, one[] = {1, 1, 1}, tf[] = {127.5, 127.5, 127.5};
    if (model->channels != 1 && model->channels != 3)
        return FAIL(E_USAGE, "model.channels = %" PRId64 ": expected 1 or 3", model->channels);
    *p = (preprocess){.width = (int32_t)model->input_width, .height = (int32_t)model->input_height,
        .channels = (int32_t)model->channels, .resize = data->resize, .interpolation = data->interpolation,
        .crop_fraction = (float)data->crop_fraction, .crop_size = (int32_t)data->crop_size};
    switch (data->preprocess) {
    case PREPROCESS_TORCH: /* grey: the averages of the three */
        set_channels(p, torch_mean, torch_std, 114.495, 57.63);
        return OK;
    case PREPROCESS_CAFFE:
        p->bgr = p->channels == 3;
        set_channels(p, caffe_mean, one, 117.3786, 1);
        return OK;
    case PREPROCESS_TF:
        set_channels(p, tf, tf, 127.5, 127.5);
        return OK;
    case PREPROCESS_CUSTOM:
        return set_custom(p, data);
    }
    BUG("data.preprocess %d", (int)data->preprocess);
}

static void write_floats(json_writer *w, const char *key, const float *value, int32_t count)
{
    json_key(w, key);
    json_begin_array(w);
    for (int32_t i = 0; i < count; i++) json_put_number(w, value[i]);
    json_end_array(w);
}

void preprocess_write(const preprocess *p, json_writer *w)
{
    json_begin_object(w);
    json_key(w, "width"), json_put_int(w, p->width);
    json_key(w, "height"), json_put_int(w, p->height);
    json_key(w, "channels"), json_put_int(w, p->channels);
    json_key(w, "bgr"), json_put_bool(w, p->bgr);
    write_floats(w, "mean", p->mean, p->channels);
    write_floats(w, "std", p->std, p->channels);
    json_key(w, "resize"), json_put_string(w, option_choice("data", "resize", p->resize));
    json_key(w, "interpolation"), json_put_string(w, option_choice("data", "interpolation", p->interpolation));
    json_key(w, "crop_fraction"), json_put_number(w, p->crop_fraction);
    if (p->crop_size > 0) json_key(w, "crop_size"), json_put_int(w, p->crop_size);
    json_end_object(w);
}

static status read_int(const json *object, const char *key, int64_t low, int64_t high, int32_t *value)
{
    int64_t v;
    if (!json_int(json_get(object, key), &v) || v < low || v > high)
        return FAIL(E_MODEL, "preprocess.%s is missing or not in %" PRId64 " to %" PRId64, key, low, high);
    *value = (int32_t)v;
    return OK;
}

static status read_floats(const json *object, const char *key, int32_t count, double low, float value[3])
{
    const json *list = json_get(object, key);
    for (int32_t i = 0; i < 3; i++) {
        double v;
        if (!json_number(json_at(list, i < count ? i : 0), &v) || !isfinite((float)v) || !((float)v >= low) ||
            list->count != count)
            return FAIL(E_MODEL, "preprocess.%s is not a list of %d numbers of at least %g", key, count, low);
        value[i] = (float)v;
    }
    return OK;
}

/* Under its option's name, one of its choices. */
static status read_choice(const json *object, const char *key, int *value)
{
    const char *text = json_string(json_get(object, key));
    if (text && option_choice_find("data", key, text, value)) return OK;
    return FAIL(E_MODEL, "preprocess.%s is \"%s\", which is not known", key, text ? text : "");
}

status preprocess_read(preprocess *p, const json *object)
{
    int resize, interpolation;
    double fraction;
    *p = (preprocess){0};
    TRY(read_int(object, "width", 1, 65536, &p->width));
    TRY(read_int(object, "height", 1, 65536, &p->height));
    TRY(read_int(object, "channels", 1, 3, &p->channels));
    if (p->channels == 2) return FAIL(E_MODEL, "preprocess.channels is 2: expected 1 or 3");
    if (!json_bool(json_get(object, "bgr"), &p->bgr)) return FAIL(E_MODEL, "preprocess.bgr is missing");
    TRY(read_floats(object, "mean", p->channels, -1e30, p->mean));
    TRY(read_floats(object, "std", p->channels, 1e-30, p->std));
    TRY(read_choice(object, "resize", &resize));
    TRY(read_choice(object, "interpolation", &interpolation));
    if (!json_number(json_get(object, "crop_fraction"), &fraction) || !(fraction > 0 && fraction <= 1))
        return FAIL(E_MODEL, "preprocess.crop_fraction is missing or not in (0, 1]");
    if (json_get(object, "crop_size")) TRY(read_int(object, "crop_size", 1, 65536, &p->crop_size));
    p->resize = (spec_resize)resize;
    p->interpolation = (spec_interpolation)interpolation;
    p->crop_fraction = (float)fraction;
    return OK;
}
