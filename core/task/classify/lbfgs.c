#include "core/task/classify/lbfgs.h"

#include <math.h>
#include <string.h>

#include "core/base/arena.h"

enum { MAX_HISTORY = 32, MAX_BACKTRACKS = 25 };
static const double SUFFICIENT = 1e-4; /* Armijo: part of the predicted fall that must be had */

typedef struct search {
    int64_t n;
    double *gradient, *direction, *next, *next_gradient; /* [n] */
    double *step[MAX_HISTORY], *change[MAX_HISTORY];     /* [n]: x and gradient differences, newest at `newest` */
    double product[MAX_HISTORY];                         /* step . change */
    int32_t kept, newest, history;
} search;

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void add(double *y, double factor, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += factor * x[i];
}

static double largest(const double *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i]) <= most)) most = fabs(x[i]);
    return most;
}

static status search_init(search *s, arena *a, const lbfgs_options *o)
{
    *s = (search){.n = o->n, .history = o->history < MAX_HISTORY ? o->history : MAX_HISTORY};
    double **vectors[] = {&s->gradient, &s->direction, &s->next, &s->next_gradient};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        if (!(*vectors[i] = ARENA_ARRAY(a, double, o->n))) return FAIL_MEMORY(o->n * sizeof(double));
    for (int32_t i = 0; i < s->history; i++) {
        s->step[i] = ARENA_ARRAY(a, double, o->n);
        s->change[i] = ARENA_ARRAY(a, double, o->n);
        if (!s->step[i] || !s->change[i]) return FAIL_MEMORY(o->n * sizeof(double));
    }
    return OK;
}

/* direction = -H gradient. */
static void find_direction(search *s)
{
    double alpha[MAX_HISTORY], *d = s->direction;
    for (int64_t i = 0; i < s->n; i++) d[i] = -s->gradient[i];
    for (int32_t k = 0; k < s->kept; k++) {
        int32_t i = (s->newest - k + s->history) % s->history;
        alpha[i] = dot(s->step[i], d, s->n) / s->product[i];
        add(d, -alpha[i], s->change[i], s->n);
    }
    if (s->kept > 0) {
        double scale = s->product[s->newest] / dot(s->change[s->newest], s->change[s->newest], s->n);
        for (int64_t i = 0; i < s->n; i++) d[i] *= scale;
    }
    for (int32_t k = s->kept - 1; k >= 0; k--) {
        int32_t i = (s->newest - k + s->history) % s->history;
        add(d, alpha[i] - dot(s->change[i], d, s->n) / s->product[i], s->step[i], s->n);
    }
}

/* A pair without curvature (rounding, or no convexity) would spoil the matrix: it is left out. */
static void remember(search *s, const double *x)
{
    int32_t i = s->kept > 0 ? (s->newest + 1) % s->history : 0;
    double *step = s->step[i], *change = s->change[i];
    for (int64_t k = 0; k < s->n; k++) {
        step[k] = s->next[k] - x[k];
        change[k] = s->next_gradient[k] - s->gradient[k];
    }
    double product = dot(step, change, s->n);
    if (!(product > 1e-10 * dot(change, change, s->n))) return;
    s->product[i] = product;
    s->newest = i;
    if (s->kept < s->history) s->kept++;
}

/* A point along the direction whose value is low enough; *found false when there is none. */
static status line_search(
    search *s, const double *x, double *value, lbfgs_fn *function, void *context, lbfgs_result *r, bool *found)
{
    double slope = dot(s->gradient, s->direction, s->n), next_value;
    double rate = s->kept > 0 ? 1 : 1 / sqrt(dot(s->gradient, s->gradient, s->n));
    *found = false;
    for (int i = 0; i < MAX_BACKTRACKS && slope < 0; i++, rate /= 2) {
        for (int64_t k = 0; k < s->n; k++) s->next[k] = x[k] + rate * s->direction[k];
        TRY(function(context, s->next, &next_value, s->next_gradient));
        r->evaluations++;
        if (!(next_value <= *value + SUFFICIENT * rate * slope)) continue;
        *value = next_value;
        *found = true;
        break;
    }
    return OK;
}

static status minimise(search *s, double *x, const lbfgs_options *o, lbfgs_fn *function, void *context, lbfgs_result *r)
{
    size_t bytes = (size_t)s->n * sizeof(double);
    TRY(function(context, x, &r->value, s->gradient));
    r->evaluations = 1;
    for (; r->iterations < o->max_iterations; r->iterations++) {
        bool found;
        r->largest_gradient = largest(s->gradient, s->n);
        r->converged = r->largest_gradient <= o->tolerance;
        if (r->converged) break;
        find_direction(s);
        TRY(line_search(s, x, &r->value, function, context, r, &found));
        if (!found) break;
        remember(s, x);
        memcpy(x, s->next, bytes);
        memcpy(s->gradient, s->next_gradient, bytes);
    }
    return OK;
}

status lbfgs_minimise(double *x, const lbfgs_options *o, lbfgs_fn *function, void *context, lbfgs_result *r)
{
    arena memory = {0};
    search s;
    *r = (lbfgs_result){0};
    status result = search_init(&s, &memory, o);
    if (result == OK) result = minimise(&s, x, o, function, context, r);
    arena_free(&memory);
    return result;
}
