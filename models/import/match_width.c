/* Which width the shapes of a file's tensors have. */
#include <string.h>

#include "core/graph/model_layout.h"
#include "models/import/match_internal.h"

enum { MAX_WIDTHS = 48 };

/* Rows of a head count the classes, which the file may have any number of. */
static bool fits(const edge *e, const safetensor *t)
{
    shape have = t->shape, want = layout_file_shape(e);
    if (have.rank > 0 && have.rank == want.rank && want.dim[0] == 1) have.dim[0] = 1;
    if (e->layout == LAYOUT_LINEAR && have.rank == 4) return shape_count(have) == shape_count(want) || want.dim[0] == 1;
    return shape_equal(have, want);
}

static status count_misfits(const search *s, const candidate *k, double width, int64_t *misfits)
{
    graph g;
    *misfits = INT64_MAX;
    TRY(candidate_build(s, k, width, 1, &g));
    if (!g.node_count) return OK;
    *misfits = 0;
    for (int64_t i = 0; i < g.edge_count; i++) {
        const safetensor *t = match_is_weight(&g.edges[i]) ? name_set_find(k->set, g.edges[i].name) : NULL;
        *misfits += t && !fits(&g.edges[i], t);
    }
    graph_free(&g);
    return OK;
}

static void add(double *widths, int32_t *count, double width)
{
    if (width < SMALLEST_WIDTH || width > 4 || *count == MAX_WIDTHS) return;
    for (int32_t i = 0; i < *count; i++)
        if (widths[i] == width) return;
    widths[(*count)++] = width;
}

/* The usual ones, then what the rows of convolutions are to those of the full network, the last layers first: they are
 * rounded least. */
static status list_widths(const search *s, const candidate *k, double *widths, int32_t *count)
{
    static const double usual[] = {
        1, 0.25, 0.5, 0.75, 0.35, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.2, 1.3, 1.4, 1.5, 2, 4};
    graph g;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) add(widths, count, usual[i]);
    TRY(candidate_build(s, k, 1, 1, &g));
    for (int64_t i = g.edge_count - 1; i >= 0; i--) {
        const edge *e = &g.edges[i];
        const safetensor *t = match_is_weight(e) && e->layout == LAYOUT_OIHW ? name_set_find(k->set, e->name) : NULL;
        shape want = layout_file_shape(e);
        if (t && t->shape.rank == 4 && want.rank == 4 && want.dim[0] > 1)
            add(widths, count, (double)t->shape.dim[0] / (double)want.dim[0]);
    }
    graph_free(&g);
    return OK;
}

status match_width(const search *s, const candidate *k, double *width, double *fitting)
{
    double widths[MAX_WIDTHS], best = 1;
    int32_t count = 0;
    int64_t least = INT64_MAX;
    bool given = config_is_set(s->given, "model", "width");
    *fitting = 0;
    *width = given ? s->given->spec.model.width : 1;
    if (!candidate_takes(k, "width")) return OK;
    if (given) TRY(count_misfits(s, k, *width, &least));
    if (given && least == 0) return OK;
    least = INT64_MAX;
    TRY(list_widths(s, k, widths, &count));
    for (int32_t i = 0; i < count && least > 0; i++) {
        int64_t misfits;
        TRY(count_misfits(s, k, widths[i], &misfits));
        if (misfits < least) least = misfits, best = widths[i];
    }
    if (given) *fitting = least == 0 ? best : 0;
    else *width = best;
    return OK;
}
