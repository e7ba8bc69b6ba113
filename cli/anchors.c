#include "cli/cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/text.h"
#include "core/data/box_clusters.h"
#include "core/data/boxes.h"
#include "core/data/dataset.h"

enum { CLUSTERS = 9, CLUSTERS_MOST = 64 };

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--count", "-n", "NUMBER", .help = "how many (default 9)"},
    {.name = NULL},
};

/* How much a picture is enlarged on its way into the network. */
static box_size scale_of(const spec *s, const int32_t size[2])
{
    box_size to = {(double)s->model.input_width / size[0], (double)s->model.input_height / size[1]};
    if (s->data.resize == RESIZE_LETTERBOX) to.width = to.height = fmin(to.width, to.height);
    return to;
}

/* Boxes to be learnt, in pixels of the network's input. */
static status collect(const spec *s, const dataset *ds, const lint_report *report, box_size **sizes, int64_t *count)
{
    int64_t most = 0;
    for (int64_t i = 0; i < ds->count; i++) most += ds->samples[i].box_count;
    *count = 0;
    *sizes = malloc((size_t)(most + 1) * sizeof **sizes);
    if (!*sizes) return FAIL_MEMORY(most * sizeof **sizes);
    for (int64_t i = 0; i < ds->count; i++) {
        const int32_t *size = report->size[i];
        if (report->reason[i] || size[0] < 1 || size[1] < 1) continue;
        box_size to = scale_of(s, size);
        for (int64_t k = 0; k < ds->samples[i].box_count; k++) {
            label_box b = ds->samples[i].box[k];
            if (b.ignore || b.crowd || b.class_index < 0 || box_clip(&b, size[0], size[1]) >= BOX_OUTSIDE) continue;
            (*sizes)[(*count)++] = (box_size){(double)(b.x1 - b.x0) * to.width, (double)(b.y1 - b.y0) * to.height};
        }
    }
    return OK;
}

static void report_clusters(cli_context *c, const box_size *cluster, int64_t clusters, int64_t boxes, double mean_iou)
{
    const spec *s = &c->config.spec;
    cli_print(c, "%" PRId64 " sizes for %" PRId64 " boxes at %dx%d, mean IoU %.4f: width and height in pixels\n",
        clusters, boxes, (int)s->model.input_width, (int)s->model.input_height, mean_iou);
    json_key(&c->result, "boxes"), json_put_int(&c->result, boxes);
    json_key(&c->result, "mean_iou"), json_put_number(&c->result, mean_iou);
    json_key(&c->result, "anchors");
    json_begin_array(&c->result);
    for (int64_t k = 0; k < clusters; k++) {
        cli_print(c, "%9.2f %9.2f\n", cluster[k].width, cluster[k].height);
        json_begin_array(&c->result);
        json_put_number(&c->result, cluster[k].width), json_put_number(&c->result, cluster[k].height);
        json_end_array(&c->result);
    }
    json_end_array(&c->result);
}

static status find(cli_context *c, const dataset *ds, lint_report *report, box_size **sizes, int64_t clusters)
{
    box_size cluster[CLUSTERS_MOST];
    int64_t count;
    double mean_iou;
    if (!ds->has_boxes)
        return FAIL(E_USAGE, "%s (%s): its images have a class each and no boxes", ds->path, ds->reader->name);
    TRY(dataset_lint(ds, &c->config.spec.data, NULL, &c->log, report));
    TRY(collect(&c->config.spec, ds, report, sizes, &count));
    TRY(box_clusters_find(cluster, clusters, *sizes, count, &mean_iou));
    report_clusters(c, cluster, clusters, count, mean_iou);
    return OK;
}

static status run(cli_context *c)
{
    const spec *s = &c->config.spec;
    const char *text = cli_value(c, "--count");
    dataset train = {{0}};
    lint_report report = {0};
    box_size *sizes = NULL;
    int64_t clusters = CLUSTERS;
    if (text && (!text_to_int(text, &clusters) || clusters < 1 || clusters > CLUSTERS_MOST))
        return FAIL(E_USAGE, "--count %s: expected an integer from 1 to %d", text, CLUSTERS_MOST);
    if (!*s->data.root && !*s->data.train) return FAIL(E_USAGE, "which data set? graft anchors SOURCE");
    TRY(dataset_open_parts(&s->data, (uint64_t)s->train.seed, &c->log, &train, NULL, NULL));
    status result = find(c, &train, &report, &sizes, clusters);
    free(sizes);
    lint_report_free(&report);
    dataset_close(&train);
    return result;
}

const cli_command command_anchors = {
    .name = "anchors",
    .summary = "find sizes that stand for the boxes of a data set",
    .arguments = "[SOURCE]",
    .most = 1,
    .first_target = "data.root",
    .description =
        "K-means over the boxes of the training part, as they are in the network's input (model.input_width, "
        "model.input_height, data.resize), by their overlap. The sizes say which anchors fit: those of YOLO "
        "as they are; of SSD and RetinaNet, which scales and aspect ratios.",
    .spec = CLI_SPEC_FINISHED,
    .sections = "model data",
    .options = options,
    .run = run,
};
