/* export_job.h: one run of `graft export`, and the formats it can write. */
#ifndef GRAFT_CLI_EXPORT_JOB_H
#define GRAFT_CLI_EXPORT_JOB_H

#include "cli/cli.h"
#include "cli/export_images.h"
#include "export/engine.h"

typedef struct export_job {
    cli_context *c;
    const spec_export *spec;
    model m;
    device *dev;
    export_images images;
    export_scales scales; /* INT8, or the format needs them */
    engine engine;        /* unless the format takes the model as it is */
    const char *output;
} export_job;

/* A file format: how its files end, what it needs, who writes it. */
typedef struct export_format {
    const char *extension;
    bool takes_model; /* writes j->m; no engine is made                    */
    bool integers;    /* only with scales: precision is int8 whatever it says */
    bool float_graph; /* the engine stays in float; INT8 only adds scales  */
    status (*prepare)(export_job *j); /* changes j->m before scales are taken; or NULL */
    status (*write)(export_job *j);
} export_format;

extern const export_format export_formats[]; /* by spec_export_format */

/* Files that are written besides j->output: said and added to the result. */
void export_also_wrote(export_job *j, const char *path);

#endif
