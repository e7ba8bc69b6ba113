#include "cli/contact_sheet.h"

#include <stdio.h>
#include <string.h>

enum {
    CELL = 176, PICTURE = 160, FRAME = 3, GAP = (CELL - PICTURE) / 2,
    VERDICT = 22, NAME = 14, TEXT = VERDICT + NAME, CELL_HEIGHT = PICTURE + 2 * GAP + TEXT,
    COLUMNS = 8, LETTER = 6, VERDICT_SCALE = 2
};

static const uint8_t mark_colour[][3] = {{90, 110, 140}, {30, 150, 60}, {200, 50, 40}};

status contact_sheet_init(contact_sheet *s, int64_t pictures)
{
    *s = (contact_sheet){.capacity = pictures < CONTACT_MOST ? pictures : CONTACT_MOST};
    if (s->capacity < 1) s->capacity = 1;
    int64_t columns = s->capacity < COLUMNS ? s->capacity : COLUMNS, rows = (s->capacity + columns - 1) / columns;
    TRY(image_alloc(&s->sheet, (int32_t)columns * CELL, (int32_t)rows * CELL_HEIGHT, 3));
    memset(s->sheet.pixels, 255, (size_t)s->sheet.width * (size_t)s->sheet.height * 3);
    return OK;
}

void contact_sheet_free(contact_sheet *s)
{
    image_free(&s->sheet);
    *s = (contact_sheet){0};
}

bool contact_sheet_full(const contact_sheet *s)
{
    return s->count >= s->capacity;
}

/* The picture as large as it fits into PICTURE x PICTURE, three channels. */
static status shrink(image *small, const image *im)
{
    image part = {0};
    double longest = im->width > im->height ? im->width : im->height;
    int32_t width = (int32_t)(im->width * PICTURE / longest + 0.5),
            height = (int32_t)(im->height * PICTURE / longest + 0.5);
    TRY(image_resize(&part, im, NULL, width < 1 ? 1 : width, height < 1 ? 1 : height, INTERPOLATION_BILINEAR));
    if (part.channels == 3) {
        *small = part;
        return OK;
    }
    status result = image_alloc(small, part.width, part.height, 3);
    int64_t count = (int64_t)part.width * part.height;
    for (int64_t i = 0; result == OK && i < count; i++) memset(small->pixels + 3 * i, part.pixels[i], 3);
    image_free(&part);
    return result;
}

/* The letters that can be drawn: those of Latin-1 lose their marks, any other character is a question mark. */
static void ascii_text(char *dst, size_t capacity, const char *text)
{
    static const char latin[] =
        "AAAAAAACEEEEIIIIDNOOOOOxOUUUUYPsaaaaaaaceeeeiiiidnooooo/ouuuuypy"; /* U+00C0 to U+00FF */
    size_t used = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c && used + 1 < capacity; c++) {
        if ((*c & 0xc0) == 0x80) continue;
        bool is_latin = *c == 0xc3 && (c[1] & 0xc0) == 0x80;
        dst[used++] = *c < 0x80 ? (char)*c : is_latin ? latin[c[1] & 0x3f] : '?';
    }
    dst[used] = 0;
}

status contact_sheet_add(contact_sheet *s, const image *im, const char *name, const char *verdict, contact_mark mark)
{
    enum { MOST = CELL / LETTER - 2 };
    image small = {0};
    char line[MOST + 1], ascii[256];
    if (contact_sheet_full(s)) return OK;
    TRY(shrink(&small, im));
    int32_t columns = s->sheet.width / CELL, x = (int32_t)(s->count % columns) * CELL,
            y = (int32_t)(s->count / columns) * CELL_HEIGHT;
    int32_t left = x + GAP + (PICTURE - small.width) / 2, top = y + GAP + (PICTURE - small.height) / 2;
    image_paste(&s->sheet, &small, left, top);
    image_draw_rect(&s->sheet, left - FRAME, top - FRAME, left + small.width + FRAME, top + small.height + FRAME,
        mark_colour[mark], FRAME);
    image_free(&small);
    ascii_text(ascii, sizeof ascii, verdict);
    snprintf(line, sizeof line, "%.*s", (int)(MOST / VERDICT_SCALE), ascii);
    image_draw_text(&s->sheet, x + GAP, y + PICTURE + 2 * GAP, line, mark_colour[mark], VERDICT_SCALE);
    ascii_text(ascii, sizeof ascii, name);
    size_t length = strlen(ascii);
    snprintf(line, sizeof line, "%.*s", MOST, length > MOST ? ascii + length - MOST : ascii);
    image_draw_text(&s->sheet, x + GAP, y + PICTURE + 2 * GAP + VERDICT, line, mark_colour[CONTACT_PLAIN], 1);
    s->count++;
    return OK;
}

status contact_sheet_write(const contact_sheet *s, const char *path)
{
    return image_write_png(path, &s->sheet);
}
