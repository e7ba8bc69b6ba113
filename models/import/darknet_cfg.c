#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/disguise.h"
#include "core/base/text.h"
#include "core/base/text_file.h"
#include "models/import/darknet.h"

enum { MAX_CFG_BYTES = 1 << 20, MAX_SIDE = 8192 };

/* Blanks do not count anywhere, not even inside a value. */
static void squeeze(char *line)
{
    char *to = line;
    for (const char *from = line; *from; from++)
        if (!isspace((unsigned char)*from)) *to++ = *from;
    *to = 0;
}

static status add_section(darknet_cfg *cfg, char *line, int32_t number)
{
    size_t length = strlen(line);
    if (line[length - 1] != ']' || length < 3)
        return FAIL(E_MODEL, "%s:%d: %s: expected [section]", cfg->what, number, line);
    TRY(array_reserve((void **)&cfg->sections, &cfg->capacity, cfg->count + 1, sizeof *cfg->sections));
    darknet_section *s = &cfg->sections[cfg->count++];
    *s = (darknet_section){.name = arena_strndup(&cfg->memory, line + 1, length - 2), .line = number};
    return s->name ? OK : FAIL_MEMORY(length);
}

static status add_pair(darknet_cfg *cfg, char *line, int32_t number)
{
    char *equals = strchr(line, '=');
    if (!equals || equals == line)
        return FAIL(E_MODEL, "%s:%d: %s: expected key=value or [section]", cfg->what, number, line);
    if (cfg->count == 0) return FAIL(E_MODEL, "%s:%d: %s stands before the first [section]", cfg->what, number, line);
    darknet_section *s = &cfg->sections[cfg->count - 1];
    TRY(array_reserve((void **)&s->pairs, &s->capacity, s->count + 1, sizeof *s->pairs));
    darknet_pair *p = &s->pairs[s->count++];
    *p = (darknet_pair){
        arena_strndup(&cfg->memory, line, (size_t)(equals - line)), arena_strdup(&cfg->memory, equals + 1), number};
    return p->key && p->value ? OK : FAIL_MEMORY(strlen(line));
}

static status read_side(const darknet_cfg *cfg, const char *key, int32_t least, int32_t most, int32_t *value)
{
    const darknet_section *net = &cfg->sections[0];
    for (int64_t i = 0; i < net->count; i++) {
        int64_t n;
        if (strcmp(net->pairs[i].key, key) != 0) continue;
        if (!text_to_int(net->pairs[i].value, &n) || n < least || n > most)
            return FAIL(E_MODEL, "%s:%d: %s = %s: expected a number from %d to %d", cfg->what, net->pairs[i].line, key,
                net->pairs[i].value, least, most);
        *value = (int32_t)n;
        return OK;
    }
    return *value ? OK : FAIL(E_MODEL, "%s:%d: [net] has no %s", cfg->what, net->line, key);
}

static status read_net(darknet_cfg *cfg)
{
    if (cfg->count < 2) return FAIL(E_MODEL, "%s: no layers", cfg->what);
    const char *name = cfg->sections[0].name;
    if (strcmp(name, "net") != 0 && strcmp(name, "network") != 0)
        return FAIL(
            E_MODEL, "%s:%d: the first section is [%s], expected [net]", cfg->what, cfg->sections[0].line, name);
    cfg->channels = 3;
    TRY(read_side(cfg, "width", 1, MAX_SIDE, &cfg->width));
    TRY(read_side(cfg, "height", 1, MAX_SIDE, &cfg->height));
    TRY(read_side(cfg, "channels", 1, 3, &cfg->channels));
    return cfg->channels == 2 ? FAIL(E_MODEL, "%s: channels = 2: expected 1 or 3", cfg->what) : OK;
}

static status parse_lines(darknet_cfg *cfg, char *text)
{
    int32_t number = 0;
    for (char *line = strsep(&text, "\n"); line; line = strsep(&text, "\n")) {
        number++;
        squeeze(line);
        if (!*line || *line == '#' || *line == ';') continue;
        TRY(*line == '[' ? add_section(cfg, line, number) : add_pair(cfg, line, number));
    }
    return read_net(cfg);
}

status darknet_cfg_parse(darknet_cfg *cfg, const char *text, size_t bytes, const char *what)
{
    *cfg = (darknet_cfg){0};
    char *copy = arena_strndup(&cfg->memory, text, bytes);
    status result = OK;
    cfg->what = arena_strdup(&cfg->memory, what);
    if (!copy || !cfg->what) result = FAIL_MEMORY(bytes);
    else if (disguise_of((const uint8_t *)text, bytes))
        result = FAIL(E_MODEL, "%s: %s", what, disguise_of((const uint8_t *)text, bytes));
    else if (memchr(text, 0, bytes)) result = FAIL(E_MODEL, "%s: a 0 byte: this is no text", what);
    else result = parse_lines(cfg, copy);
    if (result != OK) darknet_cfg_free(cfg);
    return result;
}

status darknet_cfg_read(darknet_cfg *cfg, const char *path)
{
    arena a = {0};
    char *text = NULL;
    size_t bytes = 0;
    *cfg = (darknet_cfg){0};
    status result = text_file_read(&a, path, MAX_CFG_BYTES, E_MODEL, &text, &bytes);
    if (result == OK) result = darknet_cfg_parse(cfg, text, bytes, path);
    arena_free(&a);
    return result;
}

void darknet_cfg_free(darknet_cfg *cfg)
{
    for (int64_t i = 0; i < cfg->count; i++) free(cfg->sections[i].pairs);
    free(cfg->sections);
    arena_free(&cfg->memory);
    *cfg = (darknet_cfg){0};
}
