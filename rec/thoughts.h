// Thoughts on the host, by the number of the row or request: users' own come out here, others go in (rec/thought_test.h).
#ifndef REC_THOUGHTS_H
#define REC_THOUGHTS_H

#include "model/think.h"

typedef struct Thoughts { // both (numbers, thoughts, D), borrowed, or NULL
    float *keep;          // receives the users' own
    const float *given;   // stand in for them
} Thoughts;

// Between think_prompts and think_thoughts, and behind them. number (t->B) of the timelines.
void thoughts_give(const Thoughts *x, Session *s, Think *t, const int *number);
void thoughts_take(const Thoughts *x, Session *s, const Think *t, const int *number);

#endif
