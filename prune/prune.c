#include "prune/prune.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/graph/transform.h"
#include "prune/channels.h"

/* What one call of prune_graph works on. */
typedef struct work {
    channel_map map;
    const prune_options *options;
    double *score; /* [element_count], by root */
    bool *keep;    /* [element_count], by root: the last trial's choice */
} work;

static status cut_at(graph *dst, work *w, double threshold)
{
    TRY(choose_kept(&w->map, w->score, threshold, w->options, w->keep));
    return cut_channels(dst, &w->map, w->keep);
}

static status kept_fraction(double *fraction, work *w, double threshold)
{
    graph trial;
    TRY(cut_at(&trial, w, threshold));
    const graph *g = w->map.g;
    *fraction = w->options->target == TARGET_PARAMS ? (double)graph_param_count(&trial) / (double)graph_param_count(g)
                                                    : (double)graph_macs(&trial) / (double)graph_macs(g);
    graph_free(&trial);
    return OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The scores that occur are the thresholds that matter; what is kept only falls as they rise. Of the two neighbours
 * of the target the nearer wins. */
static status bisect(double *threshold, work *w, const double *level, int64_t count)
{
    const prune_options *o = w->options;
    int64_t low = 0, high = count - 1; /* fraction(low) >= target >= fraction(high) */
    double at_low = 1, at_high, at_middle;
    TRY(kept_fraction(&at_high, w, level[high]));
    if (at_high > o->target_fraction)
        return FAIL(E_USAGE,
            "prune.target: %.3f can't be reached: with min_filters = %" PRId64 " and granularity = %" PRId64
            " at least %.3f remains",
            o->target_fraction, o->min_filters, o->granularity, at_high);
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        TRY(kept_fraction(&at_middle, w, level[middle]));
        if (at_middle >= o->target_fraction) low = middle, at_low = at_middle;
        else high = middle, at_high = at_middle;
    }
    *threshold = at_low - o->target_fraction < o->target_fraction - at_high ? level[low] : level[high];
    return OK;
}

static status find_threshold(double *threshold, work *w)
{
    const channel_map *m = &w->map;
    size_t bytes = (size_t)(m->element_count + 1) * sizeof(double);
    double *level = malloc(bytes);
    if (!level) return FAIL_MEMORY(bytes);
    int64_t count = 0;
    level[count++] = -1; /* keeps everything */
    for (int64_t r = 0; r < m->element_count; r++)
        if (m->group[r] >= 0 && !m->pinned[r]) level[count++] = w->score[r];
    qsort(level, (size_t)count, sizeof *level, by_value);
    status result = bisect(threshold, w, level, count);
    free(level);
    return result;
}

static status fill_report(prune_report *report, work *w, const graph *dst)
{
    channel_map *m = &w->map;
    report->layers = ARENA_ARRAY(&report->memory, prune_layer, m->prunable_count + 1);
    if (!report->layers) return FAIL_MEMORY(m->prunable_count * sizeof(prune_layer));
    for (int64_t i = 0; i < m->prunable_count; i++) {
        const prunable *p = &m->prunables[i];
        prune_layer *layer = &report->layers[report->layer_count++];
        *layer = (prune_layer){.name = arena_strdup(&report->memory, m->g->nodes[p->node].name),
            .channels_before = p->rows, .group = m->group[channel_root(m, m->first[p->weight])]};
        if (!layer->name) return FAIL_MEMORY(64);
        for (int64_t r = 0; r < p->rows; r++) {
            int64_t root = channel_root(m, m->first[p->weight] + r);
            layer->channels_after += w->keep[root];
            if (!layer->kept_whole) layer->kept_whole = m->pinned[root];
        }
    }
    report->params_before = graph_param_count(m->g), report->params_after = graph_param_count(dst);
    report->macs_before = graph_macs(m->g), report->macs_after = graph_macs(dst);
    return OK;
}

static status check_options(const prune_options *o)
{
    if (o->granularity < 1 || o->min_filters < 1)
        return FAIL(E_USAGE, "prune.granularity and prune.min_filters must be 1 or more");
    if (!(o->threshold >= 0)) return FAIL(E_USAGE, "prune.threshold must be 0 or more");
    if (o->target != TARGET_NONE && !(o->target_fraction > 0 && o->target_fraction < 1))
        return FAIL(E_USAGE, "prune.target: the fraction to keep must lie between 0 and 1");
    if ((o->score == SCORE_OBS || o->reconstruct || o->imitate_epochs > 0) && !o->data)
        return FAIL(E_USAGE, "prune.score = obs, prune.reconstruct and prune.imitate_epochs need training images");
    if (o->reconstruct && !(o->ridge > 0)) return FAIL(E_USAGE, "prune.ridge must be above 0");
    return OK;
}

static status read_images(prune_images *images, const graph *g, const prune_options *o)
{
    if (o->score != SCORE_OBS && !o->reconstruct && o->imitate_epochs <= 0) return OK;
    shape s = g->edges[g->inputs[0]].shape;
    return prune_images_read(images, o->data, shape_count(s) / s.dim[0]);
}

static status score_classes(work *w, const prune_images *images)
{
    if (w->options->score == SCORE_OBS) return score_surgeon(&w->map, w->options, images, &w->score);
    return score_channels(&w->map, w->options, &w->score);
}

static status prune_network(graph *dst, prune_report *report, const graph *src, const prune_options *options)
{
    *report = (prune_report){0};
    TRY(check_options(options));
    work w = {.options = options};
    prune_images images = {0};
    double error[2] = {0}, imitation[2] = {0};
    status result = OK;
    TRY_OUT(read_images(&images, src, options));
    TRY_OUT(channel_map_init(&w.map, src, options->excluded, options->excluded_count));
    w.keep = ARENA_ARRAY(&w.map.memory, bool, w.map.element_count);
    if (!w.keep) TRY_OUT(FAIL_MEMORY(w.map.element_count));
    TRY_OUT(score_classes(&w, &images));
    report->threshold = options->threshold;
    if (options->target != TARGET_NONE) TRY_OUT(find_threshold(&report->threshold, &w));
    TRY_OUT(cut_at(dst, &w, report->threshold));
    result = options->reconstruct ? reconstruct(dst, &w.map, w.keep, options, &images, error) : OK;
    if (result == OK && options->imitate_epochs > 0) result = imitate(dst, &w.map, w.keep, options, &images, imitation);
    if (result == OK) result = fill_report(report, &w, dst);
    report->error_before = error[0], report->error_after = error[1];
    report->imitation_before = imitation[0], report->imitation_after = imitation[1];
    if (result != OK) graph_free(dst);
out:
    prune_images_free(&images);
    channel_map_free(&w.map);
    if (result != OK) prune_report_free(report);
    return result;
}

status prune_graph(graph *dst, prune_report *report, const graph *src, const prune_options *options)
{
    if (src->auxiliary_count == 0) return prune_network(dst, report, src, options);
    graph without_heads;
    TRY(pass_drop_auxiliary(&without_heads, src));
    status result = prune_network(dst, report, &without_heads, options);
    graph_free(&without_heads);
    return result;
}

void prune_report_free(prune_report *report)
{
    arena_free(&report->memory);
    *report = (prune_report){0};
}
