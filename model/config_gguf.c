// What a GGUF's metadata says of a model's shape.
#include "model/config_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int string_is(GgufString s, const char *text) {
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

// "llama.block_count" in a buffer of the caller's.
static const char *arch_key(char key[80], const ModelConfig *c, const char *rest) {
    snprintf(key, 80, "%s.%s", config_family[c->family].model_type, rest);
    return key;
}

static int gguf_size(const Gguf *g, const ModelConfig *c, const char *rest, int *out, int required, Err *err) {
    char key[80];
    int64_t x;
    if (!required && !gguf_find(g, arch_key(key, c, rest))) return 0;
    if (gguf_int(g, arch_key(key, c, rest), &x, err)) return -1;
    if (x < 0 || x > INT32_MAX)
        return err_set(err, ERR_DATA, "%s: %s is %lld, not in 0..%d", g->file.path, key, (long long)x, INT32_MAX);
    *out = (int)x;
    return 0;
}

static int gguf_real(const Gguf *g, const ModelConfig *c, const char *rest, float *out, int required, Err *err) {
    char key[80];
    double x;
    if (!required && !gguf_find(g, arch_key(key, c, rest))) return 0;
    if (gguf_float(g, arch_key(key, c, rest), &x, err)) return -1;
    if (!(fabs(x) <= 1e30)) return err_set(err, ERR_DATA, "%s: %s is %g, beyond 1e30", g->file.path, key, x);
    *out = (float)x;
    return 0;
}

static int gguf_id(const Gguf *g, const char *key, int *out, Err *err) {
    int64_t x;
    if (!gguf_find(g, key)) return 0;
    if (gguf_int(g, key, &x, err)) return -1;
    if (x < 0 || x > INT32_MAX) return err_set(err, ERR_DATA, "%s: %s is no token id", g->file.path, key);
    *out = (int)x;
    return 0;
}

int config_gguf_pre(const Gguf *g, GgufString *pre, Err *err) {
    static const GgufString unnamed = {"default", 7}, qwen2 = {"qwen2", 5}, llama3 = {"llama-bpe", 9};
    GgufString family;
    *pre = unnamed;
    if (gguf_find(g, "tokenizer.ggml.pre") && gguf_string(g, "tokenizer.ggml.pre", pre, err)) return -1;
    if (!string_is(*pre, "default")) return 0;
    if (gguf_string(g, "general.architecture", &family, err)) return -1;
    const GgufValue *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    if (string_is(family, "qwen2"))
        *pre = qwen2;
    else if (tokens && tokens->count >= 128000)
        *pre = llama3;
    return 0;
}

// Where the file does not say it, the tokenizers of Llama 2 and 3 do, as in llama.cpp.
static int gguf_add_bos(ModelConfig *c, const Gguf *g, Err *err) {
    GgufString pre, tokenizer;
    if (gguf_find(g, "tokenizer.ggml.add_bos_token")) return gguf_bool(g, "tokenizer.ggml.add_bos_token", &c->add_bos, err);
    if (c->bos_id < 0) return 0;
    if (gguf_string(g, "tokenizer.ggml.model", &tokenizer, NULL) == 0 && string_is(tokenizer, "llama")) c->add_bos = 1;
    if (config_gguf_pre(g, &pre, err)) return -1;
    if (string_is(pre, "llama-bpe")) c->add_bos = 1;
    return 0;
}

static int gguf_family(ModelConfig *c, const Gguf *g, Err *err) {
    GgufString architecture;
    if (gguf_string(g, "general.architecture", &architecture, err)) return -1;
    size_t i = 0, n = FAMILY_SASREC; // which has no GGUF form
    while (i < n && !string_is(architecture, config_family[i].model_type)) i++;
    if (i == n)
        return err_set(err, ERR_DATA, "%s: architecture \"%.*s\" is not supported (llama and qwen2 are)", g->file.path,
                       architecture.len < 64 ? (int)architecture.len : 64, architecture.data);
    c->family = (ModelFamily)i;
    c->qkv_bias = c->family == FAMILY_QWEN2;
    return 0;
}

// A key of the architecture that is not known here may change results, so it is refused by name.
static int gguf_refuse_unknown(const Gguf *g, const ModelConfig *c, Err *err) {
    static const char *const known[] = {"block_count",
                                        "context_length",
                                        "embedding_length",
                                        "feed_forward_length",
                                        "attention.head_count",
                                        "attention.head_count_kv",
                                        "attention.layer_norm_rms_epsilon",
                                        "attention.key_length",
                                        "attention.value_length",
                                        "rope.freq_base",
                                        "rope.dimension_count",
                                        "rope.scaling.type",
                                        "rope.scaling.factor",
                                        "rope.scaling.original_context_length",
                                        "rope.scaling.finetuned",
                                        "vocab_size",
                                        "expert_count",
                                        "expert_used_count",
                                        "tensor_data_layout"};
    const char *prefix = config_family[c->family].model_type;
    size_t n = strlen(prefix);
    for (int i = 0; i < g->n_values; i++) {
        GgufString key = g->value[i].key;
        if (key.len <= n || memcmp(key.data, prefix, n) || key.data[n] != '.') continue;
        GgufString rest = {key.data + n + 1, key.len - n - 1};
        size_t k = 0, count = sizeof known / sizeof *known;
        while (k < count && !string_is(rest, known[k])) k++;
        if (k == count)
            return err_set(err, ERR_DATA, "%s: key \"%.*s\" is not supported", g->file.path, key.len < 80 ? (int)key.len : 80,
                           key.data);
    }
    return 0;
}

static int gguf_refuse_options(const Gguf *g, const ModelConfig *c, Err *err) {
    char key[80];
    int experts = 0, rotary = c->K, keys = c->K, values = c->K;
    float factor = 1;
    if (gguf_size(g, c, "expert_count", &experts, 0, err) || gguf_size(g, c, "rope.dimension_count", &rotary, 0, err) ||
        gguf_size(g, c, "attention.key_length", &keys, 0, err) || gguf_size(g, c, "attention.value_length", &values, 0, err) ||
        gguf_real(g, c, "rope.scaling.factor", &factor, 0, err))
        return -1;
    if (experts) return err_set(err, ERR_DATA, "%s: a mixture of %d experts is not supported", g->file.path, experts);
    if (rotary != c->K)
        return err_set(err, ERR_DATA, "%s: rotary embedding over %d of a head's %d values is not supported", g->file.path,
                       rotary, c->K);
    if (keys != values)
        return err_set(err, ERR_DATA, "%s: heads of %d values with keys of %d are not supported", g->file.path, values, keys);
    GgufString type = {"none", 4};
    if (gguf_find(g, arch_key(key, c, "rope.scaling.type")) && gguf_string(g, key, &type, err)) return -1;
    if (!string_is(type, "none") || (factor != 1 && factor != 0))
        return err_set(err, ERR_DATA, "%s: rotary scaling \"%.*s\" by %g is not supported", g->file.path,
                       type.len < 64 ? (int)type.len : 64, type.data, (double)factor);
    return 0;
}

// By what frequency i of the rotary embedding is divided under Llama-3 scaling.
static double llama3_divisor(const ModelConfig *c, int i) {
    double wave = 2 * 3.14159265358979323846 * pow(c->rope_base, 2.0 * i / c->K);
    double turns = c->rope_original_positions / wave;
    if (turns > c->rope_high_freq) return 1;
    if (turns < c->rope_low_freq) return c->rope_factor;
    double smooth = (turns - c->rope_low_freq) / (c->rope_high_freq - c->rope_low_freq);
    return 1 / ((1 - smooth) / c->rope_factor + smooth);
}

// GGUF holds the result of Llama-3 scaling, a divisor for each frequency, not its parameters. All Llama 3 models differ in
// the factor alone, which is the largest divisor; the others must then come out as the file has them.
static int gguf_rope_freqs(ModelConfig *c, const Gguf *g, Err *err) {
    const Tensor *t = gguf_tensor(g, "rope_freqs.weight");
    float divisor[CONFIG_HEAD_SIZE / 2], most = 1;
    if (!t) return 0;
    if (t->type != TENSOR_F32 || t->n_dims != 1 || t->count != (size_t)c->K / 2)
        return err_set(err, ERR_DATA, "%s: rope_freqs.weight is not F32 of %d values", g->file.path, c->K / 2);
    tensor_to_f32(divisor, t, 0, t->count);
    for (int i = 0; i < c->K / 2; i++)
        if (divisor[i] > most) most = divisor[i];
    ModelConfig scaled = *c;
    scaled.rope_factor = most;
    scaled.rope_low_freq = 1;
    scaled.rope_high_freq = 4;
    scaled.rope_original_positions = 8192;
    for (int i = 0; i < c->K / 2; i++)
        if (!(isfinite(divisor[i]) && fabs(divisor[i] - llama3_divisor(&scaled, i)) <= 1e-3 * divisor[i]))
            return err_set(err, ERR_DATA, "%s: rope_freqs.weight[%d] is %g, which is not Llama-3 scaling", g->file.path, i,
                           (double)divisor[i]);
    if (most > 1) *c = scaled;
    return 0;
}

static int gguf_check_array(const Gguf *g, const char *key, GgufType element, int V, Err *err) {
    const GgufValue *v = gguf_find(g, key);
    if (!v) return 0;
    if (v->type != GGUF_ARRAY || v->element != element)
        return err_set(err, ERR_DATA, "%s: %s is no array of the type it should be", g->file.path, key);
    if (V >= 0 && v->count != (size_t)V)
        return err_set(err, ERR_DATA, "%s: %s has %zu entries, the embedding table has %d rows", g->file.path, key, v->count,
                       V);
    return 0;
}

static int gguf_vocabulary(ModelConfig *c, const Gguf *g, Err *err) {
    const Tensor *embed = gguf_tensor(g, "token_embd.weight");
    if (!embed || embed->n_dims != 2 || embed->dims[0] > MAX_VOCABULARY)
        return err_set(err, ERR_DATA, "%s: token_embd.weight is missing or no table of at most %d rows", g->file.path,
                       MAX_VOCABULARY);
    int said = c->V = (int)embed->dims[0];
    if (gguf_size(g, c, "vocab_size", &said, 0, err)) return -1;
    if (said != c->V)
        return err_set(err, ERR_DATA, "%s: vocab_size is %d, the embedding table has %d rows", g->file.path, said, c->V);
    return gguf_check_array(g, "tokenizer.ggml.tokens", GGUF_STRING, c->V, err) ||
                   gguf_check_array(g, "tokenizer.ggml.token_type", GGUF_I32, c->V, err) ||
                   gguf_check_array(g, "tokenizer.ggml.scores", GGUF_F32, c->V, err) ||
                   gguf_check_array(g, "tokenizer.ggml.merges", GGUF_STRING, -1, err)
               ? -1
               : 0;
}

int config_from_gguf(ModelConfig *c, const Gguf *g, Err *err) {
    *c = config_unset;
    if (gguf_family(c, g, err) || gguf_refuse_unknown(g, c, err) || gguf_size(g, c, "block_count", &c->L, 1, err) ||
        gguf_size(g, c, "embedding_length", &c->D, 1, err) || gguf_size(g, c, "attention.head_count", &c->H, 1, err) ||
        gguf_size(g, c, "feed_forward_length", &c->F, 1, err) || gguf_size(g, c, "context_length", &c->max_positions, 1, err) ||
        gguf_real(g, c, "attention.layer_norm_rms_epsilon", &c->rms_eps, 1, err) ||
        gguf_real(g, c, "rope.freq_base", &c->rope_base, 0, err))
        return -1;
    c->G = c->H;
    if (gguf_size(g, c, "attention.head_count_kv", &c->G, 0, err)) return -1;
    char key[80];
    if (!gguf_find(g, arch_key(key, c, "attention.key_length")) && (c->H < 1 || c->D % c->H))
        return err_set(err, ERR_DATA, "%s: the width %d does not divide by %d heads", g->file.path, c->D, c->H);
    c->K = c->H ? c->D / c->H : 0;
    if (gguf_size(g, c, "attention.key_length", &c->K, 0, err) || gguf_vocabulary(c, g, err) ||
        gguf_refuse_options(g, c, err) || gguf_id(g, "tokenizer.ggml.bos_token_id", &c->bos_id, err) ||
        gguf_id(g, "tokenizer.ggml.eos_token_id", &c->eos_id, err))
        return -1;
    if (gguf_add_bos(c, g, err)) return -1;
    c->tied = !gguf_tensor(g, "output.weight");
    return config_check(c, g->file.path, err) || gguf_rope_freqs(c, g, err) ? -1 : 0;
}
