#include "rec/ranker.h"

#include <math.h>

int ranker_best(const float *score, int n, int k, Recommendation *out, int *found, Err *err) {
    int have = 0;
    for (int i = 0; i < n; i++) {
        if (!(score[i] < INFINITY)) return err_set(err, ERR_DATA, "the score of item %d is not finite", i);
        if (score[i] == -INFINITY || (have == k && !(score[i] > out[k - 1].score))) continue;
        int at = have < k ? have++ : k - 1;
        for (; at > 0 && out[at - 1].score < score[i]; at--) out[at] = out[at - 1];
        out[at] = (Recommendation){i, score[i]};
    }
    *found = have;
    return 0;
}
