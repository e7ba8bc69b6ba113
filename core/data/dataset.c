#include "core/data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/rng.h"
#include "core/data/image_codecs.h"
#include "core/data/readers/readers.h"

const dataset_reader *const dataset_readers[] = {&reader_packed, &reader_idx, &reader_cifar, &reader_csv, &reader_folder, NULL};

/* In the order of spec_data_format, which starts with auto. */
static const dataset_reader *const by_format[] = {NULL, &reader_folder, &reader_idx, &reader_cifar, &reader_csv, &reader_packed};

const char *part_name(dataset_part part)
{
    static const char *const names[] = {"train", "val", "test", ""};
    return names[part];
}

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

status dataset_set_classes(dataset *ds, const char *const *names, int64_t count)
{
    const char **copy = ARENA_ARRAY(&ds->memory, const char *, count);
    if (!copy) return FAIL_MEMORY((size_t)count * sizeof *copy);
    for (int64_t i = 0; i < count; i++)
        if (!(copy[i] = arena_strdup(&ds->memory, names[i]))) return FAIL_MEMORY(strlen(names[i]));
    ds->class_name = copy;
    ds->class_count = count;
    return OK;
}

/* Lines of a text of names, without blanks at their ends; trailing empty lines do not count. */
static status read_names(arena *a, const char *path, const char ***names, int64_t *count)
{
    void *text;
    size_t bytes;
    TRY(file_read_regular(a, path, 1 << 20, &text, &bytes));
    *names = ARENA_ARRAY(a, const char *, bytes + 1);
    if (!*names) return FAIL_MEMORY(bytes * sizeof **names);
    *count = 0;
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        size_t length = strlen(line);
        while (length && (line[length - 1] == '\r' || line[length - 1] == ' ')) line[--length] = 0;
        (*names)[(*count)++] = line;
    }
    while (*count && !(*names)[*count - 1][0]) --*count;
    return OK;
}

status dataset_name_classes(dataset *ds, const char *folder, const char *const *files, int64_t greatest)
{
    for (; *files; files++) {
        const char **names;
        int64_t count = 0;
        char *path = path_join(&ds->memory, folder, *files);
        if (!path) return FAIL_MEMORY(strlen(folder));
        if (!file_exists(path)) continue;
        TRY(read_names(&ds->memory, path, &names, &count));
        if (count <= greatest)
            return FAIL(E_DATA, "%s: %lld class names, but the labels go up to %lld", path, (long long)count, (long long)greatest);
        return dataset_set_classes(ds, names, count);
    }
    const char **names = ARENA_ARRAY(&ds->memory, const char *, greatest + 1);
    if (!names) return FAIL_MEMORY((size_t)(greatest + 1) * sizeof *names);
    for (int64_t i = 0; i <= greatest; i++)
        if (!(names[i] = arena_printf(&ds->memory, "%lld", (long long)i))) return FAIL_MEMORY(16);
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

status dataset_adopt_classes(dataset *ds, const char *const *names, int64_t count)
{
    dataset other = {.class_name = (const char **)names, .class_count = count};
    int64_t *number = malloc(((size_t)ds->class_count + 1) * sizeof *number);
    status result = OK;
    if (!number) return FAIL_MEMORY((size_t)ds->class_count * sizeof *number);
    for (int64_t i = 0; i < ds->class_count; i++) {
        number[i] = dataset_find_class(&other, ds->class_name[i]);
        if (number[i] < 0)
            TRY_OUT(FAIL(E_DATA, "class \"%s\" of %s is not among the %lld that are known (\"%s\", ...)", ds->class_name[i], ds->path,
                (long long)count, count ? names[0] : ""));
    }
    for (int64_t i = 0; i < ds->count; i++)
        if (ds->samples[i].class_index >= 0) ds->samples[i].class_index = (int32_t)number[ds->samples[i].class_index];
    result = dataset_set_classes(ds, names, count);
out:
    free(number);
    return result;
}

void dataset_warn_of_strays(const dataset *parts, int count, logger *l)
{
    for (int i = 0; i < count; i++) {
        const dataset *ds = &parts[i];
        /* The halves of a split are the same folder. */
        bool said = i > 0 && ds->stray && parts[0].stray && strcmp(ds->stray, parts[0].stray) == 0;
        if (ds->stray_count == 0 || said) continue;
        log_warn(l, "%s%s: %lld image%s beside the class folders, without a class: not used", ds->stray,
            ds->stray_count > 1 ? " and others" : "", (long long)ds->stray_count, ds->stray_count > 1 ? "s" : "");
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
    if (index < 0 || index >= ds->count) BUG("sample %lld of %lld", (long long)index, (long long)ds->count);
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

/* Where a part is: a path and the part to ask the reader for. */
typedef struct part_place {
    const dataset_reader *reader; /* NULL: there is none */
    const char *path;
    dataset_part part;
} part_place;

static part_place find_part(const char *path, dataset_part part, spec_data_format format)
{
    for (int i = 0; path[0] && dataset_readers[i]; i++) {
        if (format != FORMAT_AUTO && dataset_readers[i] != by_format[format]) continue;
        if (dataset_readers[i]->probe(path, part)) return (part_place){dataset_readers[i], path, part};
    }
    return (part_place){0};
}

/* An explicit path may hold the part under its name (a packed set, IDX files) or be it. */
static part_place place_of(const spec_data *o, dataset_part part)
{
    const char *paths[] = {o->train, o->val, o->test}, *explicit = paths[part];
    if (!explicit || !explicit[0]) return find_part(o->root ? o->root : "", part, o->format);
    part_place place = find_part(explicit, part, o->format);
    return place.reader ? place : find_part(explicit, PART_WHOLE, o->format);
}

/* data.class_names: for formats that know numbers only. */
static status name_classes(dataset *ds, const text_list *names)
{
    if (names->count == 0) return OK;
    if (names->count != ds->class_count)
        return FAIL(E_USAGE, "data.class_names has %lld names, %s has %lld classes", (long long)names->count, ds->path,
                    (long long)ds->class_count);
    return dataset_set_classes(ds, names->value, names->count);
}

static status open_place(dataset *ds, part_place place, const spec_data *options)
{
    *ds = (dataset){.reader = place.reader};
    status code = OK;
    ds->path = arena_strdup(&ds->memory, place.path);
    if (!ds->path) code = FAIL_MEMORY(strlen(place.path));
    if (code == OK) code = place.reader->open(ds, place.path, place.part, options);
    if (code == OK && ds->count == 0) code = FAIL(E_DATA, "%s: no samples", place.path);
    if (code == OK && options) code = name_classes(ds, &options->class_names);
    if (code != OK) dataset_close(ds);
    return code;
}

static status missing_part(const spec_data *o, dataset_part part)
{
    const char *paths[] = {o->train, o->val, o->test};
    const char *path = paths[part] && paths[part][0] ? paths[part] : o->root ? o->root : "";
    if (!path[0]) return FAIL(E_USAGE, "data.root is not set: which data set? Give it with --data PATH, or in a spec as data.root or data.%s", part_name(part));
    if (!file_exists(path)) return FAIL(E_DATA, "%s: no such file or folder", path);
    return FAIL(E_DATA, "%s: no %s part found; expected a folder of class folders (with or without train/, val/), IDX files, CIFAR "
                        "records, a CSV table or a packed data set", path, part_name(part));
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

static status check_classes(const dataset *train, dataset *other, const char *what)
{
    if (other->count == 0) return OK;
    if (train->numbered && other->numbered) {
        if (other->class_count > train->class_count)
            return FAIL(E_DATA, "the %s part has labels up to %lld, the train part up to %lld", what,
                (long long)other->class_count - 1, (long long)train->class_count - 1);
        return dataset_set_classes(other, train->class_name, train->class_count);
    }
    for (int64_t i = 0; i < other->class_count; i++)
        if (dataset_find_class(train, other->class_name[i]) < 0)
            return FAIL(E_DATA, "%s: class \"%s\" of the %s part is not in the train part (%s), which has %lld classes: rename or remove it",
                other->path, other->class_name[i], what, train->path, (long long)train->class_count);
    for (int64_t i = 0; i < train->class_count; i++)
        if (dataset_find_class(other, train->class_name[i]) < 0)
            return FAIL(E_DATA, "%s: class \"%s\" of the train part is not in the %s part (%s): name it there too; an empty folder will do",
                train->path, train->class_name[i], what, other->path);
    for (int64_t i = 0; i < train->class_count; i++)
        if (strcmp(train->class_name[i], other->class_name[i]) != 0)
            return FAIL(E_DATA, "the %s part has its classes in another order: number %lld is \"%s\" there and \"%s\" in train", what,
                (long long)i, other->class_name[i], train->class_name[i]);
    return OK;
}

static status open_train_and_val(const spec_data *o, uint64_t seed, dataset *train, dataset *val)
{
    part_place train_place = place_of(o, PART_TRAIN), val_place = place_of(o, PART_VAL);
    /* One folder of classes: no part has a name. */
    if (!train_place.reader && o->root && !(o->train && o->train[0])) train_place = find_part(o->root, PART_WHOLE, o->format);
    if (!train_place.reader) return missing_part(o, PART_TRAIN);
    if (val_place.reader) {
        TRY(open_place(train, train_place, o));
        return open_place(val, val_place, o);
    }
    if (o->val && o->val[0]) return missing_part(o, PART_VAL);
    return split_whole(o, seed, train_place, train, val);
}

status dataset_open_parts(const spec_data *options, uint64_t seed, logger *l, dataset *train, dataset *val, dataset *test)
{
    dataset parts[3] = {{{0}}}, *wanted[3] = {train, val, test};
    status result = OK;
    for (int i = 0; i < 3; i++)
        if (wanted[i]) *wanted[i] = (dataset){0};
    TRY_OUT(open_train_and_val(options, seed, &parts[0], &parts[1]));
    if (test) {
        part_place place = place_of(options, PART_TEST);
        if (place.reader) TRY_OUT(open_place(&parts[2], place, options));
        else if (options->test && options->test[0]) TRY_OUT(missing_part(options, PART_TEST));
    }
    TRY_OUT(check_classes(&parts[0], &parts[1], "val"));
    TRY_OUT(check_classes(&parts[0], &parts[2], "test"));
    if (l) dataset_warn_of_strays(parts, 3, l);
    for (int i = 0; i < 3; i++) {
        if (!wanted[i]) continue;
        if (parts[i].count) log_info(l, "%s: %lld images of %lld classes (%s, %s)", part_name((dataset_part)i),
                (long long)parts[i].count, (long long)parts[i].class_count, parts[i].reader->name, parts[i].path);
        *wanted[i] = parts[i];
        parts[i] = (dataset){0};
    }
out:
    for (int i = 0; i < 3; i++) dataset_close(&parts[i]);
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

static const dataset_reader reader_loose = {"images", NULL, open_loose, read_sample_file, NULL, NULL};

static bool has_images(const char *path)
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

/* Splits "path#test"; a file may have a # in its name, so only the three names count. */
static bool named_part(const char *path, char *plain, size_t room, dataset_part *part)
{
    const char *hash = strrchr(path, '#');
    for (int i = 0; hash && i < 3; i++) {
        if (strcmp(hash + 1, part_name((dataset_part)i)) != 0) continue;
        *part = (dataset_part)i;
        return (size_t)snprintf(plain, room, "%.*s", (int)(hash - path), path) < room;
    }
    return false;
}

status dataset_open_images(dataset *ds, const char *path)
{
    char plain[4096];
    dataset_part part;
    *ds = (dataset){0};
    if (named_part(path, plain, sizeof plain, &part)) {
        part_place place = find_part(plain, part, FORMAT_AUTO);
        if (!place.reader) return FAIL(E_DATA, "%s: no data set with a %s part", plain, part_name(part));
        return open_place(ds, place, NULL);
    }
    if (!file_exists(path)) return FAIL(E_DATA, "%s: no such file or folder", path);
    part_place place = {0};
    for (int i = 2; i >= 0 && !place.reader; i--) place = find_part(path, (dataset_part)i, FORMAT_AUTO);
    /* Images beside sub-folders: the images are meant. */
    if (!place.reader && !(file_is_dir(path) && has_images(path))) place = find_part(path, PART_WHOLE, FORMAT_AUTO);
    if (!place.reader) place = (part_place){&reader_loose, path, PART_WHOLE};
    return open_place(ds, place, NULL);
}
