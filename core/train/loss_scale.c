#include "core/train/loss_scale.h"

static const double SCALE_FIRST = 65536, SCALE_MIN = 1, SCALE_MAX = 16777216;

void loss_scale_start(train_progress *p, const spec_train *o)
{
    if (p->loss_scale > 0) return;
    p->loss_scale = o->precision != PRECISION_F16 ? 1 : o->loss_scale > 0 ? o->loss_scale : SCALE_FIRST;
    p->scale_good = 0;
}

loss_scale_change loss_scale_update(train_progress *p, const spec_train *o, bool finite)
{
    if (o->precision != PRECISION_F16 || o->loss_scale > 0) return LOSS_SCALE_KEPT;
    if (!finite) {
        p->scale_good = 0;
        if (p->loss_scale <= SCALE_MIN) return LOSS_SCALE_KEPT;
        p->loss_scale /= 2;
        return LOSS_SCALE_LOWERED;
    }
    if (++p->scale_good < o->loss_scale_period || p->loss_scale >= SCALE_MAX) return LOSS_SCALE_KEPT;
    p->scale_good = 0;
    p->loss_scale *= 2;
    return LOSS_SCALE_RAISED;
}
