/* found_writer.h: what a network found in an image, as a line of a table, an object of JSON and rows of CSV.
 *
 * With boxes every found object is a row of its own in the CSV, and its pixels stand beside its class; without, the
 * classes of an image stand in one row, best first.
 *
 *     found_writer w;
 *     found_writer_init(&w, c, &setting, most);
 *     TRY(found_writer_open_csv(&w, "out/result.csv"));
 *     TRY(found_writer_add(&w, sample.name, &prediction));
 *     TRY(found_writer_commit(&w));
 *     found_writer_free(&w);
 */
#ifndef GRAFT_CLI_FOUND_WRITER_H
#define GRAFT_CLI_FOUND_WRITER_H

#include "cli/cli.h"
#include "core/task/task.h"

typedef struct found_writer {
    cli_context *c;
    const task_setting *setting;
    int64_t columns;  /* classes of an image in its row of the CSV; with boxes 1 */
    size_t widest;    /* name, for the table: the caller's                         */
    file_writer csv;
    bool has_csv;
} found_writer;

/* most: classes that a prediction without boxes lists at most. */
void found_writer_init(found_writer *w, cli_context *c, const task_setting *t, int64_t most);
status found_writer_open_csv(found_writer *w, const char *path); /* with its header */
/* A line on stdout (unless --json), an object in c->result, rows in the CSV if there is one. */
status found_writer_add(found_writer *w, const char *name, const prediction *p);
status found_writer_add_error(found_writer *w, const char *name, const char *error);
status found_writer_commit(found_writer *w);
void found_writer_free(found_writer *w); /* drops a CSV that was not committed; accepts a zeroed one */

#endif
