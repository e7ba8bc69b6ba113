#include <math.h>
#include <string.h>

#include "export/calibrate.h"

enum { LEVELS = 128 }; /* magnitudes of a signed byte */
#define SCALE_MIN 1e-37f /* what op_quantise takes */

const char *calibrator_name(spec_calibrator method)
{
    return option_choice("export", "calibrator", method);
}

/* Level that bin `i` of `kept` falls into when the first `kept` bins share LEVELS levels. */
static int64_t level_of(int64_t i, int64_t kept)
{
    return i * LEVELS / kept;
}

/* sum p log(p / q) of the first `kept` bins, what lies beyond counted into the last one, against its
 * quantisation: every level spreads its count evenly over its bins that hold anything. Infinite when the
 * clipped mass meets an empty bin. */
static double divergence(const double *bin, const double *behind, int64_t kept)
{
    double mass[LEVELS] = {0}, q_total = 0, p_total = 0, sum = 0;
    int64_t filled[LEVELS] = {0};
    for (int64_t i = 0; i < kept; i++) {
        int64_t level = level_of(i, kept);
        mass[level] += bin[i];
        filled[level] += bin[i] > 0;
    }
    for (int64_t level = 0; level < LEVELS; level++) q_total += mass[level];
    p_total = q_total + behind[kept];
    for (int64_t i = 0; i < kept; i++) {
        int64_t level = level_of(i, kept);
        double p = bin[i] + (i == kept - 1 ? behind[kept] : 0);
        if (p <= 0) continue;
        if (bin[i] <= 0) return INFINITY;
        sum += p * log(p / (mass[level] / (double)filled[level]));
    }
    return sum / p_total - log(p_total / q_total);
}

static int64_t clip_entropy(const tensor_range *r)
{
    double bin[CALIBRATION_BINS], behind[CALIBRATION_BINS + 1], best = INFINITY;
    int64_t keep = CALIBRATION_BINS;
    for (int64_t i = 0; i < CALIBRATION_BINS; i++) bin[i] = (double)r->bin[i];
    bin[0] = bin[1]; /* a ReLU's zeros cost nothing in any scale and must not decide */
    behind[CALIBRATION_BINS] = 0;
    for (int64_t i = CALIBRATION_BINS - 1; i >= 0; i--) behind[i] = behind[i + 1] + bin[i];
    if (behind[0] <= 0) return CALIBRATION_BINS;
    for (int64_t kept = CALIBRATION_BINS; kept >= LEVELS; kept--) {
        if (behind[kept] >= behind[0]) break; /* nothing left to describe */
        double d = divergence(bin, behind, kept);
        if (d < best) best = d, keep = kept; /* ties: the wider range */
    }
    return keep;
}

static int64_t clip_percentile(const tensor_range *r, double percentile)
{
    double wanted = percentile / 100 * (double)r->count, seen = 0;
    for (int64_t i = 0; i < CALIBRATION_BINS; i++) {
        seen += (double)r->bin[i];
        if (seen >= wanted) return i + 1;
    }
    return CALIBRATION_BINS;
}

static int64_t clip_mse(const tensor_range *r)
{
    double best = INFINITY;
    int64_t keep = CALIBRATION_BINS;
    for (int64_t kept = CALIBRATION_BINS; kept >= LEVELS / 2; kept--) {
        double step = (double)kept / (LEVELS - 1), sum = 0;
        for (int64_t i = 0; i < CALIBRATION_BINS && sum < best; i++) {
            if (!r->bin[i]) continue;
            double x = (double)i + 0.5, level = fmin(nearbyint(x / step), LEVELS - 1), error = x - level * step;
            sum += (double)r->bin[i] * error * error;
        }
        if (sum < best) best = sum, keep = kept;
    }
    return keep;
}

float range_clip(const tensor_range *r, spec_calibrator method, double percentile)
{
    if (!r->bin || r->amax <= 0) return 0;
    int64_t keep = CALIBRATION_BINS;
    switch (method) {
    case CALIBRATOR_ENTROPY: keep = clip_entropy(r); break;
    case CALIBRATOR_PERCENTILE: keep = clip_percentile(r, percentile); break;
    case CALIBRATOR_MSE: keep = clip_mse(r); break;
    case CALIBRATOR_MINMAX: break;
    case CALIBRATOR_AUTO: BUG("auto is not a method of its own");
    }
    return keep == CALIBRATION_BINS ? r->amax : (float)((double)r->amax * (double)keep / CALIBRATION_BINS);
}

void calibration_scales(const calibration *c, spec_calibrator method, double percentile, float *scale)
{
#pragma omp parallel for schedule(dynamic)
    for (int64_t e = 0; e < c->edge_count; e++) {
        const tensor_range *r = &c->range[e];
        float clip = range_clip(r, method, percentile);
        scale[e] = !r->bin ? 0 : clip > 0 ? fmaxf(clip / 127.0f, SCALE_MIN) : 1;
    }
}

double calibration_least_kept(const calibration *c, const float *scale, edge_id *e)
{
    double least = 1;
    *e = EDGE_NONE;
    for (int64_t i = 0; i < c->edge_count; i++) {
        if (!c->range[i].bin || c->range[i].amax <= 0) continue;
        double kept = 127.0 * (double)scale[i] / (double)c->range[i].amax;
        if (kept < least * (1 - 1e-6)) least = kept, *e = (edge_id)i; /* a scale is rounded to a float */
    }
    return least;
}
