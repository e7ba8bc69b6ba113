#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/contact_sheet.h"
#include "cli/found_writer.h"
#include "cli/network.h"
#include "core/base/folder_lock.h"
#include "core/base/thread.h"
#include "core/base/utf8.h"
#include "core/data/classes.h"
#include "core/data/readers/readers.h"
#include "core/task/draw.h"

#define ANNOTATED "annotated"
enum { NAME_BYTES = 200 }; /* of an image's name, so that the number in front and .png fit a file's name */

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .help = "model or engine file"},
    {"--output", "-o", "FOLDER",
        .help =
            "write result.csv and predictions.png, a contact sheet, there; of a detector all images with boxes, too"},
    {"--source", NULL, "FILE", .help = "refuse the engine unless it was made from this model file"},
    {"--top-k", "-k", "N", .target = "infer.top_k", .help = "classes listed per image"},
    {"--threshold", "-t", "SCORE", .target = "infer.threshold", .help = "detectors: leave out boxes of a lower score"},
    {"--batch-size", "-b", "N", .target = "infer.batch_size", .help = "images per run"},
    {.name = NULL},
};

typedef struct job {
    cli_context *c;
    network net;
    device *dev;
    thread_pool *pool;
    const dataset *ds;      /* being read                              */
    int64_t first;          /* sample of the batch's first image       */
    image *decoded;         /* [batch]                                 */
    char **error;           /* [batch], of images that can't be read   */
    task_setting setting;
    float *input;           /* [batch, h, w, c]                        */
    float *output[GRAPH_MAX_OUTPUTS]; /* [batch, ...]                  */
    const char *folder;     /* of --output, or NULL                    */
    folder_lock lock;       /* of it                                   */
    found_writer writer;
    contact_sheet sheet;
    int64_t total, done, unreadable;
} job;

/* One image of a batch: decoded and preprocessed. A file that can't be read is no failure of the run. */
static status load_image(void *context, int64_t i)
{
    job *j = context;
    const preprocess *p = j->net.preprocess;
    const spec_data *s = &j->c->config.spec.data;
    decode_options o = {.channels = p->channels, .max_pixels = s->max_pixels, .exif = s->exif};
    status result = dataset_decode(j->ds, j->first + i, &o, &j->decoded[i]);
    if (result == OK) result = image_preprocess(j->input + i * p->width * p->height * p->channels, &j->decoded[i], p);
    if (result == OK || result == E_MEMORY) return result;
    j->error[i] = strdup(status_message());
    return j->error[i] ? OK : FAIL_MEMORY(64);
}

/* The true class of this sample, if the network knows it. */
static const char *true_class(const job *j, const sample *s)
{
    if (s->class_index < 0 || s->class_index >= j->ds->class_count) return NULL;
    return class_by_name(j->net.class_name, j->net.class_count, j->ds->class_name[s->class_index]);
}

/* The picture with its boxes, numbered in the order of the arguments, since files of
 * several folders may have one name. */
static status draw_boxes(job *j, image *im, int64_t i, const sample *s, const prediction *p)
{
    const char *base = path_base(s->name), *dot = strrchr(base, '.');
    int length = dot && dot > base ? (int)(dot - base) : (int)strlen(base);
    if (length > NAME_BYTES) length = NAME_BYTES;
    char *path;
    draw_objects(im, p, j->net.class_name, 1);
    TRY_ALLOC(path,
        arena_printf(&j->c->memory, "%s/%s/%06" PRId64 "_%.*s.png", j->folder, ANNOTATED, (j->done + i), length, base));
    return image_write_png(path, im);
}

static status draw(job *j, const image *im, const sample *s, const prediction *p)
{
    char verdict[256] = "nothing", name[256];
    const char *truth = true_class(j, s);
    contact_mark mark = CONTACT_PLAIN;
    snprintf(name, sizeof name, "%s", path_base(s->name));
    if (j->net.task->has_boxes && p->count > 0) snprintf(verdict, sizeof verdict, "%" PRId64 " found", p->count);
    else if (p->count > 0) {
        const char *class_name = j->net.class_name[p->object[0].class_index];
        snprintf(verdict, sizeof verdict, "%.0f%% %s", 100 * (double)p->object[0].score, class_name);
        if (truth) mark = strcmp(truth, class_name) == 0 ? CONTACT_RIGHT : CONTACT_WRONG;
        if (mark == CONTACT_WRONG) snprintf(name, sizeof name, "is %s", truth);
    }
    return contact_sheet_add(&j->sheet, im, name, verdict, mark);
}

static status report_image(job *j, int64_t i, arena *memory)
{
    const sample *s = &j->ds->samples[j->first + i];
    image *im = &j->decoded[i];
    float to_input[9];
    prediction p;
    task_output output[GRAPH_MAX_OUTPUTS];
    for (int32_t k = 0; k < runner_outputs(j->net.runner); k++)
        output[k] = (task_output){j->output[k], shape_count(runner_output(j->net.runner, k))};
    image_place_matrix(to_input, im->width, im->height, j->net.preprocess);
    const image_frame frame = {im->width, im->height, to_input};
    TRY(j->net.task->predict(&j->setting, output, i, &frame, memory, &p));
    TRY(found_writer_add(&j->writer, s->name, &p));
    if (!j->folder || !j->c->config.spec.infer.annotate) return OK;
    if (j->net.task->has_boxes) TRY(draw_boxes(j, im, i, s, &p));
    return draw(j, im, s, &p);
}

static status run_batch(job *j, int64_t count)
{
    TRY(pool_run(j->pool, load_image, j, count));
    TRY(runner_run(j->net.runner, j->output, j->input, count));
    for (int64_t i = 0; i < count; i++) {
        arena memory = {0};
        status result = j->error[i] ? found_writer_add_error(&j->writer, j->ds->samples[j->first + i].name, j->error[i])
                                    : report_image(j, i, &memory);
        arena_free(&memory);
        TRY(result);
        j->unreadable += j->error[i] != NULL;
    }
    j->done += count;
    return OK;
}

static void drop_images(job *j)
{
    for (int64_t i = 0; i < j->c->config.spec.infer.batch_size; i++) {
        if (j->decoded) image_free(&j->decoded[i]);
        if (j->error) free(j->error[i]), j->error[i] = NULL;
    }
}

static status run_dataset(job *j, const dataset *ds)
{
    int64_t most = j->c->config.spec.infer.batch_size;
    j->ds = ds;
    for (j->first = 0; j->first < ds->count; j->first += most) {
        if (j->c->stop && *j->c->stop)
            return FAIL((status)*j->c->stop, "stopped after %" PRId64 " of %" PRId64 " images", j->done, j->total);
        status result = run_batch(j, ds->count - j->first < most ? ds->count - j->first : most);
        drop_images(j);
        TRY(result);
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ setting up */

static status open_network(job *j, const char *path)
{
    cli_context *c = j->c;
    const spec *s = &c->config.spec;
    int64_t most = s->infer.batch_size;
    TRY(device_open(&j->dev, s->train.device, 0, (int32_t)s->train.threads, &c->log));
    TRY(network_open(&j->net, path, &s->infer, j->dev, most));
    TRY(network_check_source(&j->net, path, cli_value(c, "--source")));
    TRY(pool_create(&j->pool, cpu_count()));
    const preprocess *p = j->net.preprocess;
    j->setting = (task_setting){.task = j->net.task,
        .spec = s,
        .class_name = j->net.class_name,
        .class_count = j->net.class_count,
        .preprocess = p,
        .sigmoid = j->net.sigmoid};
    found_writer_init(
        &j->writer, c, &j->setting, s->infer.top_k < j->net.class_count ? s->infer.top_k : j->net.class_count);
    TRY_ALLOC(j->input, ARENA_ARRAY(&c->memory, float, most * p->width * p->height * p->channels));
    for (int32_t k = 0; k < runner_outputs(j->net.runner); k++)
        TRY_ALLOC(j->output[k], ARENA_ARRAY(&c->memory, float, most * shape_count(runner_output(j->net.runner, k))));
    TRY_ALLOC(j->decoded, ARENA_ARRAY(&c->memory, image, most));
    TRY_ALLOC(j->error, ARENA_ARRAY(&c->memory, char *, most));
    return OK;
}

static status open_output(job *j)
{
    TRY(dir_make(j->folder));
    TRY(folder_lock_take(&j->lock, j->folder, "choose another folder with --output", &j->c->log));
    if (j->net.task->has_boxes && j->c->config.spec.infer.annotate)
        TRY(dir_make(path_join(&j->c->memory, j->folder, ANNOTATED)));
    TRY(found_writer_open_csv(&j->writer, path_join(&j->c->memory, j->folder, "result.csv")));
    return contact_sheet_init(&j->sheet, j->total);
}

static status finish_output(job *j)
{
    TRY(found_writer_commit(&j->writer));
    cli_print(j->c, "wrote %s/result.csv", j->folder);
    if (j->c->config.spec.infer.annotate && j->sheet.count) {
        TRY(contact_sheet_write(&j->sheet, path_join(&j->c->memory, j->folder, "predictions.png")));
        cli_print(j->c, " and %s/predictions.png (%" PRId64 " images)", j->folder, j->sheet.count);
    }
    if (j->net.task->has_boxes && j->c->config.spec.infer.annotate)
        cli_print(j->c, "; the images with their boxes are in %s/" ANNOTATED, j->folder);
    cli_print(j->c, "\n");
    return OK;
}

static status run_all(job *j, const dataset *sets, int64_t count)
{
    for (int64_t k = 0; k < count; k++) {
        j->total += sets[k].count;
        for (int64_t i = 0; i < sets[k].count; i++) {
            size_t length = strlen(sets[k].samples[i].name);
            if (length > j->writer.widest && length <= 80) j->writer.widest = length;
        }
    }
    if (j->folder) TRY(open_output(j));
    json_key(&j->c->result, "predictions");
    json_begin_array(&j->c->result);
    status result = OK;
    for (int64_t k = 0; k < count && result == OK; k++) result = run_dataset(j, &sets[k]);
    json_end_array(&j->c->result);
    TRY(result);
    if (j->folder) TRY(finish_output(j));
    if (j->unreadable)
        return FAIL(E_DATA, "%" PRId64 " of %" PRId64 " images could not be read", j->unreadable, j->total);
    return OK;
}

static status run(cli_context *c)
{
    job j = {.c = c, .folder = cli_value(c, "--output")};
    const char *path = cli_value(c, "--model");
    int64_t first = path ? 0 : 1, count = c->argument_count - first, opened = 0;
    dataset *sets = NULL;
    status result = OK;
    TRY(cli_finish_spec(c));
    if (!path) path = c->arguments[0];
    if (count < 1) return FAIL(E_USAGE, "which images? graft infer MODEL IMAGE...");
    TRY_OUT(open_network(&j, path));
    sets = ARENA_ARRAY(&c->memory, dataset, count);
    if (!sets) TRY_OUT(FAIL_MEMORY(count * sizeof *sets));
    for (; opened < count; opened++) {
        dataset_share share;
        TRY_OUT(dataset_open_path(&sets[opened], c->arguments[first + opened], &share));
        if (share.part != PART_WHOLE)
            log_info(&c->log, "%s: its %s part, %" PRId64 " of %" PRId64 " images", sets[opened].path,
                part_name(share.part), sets[opened].count, share.total);
    }
    TRY_OUT(run_all(&j, sets, count));
out:
    for (int64_t i = 0; i < opened; i++) dataset_close(&sets[i]);
    if (j.error) drop_images(&j);
    found_writer_free(&j.writer);
    folder_lock_release(&j.lock);
    contact_sheet_free(&j.sheet);
    pool_destroy(j.pool);
    network_close(&j.net);
    device_close(j.dev);
    return result;
}

const cli_command command_infer = {
    .name = "infer",
    .summary = "classify images, or find objects, with a model or an engine",
    .arguments = "[MODEL] IMAGE...",
    .least = 1,
    .most = -1,
    .description = "Images are files or folders; they are resized and normalised as in training. Exit code 3 when one "
                   "of them could not be read; the others are classified all the same.",
    .spec = CLI_SPEC_OPEN,
    .sections = "infer",
    .stops_on_signal = true,
    .options = options,
    .run = run,
};
