#include "serve/counters.h"

#include <math.h>

static const double bucket[COUNTERS_BUCKETS] = {.01, .025, .05, .1, .2, .35, .5, .75, 1, 1.5, 2.5, 5, 10, 30};
static const double size[COUNTERS_SIZES] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

void counters_open(Counters *m) {
    *m = (Counters){0};
    pthread_mutex_init(&m->lock, NULL);
}

void counters_free(Counters *m) {
    pthread_mutex_destroy(&m->lock);
}

void counters_reply(Counters *m, int status) {
    pthread_mutex_lock(&m->lock);
    int i = 0;
    while (i < COUNTERS_STATUSES - 1 && m->status[i] && m->status[i] != status) i++;
    m->status[i] = status;
    m->replies[i]++;
    pthread_mutex_unlock(&m->lock);
}

void counters_recommended(Counters *m, double seconds) {
    pthread_mutex_lock(&m->lock);
    int i = 0;
    while (i < COUNTERS_BUCKETS && seconds > bucket[i]) i++;
    m->seconds[i]++;
    m->seconds_sum += seconds;
    pthread_mutex_unlock(&m->lock);
}

void counters_step(Counters *m, int users, int done, double seconds, const Engine *e) {
    pthread_mutex_lock(&m->lock);
    int i = 0;
    while (i < COUNTERS_SIZES && users > size[i]) i++;
    m->sizes[i]++;
    m->step_users += users;
    m->users += done;
    m->busy_seconds += seconds;
    if (done) m->user_seconds = m->user_seconds > 0 ? 0.8 * m->user_seconds + 0.2 * seconds / done : seconds / done;
    m->now = engine_work(e);
    pthread_mutex_unlock(&m->lock);
}

void counters_engine_closes(Counters *m, const Engine *e) {
    const EngineWork w = engine_work(e);
    pthread_mutex_lock(&m->lock);
    m->work.tokens += w.tokens;
    m->work.thoughts += w.thoughts;
    m->work.beam_steps += w.beam_steps;
    m->work.beam_rows += w.beam_rows;
    m->work.illegal += w.illegal;
    m->work.prompt_tokens += w.prompt_tokens;
    m->work.known_tokens += w.known_tokens;
    m->now = (EngineWork){0};
    pthread_mutex_unlock(&m->lock);
}

void counters_add(Counters *m, int64_t *counter, int64_t n) {
    pthread_mutex_lock(&m->lock);
    *counter += n;
    pthread_mutex_unlock(&m->lock);
}

int counters_retry_after(Counters *m, int waiting) {
    pthread_mutex_lock(&m->lock);
    const double seconds = ceil(m->user_seconds * waiting);
    pthread_mutex_unlock(&m->lock);
    return seconds < 1 ? 1 : seconds > 600 ? 600 : (int)seconds;
}

// ---- text -------------------------------------------------------------------------------------------------------------

static void head(Str *out, const char *name, const char *type, const char *help) {
    str_printf(out, "# HELP latentr3_%s %s\n# TYPE latentr3_%s %s\n", name, help, name, type);
}

static void counter(Str *out, const char *name, const char *help, int64_t value) {
    head(out, name, "counter", help);
    str_printf(out, "latentr3_%s %lld\n", name, (long long)value);
}

static void gauge(Str *out, const char *name, const char *help, double value) {
    head(out, name, "gauge", help);
    str_printf(out, "latentr3_%s %.9g\n", name, value);
}

// The buckets of a histogram, n with a bound and one without; returns how many there are in all.
static int64_t buckets(Str *out, const char *name, const double *bound, const int64_t *count, int n) {
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        str_printf(out, "latentr3_%s_bucket{le=\"%g\"} %lld\n", name, bound[i], (long long)(sum += count[i]));
    sum += count[n];
    str_printf(out, "latentr3_%s_bucket{le=\"+Inf\"} %lld\n", name, (long long)sum);
    return sum;
}

static void latency(Str *out, const Counters *m) {
    head(out, "recommend_seconds", "histogram", "From a whole request to its reply, waiting included.");
    const int64_t count = buckets(out, "recommend_seconds", bucket, m->seconds, COUNTERS_BUCKETS);
    str_printf(out, "latentr3_recommend_seconds_sum %.9g\nlatentr3_recommend_seconds_count %lld\n", m->seconds_sum,
               (long long)count);
}

static void steps(Str *out, const Counters *m) {
    head(out, "step_users", "histogram", "Users who were in a step of the search together.");
    const int64_t count = buckets(out, "step_users", size, m->sizes, COUNTERS_SIZES);
    str_printf(out, "latentr3_step_users_sum %lld\nlatentr3_step_users_count %lld\n", (long long)m->step_users,
               (long long)count);
}

static void replies(Str *out, const Counters *m) {
    head(out, "http_replies_total", "counter", "Replies by status.");
    for (int i = 0; i < COUNTERS_STATUSES && m->status[i]; i++)
        str_printf(out, "latentr3_http_replies_total{status=\"%d\"} %lld\n", m->status[i], (long long)m->replies[i]);
}

void counters_print(Counters *m, const CountersNow *now, Str *out) {
    pthread_mutex_lock(&m->lock);
    latency(out, m);
    steps(out, m);
    replies(out, m);
    counter(out, "users_total", "Users ranked.", m->users);
    counter(out, "tokens_total", "Positions that went through the network.", m->work.tokens + m->now.tokens);
    counter(out, "prompt_tokens_total",
            "Positions of prompts behind the instruction that were looked up among those computed before.",
            m->work.prompt_tokens + m->now.prompt_tokens);
    counter(out, "prompt_tokens_known_total", "Of these, those that were computed before.",
            m->work.known_tokens + m->now.known_tokens);
    counter(out, "thoughts_total", "Thoughts made.", m->work.thoughts + m->now.thoughts);
    counter(out, "beam_steps_total", "Model calls of the beam search.", m->work.beam_steps + m->now.beam_steps);
    counter(out, "beam_rows_total", "Beams that those calls ran.", m->work.beam_rows + m->now.beam_rows);
    counter(out, "illegal_beams_total", "Results outside the catalogue, which are none.", m->work.illegal + m->now.illegal);
    counter(out, "cancelled_total", "Requests whose client left before the answer.", m->cancelled);
    counter(out, "rejected_total", "Requests refused because the queue was full.", m->rejected);
    counter(out, "timeouts_total", "Connections closed because their client was too slow.", m->timeouts);
    counter(out, "reloads_total", "Models loaded while running.", m->reloads);
    counter(out, "reload_failures_total", "Reloads that kept the old model.", m->reload_failures);
    counter(out, "item_changes_total", "Items added, changed or removed.", m->item_changes);
    head(out, "busy_seconds_total", "counter", "Time in which the model worked.");
    str_printf(out, "latentr3_busy_seconds_total %.9g\n", m->busy_seconds);
    pthread_mutex_unlock(&m->lock);
    gauge(out, "queue_users", "Users that wait.", now->waiting);
    gauge(out, "connections", "Open connections.", now->connections);
    gauge(out, "items", "Items that can be recommended.", now->items);
    gauge(out, "draining", "1 while the server ends.", now->draining);
    gauge(out, "uptime_seconds", "Since the start.", now->uptime);
}
