// What a sample's reward is worth beside the others' (method, section 4; Dr. GRPO: arXiv 2503.20783).
#ifndef TRAIN_ADVANTAGE_H
#define TRAIN_ADVANTAGE_H

typedef enum AdvantageScope {
    ADVANTAGE_BATCH,      // (R - m) / (|R - m| + 1e-6): m is the mean of the window's un-noised samples, |.| its 2-norm
    ADVANTAGE_GROUP,      // (R - mean) / (std + 1e-4) within the group: plain GRPO
    ADVANTAGE_GROUP_MEAN, // R - mean within the group: Dr. GRPO
} AdvantageScope;

// advantage (B, K) from reward (B, K), the first of each group being the un-noised sample. window: groups that share a baseline
// and a norm, 0: all. A reward that is no finite number counts nowhere and its advantage is 0; where none is finite, all are
// NaN.
void advantage_of(AdvantageScope scope, int window, const double *reward, int B, int K, double *advantage);

// Of n values, those that are finite; 0 where there are none (and std where there is one).
double advantage_mean(const double *x, int n, int stride);
double advantage_std(const double *x, int n); // n - 1, as torch.std
double advantage_norm(const double *x, int n);

#endif
