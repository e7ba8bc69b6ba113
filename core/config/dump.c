#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/text.h"
#include "core/config/internal.h"

static status stream_failed(FILE *stream)
{
    if (!ferror(stream)) return OK;
    return FAIL(E_IO, "cannot write the spec: %s", strerror(errno));
}

/* Whether any option of the section is read: a detector's is not, beside another head. */
static bool section_is_read(const spec *s, const option_section *section)
{
    for (int32_t row = section->first; row < section->first + section->count; row++)
        if (option_is_read(s, section->name, option_table[row].key)) return true;
    return false;
}

status config_dump(const config *c, FILE *stream, bool with_origins)
{
    arena memory = {0};
    status result = OK;
    for (int32_t i = 0; i < option_section_count; i++) {
        const option_section *section = &option_sections[i];
        if (!section_is_read(&c->spec, section)) continue;
        fprintf(stream, "%s[%s]\n", i ? "\n" : "", section->name);
        for (int32_t row = section->first; row < section->first + section->count; row++) {
            const option *o = &option_table[row];
            const char *text = value_text(o, &c->spec, &memory), *value = text ? value_quoted(text, &memory) : NULL;
            if (!value) TRY_OUT(FAIL(E_MEMORY, "out of memory while writing the spec"));
            int used = fprintf(stream, "%s =%s%s", o->key, *value ? " " : "", value);
            if (with_origins) fprintf(stream, "%*s ; %s", used < 39 ? 39 - used : 0, "", c->origin[row]);
            fputc('\n', stream);
        }
    }
    result = stream_failed(stream);
out:
    arena_free(&memory);
    return result;
}

/* A comment of at most 118 columns a line. */
static void write_comment(FILE *stream, const char *text)
{
    for (; *text; text += strspn(text, " ")) {
        size_t length = text_fold(text, 116);
        fprintf(stream, "# %.*s\n", (int)length, text);
        text += length;
    }
}

status config_template(const config *c, FILE *stream)
{
    arena memory = {0};
    status result = OK;
    const char *head = c->spec.model.head == HEAD_NONE ? "" : option_choice("model", "head", c->spec.model.head);
    fprintf(stream,
            "# Spec for %s%s%s: every option of it. Lines that stay as they are may be removed.\n"
            "# Check the file with: graft spec --check FILE\n",
            head, *head ? "_" : "", c->spec.model.arch);
    for (int32_t i = 0; i < option_section_count; i++) {
        const option_section *section = &option_sections[i];
        if (!section_is_read(&c->spec, section)) continue;
        fprintf(stream, "\n# %s\n[%s]\n", section->help, section->name);
        for (int32_t row = section->first; row < section->first + section->count; row++) {
            const option *o = &option_table[row];
            char expected[256];
            option_expectation(o, expected);
            char *help = arena_printf(&memory, "%s (%s)", o->help, expected);
            const char *text = value_text(o, &c->spec, &memory), *value = text ? value_quoted(text, &memory) : NULL;
            if (!help || !value) TRY_OUT(FAIL(E_MEMORY, "out of memory while writing the spec"));
            write_comment(stream, help);
            fprintf(stream, "%s =%s%s\n", o->key, *value ? " " : "", value);
        }
    }
    result = stream_failed(stream);
out:
    arena_free(&memory);
    return result;
}
