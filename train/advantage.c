#include "train/advantage.h"

#include <math.h>
#include <stddef.h>

// Counted from the first value, so that the mean of equal ones is that value to the last bit, and none has an advantage.
double advantage_mean(const double *x, int n, int stride) {
    double first = 0, sum = 0;
    int finite = 0;
    for (int i = 0; i < n; i++) {
        const double value = x[(size_t)i * (size_t)stride];
        if (!isfinite(value)) continue;
        if (finite++ == 0) first = value;
        sum += value - first;
    }
    return finite ? first + sum / finite : 0;
}

// The sum of (x - center)^2 over the finite ones, in units of *unit^2: 1, but where the squares are beyond a double the
// largest.
static double squares_about(const double *x, int n, double center, double *unit) {
    double squares = 0, largest = 0;
    *unit = 1;
    for (int pass = 0; pass < 2; pass++) {
        squares = 0;
        for (int i = 0; i < n; i++) {
            if (!isfinite(x[i])) continue;
            const double away = (x[i] - center) / *unit;
            squares += away * away;
            largest = fmax(largest, fabs(away));
        }
        if (isfinite(squares)) break;
        *unit = largest;
    }
    return squares;
}

double advantage_std(const double *x, int n) {
    int finite = 0;
    double unit, squares = squares_about(x, n, advantage_mean(x, n, 1), &unit);
    for (int i = 0; i < n; i++) finite += isfinite(x[i]) != 0;
    return finite > 1 ? unit * sqrt(squares / (finite - 1)) : 0;
}

double advantage_norm(const double *x, int n) {
    double unit, squares = squares_about(x, n, 0, &unit);
    return unit * sqrt(squares);
}

// (x - center) / divisor
static void scaled(const double *x, int n, double center, double divisor, double *out) {
    for (int i = 0; i < n; i++) out[i] = isfinite(x[i]) ? (x[i] - center) / divisor : 0;
}

static void batch_advantage(const double *reward, int B, int K, double *advantage) {
    scaled(reward, B * K, advantage_mean(reward, B, K), 1, advantage);
    scaled(advantage, B * K, 0, advantage_norm(advantage, B * K) + 1e-6, advantage);
}

void advantage_of(AdvantageScope scope, int window, const double *reward, int B, int K, double *advantage) {
    int finite = 0;
    for (int i = 0; i < B * K; i++) finite += isfinite(reward[i]) != 0;
    if (finite == 0) {
        for (int i = 0; i < B * K; i++) advantage[i] = NAN;
        return;
    }
    const int groups = scope != ADVANTAGE_BATCH ? 1 : window > 0 ? window : B;
    for (int first = 0; first < B; first += groups) {
        const int n = B - first < groups ? B - first : groups;
        const double *r = reward + (size_t)first * (size_t)K;
        double *a = advantage + (size_t)first * (size_t)K;
        if (scope == ADVANTAGE_BATCH)
            batch_advantage(r, n, K, a);
        else
            scaled(r, K, advantage_mean(r, K, 1), scope == ADVANTAGE_GROUP ? advantage_std(r, K) + 1e-4 : 1, a);
    }
}
