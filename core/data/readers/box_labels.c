#include "core/data/readers/box_labels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/file.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/data/readers/readers.h"

status box_list_begin(box_list *l, const char *path, const char *label_file)
{
    TRY(array_reserve((void **)&l->image, &l->image_capacity, l->image_count + 1, sizeof *l->image));
    l->image[l->image_count++] = (box_image){path, label_file, l->count};
    return OK;
}

status box_list_add(box_list *l, const label_box *b, const char *class_name)
{
    TRY(array_reserve((void **)&l->box, &l->capacity, l->count + 1, sizeof *l->box));
    TRY(array_reserve((void **)&l->class_name, &l->name_capacity, l->count + 1, sizeof *l->class_name));
    const char *last = l->count ? l->class_name[l->count - 1] : NULL, *name = class_name;
    if (name && last && strcmp(name, last) == 0) {
        name = last;
    } else if (name) {
        const char *escaped = utf8_escaped(l->memory, name);
        TRY_ALLOC(name, escaped ? arena_strdup(l->memory, escaped) : NULL);
    }
    l->box[l->count] = *b;
    l->box[l->count].ignore |= name == NULL;
    l->class_name[l->count++] = name;
    return OK;
}

void box_list_free(box_list *l)
{
    free(l->box);
    free(l->class_name);
    free(l->image);
    *l = (box_list){0};
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static status set_classes(const box_list *l, dataset *ds, const spec_data *options)
{
    if (options && options->class_names.count > 0)
        return dataset_set_classes(ds, options->class_names.value, options->class_names.count);
    if (l->known_count > 0) return dataset_set_classes(ds, (const char **)(uintptr_t)l->known, l->known_count);
    const char **names = heap_alloc_array(l->count, sizeof *names);
    int64_t count = 0, unique = 0;
    if (!names) return E_MEMORY;
    for (int64_t i = 0; i < l->count; i++)
        if (l->class_name[i]) names[count++] = l->class_name[i];
    qsort(names, (size_t)count, sizeof *names, compare_text);
    for (int64_t i = 0; i < count; i++)
        if (unique == 0 || strcmp(names[i], names[unique - 1]) != 0) names[unique++] = names[i];
    status result = dataset_set_classes(ds, names, unique);
    free(names);
    return result;
}

static status number_boxes(
    const box_list *l, label_box *box, int64_t first, int64_t end, const char *file, const dataset *ds)
{
    for (int64_t i = first; i < end; i++) {
        const char *name = l->class_name[i];
        box[i].class_index = name ? (int32_t)dataset_find_class(ds, name) : -1;
        if (name && box[i].class_index < 0)
            return FAIL(E_DATA,
                "%s:%d: class \"%s\" is not among the %" PRId64 " of data.class_names: add it there, or leave "
                "data.class_names empty to take all classes of the training part",
                file, (int)box[i].line, name, ds->class_count);
    }
    return OK;
}

status box_list_give(const box_list *l, dataset *ds, const spec_data *options)
{
    int64_t labelled = 0;
    for (int64_t i = 0; i < l->image_count; i++) labelled += l->image[i].label_file != NULL;
    if (l->image_count > 0 && labelled == 0)
        return FAIL(E_DATA, "%s: none of its %" PRId64 " images has a label file: expected one named as the image is",
            ds->path, l->image_count);
    TRY(set_classes(l, ds, options));
    label_box *box;
    TRY_ALLOC(box, ARENA_ARRAY(&ds->memory, label_box, l->count));
    if (l->count) memcpy(box, l->box, (size_t)l->count * sizeof *box);
    for (int64_t i = 0; i < l->image_count; i++) {
        const box_image *m = &l->image[i];
        int64_t end = i + 1 < l->image_count ? l->image[i + 1].first : l->count;
        sample s = {.name = m->path, .class_index = -1, .box = box + m->first, .box_count = end - m->first};
        TRY(number_boxes(l, box, m->first, end, m->label_file, ds));
        if (m->label_file) TRY_ALLOC(s.label_file, arena_strdup(&ds->memory, m->label_file));
        /* An image that is not there is a bad sample, reported with the others. */
        if (file_exists(m->path)) TRY(file_info(m->path, &s.bytes, &s.mtime_ns));
        TRY(dataset_add_sample(ds, &s));
    }
    ds->has_boxes = true;
    return OK;
}

bool box_number(const char *text, float *value)
{
    static const char *const odd[] = {"nan", "inf", "infinity"};
    const char *word = text + (*text == '-' || *text == '+');
    double number;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        if (strcasecmp(word, odd[i]) == 0) return *value = NAN, true;
    if (!text_to_number(text, &number)) return false;
    *value = fabs(number) < 1e30 ? (float)number : NAN;
    return true;
}

static int compare_stems(const void *a, const void *b)
{
    const stem_file *x = a, *y = b;
    int order = strcmp(x->stem, y->stem);
    return order ? order : strcmp(x->path, y->path);
}

status list_images_by_stem(arena *a, const char *folder, stem_file **files, int64_t *count)
{
    char **names;
    int64_t name_count;
    *count = 0;
    TRY(dir_list(a, folder, &names, &name_count));
    TRY_ALLOC(*files, ARENA_ARRAY(a, stem_file, name_count));
    for (int64_t i = 0; i < name_count; i++) {
        char *path = path_join(a, folder, names[i]);
        if (!path) return E_MEMORY;
        if (!is_image_file(path, names[i])) continue;
        size_t ending = strlen(path_extension(names[i])), length = strlen(names[i]);
        stem_file *f = &(*files)[(*count)++];
        f->path = path;
        TRY_ALLOC(f->stem, arena_strndup(a, names[i], ending ? length - ending - 1 : length));
    }
    qsort(*files, (size_t)*count, sizeof **files, compare_stems);
    return OK;
}
