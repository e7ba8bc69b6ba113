#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "core/base/utf8.h"
#include "core/data/box_statistics.h"
#include "core/data/dataset.h"
#include "core/data/label_files.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--output", "-o", "FOLDER", .help = "data set to write"},
    {"--to", NULL, "FORMAT", .help = "packed (default); of boxes also kitti, voc, coco or yolo"},
    {"--link", NULL, NULL, .help = "with another format than packed: link to the images instead of copying them"},
    {"--lint", NULL, NULL, .help = "check every image and write nothing"},
    {"--statistics", NULL, NULL, .help = "count boxes by class, size and aspect ratio, and write nothing"},
    {.name = NULL},
};

enum { PARTS = 3, BAD_PRINTED = 50 };
static const char *const part_names[PARTS] = {"train", "val", "test"};

static void put_int(json_writer *w, const char *key, int64_t value)
{
    json_key(w, key);
    json_put_int(w, value);
}

/* Samples and classes of each part, as text and as members of an open object. */
static void report_parts(cli_context *c, const dataset parts[PARTS])
{
    json_writer *w = &c->result;
    for (int i = 0; i < PARTS; i++) {
        if (parts[i].count == 0) continue;
        int64_t boxes = 0;
        char of_boxes[48] = "";
        for (int64_t k = 0; k < parts[i].count; k++) boxes += parts[i].samples[k].box_count;
        if (parts[i].has_boxes) snprintf(of_boxes, sizeof of_boxes, ", %" PRId64 " boxes", boxes);
        cli_print(c, "%-5s %8" PRId64 " images, %" PRId64 " classes%s (%s)\n", part_names[i], parts[i].count,
                  parts[i].class_count, of_boxes, parts[i].reader->name);
        put_int(w, part_names[i], parts[i].count);
    }
    dataset_warn_of_strays(parts, PARTS, &c->log);
    for (int i = 0; i < PARTS; i++) {
        if (parts[i].count == 0) continue;
        put_int(w, "classes", parts[i].class_count);
        break;
    }
}

/* Boxes that are clipped, dropped or doubled, and images that show no object. boxes: how many of each, which grow. */
static void report_boxes(cli_context *c, const dataset *ds, const lint_report *report, int64_t boxes[3])
{
    char text[BAD_PRINTED * 384];
    lint_report_boxes(report, ds, BAD_PRINTED, text, sizeof text);
    cli_print(c, "%s", text);
    if (report->unlabelled_count)
        cli_print(c, "%s: %" PRId64 " of %" PRId64 " images have no label file: they count as images without objects\n",
            ds->path, report->unlabelled_count, ds->count);
    boxes[0] += report->box_count - report->box_dropped_count - report->box_doubled_count;
    boxes[1] += report->box_dropped_count;
    boxes[2] += report->box_doubled_count;
}

/* Every bad image of a part with its reason. */
static void report_bad(cli_context *c, const dataset *ds, const char *part, const lint_report *report)
{
    int64_t printed = 0;
    for (int64_t i = 0; i < report->count; i++) {
        if (!report->reason[i]) continue;
        if (printed++ < BAD_PRINTED)
            cli_print(c, "%s: %s\n", utf8_escaped(&c->memory, ds->samples[i].name), report->reason[i]);
        json_begin_object(&c->result);
        json_key(&c->result, "part"), json_put_string(&c->result, part);
        json_key(&c->result, "file"), json_put_string(&c->result, ds->samples[i].name);
        json_key(&c->result, "reason"), json_put_string(&c->result, report->reason[i]);
        json_end_object(&c->result);
    }
    if (printed > BAD_PRINTED) cli_print(c, "... and %" PRId64 " more (--json lists all)\n", (printed - BAD_PRINTED));
    if (printed) {
        char kinds[2048];
        lint_report_kinds(report, kinds, sizeof kinds);
        cli_print(c, "%s part:\n%s", part, kinds);
    }
}

/* Every box that is clipped, dropped or doubled, as members of the open array. */
static void list_boxes(cli_context *c, const dataset *ds, const char *part, const lint_report *report)
{
    for (int64_t i = 0; i < report->box_count; i++) {
        const box_problem *b = &report->box[i];
        json_begin_object(&c->result);
        json_key(&c->result, "part"), json_put_string(&c->result, part);
        json_key(&c->result, "file"), json_put_string(&c->result, ds->samples[b->index].label_file);
        put_int(&c->result, "line", b->line);
        json_key(&c->result, "reason"), json_put_string(&c->result, b->reason);
        json_key(&c->result, "dropped"), json_put_bool(&c->result, b->dropped);
        json_key(&c->result, "doubled"), json_put_bool(&c->result, b->doubled);
        json_end_object(&c->result);
    }
}

static status report_lint(cli_context *c, const dataset parts[PARTS], const lint_report report[PARTS])
{
    int64_t bad = 0, damaged = 0, total = 0, unlabelled = 0, boxes[3] = {0};
    json_key(&c->result, "bad");
    json_begin_array(&c->result);
    for (int i = 0; i < PARTS; i++) {
        report_bad(c, &parts[i], part_names[i], &report[i]);
        if (parts[i].count) report_boxes(c, &parts[i], &report[i], boxes);
        bad += report[i].bad_count;
        damaged += report[i].damaged_count;
        unlabelled += report[i].unlabelled_count;
        total += parts[i].count;
    }
    json_end_array(&c->result);
    json_key(&c->result, "boxes");
    json_begin_array(&c->result);
    for (int i = 0; i < PARTS; i++) list_boxes(c, &parts[i], part_names[i], &report[i]);
    json_end_array(&c->result);
    put_int(&c->result, "bad_count", bad);
    put_int(&c->result, "boxes_clipped", boxes[0]);
    put_int(&c->result, "boxes_dropped", boxes[1]);
    put_int(&c->result, "boxes_doubled", boxes[2]);
    put_int(&c->result, "images_unlabelled", unlabelled);
    cli_print(c, "%" PRId64 " of %" PRId64 " images can't be read\n", bad, total);
    if (damaged)
        return FAIL(E_DATA,
            "%s: %" PRId64 " of its %" PRId64
            " records do not fit their checksums: the file is damaged, copy or pack it again",
            c->config.spec.data.root, damaged, total);
    double fraction = total ? (double)bad / (double)total : 0, most = c->config.spec.data.max_bad_fraction;
    if (fraction > most)
        return FAIL(E_DATA, "%.2f %% of the images are bad: a run refuses to start above data.max_bad_fraction = %g",
            100 * fraction, most);
    return OK;
}

static status lint(cli_context *c, const dataset parts[PARTS])
{
    lint_report report[PARTS] = {{{0}}};
    status result = OK;
    for (int i = 0; i < PARTS && result == OK; i++)
        if (parts[i].count) result = dataset_lint(&parts[i], &c->config.spec.data, NULL, &c->log, &report[i]);
    if (result == OK) result = report_lint(c, parts, report);
    for (int i = 0; i < PARTS; i++) lint_report_free(&report[i]);
    return result;
}

/* ------------------------------------------------------------------------------------------------ statistics */

static void report_histogram(
    cli_context *c, const char *key, const char *title, const int64_t *count, const double *from, int bins, int64_t all)
{
    json_writer *w = &c->result;
    json_key(w, key);
    json_begin_array(w);
    cli_print(c, "  %s\n", title);
    for (int k = 0; k < bins; k++) {
        char range[48];
        if (k + 1 < bins) snprintf(range, sizeof range, "%g to %g", from[k], from[k + 1]);
        else snprintf(range, sizeof range, "from %g", from[k]);
        double part = all ? (double)count[k] / (double)all : 0;
        cli_print(c, "    %-14s %9" PRId64 "  %5.1f %%  %.*s\n", range, count[k], 100 * part, (int)(40 * part + 0.5),
            "########################################");
        json_begin_object(w);
        json_key(w, "from"), json_put_number(w, from[k]);
        put_int(w, "boxes", count[k]);
        json_end_object(w);
    }
    json_end_array(w);
}

static status report_statistics(cli_context *c, const dataset *ds, const char *part)
{
    json_writer *w = &c->result;
    box_statistics s;
    TRY(box_statistics_make(&s, &c->memory, ds));
    cli_print(c, "\n%s: %" PRId64 " images, %" PRId64 " of them without boxes; %" PRId64 " boxes, at most %" PRId64
        " in one image; %" PRId64 " regions to ignore\n", part, s.images, s.empty_images, s.boxes, s.most, s.ignored);
    json_begin_object(w);
    json_key(w, "part"), json_put_string(w, part);
    put_int(w, "images", s.images), put_int(w, "empty_images", s.empty_images);
    put_int(w, "boxes", s.boxes), put_int(w, "most_in_one_image", s.most), put_int(w, "ignored", s.ignored);
    cli_print(c, "  %-24s %9s %9s %9s\n", "class", "boxes", "images", "ignored");
    json_key(w, "classes");
    json_begin_array(w);
    for (int64_t k = 0; k < ds->class_count; k++) {
        const class_statistics *of = &s.of_class[k];
        cli_print(c, "  %-24s %9" PRId64 " %9" PRId64 " %9" PRId64 "\n", ds->class_name[k], of->boxes, of->images,
            of->ignored);
        json_begin_object(w);
        json_key(w, "name"), json_put_string(w, ds->class_name[k]);
        put_int(w, "boxes", of->boxes), put_int(w, "images", of->images), put_int(w, "ignored", of->ignored);
        json_end_object(w);
    }
    json_end_array(w);
    report_histogram(c, "size", "size: square root of the area, in pixels", s.size, box_size_from, BOX_SIZES, s.boxes);
    report_histogram(c, "aspect", "width / height", s.aspect, box_aspect_from, BOX_ASPECTS, s.boxes);
    json_end_object(w);
    return OK;
}

static status count_boxes(cli_context *c, const dataset parts[PARTS])
{
    json_key(&c->result, "statistics");
    json_begin_array(&c->result);
    for (int i = 0; i < PARTS; i++) {
        if (parts[i].count == 0) continue;
        if (!parts[i].has_boxes)
            return FAIL(E_USAGE, "--statistics is about boxes, and %s (%s) has none", parts[i].path,
                parts[i].reader->name);
        TRY(report_statistics(c, &parts[i], part_names[i]));
    }
    json_end_array(&c->result);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ writing */

/* -1: packed. */
static status format_of(cli_context *c, int *format)
{
    const char *to = cli_value(c, "--to");
    *format = -1;
    if (!to || strcmp(to, "packed") == 0) {
        if (!cli_is_given(c, "--link")) return OK;
        return FAIL(E_USAGE,
            "--link: a packed data set holds its images; with --to kitti, voc, coco or yolo they can be links");
    }
    for (int i = 0; i < LABEL_FILES_FORMATS; i++)
        if (strcmp(to, label_files_names[i]) == 0) *format = i;
    return *format >= 0 ? OK : FAIL(E_USAGE, "--to %s: expected packed, kitti, voc, coco or yolo", to);
}

static status write_labels(cli_context *c, const char *output, int format, const dataset parts[PARTS])
{
    label_files_report r;
    TRY(label_files_write(output, (label_files_format)format, parts, cli_is_given(c, "--link"), &c->log, &r));
    if (r.left_out)
        cli_print(c, "%" PRId64 " regions to ignore are left out: %s has no such thing\n", r.left_out,
            label_files_names[format]);
    put_int(&c->result, "images", r.images);
    put_int(&c->result, "boxes", r.boxes);
    put_int(&c->result, "left_out", r.left_out);
    return OK;
}

static status convert(cli_context *c, dataset parts[PARTS])
{
    int format;
    const spec *s = &c->config.spec;
    const char *output = cli_value(c, "--output");
    bool only_lint = cli_is_given(c, "--lint"), only_count = cli_is_given(c, "--statistics"), has_train;
    if (!*s->data.root && !*s->data.train) return FAIL(E_USAGE, "which data set? graft convert SOURCE -o FOLDER");
    if (!output && !only_lint && !only_count)
        return FAIL(E_USAGE, "where to? graft convert %s -o FOLDER, or --lint to check, --statistics to count only",
            s->data.root);
    TRY(format_of(c, &format));
    TRY(dataset_has_train(&s->data, &has_train));
    TRY(dataset_open_parts(
        &s->data, (uint64_t)s->train.seed, NULL, has_train ? &parts[0] : NULL, &parts[1], &parts[2]));
    report_parts(c, parts);
    if (only_count) TRY(count_boxes(c, parts));
    if (only_lint) return lint(c, parts);
    if (only_count) return OK;
    if (format < 0) TRY(dataset_pack(output, &parts[0], &parts[1], &parts[2], &c->log));
    else TRY(write_labels(c, output, format, parts));
    cli_print(c, "wrote %s; use it as data.root\n", output);
    json_key(&c->result, "output");
    json_put_string(&c->result, output);
    return OK;
}

static status run(cli_context *c)
{
    dataset parts[PARTS] = {{{0}}};
    status result = convert(c, parts);
    for (int i = 0; i < PARTS; i++) dataset_close(&parts[i]);
    return result;
}

const cli_command command_convert = {
    .name = "convert",
    .summary = "pack a data set, write it in another format, or check it",
    .arguments = "[SOURCE]",
    .most = 1,
    .first_target = "data.root",
    .description =
        "Packs any data set that Graft reads into one file with checksums, which opens at once however many images it "
        "holds. Files are copied as they are, raw records become PNG. A data set without a validation part is split as "
        "training would split it (data.val_fraction, train.seed), for good.",
    .spec = CLI_SPEC_FINISHED,
    .sections = "data",
    .options = options,
    .run = run,
};
