#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/text.h"
#include "core/base/utf8.h"
#include "export/engine_format.h"

const char *engine_precision_name(spec_engine_precision p) { return option_choice("export", "precision", p); }

const char *engine_layer_precision(const engine *e, const engine_layer *l)
{
    return engine_precision_name(l->integer ? ENGINE_INT8 : e->precision == ENGINE_INT8 ? ENGINE_F32 : e->precision);
}

static void write_layers(const engine *e, json_writer *w)
{
    json_key(w, "layers");
    json_begin_array(w);
    for (int64_t i = 0; i < e->layer_count; i++) {
        const engine_layer *l = &e->layers[i];
        json_begin_object(w);
        json_key(w, "name"), json_put_string(w, l->name);
        json_key(w, "op"), json_put_string(w, l->op);
        json_key(w, "precision"), json_put_string(w, engine_layer_precision(e, l));
        json_key(w, "in_scale"), json_put_number(w, l->in_scale);
        json_key(w, "out_scale"), json_put_number(w, l->out_scale);
        json_key(w, "sqnr_db"), json_put_number(w, l->sqnr_db);
        json_key(w, "macs"), json_put_int(w, l->macs);
        json_key(w, "reason"), json_put_string(w, l->reason);
        json_end_object(w);
    }
    json_end_array(w);
}

void engine_describe(const engine *e, json_writer *w)
{
    char hash[33];
    hash128_hex(e->source_hash, hash);
    json_begin_object(w);
    json_key(w, "precision"), json_put_string(w, engine_precision_name(e->precision));
    if (e->task && *e->task) json_key(w, "task"), json_put_string(w, e->task);
    json_key(w, "output"), json_put_string(w, option_choice("train", "loss", e->sigmoid ? LOSS_SIGMOID : LOSS_SOFTMAX));
    json_key(w, "source");
    json_begin_object(w);
    json_key(w, "name"), json_put_string(w, e->source_name);
    json_key(w, "hash"), json_put_string(w, hash);
    json_end_object(w);
    json_key(w, "classes");
    json_begin_array(w);
    for (int64_t i = 0; i < e->class_count; i++) json_put_string(w, e->class_name[i]);
    json_end_array(w);
    json_key(w, "preprocess");
    preprocess_write(&e->preprocess, w);
    json_key(w, "calibration");
    json_begin_object(w);
    json_key(w, "calibrator"), json_put_string(w, e->calibrator);
    json_key(w, "images"), json_put_int(w, e->calibration_images);
    json_key(w, "check_images"), json_put_int(w, e->check_images);
    json_key(w, "float_score"), json_put_number(w, e->float_score);
    json_key(w, "score"), json_put_number(w, e->score);
    json_end_object(w);
    write_layers(e, w);
    json_end_object(w);
}

/* What is being read, for messages. */
typedef struct meta_reader {
    engine *e;
    const char *what;
} meta_reader;

static status read_text(const meta_reader *r, const json *object, const char *key, const char **text)
{
    const char *found = json_string(json_get(object, key));
    if (!found) return FAIL(E_MODEL, "%s: META: %s: expected a text", r->what, key);
    *text = arena_strdup(&r->e->memory, text_printable(&r->e->memory, found)); /* names and reasons end up in tables */
    return *text ? OK : FAIL_MEMORY(strlen(found));
}

/* One of `words`, NULL-terminated; *index says which. */
static status read_word(const meta_reader *r, const json *object, const char *key, const char *const *words, int *index)
{
    const char *found = json_string(json_get(object, key));
    for (*index = 0; found && words[*index]; ++*index)
        if (strcmp(found, words[*index]) == 0) return OK;
    return FAIL(E_MODEL, "%s: META: %s: expected %s, %s%s%s", r->what, key, words[0], words[1], words[2] ? " or " : "",
        words[2] ? words[2] : "");
}

static status read_number(
    const meta_reader *r, const json *object, const char *key, double min, double max, double *value)
{
    if (json_number(json_get(object, key), value) && *value >= min && *value <= max) return OK;
    return FAIL(E_MODEL, "%s: META: %s: expected a number in [%g, %g]", r->what, key, min, max);
}

static status read_int(const meta_reader *r, const json *object, const char *key, int64_t *value)
{
    if (json_int(json_get(object, key), value) && *value >= 0) return OK;
    return FAIL(E_MODEL, "%s: META: %s: expected a whole number of 0 or more", r->what, key);
}

static status read_scale(const meta_reader *r, const json *object, const char *key, float *value)
{
    double number;
    TRY(read_number(r, object, key, 0, 3.4e38, &number));
    *value = (float)number;
    return OK;
}

static status read_source(const meta_reader *r, const json *root)
{
    const json *source = json_get(root, "source");
    const char *hash = json_string(json_get(source, "hash"));
    TRY(read_text(r, source, "name", &r->e->source_name));
    if (!hash || strlen(hash) != 32 || strspn(hash, "0123456789abcdef") != 32)
        return FAIL(E_MODEL, "%s: META: source.hash: expected 32 hex digits", r->what);
    sscanf(hash, "%16" SCNx64 "%16" SCNx64, &r->e->source_hash.high, &r->e->source_hash.low);
    return OK;
}

static status read_classes(const meta_reader *r, const json *root)
{
    engine *e = r->e;
    const json *list = json_get(root, "classes");
    if (!list || list->type != JSON_ARRAY || list->count < 1)
        return FAIL(E_MODEL, "%s: META: classes: expected a list of names", r->what);
    e->class_name = ARENA_ARRAY(&e->memory, const char *, list->count);
    if (!e->class_name) return FAIL_MEMORY(list->count * 8);
    for (int64_t i = 0; i < list->count; i++) {
        const char *name = json_string(json_at(list, i));
        if (!name) return FAIL(E_MODEL, "%s: META: classes: entry %" PRId64 " is no text", r->what, i);
        const char *shown = utf8_escaped(&e->memory, name);
        if (!shown || !(e->class_name[i] = arena_strdup(&e->memory, shown))) return FAIL_MEMORY(strlen(name));
    }
    e->class_count = list->count;
    return OK;
}

static status read_calibration(const meta_reader *r, const json *root)
{
    engine *e = r->e;
    const json *c = json_get(root, "calibration");
    TRY(read_text(r, c, "calibrator", &e->calibrator));
    TRY(read_int(r, c, "images", &e->calibration_images));
    TRY(read_int(r, c, "check_images", &e->check_images));
    TRY(read_number(r, c, "float_score", -1, 100, &e->float_score));
    return read_number(r, c, "score", -1, 100, &e->score);
}

static status read_layers(const meta_reader *r, const json *root)
{
    engine *e = r->e;
    const json *list = json_get(root, "layers");
    if (!list || list->type != JSON_ARRAY) return FAIL(E_MODEL, "%s: META: layers: expected a list", r->what);
    e->layers = ARENA_ARRAY(&e->memory, engine_layer, list->count);
    if (!e->layers) return FAIL_MEMORY(list->count * (int64_t)sizeof *e->layers);
    for (int64_t i = 0; i < list->count; i++) {
        engine_layer *l = &e->layers[i];
        const json *item = json_at(list, i);
        int precision;
        TRY(read_text(r, item, "name", &l->name));
        TRY(read_text(r, item, "op", &l->op));
        TRY(read_word(r, item, "precision", option_choices("export", "precision"), &precision));
        l->integer = precision == ENGINE_INT8;
        TRY(read_scale(r, item, "in_scale", &l->in_scale));
        TRY(read_scale(r, item, "out_scale", &l->out_scale));
        TRY(read_number(r, item, "sqnr_db", -1000, 1000, &l->sqnr_db));
        TRY(read_int(r, item, "macs", &l->macs));
        TRY(read_text(r, item, "reason", &l->reason));
    }
    e->layer_count = list->count;
    return OK;
}

status engine_meta_read(engine *e, const json *root, const char *what)
{
    meta_reader r = {e, what};
    int precision, output;
    TRY(read_word(&r, root, "precision", option_choices("export", "precision"), &precision));
    TRY(read_word(&r, root, "output", option_choices("train", "loss"), &output));
    e->precision = (spec_engine_precision)precision;
    e->sigmoid = output == LOSS_SIGMOID;
    e->task = "";
    if (json_get(root, "task")) TRY(read_text(&r, root, "task", &e->task));
    TRY(read_source(&r, root));
    TRY(read_classes(&r, root));
    TRY(preprocess_read(&e->preprocess, json_get(root, "preprocess")));
    TRY(read_calibration(&r, root));
    return read_layers(&r, root);
}
