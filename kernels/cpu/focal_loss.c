/* focal_loss, f32: bound by the exponential of every score. Runs of background rows, nearly all of a batch, make a long
 * vector. */
#include "kernels/boxes.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/isa.h"

/* Rows that one thread takes; their sums are added in order. */
enum { ROWS = 1024, TILE = 512 };

static const char *refuse(const void *desc)
{
    return ((const focal_loss_desc *)desc)->type == DTYPE_F32 ? CPU_REFUSE() : "f32 only";
}

typedef struct focal_sums {
    double box, entropy;
    int64_t positives;
} focal_sums;

typedef struct focal_call {
    const focal_loss_desc *desc;
    const float *location, *confidence, *priors, *boxes, *loss_scale;
    const int32_t *box_class, *match;
    float *dlocation, *dconfidence; /* may be NULL */
    focal_sums *sums;               /* [n, pieces] */
    int64_t pieces;                 /* of an image */
} focal_call;

static int64_t pieces_of(const focal_loss_desc *d) { return (d->priors + ROWS - 1) / ROWS; }

static size_t scratch_bytes(const void *desc, const void *state)
{
    const focal_loss_desc *d = desc;
    (void)state;
    return (size_t)(d->n * pieces_of(d)) * sizeof(focal_sums);
}

enum { NEGATIVE = -1, IGNORED = -2 };

static int64_t wanted_class(const focal_call *c, int64_t row, const float **box)
{
    const focal_loss_desc *d = c->desc;
    int32_t match = c->match[row];
    if (match == MATCH_BACKGROUND) return NEGATIVE;
    if (match < 0 || match >= d->capacity) return IGNORED;
    int64_t k = row / d->priors * d->capacity + match;
    *box = c->boxes + 4 * k;
    return c->box_class[k] >= 0 && c->box_class[k] < d->classes ? c->box_class[k] : IGNORED;
}

/* ln(1 + e) for 0 <= e <= 1: 2 artanh(z) with z = e / (2 + e), z^2 <= 1 / 9. */
static inline float log_1_plus(float e)
{
    float z = e / (2.0f + e), y = z * z;
    float p = 1.0f / 15;
    p = p * y + 1.0f / 13;
    p = p * y + 1.0f / 11;
    p = p * y + 1.0f / 9;
    p = p * y + 1.0f / 7;
    p = p * y + 1.0f / 5;
    p = p * y + 1.0f / 3;
    return 2.0f * (z * y * p + z);
}

/* What one score loses and the slope, for a class that is not there: weight p^gamma ln(1 + exp(x)), p = sigmoid(x). */
typedef struct focal_term {
    float loss, slope;
} focal_term;

static inline focal_term absent(float x, float weight, float gamma)
{
    float far = x < 0.0f ? x : -x, e = far < -87.3f ? 0.0f : cpu_exp(far), r = 1.0f / (1.0f + e), log = log_1_plus(e);
    float p = x < 0.0f ? e * r : r, q = x < 0.0f ? r : e * r, entropy = (x < 0.0f ? 0.0f : x) + log;
    float focus = weight * (gamma == 2.0f ? p * p : cpu_exp(gamma * ((x < 0.0f ? x : 0.0f) - log)));
    return (focal_term){focus * entropy, focus * (gamma * q * entropy + p)};
}

/* Scores first .. first + count - 1, all of classes that are not there. */
static double absent_run(const focal_call *c, int64_t first, int64_t count, float factor)
{
    float weight = (float)(1 - (double)c->desc->alpha), gamma = c->desc->gamma, slope[TILE];
    double loss = 0;
    for (int64_t at = first; at < first + count; at += TILE) {
        int64_t some = cpu_min(TILE, first + count - at);
        const float *x = c->confidence + at;
        float sum = 0;
        _Pragma("omp simd reduction(+ : sum)") for (int64_t i = 0; i < some; i++)
        {
            focal_term t = absent(x[i], weight, gamma);
            sum += t.loss;
            slope[i] = factor * t.slope;
        }
        loss += (double)sum;
        for (int64_t i = 0; i < some && c->dconfidence; i++) c->dconfidence[at + i] = slope[i];
    }
    return loss;
}

/* A row whose box has class `wanted`: all others are not there. */
static double positive_row(const focal_call *c, int64_t row, int64_t wanted, float factor)
{
    int64_t first = row * c->desc->classes;
    double loss = absent_run(c, first, wanted, factor);
    loss += absent_run(c, first + wanted + 1, c->desc->classes - wanted - 1, factor);
    focal_term t = absent(-c->confidence[first + wanted], c->desc->alpha, c->desc->gamma);
    if (c->dconfidence) c->dconfidence[first + wanted] = -factor * t.slope;
    return loss + (double)t.loss;
}

static double box_loss(const focal_call *c, int64_t row, const float *box, double factor)
{
    const focal_loss_desc *d = c->desc;
    double loss = 0;
    for (int i = 0; i < 4; i++) {
        double slope, target = box_offset(c->priors + 4 * (row % d->priors), box, d->variance, i);
        loss += smooth_l1((double)c->location[4 * row + i] - target, (double)d->beta, &slope);
        if (c->dlocation) c->dlocation[4 * row + i] = (float)(factor * (double)d->location_weight * slope);
    }
    return loss;
}

static void lose_piece(const focal_call *c, int64_t first, int64_t end, double factor, focal_sums *sums)
{
    int64_t classes = c->desc->classes;
    for (int64_t row = first; row < end;) {
        const float *box = NULL;
        int64_t wanted = wanted_class(c, row, &box), next = row + 1;
        while (next < end && wanted < 0 && wanted_class(c, next, &box) == wanted) next++;
        if (wanted == NEGATIVE)
            sums->entropy += absent_run(c, row * classes, (next - row) * classes, (float)factor);
        for (int64_t i = row * classes; i < next * classes && wanted == IGNORED && c->dconfidence; i++)
            c->dconfidence[i] = 0;
        for (int64_t i = 4 * row; i < 4 * next && wanted < 0 && c->dlocation; i++) c->dlocation[i] = 0;
        if (wanted >= 0) {
            sums->entropy += positive_row(c, row, wanted, (float)factor);
            sums->box += box_loss(c, row, box, factor);
        }
        row = next;
    }
}

static void count_positives(const focal_call *c)
{
    const focal_loss_desc *d = c->desc;
    const float *box;
    for (int64_t i = 0; i < d->n * c->pieces; i++) {
        int64_t first = i / c->pieces * d->priors, start = i % c->pieces * ROWS;
        c->sums[i] = (focal_sums){0};
        for (int64_t p = start; p < cpu_min(start + ROWS, d->priors); p++)
            c->sums[i].positives += wanted_class(c, first + p, &box) >= 0;
    }
}

/* What an image's sums are multiplied with. */
static double share_of(const focal_call *c, int64_t image)
{
    const focal_loss_desc *d = c->desc;
    int64_t first = d->per_image ? image * c->pieces : 0, count = d->per_image ? c->pieces : d->n * c->pieces, all = 0;
    for (int64_t i = first; i < first + count; i++) all += c->sums[i].positives;
    return 1 / ((all ? (double)all : 1) * (d->per_image ? (double)d->n : 1));
}

static void lose_pieces(const focal_call *c)
{
    const focal_loss_desc *d = c->desc;
    double scale = (double)d->grad_scale * (c->loss_scale ? (double)c->loss_scale[0] : 1);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d->n * c->pieces; i++) {
        int64_t image = i / c->pieces, start = i % c->pieces * ROWS;
        lose_piece(c, image * d->priors + start, image * d->priors + cpu_min(start + ROWS, d->priors),
            scale * share_of(c, image), &c->sums[i]);
    }
}

static status run(const kernel_call *call)
{
    const focal_loss_desc *d = call->desc;
    focal_call c = {.desc = d, .location = call->in[0], .confidence = call->in[1], .priors = call->in[2],
        .boxes = call->in[3], .box_class = call->in[4], .match = call->in[5], .loss_scale = call->in[6],
        .dlocation = call->out[4], .dconfidence = call->out[5], .sums = call->scratch, .pieces = pieces_of(d)};
    double box = 0, entropy = 0, positives = 0;
    count_positives(&c);
    lose_pieces(&c);
    for (int64_t i = 0; i < d->n * c.pieces; i++) {
        double share = share_of(&c, i / c.pieces);
        box += c.sums[i].box * share;
        entropy += c.sums[i].entropy * share;
        positives += (double)c.sums[i].positives;
    }
    *(double *)call->out[0] = entropy + (double)d->location_weight * box;
    *(double *)call->out[1] = box;
    *(double *)call->out[2] = entropy;
    *(double *)call->out[3] = positives;
    return OK;
}

CPU_KERNEL(focal_loss, OP_FOCAL_LOSS, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = run);
