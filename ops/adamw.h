// What both backends' AdamW takes from an update's numbers.
#ifndef OPS_ADAMW_H
#define OPS_ADAMW_H

#include <math.h>
#include <stdint.h>

typedef struct AdamScales {
    float step, v, shrink; // rate over the first correction; the second's root; rate times decay
} AdamScales;

static inline AdamScales adam_scales(float lr, float beta1, float beta2, float decay, int64_t step) {
    const double c1 = 1.0 - pow((double)beta1, (double)step), c2 = 1.0 - pow((double)beta2, (double)step);
    const AdamScales s = {(float)((double)lr / c1), (float)(1.0 / sqrt(c2)), (float)((double)lr * (double)decay)};
    return s;
}

#endif
