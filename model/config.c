#include "model/config_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const ConfigFamily config_family[] = {[FAMILY_LLAMA] = {"llama", "LlamaForCausalLM", NULL},
                                      [FAMILY_QWEN2] = {"qwen2", "Qwen2ForCausalLM", "LatentModel"},
                                      [FAMILY_SASREC] = {"sasrec", "SASRec", NULL}};

const ModelConfig config_unset = {.rms_eps = 1e-6f, .rope_base = 10000, .bos_id = -1, .eos_id = -1, .add_bos = -1};

// ---- checks of the result -----------------------------------------------------------------------------------------

static int check_size(const char *name, const char *what, int value, int limit, Err *err) {
    if (value >= 1 && value <= limit) return 0;
    return err_set(err, ERR_DATA, "%s: %s is %d, not in 1..%d", name, what, value, limit);
}

static int check_id(const char *name, const char *what, int id, int V, Err *err) {
    if (id >= -1 && id < V) return 0;
    return err_set(err, ERR_DATA, "%s: %s %d is outside the vocabulary of %d", name, what, id, V);
}

static int check_rope(const ModelConfig *c, const char *name, Err *err) {
    if (!(c->rope_base > 1 && isfinite(c->rope_base)))
        return err_set(err, ERR_DATA, "%s: the rotary base is %g, not above 1", name, (double)c->rope_base);
    if (c->rope_factor == 0) return 0;
    if (!(c->rope_factor >= 1 && isfinite(c->rope_factor)))
        return err_set(err, ERR_DATA, "%s: the rotary scaling factor is %g, not at least 1", name, (double)c->rope_factor);
    if (!(c->rope_low_freq > 0 && c->rope_high_freq > c->rope_low_freq && isfinite(c->rope_high_freq)))
        return err_set(err, ERR_DATA, "%s: rotary scaling wants 0 < low_freq_factor < high_freq_factor, these are %g and %g",
                       name, (double)c->rope_low_freq, (double)c->rope_high_freq);
    return check_size(name, "original_max_position_embeddings", c->rope_original_positions, MAX_POSITIONS, err);
}

int config_check(const ModelConfig *c, const char *name, Err *err) {
    if (check_size(name, "the number of layers", c->L, MAX_LAYERS, err) ||
        check_size(name, "the width", c->D, MAX_WIDTH, err) || check_size(name, "the number of heads", c->H, MAX_HEADS, err) ||
        check_size(name, "the number of key/value heads", c->G, MAX_HEADS, err) ||
        check_size(name, "the head size", c->K, CONFIG_HEAD_SIZE, err) ||
        check_size(name, "the feed-forward width", c->F, MAX_FEED_FORWARD, err) ||
        check_size(name, "the vocabulary", c->V, MAX_VOCABULARY, err) ||
        check_size(name, "the number of positions", c->max_positions, MAX_POSITIONS, err))
        return -1;
    if (c->H % c->G) return err_set(err, ERR_DATA, "%s: %d heads do not divide among %d key/value heads", name, c->H, c->G);
    if (c->K % 2 && !c->learned_positions)
        return err_set(err, ERR_DATA, "%s: the head size %d is odd, rotary embedding turns pairs", name, c->K);
    if (!(c->rms_eps > 0 && c->rms_eps < 1))
        return err_set(err, ERR_DATA, "%s: rms_norm_eps is %g, not in (0, 1)", name, (double)c->rms_eps);
    if (check_rope(c, name, err) || check_id(name, "bos_token_id", c->bos_id, c->V, err) ||
        check_id(name, "eos_token_id", c->eos_id, c->V, err))
        return -1;
    if (c->thoughts < 0 || c->thoughts > CONFIG_THOUGHTS)
        return err_set(err, ERR_DATA, "%s: thoughts is %d, not in 0..%d", name, c->thoughts, CONFIG_THOUGHTS);
    if (c->thought_layer < 0 || c->thought_layer >= c->L)
        return err_set(err, ERR_DATA, "%s: thought_layer is %d, not below the %d layers of the model (0: all)", name,
                       c->thought_layer, c->L);
    if (c->thoughts && !c->thought_hidden && c->D % 2)
        return err_set(err, ERR_DATA, "%s: the width %d is odd, the thought's rotary embedding turns pairs", name, c->D);
    if (c->answer_sees_thought && c->thoughts == 0)
        return err_set(err, ERR_DATA, "%s: the answer sees thoughts alone, and there are none", name);
    if (c->thought_window < 0 || c->thought_window > MAX_POSITIONS)
        return err_set(err, ERR_DATA, "%s: thought_window is %d, not in 0..%d", name, c->thought_window, MAX_POSITIONS);
    if (!(c->thought_rms >= 0 && c->thought_rms <= CONFIG_THOUGHT_RMS))
        return err_set(err, ERR_DATA, "%s: thought_rms is %g, not in 0..%g", name, (double)c->thought_rms, CONFIG_THOUGHT_RMS);
    return 0;
}

// ---- config.json --------------------------------------------------------------------------------------------------

static const json_t *get(const json_t *json, const char *key) { // null counts as absent
    const json_t *v = json_object_get(json, key);
    return json_is_null(v) ? NULL : v;
}

static int get_int(const json_t *json, const char *key, int *out, int required, const char *name, Err *err) {
    const json_t *v = get(json, key);
    if (!v) return required ? err_set(err, ERR_DATA, "%s: \"%s\" is missing", name, key) : 0;
    if (!json_is_integer(v)) return err_set(err, ERR_DATA, "%s: \"%s\" is not an integer", name, key);
    json_int_t x = json_integer_value(v);
    if (x < 0 || x > INT32_MAX)
        return err_set(err, ERR_DATA, "%s: \"%s\" is %lld, not in 0..%d", name, key, (long long)x, INT32_MAX);
    *out = (int)x;
    return 0;
}

static int get_float(const json_t *json, const char *key, float *out, int required, const char *name, Err *err) {
    const json_t *v = get(json, key);
    if (!v) return required ? err_set(err, ERR_DATA, "%s: \"%s\" is missing", name, key) : 0;
    if (!json_is_number(v)) return err_set(err, ERR_DATA, "%s: \"%s\" is not a number", name, key);
    double x = json_number_value(v);
    if (!(fabs(x) <= 1e30)) return err_set(err, ERR_DATA, "%s: \"%s\" is %g, beyond 1e30", name, key, x);
    *out = (float)x + 0.0f; // so that -0 is 0, whose bits compare equal
    return 0;
}

static int get_bool(const json_t *json, const char *key, int *out, const char *name, Err *err) {
    const json_t *v = get(json, key);
    if (!v) return 0;
    if (!json_is_boolean(v)) return err_set(err, ERR_DATA, "%s: \"%s\" is neither true nor false", name, key);
    *out = json_is_true(v);
    return 0;
}

static int get_text(const json_t *json, const char *key, char *out, size_t size, const char *name, Err *err) {
    const json_t *v = get(json, key);
    if (!v) return 0;
    if (!json_is_string(v) || json_string_length(v) >= size)
        return err_set(err, ERR_DATA, "%s: \"%s\" is no text of at most %zu bytes", name, key, size - 1);
    strcpy(out, json_string_value(v));
    return 0;
}

// An id, or a list of ids of which the first is meant.
static int get_id(const json_t *json, const char *key, int *out, const char *name, Err *err) {
    const json_t *v = get(json, key);
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (!v) return 0;
    if (!json_is_integer(v) || json_integer_value(v) < -1 || json_integer_value(v) > INT32_MAX)
        return err_set(err, ERR_DATA, "%s: \"%s\" is no token id", name, key);
    *out = (int)json_integer_value(v);
    return 0;
}

static int read_family(ModelConfig *c, const json_t *json, const char *name, Err *err) {
    const json_t *type = get(json, "model_type"), *list = get(json, "architectures"), *architecture;
    if (!json_is_string(type)) return err_set(err, ERR_DATA, "%s: \"model_type\" is missing or no string", name);
    size_t i = 0, n = sizeof config_family / sizeof *config_family;
    while (i < n && strcmp(json_string_value(type), config_family[i].model_type)) i++;
    if (i == n)
        return err_set(err, ERR_DATA, "%s: model_type \"%.64s\" is not supported (llama, qwen2 and sasrec are)", name,
                       json_string_value(type));
    c->family = (ModelFamily)i;
    c->qkv_bias = c->family != FAMILY_LLAMA;
    if (list && !json_is_array(list)) return err_set(err, ERR_DATA, "%s: \"architectures\" is no list", name);
    const ConfigFamily *family = &config_family[c->family];
    json_array_foreach((json_t *)list, i, architecture) {
        const char *text = json_string_value(architecture);
        if (!text || (strcmp(text, family->architecture) && (!family->published || strcmp(text, family->published))))
            return err_set(err, ERR_DATA, "%s: architecture \"%.64s\" is not supported (%s is)", name, text ? text : "?",
                           family->architecture);
    }
    return 0;
}

// Options under which the same weights would mean something else.
static int refuse_options(const ModelConfig *c, const json_t *json, const char *name, Err *err) {
    static const char *const must_be_false[] = {"attention_bias", "mlp_bias", "use_sliding_window"};
    const json_t *v, *layer;
    size_t i;
    for (i = c->family == FAMILY_QWEN2 ? 2 : 0; i < 3; i++) { // Qwen2 does not know the first two
        int on = 0;
        if (get_bool(json, must_be_false[i], &on, name, err)) return -1;
        if (on) return err_set(err, ERR_DATA, "%s: \"%s\": true is not supported", name, must_be_false[i]);
    }
    int causal = 1; // null is none in one kind of attention of transformers, and true in another
    if (get_bool(json, "is_causal", &causal, name, err)) return -1;
    if (!causal || json_is_null(json_object_get(json, "is_causal")))
        return err_set(err, ERR_DATA, "%s: \"is_causal\": %s is not supported", name, causal ? "null" : "false");
    if (c->family == FAMILY_LLAMA && get(json, "sliding_window")) // Qwen2 has it with "use_sliding_window"
        return err_set(err, ERR_DATA, "%s: \"sliding_window\" is not supported", name);
    if ((v = get(json, "hidden_act")) && (!json_is_string(v) || strcmp(json_string_value(v), "silu")))
        return err_set(err, ERR_DATA, "%s: hidden_act \"%.64s\" is not supported (silu is)", name,
                       json_is_string(v) ? json_string_value(v) : "?");
    if (get(json, "quantization_config"))
        return err_set(err, ERR_DATA, "%s: \"quantization_config\" is not supported; give plain weights or a GGUF file", name);
    if ((v = get(json, "layer_types")) && !json_is_array(v))
        return err_set(err, ERR_DATA, "%s: \"layer_types\" is no list", name);
    json_array_foreach((json_t *)v, i, layer) {
        if (!json_is_string(layer) || strcmp(json_string_value(layer), "full_attention"))
            return err_set(err, ERR_DATA, "%s: layer type \"%.64s\" is not supported (full_attention is)", name,
                           json_is_string(layer) ? json_string_value(layer) : "?");
    }
    return 0;
}

// known: NULL behind the last.
static int refuse_unknown(const json_t *object, const char *what, const char *const *known, const char *name, Err *err) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)object, key, v) {
        const char *const *k = known;
        while (*k && strcmp(*k, key)) k++;
        if (!*k) return err_set(err, ERR_DATA, "%s: unknown key \"%.64s\" in \"%s\"", name, key, what);
    }
    return 0;
}

// `rope` is rope_scaling, or the newer rope_parameters, which holds the base too.
static int read_rope_object(ModelConfig *c, const json_t *rope, const char *key, const char *name, Err *err) {
    if (!json_is_object(rope)) return err_set(err, ERR_DATA, "%s: \"%s\" is no object", name, key);
    const json_t *type = get(rope, "rope_type");
    if (!type) type = get(rope, "type");
    if (type && !json_is_string(type)) return err_set(err, ERR_DATA, "%s: the type in \"%s\" is no string", name, key);
    float partial = 1;
    if (get_float(rope, "rope_theta", &c->rope_base, 0, name, err) ||
        get_float(rope, "partial_rotary_factor", &partial, 0, name, err))
        return -1;
    if (partial != 1) return err_set(err, ERR_DATA, "%s: partial_rotary_factor %g is not supported", name, (double)partial);
    const char *text = type ? json_string_value(type) : "default";
    if (strcmp(text, "default") == 0) {
        static const char *const known[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor", NULL};
        return refuse_unknown(rope, key, known, name, err);
    }
    if (strcmp(text, "llama3"))
        return err_set(err, ERR_DATA, "%s: rotary scaling \"%.64s\" is not supported (llama3 is)", name, text);
    if (get_float(rope, "factor", &c->rope_factor, 1, name, err) ||
        get_float(rope, "low_freq_factor", &c->rope_low_freq, 1, name, err) ||
        get_float(rope, "high_freq_factor", &c->rope_high_freq, 1, name, err) ||
        get_int(rope, "original_max_position_embeddings", &c->rope_original_positions, 0, name, err))
        return -1;
    if (!get(rope, "original_max_position_embeddings")) c->rope_original_positions = c->max_positions; // as transformers has it
    if (c->rope_factor == 0) return err_set(err, ERR_DATA, "%s: the factor in \"%s\" is 0", name, key); // would say: none
    return 0;
}

// In some files they stand beside the scaling too, where transformers takes them from.
static int check_original_positions(const ModelConfig *c, const json_t *json, const char *name, Err *err) {
    int beside = c->rope_original_positions;
    if (c->rope_factor == 0) return 0;
    if (get_int(json, "original_max_position_embeddings", &beside, 0, name, err)) return -1;
    if (beside == c->rope_original_positions) return 0;
    return err_set(err, ERR_DATA, "%s: original_max_position_embeddings is %d, and %d in the rotary scaling", name, beside,
                   c->rope_original_positions);
}

static int read_rope(ModelConfig *c, const json_t *json, const char *name, Err *err) {
    const json_t *scaling = get(json, "rope_scaling"), *parameters = get(json, "rope_parameters");
    float partial = 1;
    if (get_float(json, "rope_theta", &c->rope_base, 0, name, err) ||
        get_float(json, "partial_rotary_factor", &partial, 0, name, err))
        return -1;
    if (partial != 1) return err_set(err, ERR_DATA, "%s: partial_rotary_factor %g is not supported", name, (double)partial);
    if (scaling && parameters && !json_equal(scaling, parameters)) // which of them counts depends on who reads
        return err_set(err, ERR_DATA, "%s: \"rope_scaling\" and \"rope_parameters\" say different things", name);
    const json_t *rope = scaling ? scaling : parameters;
    if (rope && read_rope_object(c, rope, scaling ? "rope_scaling" : "rope_parameters", name, err)) return -1;
    return check_original_positions(c, json, name, err);
}

static int read_own(ModelConfig *c, const json_t *json, const char *name, Err *err) {
    const json_t *own = get(json, "latentr3");
    if (!own) return 0;
    static const char *const known[] = {
        "thoughts",    "thought_window", "thought_hidden", "answer_sees_thought", "thought_layer",
        "thought_rms", "add_bos",        "item_text",      "history_titles",      "category",
        NULL};
    if (!json_is_object(own)) return err_set(err, ERR_DATA, "%s: \"latentr3\" is no object", name);
    return refuse_unknown(own, "latentr3", known, name, err) || get_int(own, "thoughts", &c->thoughts, 0, name, err) ||
                   get_int(own, "thought_window", &c->thought_window, 0, name, err) ||
                   get_bool(own, "thought_hidden", &c->thought_hidden, name, err) ||
                   get_bool(own, "answer_sees_thought", &c->answer_sees_thought, name, err) ||
                   get_int(own, "thought_layer", &c->thought_layer, 0, name, err) ||
                   get_float(own, "thought_rms", &c->thought_rms, 0, name, err) ||
                   get_bool(own, "add_bos", &c->add_bos, name, err) || get_bool(own, "item_text", &c->item_text, name, err) ||
                   get_bool(own, "history_titles", &c->history_titles, name, err) ||
                   get_text(own, "category", c->category, sizeof c->category, name, err)
               ? -1
               : 0;
}

// ---- SASRec -------------------------------------------------------------------------------------------------------

static const char *const activation_name[] = {
    [ACTIVATION_SWIGLU] = "silu", [ACTIVATION_RELU] = "relu", [ACTIVATION_GELU] = "gelu_pytorch_tanh"};

ModelConfig config_sasrec(int items) {
    ModelConfig c = config_unset;
    c.family = FAMILY_SASREC;
    c.V = items;
    c.qkv_bias = c.biases = c.layer_norm = c.learned_positions = c.tied = 1;
    c.activation = ACTIVATION_RELU;
    c.rms_eps = 1e-8f; // as the original
    return c;
}

static int read_activation(ModelConfig *c, const json_t *json, const char *name, Err *err) {
    const char *text = json_string_value(get(json, "hidden_act"));
    for (int a = ACTIVATION_RELU; a <= ACTIVATION_GELU && text; a++)
        if (!strcmp(text, activation_name[a])) {
            c->activation = (Activation)a;
            return 0;
        }
    return err_set(err, ERR_DATA, "%s: hidden_act \"%.64s\" is not supported (relu and gelu_pytorch_tanh are)", name,
                   text ? text : "?");
}

static int read_sasrec(ModelConfig *c, const json_t *json, const char *name, Err *err) {
    *c = config_sasrec(0);
    if (get_int(json, "num_hidden_layers", &c->L, 1, name, err) || get_int(json, "hidden_size", &c->D, 1, name, err) ||
        get_int(json, "num_attention_heads", &c->H, 1, name, err) || get_int(json, "intermediate_size", &c->F, 1, name, err) ||
        get_int(json, "vocab_size", &c->V, 1, name, err) ||
        get_int(json, "max_position_embeddings", &c->max_positions, 1, name, err) ||
        get_float(json, "layer_norm_eps", &c->rms_eps, 0, name, err) ||
        get_bool(json, "tie_word_embeddings", &c->tied, name, err) || read_activation(c, json, name, err) ||
        read_own(c, json, name, err))
        return -1;
    if (c->H < 1 || c->D % c->H)
        return err_set(err, ERR_DATA, "%s: hidden_size %d does not divide by num_attention_heads %d", name, c->D, c->H);
    if (!c->tied) return err_set(err, ERR_DATA, "%s: \"tie_word_embeddings\": false is not supported for sasrec", name);
    c->G = c->H;
    c->K = c->D / c->H;
    return config_check(c, name, err);
}

int config_from_json(ModelConfig *c, const json_t *json, const char *name, Err *err) {
    *c = config_unset;
    if (!json_is_object(json)) return err_set(err, ERR_DATA, "%s: the configuration is no object", name);
    if (read_family(c, json, name, err)) return -1;
    if (c->family == FAMILY_SASREC) return read_sasrec(c, json, name, err);
    if (refuse_options(c, json, name, err) || get_int(json, "num_hidden_layers", &c->L, 1, name, err) ||
        get_int(json, "hidden_size", &c->D, 1, name, err) || get_int(json, "num_attention_heads", &c->H, 1, name, err) ||
        get_int(json, "intermediate_size", &c->F, 1, name, err) || get_int(json, "vocab_size", &c->V, 1, name, err) ||
        get_int(json, "max_position_embeddings", &c->max_positions, 1, name, err) ||
        get_float(json, "rms_norm_eps", &c->rms_eps, 0, name, err) || read_rope(c, json, name, err))
        return -1;
    // Models before grouped queries say nothing of key/value heads, older ones nothing of the head size.
    c->G = c->H;
    const int silent = !json_object_get(json, "num_key_value_heads"); // null says: as many as heads
    if (get_int(json, "num_key_value_heads", &c->G, c->family == FAMILY_QWEN2 && silent, name, err) ||
        get_int(json, "head_dim", &c->K, 0, name, err))
        return -1;
    if (!get(json, "head_dim")) {
        if (c->H < 1 || c->D % c->H)
            return err_set(err, ERR_DATA, "%s: hidden_size %d does not divide by num_attention_heads %d", name, c->D, c->H);
        c->K = c->D / c->H;
    }
    if (get_bool(json, "tie_word_embeddings", &c->tied, name, err) || get_id(json, "bos_token_id", &c->bos_id, name, err) ||
        get_id(json, "eos_token_id", &c->eos_id, name, err) || read_own(c, json, name, err))
        return -1;
    return config_check(c, name, err);
}

static json_t *id_or_null(int id) {
    return id < 0 ? json_null() : json_integer(id);
}

static json_t *own_json(const ModelConfig *c) {
    json_t *own = json_pack("{s:i, s:i, s:b, s:b}", "thoughts", c->thoughts, "thought_window", c->thought_window,
                            "thought_hidden", c->thought_hidden, "answer_sees_thought", c->answer_sees_thought);
    if (c->thought_layer > 0) json_object_set_new(own, "thought_layer", json_integer(c->thought_layer));
    if (c->thought_rms > 0) json_object_set_new(own, "thought_rms", json_real((double)c->thought_rms));
    if (c->add_bos >= 0) json_object_set_new(own, "add_bos", json_boolean(c->add_bos));
    if (c->item_text || c->history_titles) {
        json_object_set_new(own, "item_text", json_boolean(c->item_text));
        json_object_set_new(own, "history_titles", json_boolean(c->history_titles));
    }
    if (*c->category) json_object_set_new(own, "category", json_string(c->category));
    return own;
}

static json_t *sasrec_json(const ModelConfig *c, const char *dtype) {
    const ConfigFamily *family = &config_family[c->family];
    return json_pack("{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:b, s:o}", "architectures",
                     family->architecture, "model_type", family->model_type, "torch_dtype", dtype, "hidden_size", c->D,
                     "num_hidden_layers", c->L, "num_attention_heads", c->H, "intermediate_size", c->F, "vocab_size", c->V,
                     "max_position_embeddings", c->max_positions, "hidden_act", activation_name[c->activation],
                     "layer_norm_eps", (double)c->rms_eps, "tie_word_embeddings", c->tied, "latentr3", own_json(c));
}

json_t *config_to_json(const ModelConfig *c, const char *dtype) {
    if (c->family == FAMILY_SASREC) return sasrec_json(c, dtype);
    const ConfigFamily *family = &config_family[c->family];
    json_t *scaling = c->rope_factor == 0 ? json_null()
                                          : json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor",
                                                      (double)c->rope_factor, "low_freq_factor", (double)c->rope_low_freq,
                                                      "high_freq_factor", (double)c->rope_high_freq,
                                                      "original_max_position_embeddings", c->rope_original_positions);
    json_t *json = json_pack(
        "{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:o, s:b, s:o, s:o, s:o}", "architectures",
        family->architecture, "model_type", family->model_type, "torch_dtype", dtype, "hidden_size", c->D, "num_hidden_layers",
        c->L, "num_attention_heads", c->H, "num_key_value_heads", c->G, "head_dim", c->K, "intermediate_size", c->F,
        "vocab_size", c->V, "max_position_embeddings", c->max_positions, "hidden_act", "silu", "rms_norm_eps",
        (double)c->rms_eps, "rope_theta", (double)c->rope_base, "rope_scaling", scaling, "tie_word_embeddings", c->tied,
        "bos_token_id", id_or_null(c->bos_id), "eos_token_id", id_or_null(c->eos_id), "latentr3", own_json(c));
    CHECK(json);
    if (c->family == FAMILY_LLAMA) {
        json_object_set_new(json, "attention_bias", json_false());
        json_object_set_new(json, "mlp_bias", json_false());
    } else {
        json_object_set_new(json, "use_sliding_window", json_false());
    }
    return json;
}
