#include "core/data/classes.h"

#include <inttypes.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/text.h"
#include "core/base/text_file.h"
#include "core/base/utf8.h"

enum { MAX_LIST_BYTES = 16 << 20, MOST_WARNINGS = 10 };

/* ------------------------------------------------------------------------------------------------ lists */

status class_names_read_list(arena *a, const char *path, const char ***names, int64_t *count)
{
    char *text;
    size_t bytes;
    TRY(text_file_read(a, path, MAX_LIST_BYTES, E_DATA, &text, &bytes));
    *names = ARENA_ARRAY(a, const char *, bytes + 1);
    if (!*names) return FAIL_MEMORY(bytes * sizeof **names);
    *count = 0;
    for (char *line = strsep(&text, "\n"); line; line = strsep(&text, "\n")) {
        size_t length = strlen(line);
        while (length && strchr(" \t", line[length - 1])) line[--length] = 0;
        line += strspn(line, " \t");
        const char *name = utf8_escaped(a, line);
        if (!name) return FAIL_MEMORY(length);
        (*names)[(*count)++] = name;
    }
    while (*count && !(*names)[*count - 1][0]) --*count;
    return OK;
}

/* ------------------------------------------------------------------------------------------ names that are alike */

/* The name without blanks, in small letters, three bytes a character. */
static char *folded(arena *a, const char *name)
{
    char *text = arena_alloc(a, 3 * strlen(name) + 1), *end = text;
    while (text && *name) {
        uint32_t c = (unsigned char)*name;
        size_t length = utf8_character(name, &c);
        name += length ? length : 1;
        if (utf8_is_blank(c)) continue;
        c = utf8_lower(c);
        *end++ = (char)(0x80 | c >> 14);
        *end++ = (char)(0x80 | (c >> 7 & 0x7f));
        *end++ = (char)(0x80 | (c & 0x7f));
    }
    return text;
}

const char *class_names_like(const char *const *names, int64_t count, const char *name)
{
    arena memory = {0};
    const char *wanted = folded(&memory, name), *found = NULL;
    for (int64_t i = 0; wanted && i < count && !found; i++) {
        const char *other = folded(&memory, names[i]);
        if (other && strcmp(wanted, other) == 0) found = names[i];
    }
    arena_free(&memory);
    return found;
}

typedef struct folded_name {
    const char *key, *name;
} folded_name;

static int by_key(const void *a, const void *b)
{
    const folded_name *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order ? order : strcmp(x->name, y->name);
}

void class_names_warn(const char *const *names, int64_t count, const char *where, logger *l)
{
    arena memory = {0};
    folded_name *list = ARENA_ARRAY(&memory, folded_name, count);
    int64_t pairs = 0;
    for (int64_t i = 0; list && i < count; i++) {
        list[i] = (folded_name){folded(&memory, names[i]), names[i]};
        if (!list[i].key) list = NULL; /* no memory, no advice */
    }
    if (list && count) qsort(list, (size_t)count, sizeof *list, by_key);
    for (int64_t i = 1; list && i < count; i++) {
        if (strcmp(list[i - 1].key, list[i].key) != 0 || strcmp(list[i - 1].name, list[i].name) == 0) continue;
        if (pairs++ < MOST_WARNINGS)
            log_warn(l,
                "%s: classes \"%s\" and \"%s\" differ only in case or blanks; if they are one class, give it one name",
                where, list[i - 1].name, list[i].name);
    }
    if (pairs > MOST_WARNINGS) log_warn(l, "%s: %" PRId64 " more such pairs", where, (pairs - MOST_WARNINGS));
    arena_free(&memory);
}

/* ------------------------------------------------------------------------------------------------ numbered classes */

bool class_number(const char *name, int64_t *number)
{
    if (strncasecmp(name, "class", 5) == 0) name += 5, name += strspn(name, " _-");
    return isdigit((unsigned char)name[0]) && text_to_int(name, number);
}

/* Is every name its own place, in order? */
static bool is_numbered(const char *const *names, int64_t count)
{
    int64_t number;
    for (int64_t i = 0; i < count; i++)
        if (!class_number(names[i], &number) || number != i) return false;
    return count > 0;
}

const char *class_by_name(const char *const *names, int64_t count, const char *name)
{
    int64_t number;
    for (int64_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return names[i];
    return is_numbered(names, count) && class_number(name, &number) && number < count ? names[number] : NULL;
}

/* NULL: every class is found. Else one that is not. */
static const char *places_by_name(
    int64_t *place, const char *const *theirs, int64_t their_count, const char *const *names, int64_t count)
{
    dataset model = {.class_name = (const char **)(uintptr_t)names, .class_count = count};
    bool same = their_count <= count;
    for (int64_t i = 0; i < their_count && same; i++) same = strcmp(theirs[i], names[i]) == 0;
    for (int64_t i = 0; i < their_count; i++) {
        place[i] = same ? i : dataset_find_class(&model, theirs[i]);
        if (place[i] < 0) return theirs[i];
    }
    return NULL;
}

/* No number twice, none beyond the model's. */
static bool places_by_number(int64_t *place, const char *const *theirs, int64_t their_count, int64_t count)
{
    bool *taken = calloc((size_t)count + 1, sizeof *taken), fine = taken != NULL;
    for (int64_t i = 0; i < their_count && fine; i++) {
        fine = class_number(theirs[i], &place[i]) && place[i] < count && !taken[place[i]];
        if (fine) taken[place[i]] = true;
    }
    free(taken);
    return fine;
}

const char *class_places(
    int64_t *place, const char *const *theirs, int64_t their_count, const char *const *names, int64_t count)
{
    const char *missing = places_by_name(place, theirs, their_count, names, count);
    bool by_number = missing && is_numbered(names, count) && places_by_number(place, theirs, their_count, count);
    return by_number ? NULL : missing;
}

static void say_order(const dataset *ds, const char *const *names, int64_t count, const char *model_path, logger *l)
{
    enum { SHOWN = 4 };
    char text[1024] = "";
    size_t used = 0;
    for (int64_t i = 0; i < count && i < SHOWN; i++) {
        int n = snprintf(
            text + used, sizeof text - used, "%s\"%.60s\" is \"%.60s\"", i ? ", " : "", names[i], ds->class_name[i]);
        used += (size_t)n;
    }
    log_warn(l,
        "one of %s and %s knows numbers instead of names: their classes are taken to be in the same order, %s%s",
        model_path, ds->path, text, count > SHOWN ? ", ..." : "");
}

static status refuse_class(
    const dataset *ds, const char *class_name, const char *const *names, int64_t count, const char *model_path)
{
    const char *near = class_names_like(names, count, class_name);
    if (near)
        return FAIL(E_DATA,
            "class \"%s\" of %s is not among the %" PRId64 " of %s, which has \"%s\": rename one of them", class_name,
            ds->path, count, model_path, near);
    return FAIL(E_DATA, "class \"%s\" of %s is not among the %" PRId64 " of %s (\"%s\", ...)", class_name, ds->path,
        count, model_path, count ? names[0] : "");
}

status dataset_match_classes(dataset *ds, const char *const *names, int64_t count, const char *model_path, logger *l)
{
    int64_t *place = malloc(((size_t)ds->class_count + 1) * sizeof *place);
    status result = OK;
    if (!place) return FAIL_MEMORY((size_t)ds->class_count * sizeof *place);
    const char *missing = class_places(place, ds->class_name, ds->class_count, names, count);
    if (missing) {
        bool in_order =
            (is_numbered(names, count) && ds->class_count == count) || (ds->numbered && ds->class_count <= count);
        if (!in_order) TRY_OUT(refuse_class(ds, missing, names, count, model_path));
        say_order(ds, names, ds->class_count, model_path, l);
        for (int64_t i = 0; i < ds->class_count; i++) place[i] = i;
    }
    if (ds->class_count < count && !ds->numbered)
        log_warn(l, "%s has %" PRId64 " of the %" PRId64 " classes of %s", ds->path, ds->class_count, count,
            model_path);
    dataset_renumber(ds, place);
    ds->numbered = false;
    result = dataset_set_classes(ds, names, count);
out:
    free(place);
    return result;
}
