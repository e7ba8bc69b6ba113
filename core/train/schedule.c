#include "core/train/schedule.h"

#include <inttypes.h>
#include <math.h>

static const double PI = 3.14159265358979323846;

static double after_milestones(const spec_schedule *s, double p)
{
    double rate = s->learning_rate;
    for (int64_t i = 0; i < s->milestones.count; i++)
        if (p >= s->milestones.value[i]) rate *= s->gamma;
    return rate;
}

/* The schedules that take a linear warm-up, at p >= warmup. */
static double main_part(const spec_schedule *s, double p)
{
    double low = s->min_learning_rate, span = s->learning_rate - low;
    double q = s->warmup < 1 ? (p - s->warmup) / (1 - s->warmup) : 1;
    if (q < 0) q = 0;
    if (q > 1) q = 1;
    switch (s->type) {
    case SCHEDULE_STEP: return s->learning_rate * pow(s->gamma, p / (s->step_size / 100));
    case SCHEDULE_MULTISTEP: return after_milestones(s, p);
    case SCHEDULE_COSINE: return low + span * (1 + cos(PI * q)) / 2;
    case SCHEDULE_POLYNOMIAL: return low + span * pow(1 - q, s->power);
    default: return s->learning_rate;
    }
}

static double soft_start(const spec_schedule *s, double p)
{
    double t = 1;
    if (p < s->soft_start) t = p / s->soft_start;
    else if (p > s->annealing) t = (1 - p) / (1 - s->annealing);
    double low = log(s->min_learning_rate), high = log(s->learning_rate);
    return exp(low + t * (high - low));
}

static double soft_anneal(const spec_schedule *s, double p)
{
    if (p >= s->soft_start) return after_milestones(s, p);
    return s->warmup_start + (s->learning_rate - s->warmup_start) * p / s->soft_start;
}

double schedule_rate(const spec_schedule *s, int64_t step, int64_t total, int32_t world)
{
    double p = (double)step / (double)total, rate;
    if (s->type == SCHEDULE_SOFT_START) rate = soft_start(s, p);
    else if (s->type == SCHEDULE_SOFT_ANNEAL) rate = soft_anneal(s, p);
    else if (p < s->warmup) rate = s->warmup_start + (main_part(s, s->warmup) - s->warmup_start) * p / s->warmup;
    else rate = main_part(s, p);
    return s->scale_with_world ? rate * world : rate;
}

static status check_milestones(const spec_schedule *s)
{
    const char *type = s->type == SCHEDULE_MULTISTEP ? "multistep" : "soft_anneal";
    double above = s->type == SCHEDULE_SOFT_ANNEAL ? s->soft_start : -1;
    if (s->milestones.count == 0)
        return FAIL(
            E_USAGE, "schedule.milestones is empty, but schedule.type = %s needs at least one, e.g. 0.5 0.75", type);
    for (int64_t i = 0; i < s->milestones.count; i++) {
        if (s->milestones.value[i] <= above)
            return FAIL(E_USAGE, "schedule.milestones: value %" PRId64 " (%g) must be above %g: milestones increase%s",
                i + 1, s->milestones.value[i], above,
                s->type == SCHEDULE_SOFT_ANNEAL ? " and lie above schedule.soft_start" : "");
        above = s->milestones.value[i];
    }
    return OK;
}

status schedule_check(const spec_schedule *s)
{
    bool floor_used = s->type == SCHEDULE_COSINE || s->type == SCHEDULE_POLYNOMIAL || s->type == SCHEDULE_SOFT_START;
    if (floor_used && s->min_learning_rate > s->learning_rate)
        return FAIL(E_USAGE, "schedule.min_learning_rate = %g is above schedule.learning_rate = %g",
            s->min_learning_rate, s->learning_rate);
    if (s->type == SCHEDULE_MULTISTEP || s->type == SCHEDULE_SOFT_ANNEAL) return check_milestones(s);
    if (s->type != SCHEDULE_SOFT_START) return OK;
    if (!(s->min_learning_rate > 0) || !(s->learning_rate > 0))
        return FAIL(E_USAGE,
            "schedule.type = soft_start moves on a log scale: min_learning_rate = %g and learning_rate = %g must both "
            "be above 0",
            s->min_learning_rate, s->learning_rate);
    if (!(s->soft_start < s->annealing))
        return FAIL(
            E_USAGE, "schedule.soft_start = %g must be below schedule.annealing = %g", s->soft_start, s->annealing);
    return OK;
}
