#include "core/data/dataset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/rng.h"
#include "core/base/utf8.h"
#include "core/data/classes.h"
#include "core/data/image_codecs.h"
#include "core/data/layout.h"
#include "core/data/readers/readers.h"

decode_options dataset_decode_options(const spec_data *options, int32_t channels)
{
    decode_options o = {.channels = channels, .max_pixels = 100000000, .exif = EXIF_APPLY};
    if (options) {
        o.max_pixels = options->max_pixels;
        o.exif = options->exif;
    }
    return o;
}

status dataset_add_sample(dataset *ds, const sample *s)
{
    TRY(array_reserve((void **)&ds->samples, &ds->capacity, ds->count + 1, sizeof *ds->samples));
    sample *added = &ds->samples[ds->count];
    *added = *s;
    added->name = arena_strdup(&ds->memory, s->name);
    if (!added->name) return FAIL_MEMORY(strlen(s->name));
    ds->count++;
    return OK;
}

/* Escaping makes a name that another one may have already. */
static status check_escaped(const dataset *ds, const char *const *names, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(names[i], ds->class_name[i]) == 0) continue;
        for (int64_t k = 0; k < count; k++)
            if (k != i && strcmp(ds->class_name[k], ds->class_name[i]) == 0)
                return FAIL(E_DATA,
                    "%s: two classes are called \"%s\" when bytes that are no UTF-8 are written out: rename one",
                    ds->path, ds->class_name[i]);
    }
    return OK;
}

status dataset_set_classes(dataset *ds, const char *const *names, int64_t count)
{
    const char **copy = ARENA_ARRAY(&ds->memory, const char *, count);
    if (!copy) return FAIL_MEMORY((size_t)count * sizeof *copy);
    for (int64_t i = 0; i < count; i++) {
        const char *name = utf8_escaped(&ds->memory, names[i]);
        if (!name || !(copy[i] = arena_strdup(&ds->memory, name))) return FAIL_MEMORY(strlen(names[i]));
    }
    ds->class_name = copy;
    ds->class_count = count;
    return check_escaped(ds, names, count);
}

status dataset_name_classes(dataset *ds, const char *folder, const char *const *files, int64_t greatest)
{
    for (; *files; files++) {
        const char **names;
        int64_t count = 0;
        char *path = path_join(&ds->memory, folder, *files);
        if (!path) return FAIL_MEMORY(strlen(folder));
        if (!file_exists(path)) continue;
        TRY(class_names_read_list(&ds->memory, path, &names, &count));
        if (count <= greatest)
            return FAIL(E_DATA, "%s: %" PRId64 " class names, but the labels go up to %" PRId64, path, count,
                greatest);
        return dataset_set_classes(ds, names, count);
    }
    const char **names = ARENA_ARRAY(&ds->memory, const char *, greatest + 1);
    if (!names) return FAIL_MEMORY((size_t)(greatest + 1) * sizeof *names);
    for (int64_t i = 0; i <= greatest; i++)
        if (!(names[i] = arena_printf(&ds->memory, "%" PRId64, i))) return FAIL_MEMORY(16);
    ds->numbered = true;
    return dataset_set_classes(ds, names, greatest + 1);
}

int64_t dataset_find_class(const dataset *ds, const char *name)
{
    int64_t low = 0, high = ds->class_count;
    while (low < high) { /* names of most readers are sorted */
        int64_t middle = (low + high) / 2;
        int order = strcmp(name, ds->class_name[middle]);
        if (order == 0) return middle;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    for (int64_t i = 0; i < ds->class_count; i++)
        if (strcmp(name, ds->class_name[i]) == 0) return i;
    return -1;
}

void dataset_renumber(dataset *ds, const int64_t *place)
{
    for (int64_t i = 0; i < ds->count; i++) {
        sample *s = &ds->samples[i];
        if (s->class_index >= 0) s->class_index = (int32_t)place[s->class_index];
        for (int64_t k = 0; k < s->box_count; k++)
            if (s->box[k].class_index >= 0) s->box[k].class_index = (int32_t)place[s->box[k].class_index];
    }
}

status dataset_order_classes(dataset *ds, const text_list *names)
{
    arena memory = {0};
    int64_t *place;
    status result = OK;
    dataset named = {.class_name = names->value, .class_count = names->count};
    TRY_ALLOC_OUT(place, ARENA_ARRAY(&memory, int64_t, ds->class_count + 1));
    for (int64_t i = 0; i < ds->class_count; i++)
        if ((place[i] = dataset_find_class(&named, ds->class_name[i])) < 0)
            TRY_OUT(FAIL(E_DATA,
                "%s: class \"%s\" is not among the %" PRId64
                " of data.class_names: add it there, or leave data.class_names empty",
                ds->path, ds->class_name[i], names->count));
    dataset_renumber(ds, place);
    result = dataset_set_classes(ds, names->value, names->count);
out:
    arena_free(&memory);
    return result;
}

status dataset_refuse_boxes(const dataset *ds)
{
    if (!ds->has_boxes) return OK;
    return FAIL(E_DATA,
        "%s: holds boxes (%s), for detection: a classifier needs a class for each image, as a folder per class",
        ds->path, ds->reader->name);
}

void dataset_warn_of_strays(const dataset *parts, int count, logger *l)
{
    for (int i = 0; i < count; i++) {
        const dataset *ds = &parts[i];
        /* The halves of a split are the same folder. */
        bool said = i > 0 && ds->stray && parts[0].stray && strcmp(ds->stray, parts[0].stray) == 0;
        if (ds->stray_count == 0 || said) continue;
        log_warn(l, "%s%s: %" PRId64 " image%s beside the class folders, without a class: not used", ds->stray,
            ds->stray_count > 1 ? " and others" : "", ds->stray_count, ds->stray_count > 1 ? "s" : "");
    }
}

void dataset_close(dataset *ds)
{
    if (ds->reader && ds->reader->close) ds->reader->close(ds);
    free(ds->samples);
    arena_free(&ds->memory);
    *ds = (dataset){0};
}

status dataset_encoded(const dataset *ds, int64_t index, arena *a, const uint8_t **bytes, size_t *count)
{
    *bytes = NULL;
    *count = 0;
    return ds->reader->encoded ? ds->reader->encoded(ds, index, a, bytes, count) : OK;
}

/* Messages of readers and decoders do not know the sample; those about files do. */
static status name_sample(const dataset *ds, int64_t index, status code)
{
    char text[1024];
    const char *name = ds->samples[index].name;
    snprintf(text, sizeof text, "%s", status_message());
    return strstr(text, name) ? code : FAIL(code, "%s: %s", name, text);
}

status dataset_decode(const dataset *ds, int64_t index, const decode_options *options, image *im)
{
    *im = (image){0};
    if (index < 0 || index >= ds->count) BUG("sample %" PRId64 " of %" PRId64, index, ds->count);
    if (ds->reader->raw) {
        status code = ds->reader->raw(ds, index, options, im);
        return code == OK ? OK : name_sample(ds, index, code);
    }
    arena memory = {0};
    const uint8_t *bytes;
    size_t count;
    status code = ds->reader->encoded(ds, index, &memory, &bytes, &count);
    if (code == OK) code = image_decode(im, bytes, count, options);
    arena_free(&memory);
    return code == OK ? OK : name_sample(ds, index, code);
}

status image_from_raw(image *im, const uint8_t *pixels, int32_t width, int32_t height, int32_t channels, bool planar,
    const decode_options *options)
{
    int32_t want = options->channels ? options->channels : channels;
    TRY(image_alloc(im, width, height, want));
    size_t count = (size_t)width * (size_t)height, plane = planar ? count : 1, step = planar ? 1 : (size_t)channels;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = pixels + i * step;
        uint8_t *to = im->pixels + i * (size_t)want;
        if (channels == 1) memset(to, from[0], (size_t)want);
        else if (want == 1) to[0] = image_luma(from[0], from[plane], from[2 * plane]);
        else to[0] = from[0], to[1] = from[plane], to[2] = from[2 * plane];
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ opening parts */

/* data.class_names: for formats that know numbers only. */
static status name_classes(dataset *ds, const text_list *names)
{
    if (names->count == 0) return OK;
    bool fits = ds->numbered ? names->count >= ds->class_count
                             : names->count == ds->class_count; /* the last ones may be absent */
    ds->numbered = false;
    if (!fits)
        return FAIL(E_USAGE, "data.class_names has %" PRId64 " names, %s has %" PRId64 " classes", names->count,
            ds->path, ds->class_count);
    return dataset_set_classes(ds, names->value, names->count);
}

/* ------------------------------------------------------------------------------------------------ data.class_map */

enum { MAP_IGNORE = -1, MAP_DROP = -2 }; /* places of classes that are none any more */

/* What data.class_map makes of a class: its own name where no entry is about it. NULL: to be dropped or ignored. */
static status mapped_name(dataset *ds, const text_list *map, const char *name, const char **mapped, int64_t *place)
{
    *mapped = name;
    for (int64_t i = 0, best = 0; i < map->count; i++) {
        const char *entry = map->value[i], *colon = strrchr(entry, ':');
        if (!colon || colon == entry || !colon[1])
            return FAIL(E_USAGE,
                "data.class_map: \"%s\": expected CLASS:CLASS, CLASS:ignore, CLASS:drop, or *: for all others", entry);
        bool same = strlen(name) == (size_t)(colon - entry) && strncmp(entry, name, strlen(name)) == 0;
        bool others = colon == entry + 1 && *entry == '*';
        int64_t rank = same ? 2 : others ? 1 : 0; /* its own entry counts before the one for all others */
        if (rank <= best) continue;
        best = rank;
        *mapped = strcmp(colon + 1, "ignore") == 0 || strcmp(colon + 1, "drop") == 0 ? NULL : colon + 1;
        *place = strcmp(colon + 1, "drop") == 0 ? MAP_DROP : MAP_IGNORE;
        TRY_ALLOC(*mapped, *mapped ? arena_strdup(&ds->memory, *mapped) : "");
        if (!**mapped) *mapped = NULL;
    }
    return OK;
}

static void move_boxes(sample *s, const int64_t *place)
{
    int64_t count = 0;
    for (int64_t k = 0; k < s->box_count; k++) {
        label_box b = s->box[k];
        int64_t to = b.class_index >= 0 ? place[b.class_index] : MAP_IGNORE;
        if (to == MAP_DROP) continue;
        b.class_index = (int32_t)to;
        b.ignore |= to == MAP_IGNORE;
        s->box[count++] = b;
    }
    s->box_count = count;
}

/* Classes under other names, several under one, ignored or dropped; in the order in which their names first come. */
static status map_classes(dataset *ds, const text_list *map)
{
    const char **names;
    int64_t *place, count = 0;
    if (!ds->has_boxes)
        return FAIL(E_USAGE, "data.class_map is for boxes, and %s (%s) has none", ds->path, ds->reader->name);
    TRY_ALLOC(names, ARENA_ARRAY(&ds->memory, const char *, ds->class_count));
    TRY_ALLOC(place, ARENA_ARRAY(&ds->memory, int64_t, ds->class_count + 1));
    for (int64_t i = 0; i < ds->class_count; i++) {
        const char *name;
        TRY(mapped_name(ds, map, ds->class_name[i], &name, &place[i]));
        if (!name) continue;
        for (place[i] = 0; place[i] < count && strcmp(names[place[i]], name) != 0;) place[i]++;
        if (place[i] == count) names[count++] = name;
    }
    if (count == 0 && ds->class_count > 0)
        return FAIL(E_USAGE, "data.class_map leaves none of the %" PRId64 " classes of %s", ds->class_count, ds->path);
    for (int64_t i = 0; i < ds->count; i++) move_boxes(&ds->samples[i], place);
    return dataset_set_classes(ds, names, count);
}

/* The reader sees the classes' own names; data.class_names has those that data.class_map gives. */
static status open_mapped(dataset *ds, part_place place, const spec_data *options)
{
    spec_data own = *options;
    own.class_names = (text_list){0};
    TRY(place.reader->open(ds, place.path, place.part, &own));
    TRY(map_classes(ds, &options->class_map));
    return options->class_names.count ? dataset_order_classes(ds, &options->class_names) : OK;
}

static status open_place(dataset *ds, part_place place, const spec_data *options)
{
    bool mapped = options && options->class_map.count > 0;
    *ds = (dataset){.reader = place.reader, .part = place.part};
    status code = OK;
    ds->path = arena_strdup(&ds->memory, place.path);
    if (!ds->path) code = FAIL_MEMORY(strlen(place.path));
    if (code == OK)
        code = mapped ? open_mapped(ds, place, options) : place.reader->open(ds, place.path, place.part, options);
    if (code == OK && ds->count == 0) code = FAIL(E_DATA, "%s: no samples", place.path);
    if (code == OK && options) code = name_classes(ds, &options->class_names);
    if (code != OK) dataset_close(ds);
    return code;
}

/* Keeps the samples whose mark is `kept`, in order. */
static void keep_marked(dataset *ds, const uint8_t *marks, uint8_t kept)
{
    int64_t count = 0;
    for (int64_t i = 0; i < ds->count; i++)
        if (marks[i] == kept) ds->samples[count++] = ds->samples[i];
    ds->count = count;
}

/* marks[i] = 1 for validation: round(n * fraction) of each class, but never all of it. */
static status mark_split(uint8_t *marks, const dataset *ds, double fraction, uint64_t seed)
{
    int64_t *members = malloc(((size_t)ds->count + 1) * sizeof *members);
    if (!members) return FAIL_MEMORY((size_t)ds->count * sizeof *members);
    rng r = rng_make(seed, RNG_SPLIT, 0);
    for (int64_t c = -1; c < ds->class_count; c++) {
        int64_t n = 0;
        for (int64_t i = 0; i < ds->count; i++)
            if (ds->samples[i].class_index == c) members[n++] = i;
        rng_shuffle(&r, members, n);
        int64_t aside = (int64_t)((double)n * fraction + 0.5);
        if (aside == 0 && n > 1 && fraction > 0) aside = 1;
        if (aside >= n) aside = n > 0 ? n - 1 : 0;
        for (int64_t i = 0; i < aside; i++) marks[members[i]] = 1;
    }
    free(members);
    return OK;
}

static status split_whole(const spec_data *o, uint64_t seed, part_place place, dataset *train, dataset *val)
{
    dataset whole[2] = {{{0}}};
    status result = OK;
    uint8_t *marks = NULL;
    for (int i = 0; i < 2; i++) TRY_OUT(open_place(&whole[i], place, o));
    if (!(marks = calloc(1, (size_t)whole[0].count))) TRY_OUT(FAIL_MEMORY(whole[0].count));
    TRY_OUT(mark_split(marks, &whole[0], o->val_fraction, seed));
    for (int i = 0; i < 2; i++) keep_marked(&whole[i], marks, (uint8_t)i);
    if (train) *train = whole[0], whole[0] = (dataset){0};
    if (val) *val = whole[1], whole[1] = (dataset){0};
out:
    free(marks);
    for (int i = 0; i < 2; i++) dataset_close(&whole[i]);
    return result;
}

/* Boxes of another part get the numbers of the training part, whose classes they may lack. */
static status number_boxes_as(const dataset *train, dataset *other, const char *what)
{
    int64_t *place;
    status result = OK;
    TRY_ALLOC(place, HEAP_ARRAY(int64_t, other->class_count + 1));
    for (int64_t i = 0; i < other->class_count; i++) {
        place[i] = dataset_find_class(train, other->class_name[i]);
        if (place[i] < 0)
            TRY_OUT(FAIL(E_DATA,
                "%s: class \"%s\" of the %s part is not in the train part (%s), which has %" PRId64
                " classes: rename or "
                "remove it, or name all classes with data.class_names",
                other->path, other->class_name[i], what, train->path, train->class_count));
    }
    dataset_renumber(other, place);
    result = dataset_set_classes(other, train->class_name, train->class_count);
out:
    free(place);
    return result;
}

static status check_classes(const dataset *train, dataset *other, const char *what)
{
    if (other->count == 0 || train->count == 0) return OK;
    if (train->has_boxes != other->has_boxes)
        return FAIL(E_DATA, "%s: the %s part is %s, but the train part is %s (%s): both need the same kind of labels",
            other->path, what, other->reader->name, train->reader->name, train->path);
    if (train->has_boxes) return number_boxes_as(train, other, what);
    if (train->numbered && other->numbered) {
        if (other->class_count > train->class_count)
            return FAIL(E_DATA, "the %s part has labels up to %" PRId64 ", the train part up to %" PRId64, what,
                other->class_count - 1, train->class_count - 1);
        return dataset_set_classes(other, train->class_name, train->class_count);
    }
    for (int64_t i = 0; i < other->class_count; i++)
        if (dataset_find_class(train, other->class_name[i]) < 0)
            return FAIL(E_DATA,
                "%s: class \"%s\" of the %s part is not in the train part (%s), which has %" PRId64
                " classes: rename or "
                "remove it",
                other->path, other->class_name[i], what, train->path, train->class_count);
    for (int64_t i = 0; i < train->class_count; i++)
        if (dataset_find_class(other, train->class_name[i]) < 0)
            return FAIL(E_DATA,
                "%s: class \"%s\" of the train part is not in the %s part (%s): name it there too; an empty folder "
                "will do",
                train->path, train->class_name[i], what, other->path);
    for (int64_t i = 0; i < train->class_count; i++)
        if (strcmp(train->class_name[i], other->class_name[i]) != 0)
            return FAIL(E_DATA,
                "the %s part has its classes in another order: number %" PRId64 " is \"%s\" there and \"%s\" in train",
                what, i, other->class_name[i], train->class_name[i]);
    return OK;
}

/* The training part and the validation part: as named, or split. Who asks for no training part needs none. */
static status open_train_and_val(
    const data_layout *l, const spec_data *o, uint64_t seed, dataset *train, dataset *val, bool needs_train)
{
    part_place train_place = l->part[PART_TRAIN].reader ? l->part[PART_TRAIN] : l->whole;
    bool others = l->part[PART_VAL].reader || l->part[PART_TEST].reader;
    if (!train_place.reader && !(others && !needs_train)) return layout_missing(l, o, PART_TRAIN);
    if (!train_place.reader) return l->part[PART_VAL].reader ? open_place(val, l->part[PART_VAL], o) : OK;
    if (!l->part[PART_VAL].reader) return split_whole(o, seed, train_place, train, val);
    TRY(open_place(train, train_place, o));
    return open_place(val, l->part[PART_VAL], o);
}

status dataset_open_parts(
    const spec_data *options, uint64_t seed, logger *l, dataset *train, dataset *val, dataset *test)
{
    dataset parts[3] = {{{0}}}, *wanted[3] = {train, val, test};
    data_layout layout;
    arena memory = {0};
    status result = OK;
    for (int i = 0; i < 3; i++)
        if (wanted[i]) *wanted[i] = (dataset){0};
    TRY_OUT(layout_find(&layout, &memory, options));
    TRY_OUT(open_train_and_val(&layout, options, seed, &parts[0], &parts[1], train != NULL));
    if (test && layout.part[PART_TEST].reader) TRY_OUT(open_place(&parts[2], layout.part[PART_TEST], options));
    class_names_warn(parts[0].class_name, parts[0].class_count, parts[0].path, l);
    TRY_OUT(check_classes(&parts[0], &parts[1], "val"));
    TRY_OUT(check_classes(&parts[0], &parts[2], "test"));
    if (l) dataset_warn_of_strays(parts, 3, l);
    for (int i = 0; i < 3; i++) {
        if (!wanted[i]) continue;
        if (parts[i].count)
            log_info(l, "%s: %" PRId64 " images of %" PRId64 " classes (%s, %s)", part_name((dataset_part)i),
                parts[i].count, parts[i].class_count, parts[i].reader->name, parts[i].path);
        *wanted[i] = parts[i];
        parts[i] = (dataset){0};
    }
out:
    for (int i = 0; i < 3; i++) dataset_close(&parts[i]);
    arena_free(&memory);
    return result;
}

/* ------------------------------------------------------------------------------------------------ loose images */

static status open_loose(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    (void)part;
    (void)options;
    sample s = {.name = path, .class_index = -1};
    if (!file_is_dir(path)) {
        TRY(file_info(path, &s.bytes, &s.mtime_ns));
        return dataset_add_sample(ds, &s);
    }
    char **names;
    int64_t count;
    TRY(dir_list(&ds->memory, path, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        char *file = path_join(&ds->memory, path, names[i]);
        if (!file) return FAIL_MEMORY(strlen(path));
        if (!is_image_file(file, names[i]) || file_is_stream(file)) continue;
        s.name = file;
        s.bytes = s.mtime_ns = 0;
        if (file_exists(file)) TRY(file_info(file, &s.bytes, &s.mtime_ns)); /* a broken link is a bad image */
        TRY(dataset_add_sample(ds, &s));
    }
    return ds->count ? OK : FAIL(E_DATA, "%s: no images in it", path);
}

const dataset_reader reader_loose = {"images", NULL, open_loose, read_sample_file, NULL, NULL};

bool folder_has_images(const char *path)
{
    arena memory = {0};
    char **names;
    int64_t count;
    bool found = false;
    if (dir_list(&memory, path, &names, &count) == OK)
        for (int64_t i = 0; i < count && !found; i++) {
            char *file = path_join(&memory, path, names[i]);
            found = file && is_image_file(file, names[i]);
        }
    arena_free(&memory);
    return found;
}

/* ------------------------------------------------------------------------------------------------ one part */

/* Which part that is, where no part was named. */
static dataset_part usual_part(const data_layout *l, dataset_ask ask)
{
    bool train = l->part[PART_TRAIN].reader != NULL, test = l->part[PART_TEST].reader != NULL;
    bool split = ask == ASK_UNSEEN ? train || (l->whole.reader && l->whole.part == PART_WHOLE) : train && test;
    if (l->part[PART_VAL].reader || split) return PART_VAL;
    return train ? PART_TRAIN : test ? PART_TEST : PART_WHOLE;
}

/* Images of the parts that are not asked for: 0 where they cannot be read, which is nobody's concern here. */
static int64_t count_others(const data_layout *l, arena *a, const spec_data *o, dataset_part part)
{
    int64_t count = 0;
    data_layout named;
    spec_data beside = {.root = l->named, .format = o ? o->format : FORMAT_AUTO};
    if (l->named && layout_find(&named, a, &beside) == OK) l = &named;
    for (int i = 0; i < 3; i++) {
        dataset other;
        if (i == (int)part || !l->part[i].reader || open_place(&other, l->part[i], o) != OK) continue;
        count += other.count;
        dataset_close(&other);
    }
    return count;
}

/* One side of the split that training makes. */
static status open_side(dataset *ds, dataset_share *share, arena *a, const data_layout *l, const spec_data *o,
    uint64_t seed, part_place place)
{
    dataset sides[2] = {{{0}}};
    int kept = share->part == PART_VAL;
    TRY(split_whole(o, seed, place, &sides[0], &sides[1]));
    share->set_aside = true;
    share->total = sides[0].count + sides[1].count + count_others(l, a, o, PART_TRAIN);
    *ds = sides[kept];
    dataset_close(&sides[!kept]);
    return OK;
}

static status open_share(
    dataset *ds, dataset_share *share, arena *a, const spec_data *o, uint64_t seed, dataset_ask ask)
{
    data_layout l;
    TRY(layout_find(&l, a, o));
    bool named = ask <= ASK_TEST;
    dataset_part part = share->part = named ? (dataset_part)ask : usual_part(&l, ask);
    part_place train = l.part[PART_TRAIN].reader ? l.part[PART_TRAIN] : l.whole;
    part_place place = part == PART_WHOLE ? l.whole : l.part[part];
    if (!place.reader && l.whole.reader && l.whole.part == part) place = l.whole; /* "ROOT#test" */
    bool side = part == PART_VAL ? !place.reader : part == PART_TRAIN && named && !l.part[PART_VAL].reader;
    if (side && train.reader) return open_side(ds, share, a, &l, o, seed, train);
    if (!place.reader) return layout_missing(&l, o, part == PART_WHOLE ? PART_VAL : part);
    TRY(open_place(ds, place, o));
    if (place.part != PART_WHOLE) share->part = place.part;
    share->total = ds->count + count_others(&l, a, o, l.named ? place.part : part);
    return OK;
}

status dataset_has_train(const spec_data *options, bool *has)
{
    data_layout l;
    arena memory = {0};
    status result = layout_find(&l, &memory, options);
    *has = result == OK && (l.part[PART_TRAIN].reader || l.whole.reader || layout_part_count(&l) == 0);
    arena_free(&memory);
    return result;
}

status dataset_open_part(dataset *ds, const spec_data *options, uint64_t seed, dataset_ask ask, dataset_share *share)
{
    arena memory = {0};
    *ds = (dataset){0};
    *share = (dataset_share){0};
    status result = open_share(ds, share, &memory, options, seed, ask);
    arena_free(&memory);
    return result;
}

status dataset_open_path(dataset *ds, const char *path, dataset_share *share)
{
    part_place place;
    data_layout l;
    arena memory = {0};
    *ds = (dataset){0};
    status result = layout_of_path(&place, &l, &memory, path);
    if (result == OK) result = open_place(ds, place, NULL);
    if (result == OK && share) *share = (dataset_share){.part = place.part, .total = ds->count};
    if (result == OK && share && place.part != PART_WHOLE) share->total += count_others(&l, &memory, NULL, place.part);
    arena_free(&memory);
    return result;
}

status dataset_open_images(dataset *ds, const char *path) { return dataset_open_path(ds, path, NULL); }
