/* focal_loss.c: the loss of RetinaNet, and its gradient. */
#include "kernels/boxes.h"
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdint.h>

static const char *focal_loss_refuse(const void *desc)
{
    const focal_loss_desc *d = desc;
    int64_t dim[] = {d->n, d->priors, d->classes, d->capacity};
    if (!ref_dims_ok(dim, 4)) return "images, priors, classes or boxes below 1 or too large";
    if (!ref_is_float(d->type)) return "the type is no float";
    if (!(d->alpha >= 0 && d->alpha <= 1)) return "alpha is not 0 .. 1";
    if (!(d->gamma >= 0 && d->beta >= 0)) return "gamma or beta below 0";
    for (int i = 0; i < 4; i++)
        if (!(d->variance[i] > 0)) return "a variance is not above 0";
    return NULL;
}

typedef struct focal_call {
    const focal_loss_desc *desc;
    const void *location, *confidence;
    const float *priors, *boxes;
    const int32_t *box_class, *match;
    void *dlocation, *dconfidence;
    double factor; /* of the gradients of the image at hand */
} focal_call;

enum { NEGATIVE = -1, IGNORED = -2 };

/* The class that a row (image, prior) should have. *box: the one that it is matched to. */
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

/* With s = x where the class is there, else -x, and q = 1 - sigmoid(s): weight q^gamma ln(1 + exp(-s)). */
static double element_loss(const focal_loss_desc *d, double x, bool there, double *slope)
{
    double s = there ? x : -x, weight = there ? (double)d->alpha : 1 - (double)d->alpha, gamma = (double)d->gamma;
    double e = exp(-fabs(s)), q = s >= 0 ? e / (1 + e) : 1 / (1 + e), p = s >= 0 ? 1 / (1 + e) : e / (1 + e);
    double entropy = fmax(-s, 0) + log1p(e), focus = gamma > 0 ? pow(q, gamma) : 1;
    *slope = -weight * focus * (gamma * p * entropy + q) * (there ? 1 : -1);
    return weight * focus * entropy;
}

static double class_loss(const focal_call *c, int64_t row, int64_t wanted)
{
    int64_t classes = c->desc->classes;
    double loss = 0;
    for (int64_t k = 0; k < classes; k++) {
        double slope = 0;
        if (wanted != IGNORED)
            loss += element_loss(
                c->desc, dtype_load(c->confidence, c->desc->type, row * classes + k), k == wanted, &slope);
        if (c->dconfidence) dtype_store(c->dconfidence, c->desc->type, row * classes + k, c->factor * slope);
    }
    return loss;
}

static double box_loss(const focal_call *c, int64_t row, const float *box)
{
    const focal_loss_desc *d = c->desc;
    double loss = 0;
    for (int i = 0; i < 4; i++) {
        double slope = 0;
        if (box) {
            double target = box_offset(c->priors + 4 * (row % d->priors), box, d->variance, i);
            loss += smooth_l1(dtype_load(c->location, d->type, 4 * row + i) - target, (double)d->beta, &slope);
        }
        if (c->dlocation)
            dtype_store(c->dlocation, d->type, 4 * row + i, c->factor * (double)d->location_weight * slope);
    }
    return loss;
}

static int64_t count_positives(const focal_call *c, int64_t first, int64_t rows)
{
    const float *box;
    int64_t count = 0;
    for (int64_t row = first; row < first + rows; row++) count += wanted_class(c, row, &box) >= 0;
    return count;
}

static status focal_loss_run(const kernel_call *call)
{
    const focal_loss_desc *d = call->desc;
    const float *loss_scale = call->in[6];
    focal_call c = {
        d, call->in[0], call->in[1], call->in[2], call->in[3], call->in[4], call->in[5], call->out[4], call->out[5], 0};
    int64_t all = count_positives(&c, 0, d->n * d->priors);
    double total_box = 0, total_class = 0;
    for (int64_t i = 0; i < d->n; i++) {
        double own = d->per_image ? (double)count_positives(&c, i * d->priors, d->priors) : (double)all;
        double share = 1 / (fmax(own, 1) * (d->per_image ? (double)d->n : 1)), boxes = 0, classes = 0;
        c.factor = (double)d->grad_scale * (loss_scale ? (double)loss_scale[0] : 1) * share;
        for (int64_t row = i * d->priors; row < (i + 1) * d->priors; row++) {
            const float *box = NULL;
            int64_t wanted = wanted_class(&c, row, &box);
            classes += class_loss(&c, row, wanted);
            boxes += box_loss(&c, row, wanted >= 0 ? box : NULL);
        }
        total_box += boxes * share;
        total_class += classes * share;
    }
    *(double *)call->out[0] = total_class + (double)d->location_weight * total_box;
    *(double *)call->out[1] = total_box;
    *(double *)call->out[2] = total_class;
    *(double *)call->out[3] = (double)all;
    return OK;
}

const kernel focal_loss__ref_direct = {
    .op = OP_FOCAL_LOSS,
    .backend = BACKEND_REF,
    .name = "focal_loss__ref_direct",
    .refuse = focal_loss_refuse,
    .run = focal_loss_run,
};
