/* contact_sheet.h: many small pictures with two lines of text each, as one PNG.
 *
 *     contact_sheet s;
 *     TRY(contact_sheet_init(&s, count));
 *     TRY(contact_sheet_add(&s, &im, "cat.jpg", "cat 98 %", CONTACT_PLAIN));
 *     TRY(contact_sheet_write(&s, "predictions.png"));
 *     contact_sheet_free(&s);
 */
#ifndef GRAFT_CLI_CONTACT_SHEET_H
#define GRAFT_CLI_CONTACT_SHEET_H

#include <stdbool.h>

#include "core/data/image.h"

enum { CONTACT_MOST = 64 }; /* pictures on a sheet */

typedef enum contact_mark { CONTACT_PLAIN, CONTACT_RIGHT, CONTACT_WRONG } contact_mark; /* colour of the frame */

typedef struct contact_sheet {
    image sheet;
    int64_t count, capacity;
} contact_sheet;

status contact_sheet_init(contact_sheet *s, int64_t pictures); /* room for at most CONTACT_MOST of them */
void contact_sheet_free(contact_sheet *s);                     /* accepts a zeroed one */
bool contact_sheet_full(const contact_sheet *s);
/* Long texts lose their beginning (name) or end (verdict). */
status contact_sheet_add(contact_sheet *s, const image *im, const char *name, const char *verdict, contact_mark mark);
status contact_sheet_write(const contact_sheet *s, const char *path);

#endif
