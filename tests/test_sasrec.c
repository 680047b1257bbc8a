// SASRec against PyTorch's values (tools/make_sasrec.py), which runs each prefix of a sequence on its own: losses, every
// gradient, optimizer steps. And what must not depend on how an update is divided.
#include "tiny_sasrec.h"
#include "train/rl.h"
#include "train/sasrec.h"

#include "base/rng.h"

typedef struct Tiny {
    Golden g; // no Examples
    Session s;
    SasrecExample example[8];
    SasrecExamples examples;
    uint32_t index[8];
    int predictions;
} Tiny;

static int32_t *ints_of(json_t *list) {
    int32_t *x = malloc(sizeof *x * (json_array_size(list) + 1));
    for (size_t i = 0; i < json_array_size(list); i++) x[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return x;
}

static void tiny_open(Tiny *t, int thoughts, int hidden, Activation activation, int threads) {
    Err err = {0};
    memset(t, 0, sizeof *t);
    Golden *g = &t->g;
    tiny_sasrec_open(g, thoughts, hidden, activation, threads);
    OK(session_init(&t->s, &g->llm, 512, &err));
    json_t *sequences = json_object_get(g->json, "sequences");
    t->examples = (SasrecExamples){.n = (int)json_array_size(sequences), .example = t->example};
    for (int i = 0; i < t->examples.n; i++) {
        json_t *items = json_array_get(sequences, (size_t)i);
        const int32_t *item = ints_of(items);
        const int n = (int)json_array_size(items);
        t->example[i] = (SasrecExample){item, n, item, n, NULL, 0};
        t->index[i] = (uint32_t)i;
        t->predictions += n - 1;
        if (n > t->examples.longest) t->examples.longest = n;
    }
}

static void tiny_close(Tiny *t) {
    for (int i = 0; i < t->examples.n; i++) free((void *)t->example[i].item);
    session_free(&t->s);
    tiny_sasrec_close(&t->g);
}

// Gradients of the case, within 1e-3 of each tensor's largest entry. A table for more thoughts than the case has is longer
// there: the rest of its gradient is 0.
static void check_case_gradients(const Tiny *t, const char *name) {
    int compared = 0;
    for (int i = 0; i < t->g.llm.params.n; i++) {
        const Param *p = &t->g.llm.params.param[i];
        char full[160];
        snprintf(full, sizeof full, "%s.%s", name, p->name);
        const Tensor *tensor = safetensors_find(&t->g.values, full);
        if (!tensor) fail_msg("%s is missing", full);
        float *want = malloc(tensor->count * sizeof(float)), *got = malloc(p->count * sizeof(float));
        tensor_to_f32(want, tensor, 0, tensor->count);
        ops_download(t->g.ops, got, t->g.llm.dw + p->offset, p->count * sizeof(float));
        double largest = 0;
        for (size_t j = 0; j < p->count; j++) largest = fmax(largest, fabs((double)want[j]));
        for (size_t j = 0; j < p->count; j++) golden_close(got[j], want[j], 1e-3 * largest + 1e-7, full, (int)j);
        free(want), free(got);
        compared++;
    }
    assert_true(compared > 20);
}

// The binary loss over the file's negatives: the chains, the head and back as train/sasrec.c has them.
static double binary_over(Tiny *t, const int32_t *negatives, int count) {
    Session *s = &t->s;
    const int C = 1 + count;
    int32_t *slot = malloc(sizeof *slot * (size_t)t->predictions), *id = malloc(sizeof *id * (size_t)(t->predictions * C));
    float *loss = malloc(sizeof *loss * (size_t)t->predictions);
    Segment g;
    session_want_gradients(s, t->predictions);
    segment_begin(s, &g, t->examples.n, t->predictions);
    for (int b = 0, row = 0; b < t->examples.n; b++) {
        const SasrecExample *x = &t->example[b];
        const int node = segment_add(s, &g, -1, x->item, x->n - 1);
        for (int i = 1; i < x->n; i++, row++) {
            slot[row] = session_slot(s, node, i - 1);
            id[row * C] = x->item[i];
            memcpy(id + row * C + 1, negatives + row * count, sizeof *id * (size_t)count);
        }
    }
    segment_forward(s, &g, NULL, 1);
    head_binary(s, slot, id, t->predictions, C, loss, 1.0f / (float)t->predictions);
    segment_backward(s, &g, NULL);
    ops_wait(s->ops);
    double sum = 0;
    for (int i = 0; i < t->predictions; i++) sum += (double)loss[i];
    free(slot), free(id), free(loss);
    return sum;
}

static Ints flat(json_t *lists) {
    Ints all = {0};
    size_t i;
    json_t *list;
    json_array_foreach(lists, i, list) {
        int32_t *x = ints_of(list);
        ints_append(&all, x, json_array_size(list));
        free(x);
    }
    return all;
}

// Each prefix as a prompt of its own and the item behind it as its answer: so with thoughts.
static double prefixes(Tiny *t, int micro_rows) {
    Example *example = calloc((size_t)t->predictions, sizeof *example);
    uint32_t *index = malloc(sizeof *index * (size_t)t->predictions);
    Examples e = {.n = t->predictions, .example = example, .longest = t->examples.longest + 2};
    for (int b = 0, row = 0; b < t->examples.n; b++)
        for (int i = 1; i < t->example[b].n; i++, row++) {
            example[row] =
                (Example){.prompt = t->example[b].item, .prompt_len = i, .answer = t->example[b].item + i, .answer_len = 1};
            index[row] = (uint32_t)row;
        }
    const double loss = sft_update(&t->s, &e, index, e.n, micro_rows, 1, NULL);
    free(example), free(index);
    return loss;
}

// whole: sequences as they are trained; else, where there are thoughts, each prefix on its own.
static void check_case(json_t *c, int micro_rows, int whole) {
    Err err = {0};
    Tiny t;
    const char *name = json_string_value(json_object_get(c, "name"));
    const int binary = !strcmp(json_string_value(json_object_get(c, "loss")), "bce");
    tiny_open(&t, (int)json_integer_value(json_object_get(c, "thoughts")),
              !strcmp(json_string_value(json_object_get(c, "thought")), "hidden"),
              strcmp(json_string_value(json_object_get(c, "activation")), "relu") ? ACTIVATION_GELU : ACTIVATION_RELU, 2);
    OK(llm_train(&t.g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    const SasrecMethod method = {.loss = SASREC_CROSS_ENTROPY};
    double loss;
    if (binary) {
        json_t *lists = json_object_get(t.g.json, "negatives");
        Ints negatives = flat(lists);
        loss = binary_over(&t, negatives.data, (int)json_array_size(json_array_get(lists, 0)));
        ints_free(&negatives);
    } else if (t.g.llm.config.thoughts && !whole) {
        loss = prefixes(&t, micro_rows);
    } else {
        int64_t predictions;
        loss = sasrec_update(&t.s, &t.examples, t.index, t.examples.n, &method, 0, micro_rows, &predictions);
        assert_int_equal(predictions, t.predictions);
    }
    const double want = json_number_value(json_object_get(c, "value"));
    golden_close(loss / t.predictions, want, 1e-4 * want, name, micro_rows);
    check_case_gradients(&t, name);
    tiny_close(&t);
}

static void values_and_gradients(void **state) {
    (void)state;
    Err err = {0};
    json_t *json = json_read("tests/golden/tiny-sasrec/golden.json", 0, &err), *c;
    if (!json) fail_msg("%s", err.message);
    size_t i;
    json_array_foreach(json_object_get(json, "cases"), i, c) {
        for (int whole = 0; whole < 2; whole++) {
            check_case(c, 1, whole);
            check_case(c, 10, whole);
            check_case(c, 1 << 20, whole);
        }
    }
    json_decref(json);
}

static double largest_difference(const float *a, const float *b, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

// A window of the thought, thoughts of the first layer's states, and predictions that see the thoughts alone: whole sequences
// give what the prefixes give one at a time.
static void whole_sequences_are_their_prefixes(void **state) {
    (void)state;
    Err err = {0};
    for (int form = 0; form < 16; form++) {
        const int thoughts = 1 + form % 2, hidden = form / 2 % 2, layer = form >= 12, window = form < 4 || layer ? 0 : 3,
                  sees_thought = form < 8;
        float *gradient[2];
        double loss[2];
        size_t n = 0;
        for (int whole = 0; whole < 2; whole++) {
            Tiny t;
            tiny_open(&t, thoughts, hidden, ACTIVATION_RELU, 2);
            t.g.llm.config.thought_window = window, t.g.llm.config.answer_sees_thought = sees_thought;
            t.g.llm.config.thought_layer = layer;
            session_free(&t.s);
            OK(session_init(&t.s, &t.g.llm, 512, &err));
            OK(llm_train(&t.g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
            const SasrecMethod method = {.loss = SASREC_CROSS_ENTROPY};
            loss[whole] =
                whole ? sasrec_update(&t.s, &t.examples, t.index, t.examples.n, &method, 0, 20, NULL) : prefixes(&t, 1 << 20);
            n = t.g.llm.params.total;
            gradient[whole] = malloc(n * sizeof(float));
            ops_download(t.g.ops, gradient[whole], t.g.llm.dw, n * sizeof(float));
            tiny_close(&t);
        }
        golden_close(loss[1], loss[0], 1e-5 * loss[0], "loss", form);
        golden_close(largest_difference(gradient[0], gradient[1], n), 0, 1e-5, "gradient", form);
        free(gradient[0]), free(gradient[1]);
    }
}

static void steps_match(void **state) {
    (void)state;
    Err err = {0};
    Tiny t;
    Optimizer o;
    tiny_open(&t, 0, 1, ACTIVATION_RELU, 2);
    json_t *steps = json_object_get(t.g.json, "steps"), *losses = json_object_get(steps, "losses");
    const OptimizerOptions options = {.lr = json_number_value(json_object_get(steps, "lr")),
                                      .clip = json_number_value(json_object_get(steps, "clip")),
                                      .schedule = SCHEDULE_LINEAR,
                                      .warmup = json_integer_value(json_object_get(steps, "warmup")),
                                      .steps = (int64_t)json_array_size(losses)};
    const size_t total = t.g.llm.params.total;
    float *before = malloc(total * sizeof(float)), *after = malloc(total * sizeof(float));
    ops_download(t.g.ops, before, t.g.llm.w, total * sizeof(float));
    OK(llm_train(&t.g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    OK(optimizer_init(&o, &t.g.llm, &options, &err));
    const SasrecMethod method = {.loss = SASREC_CROSS_ENTROPY};
    for (int64_t step = 0; step < options.steps; step++) {
        const double loss =
                         sasrec_update(&t.s, &t.examples, t.index, t.examples.n, &method, step, 1 << 20, NULL) / t.predictions,
                     want = json_number_value(json_array_get(losses, (size_t)step));
        golden_close(loss, want, 1e-4 * want, "loss", (int)step);
        assert_false(optimizer_update(&o).refused);
    }
    ops_download(t.g.ops, after, t.g.llm.w, total * sizeof(float));
    for (int i = 0; i < t.g.llm.params.n; i++) {
        const Param *p = &t.g.llm.params.param[i];
        char full[160];
        snprintf(full, sizeof full, "steps.%s", p->name);
        const Tensor *tensor = safetensors_find(&t.g.values, full);
        if (!tensor) fail_msg("%s is missing", full);
        float *change = malloc(p->count * sizeof(float));
        tensor_to_f32(change, tensor, 0, p->count);
        // The gradient of a key's bias is nothing but rounding, and Adam makes steps of it all the same.
        const double tolerance = strstr(p->name, "k_proj.bias") ? 0.1 : 1e-3;
        for (size_t j = 0; j < p->count; j++)
            golden_close((double)after[p->offset + j] - (double)before[p->offset + j], change[j], tolerance, full, (int)j);
        free(change);
    }
    free(before), free(after);
    optimizer_free(&o);
    tiny_close(&t);
}

// With dropout and drawn negatives: the same examples in another order, in micro-batches, with other threads.
static void random_update(const SasrecMethod *m, int thoughts, int reversed, int micro_rows, int threads, float *gradient,
                          double *loss) {
    Err err = {0};
    Tiny t;
    tiny_open(&t, thoughts, 0, ACTIVATION_RELU, threads);
    if (reversed)
        for (int i = 0; i < t.examples.n; i++) t.index[i] = (uint32_t)(t.examples.n - 1 - i);
    OK(llm_train(&t.g.llm, TRAIN_BACKBONE | TRAIN_LATENT, &err));
    *loss = sasrec_update(&t.s, &t.examples, t.index, t.examples.n, m, 3, micro_rows, NULL);
    ops_download(t.g.ops, gradient, t.g.llm.dw, t.g.llm.params.total * sizeof(float));
    tiny_close(&t);
}

static void micro_batches_and_order(void **state) {
    (void)state;
    Tiny t;
    tiny_open(&t, 2, 0, ACTIVATION_RELU, 1);
    const size_t n = t.g.llm.params.total;
    tiny_close(&t);
    float *whole = calloc(n, sizeof(float)), *other = calloc(n, sizeof(float));
    const SasrecMethod method[] = {{SASREC_CROSS_ENTROPY, 0, 0.3f, 5}, {SASREC_BINARY, 4, 0.3f, 5}};
    double loss, same;
    for (int i = 0; i < 6; i++) {
        SasrecMethod m = method[i % 2];
        const int thoughts = i / 2;
        random_update(&m, thoughts, 0, 1 << 20, 2, whole, &loss);
        random_update(&m, thoughts, 0, 1 << 20, 1, other, &same);
        assert_memory_equal(whole, other, n * sizeof(float)); // any number of threads: the same bits
        random_update(&m, thoughts, 0, 1, 2, other, &same);
        golden_close(same, loss, 1e-5 * loss, "micro-batches: loss", i);
        golden_close(largest_difference(whole, other, n), 0, 1e-5, "micro-batches: gradient", i);
        random_update(&m, thoughts, 1, 9, 2, other, &same);
        golden_close(largest_difference(whole, other, n), 0, 1e-5, "order: gradient", i);
        m.seed++;
        random_update(&m, thoughts, 0, 1 << 20, 2, other, &same);
        assert_true(largest_difference(whole, other, n) > 1e-3);
    }
    free(whole), free(other);
}

static double number_at(json_t *lists, int i, int j) {
    return json_number_value(json_array_get(json_array_get(lists, (size_t)i), (size_t)j));
}

// LR-GRPO of LatentRATT behind a frozen SASRec: each sequence's last item is the answer, one token.
static void rl_matches(void **state) {
    (void)state;
    Err err = {0};
    for (int thoughts = 1; thoughts <= 2; thoughts++)
        for (int micro_rows = 1; micro_rows < 1000; micro_rows += 900) {
            Tiny t;
            Example example[8];
            tiny_open(&t, thoughts, 0, ACTIVATION_RELU, 2);
            OK(llm_train(&t.g.llm, TRAIN_LATENT, &err));
            const int n = t.examples.n;
            for (int i = 0; i < n; i++) {
                const SasrecExample *x = &t.example[i];
                example[i] =
                    (Example){.prompt = x->item, .prompt_len = x->n - 1, .answer = x->item + x->n - 1, .answer_len = 1};
            }
            const Examples e = {.n = n, .example = example, .longest = t.examples.longest};
            const Tensor *noise = safetensors_find(&t.g.values, "rl.noise");
            assert_non_null(noise);
            const int K = (int)noise->dims[1];
            float *z = malloc(noise->bytes);
            tensor_to_f32(z, noise, 0, noise->count);
            double R[64], A[64];
            assert_true(n * K <= 64);
            const RlMethod m = {.rollout = {.samples = K, .sigma = 1}, .objective = {.epsilon_low = .2, .epsilon_high = .28}};
            const RlFigures f = rl_examples(&t.s, &e, t.index, n, &m, z, NULL, micro_rows, R, A);
            json_t *want = json_array_get(json_object_get(t.g.json, "rl"), (size_t)thoughts - 1);
            for (int i = 0; i < n * K; i++) {
                const double r = number_at(json_object_get(want, "rewards"), i / K, i % K);
                golden_close(R[i], r, 1e-4 * fabs(r), "reward", i);
                golden_close(A[i], number_at(json_object_get(want, "advantages"), i / K, i % K), 1e-4, "advantage", i);
            }
            golden_close(f.loss, json_number_value(json_object_get(want, "loss")), 1e-4, "loss", thoughts);
            char section[8];
            snprintf(section, sizeof section, "rl_%d", thoughts);
            assert_int_equal(golden_gradients(&t.g, section, 1e-3), 6);
            free(z);
            tiny_close(&t);
        }
}

// All scores equal: the target's expected rank is the middle one, so NDCG@10 is 0 among 37; and with weights that favour it 1.
static void ndcg_of_ties(void **state) {
    (void)state;
    Tiny t;
    tiny_open(&t, 0, 0, ACTIVATION_RELU, 2);
    const size_t D = (size_t)t.g.llm.config.D;
    float zero[8] = {0};
    assert_true(D == 8);
    int32_t last[8];
    for (int i = 0; i < t.examples.n; i++) {
        last[i] = t.example[i].n - 1;
        t.example[i].place = &last[i], t.example[i].places = 1;
    }
    const double before = sasrec_ndcg(&t.s, &t.examples, 1 << 20, NULL, NULL);
    golden_close(sasrec_ndcg(&t.s, &t.examples, 1, NULL, NULL), before, 0, "micro-batches", 0);
    ops_upload(t.g.ops, (float *)t.g.llm.norm.weight, zero, sizeof zero);
    ops_upload(t.g.ops, (float *)t.g.llm.norm.bias, zero, sizeof zero);
    golden_close(sasrec_ndcg(&t.s, &t.examples, 1 << 20, NULL, NULL), 0, 0, "ties", 0);
    // The bias alone decides now: the item whose embedding it is has the highest score, where no other is longer that way.
    const int target = t.example[0].item[t.example[0].n - 1];
    float row[8];
    ops_download(t.g.ops, row, (const float *)t.g.llm.embed + (size_t)target * D, sizeof row);
    for (size_t d = 0; d < D; d++) row[d] *= 100;
    ops_upload(t.g.ops, (float *)t.g.llm.embed + (size_t)target * D, row, sizeof row);
    llm_changed(&t.g.llm, PARAMS_BACKBONE);
    ops_upload(t.g.ops, (float *)t.g.llm.norm.bias, row, sizeof row);
    const SasrecExamples first = {1, t.examples.longest, t.example};
    golden_close(sasrec_ndcg(&t.s, &first, 1 << 20, NULL, NULL), 1, 0, "first", 0);
    row[3] = NAN;
    ops_upload(t.g.ops, (float *)t.g.llm.norm.bias, row, sizeof row);
    golden_close(sasrec_ndcg(&t.s, &first, 1 << 20, NULL, NULL), 0, 0, "NaN", 0);
    tiny_close(&t);
}

// Several places of a sequence are measured in one run of it: each is ranked as if its prefix ran alone.
static void ndcg_of_places(void **state) {
    (void)state;
    for (int form = 0; form < 8; form++) {
        Tiny t;
        tiny_open(&t, form % 4 % 3 + form % 4 / 3, form % 4 == 3, ACTIVATION_RELU, 2);
        t.g.llm.config.answer_sees_thought = form >= 4 && t.g.llm.config.thoughts;
        int32_t place[8][16];
        int n = 0;
        double alone = 0;
        for (int i = 0; i < t.examples.n; i++) {
            SasrecExample *x = &t.example[i];
            x->place = place[i], x->places = 0;
            for (int at = 1 + x->n % 2; at < x->n; at += 2, n++) {
                place[i][x->places++] = at;
                const int32_t here = at;
                const SasrecExample prefix = {x->item, at + 1, x->item, at + 1, &here, 1};
                const SasrecExamples one = {1, at + 1, &prefix};
                alone += sasrec_ndcg(&t.s, &one, 1, NULL, NULL);
            }
        }
        assert_true(n > t.examples.n && alone > 0);
        golden_close(sasrec_ndcg(&t.s, &t.examples, 1 << 20, NULL, NULL), alone / n, 0, "places", form);
        golden_close(sasrec_ndcg(&t.s, &t.examples, 5, NULL, NULL), alone / n, 0, "places in micro-batches", form);
        tiny_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_gradients), cmocka_unit_test(whole_sequences_are_their_prefixes),
        cmocka_unit_test(steps_match),          cmocka_unit_test(micro_batches_and_order),
        cmocka_unit_test(rl_matches),           cmocka_unit_test(ndcg_of_ties),
        cmocka_unit_test(ndcg_of_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
