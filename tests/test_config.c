// The model's shape from config.json and from GGUF metadata: what is read, what defaults, what is refused by name.
#include "base/json.h"
#include "model/config.h"
#include "tests/gguf_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char llama[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":576,"
    "\"intermediate_size\":1536,\"max_position_embeddings\":8192,\"num_attention_heads\":9,\"num_hidden_layers\":30,"
    "\"num_key_value_heads\":3,\"rms_norm_eps\":1e-05,\"rope_scaling\":null,\"rope_theta\":100000,"
    "\"tie_word_embeddings\":true,\"vocab_size\":49152,\"bos_token_id\":1,\"eos_token_id\":[2,0],\"mlp_bias\":false}";
static const char qwen2[] =
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_act\":\"silu\",\"hidden_size\":1536,"
    "\"intermediate_size\":8960,\"max_position_embeddings\":131072,\"num_attention_heads\":12,\"num_hidden_layers\":28,"
    "\"num_key_value_heads\":2,\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"sliding_window\":131072,"
    "\"use_sliding_window\":false,\"tie_word_embeddings\":true,\"vocab_size\":151936,\"bos_token_id\":151643,"
    "\"eos_token_id\":151643}";

// The configuration with the keys of the object `change` set, or taken away where it says "-".
static json_t *changed(const char *base, const char *change) {
    Err err = {0};
    json_t *json = json_parse(base, strlen(base), "base", &err), *patch = json_parse(change, strlen(change), "patch", &err), *v;
    if (!json || !patch) fail_msg("%s", err.message);
    const char *key;
    json_object_foreach(patch, key, v) {
        if (json_is_string(v) && strcmp(json_string_value(v), "-") == 0)
            json_object_del(json, key);
        else
            json_object_set(json, key, v);
    }
    json_decref(patch);
    return json;
}

static ModelConfig read_config(const char *base, const char *change) {
    ModelConfig c;
    Err err = {0};
    json_t *json = changed(base, change);
    if (config_from_json(&c, json, "config.json", &err)) fail_msg("%s: %s", change, err.message);
    json_decref(json);
    return c;
}

static void refuse(const char *base, const char *change, const char *part) {
    ModelConfig c;
    Err err = {0};
    json_t *json = changed(base, change);
    if (config_from_json(&c, json, "config.json", &err) != -1) fail_msg("%s: accepted", change);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, "config.json") || !strstr(err.message, part))
        fail_msg("%s: \"%s\" should name \"%s\"", change, err.message, part);
    json_decref(json);
}

static void test_real_configs(void **state) {
    (void)state;
    ModelConfig c = read_config(llama, "{}");
    assert_int_equal(c.family, FAMILY_LLAMA);
    assert_true(c.L == 30 && c.D == 576 && c.H == 9 && c.G == 3 && c.K == 64 && c.F == 1536 && c.V == 49152);
    assert_true(c.tied == 1 && c.qkv_bias == 0 && c.max_positions == 8192 && c.bos_id == 1 && c.eos_id == 2);
    assert_true(c.rms_eps == 1e-5f && c.rope_base == 100000 && c.rope_factor == 0);
    assert_true(c.thoughts == 0 && c.thought_window == 0 && c.thought_hidden == 0 && c.add_bos == -1);
    c = read_config(qwen2, "{}");
    assert_int_equal(c.family, FAMILY_QWEN2);
    assert_true(c.qkv_bias == 1 && c.K == 128 && c.G == 2 && c.eos_id == 151643);
    c = read_config(llama,
                    "{\"head_dim\":32,\"num_key_value_heads\":\"-\",\"tie_word_embeddings\":\"-\",\"rope_theta\":\"-\"}");
    assert_true(c.K == 32 && c.G == 9 && c.tied == 0 && c.rope_base == 10000);
    c = read_config(llama, "{\"bos_token_id\":null,\"eos_token_id\":\"-\",\"head_dim\":null}");
    assert_true(c.bos_id == -1 && c.eos_id == -1 && c.K == 64);
    c = read_config(qwen2, "{\"attention_bias\":true,\"layer_types\":[\"full_attention\"]}"); // Qwen2 always has the bias
    assert_int_equal(c.qkv_bias, 1);
    c = read_config(qwen2, "{\"num_key_value_heads\":null}"); // as many as heads
    assert_int_equal(c.G, c.H);
    refuse(qwen2, "{\"num_key_value_heads\":\"-\"}", "\"num_key_value_heads\" is missing");
}

static void test_rope(void **state) {
    (void)state;
    const char *scaling = "{\"factor\":32.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                          "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"";
    char change[512];
    snprintf(change, sizeof change, "{\"rope_scaling\":%s}}", scaling);
    ModelConfig c = read_config(llama, change);
    assert_true(c.rope_factor == 32 && c.rope_low_freq == 1 && c.rope_high_freq == 4 && c.rope_original_positions == 8192);
    assert_true(c.rope_base == 100000);
    snprintf(change, sizeof change, "{\"rope_theta\":\"-\",\"rope_scaling\":\"-\",\"rope_parameters\":%s,\"rope_theta\":5e5}}",
             scaling);
    c = read_config(llama, change);
    assert_true(c.rope_factor == 32 && c.rope_base == 500000);
    c = read_config(qwen2, "{\"rope_theta\":\"-\",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":12345.0}}");
    assert_true(c.rope_base == 12345 && c.rope_factor == 0);
    // Both spellings: transformers takes the older one alone.
    refuse(llama,
           "{\"rope_scaling\":{\"type\":\"default\"},\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":10000.0}}",
           "say different things");
    c = read_config(llama, "{\"rope_scaling\":{\"type\":\"default\"},\"rope_parameters\":{\"type\":\"default\"}}");
    assert_true(c.rope_base == 100000 && c.rope_factor == 0);
    // The original positions: those of the model where nothing is said, and said twice they must be the same.
    const char *unsaid =
        "{\"rope_scaling\":{\"factor\":32.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"rope_type\":\"llama3\"}";
    snprintf(change, sizeof change, "%s}", unsaid);
    c = read_config(llama, change);
    assert_int_equal(c.rope_original_positions, 8192);
    snprintf(change, sizeof change, "%s,\"original_max_position_embeddings\":8192}", unsaid);
    read_config(llama, change);
    snprintf(change, sizeof change, "%s,\"original_max_position_embeddings\":4096}", unsaid);
    refuse(llama, change, "original_max_position_embeddings is 4096, and 8192");
    refuse(llama, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", "\"linear\"");
    refuse(llama, "{\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}}", "\"dynamic\"");
    refuse(qwen2, "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}}", "\"yarn\"");
    refuse(qwen2, "{\"rope_scaling\":{\"type\":\"default\",\"mrope_section\":[16,24,24]}}", "\"mrope_section\"");
    refuse(qwen2, "{\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}}", "\"full_attention\"");
    refuse(llama, "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}}", "low_freq_factor");
    refuse(llama, "{\"rope_scaling\":{\"rope_type\":3}}", "no string");
    refuse(llama, "{\"rope_scaling\":[]}", "no object");
    snprintf(change, sizeof change, "{\"rope_scaling\":%s,\"factor\":8}}",
             "{\"rope_type\":\"llama3\",\"low_freq_factor\":4,"
             "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192");
    refuse(llama, change, "low_freq_factor < high_freq_factor");
    refuse(llama,
           "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":0,\"low_freq_factor\":1,\"high_freq_factor\":4,"
           "\"original_max_position_embeddings\":8192}}",
           "factor");
    refuse(llama,
           "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":0.5,\"low_freq_factor\":1,\"high_freq_factor\":4,"
           "\"original_max_position_embeddings\":8192}}",
           "not at least 1");
    refuse(llama, "{\"rope_parameters\":{\"rope_theta\":true}}", "rope_theta");
    refuse(llama, "{\"partial_rotary_factor\":0.5}", "partial_rotary_factor");
    refuse(llama, "{\"rope_parameters\":{\"partial_rotary_factor\":0.25}}", "partial_rotary_factor");
    refuse(llama, "{\"rope_theta\":0}", "rotary base");
    refuse(llama, "{\"rope_theta\":-1e4}", "rotary base");
    refuse(llama, "{\"rope_theta\":1e300}", "1e30");
    refuse(llama, "{\"rope_theta\":\"1e4\"}", "not a number");
}

static void test_refused(void **state) {
    (void)state;
    refuse(llama, "{\"model_type\":\"mistral\"}", "\"mistral\"");
    refuse(llama, "{\"model_type\":\"-\"}", "model_type");
    refuse(llama, "{\"model_type\":1}", "model_type");
    refuse(llama, "{\"architectures\":[\"LlamaForSequenceClassification\"]}", "LlamaForSequenceClassification");
    refuse(llama, "{\"architectures\":\"LlamaForCausalLM\"}", "no list");
    refuse(qwen2, "{\"architectures\":[\"LlamaForCausalLM\"]}", "LlamaForCausalLM");
    refuse(llama, "{\"hidden_act\":\"gelu\"}", "\"gelu\"");
    refuse(llama, "{\"hidden_act\":1}", "hidden_act");
    refuse(llama, "{\"attention_bias\":true}", "attention_bias");
    refuse(llama, "{\"mlp_bias\":true}", "mlp_bias");
    refuse(llama, "{\"mlp_bias\":0}", "mlp_bias");
    refuse(qwen2, "{\"use_sliding_window\":true}", "use_sliding_window");
    refuse(qwen2, "{\"layer_types\":[\"full_attention\",\"sliding_attention\"]}", "sliding_attention");
    refuse(qwen2, "{\"layer_types\":1}", "layer_types");
    refuse(llama, "{\"quantization_config\":{\"quant_method\":\"gptq\"}}", "quantization_config");
    refuse(llama, "{\"tie_word_embeddings\":\"yes\"}", "tie_word_embeddings");
    refuse(llama, "{\"tie_word_embeddings\":1}", "tie_word_embeddings");
    refuse(llama, "{\"eos_token_id\":\"2\"}", "eos_token_id");
    refuse(llama, "{\"eos_token_id\":[2.5]}", "eos_token_id");
    refuse(llama, "{\"eos_token_id\":49152}", "outside the vocabulary");
    refuse(llama, "{\"bos_token_id\":-2}", "bos_token_id");
    refuse(qwen2, "{\"num_key_value_heads\":\"-\"}", "num_key_value_heads");
    Err err = {0};
    ModelConfig c;
    json_t *list = json_array();
    assert_int_equal(config_from_json(&c, list, "config.json", &err), -1);
    json_decref(list);
}

static void test_sizes(void **state) {
    (void)state;
    const char *const key[] = {"num_hidden_layers", "hidden_size",       "num_attention_heads",     "num_key_value_heads",
                               "head_dim",          "intermediate_size", "max_position_embeddings", "vocab_size"};
    const char *const wrong[] = {"0",   "-1",    "-2147483648", "2147483647", "4294967296", "9223372036854775807",
                                 "1.0", "\"8\"", "[]"};
    for (size_t i = 0; i < sizeof key / sizeof *key; i++)
        for (size_t j = 0; j < sizeof wrong / sizeof *wrong; j++) {
            char change[128];
            snprintf(change, sizeof change, "{\"%s\":%s}", key[i], wrong[j]);
            refuse(llama, change, "");
        }
    refuse(llama, "{\"num_hidden_layers\":513}", "not in 1..512");
    refuse(llama, "{\"num_attention_heads\":7}", "does not divide");
    refuse(llama, "{\"num_key_value_heads\":4}", "do not divide");
    refuse(llama, "{\"head_dim\":63}", "odd");
    refuse(llama, "{\"rms_norm_eps\":0}", "rms_norm_eps");
    refuse(llama, "{\"rms_norm_eps\":-1e-5}", "rms_norm_eps");
    refuse(llama, "{\"rms_norm_eps\":1}", "rms_norm_eps");
    refuse(llama, "{\"vocab_size\":\"-\"}", "\"vocab_size\" is missing");
}

static void test_own_keys(void **state) {
    (void)state;
    ModelConfig c = read_config(llama, "{\"latentr3\":{\"thoughts\":2,\"thought_window\":64,\"thought_hidden\":true,\"answer_"
                                       "sees_thought\":true,\"add_bos\":true}}");
    assert_true(c.thoughts == 2 && c.thought_window == 64 && c.thought_hidden == 1 && c.answer_sees_thought == 1 &&
                c.add_bos == 1);
    c = read_config(llama, "{\"latentr3\":{\"thoughts\":1,\"thought_layer\":29}}");
    assert_true(c.thought_layer == 29);
    c = read_config(llama, "{\"latentr3\":{}}");
    assert_true(c.thoughts == 0 && c.thought_layer == 0 && c.add_bos == -1);
    refuse(llama, "{\"latentr3\":{\"thought\":1}}", "\"thought\"");
    refuse(llama, "{\"latentr3\":{\"thoughts\":17}}", "not in 0..16");
    refuse(llama, "{\"latentr3\":{\"thoughts\":-1}}", "thoughts");
    refuse(llama, "{\"latentr3\":{\"thoughts\":true}}", "thoughts");
    refuse(llama, "{\"latentr3\":{\"thought_window\":-1}}", "thought_window");
    refuse(llama, "{\"latentr3\":{\"thought_window\":16777217}}", "thought_window");
    refuse(llama, "{\"latentr3\":{\"thought_layer\":-1}}", "thought_layer");
    refuse(llama, "{\"latentr3\":{\"thought_layer\":30}}", "thought_layer is 30, not below the 30 layers");
    refuse(llama, "{\"latentr3\":{\"thought_hidden\":1}}", "thought_hidden");
    refuse(llama, "{\"latentr3\":{\"thought_rms\":-0.1}}", "thought_rms is -0.1, not in 0..10000");
    refuse(llama, "{\"latentr3\":{\"thought_rms\":10001}}", "thought_rms");
    refuse(llama, "{\"latentr3\":{\"thought_rms\":\"1\"}}", "thought_rms");
    refuse(llama, "{\"latentr3\":{\"answer_sees_thought\":true}}", "there are none");
    refuse(llama, "{\"latentr3\":{\"category\":7}}", "\"category\" is no text of at most 131 bytes");
    char long_phrase[200] = "{\"latentr3\":{\"category\":\"";
    memset(long_phrase + strlen(long_phrase), 'x', 132);
    refuse(llama, strcat(long_phrase, "\"}}"), "at most 131 bytes");
    refuse(llama, "{\"latentr3\":[]}", "latentr3");
    refuse(llama, "{\"hidden_size\":577,\"head_dim\":64,\"latentr3\":{\"thoughts\":1}}", "odd");
}

static void test_round_trip(void **state) {
    (void)state;
    const char *const change[] = {
        "{\"latentr3\":{\"thoughts\":2,\"thought_window\":64,\"thought_hidden\":true,\"answer_sees_thought\":true,"
        "\"thought_layer\":3,\"thought_rms\":0.1,\"add_bos\":false,\"category\":\"video game\"}}",
        "{\"bos_token_id\":null,\"eos_token_id\":null,\"tie_word_embeddings\":false,\"head_dim\":32,\"rms_norm_eps\":1."
        "2345678e-5}",
        "{\"rope_scaling\":{\"factor\":32.5,\"low_freq_factor\":1.25,\"high_freq_factor\":4.0,"
        "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}}"};
    for (size_t i = 0; i < 2 * sizeof change / sizeof *change; i++) {
        ModelConfig c = read_config(i & 1 ? qwen2 : llama, change[i / 2]), again;
        Err err = {0};
        json_t *json = config_to_json(&c, "bfloat16");
        char *text = json_dumps(json, JSON_REAL_PRECISION(9)); // as json_save writes
        json_decref(json);
        json = json_parse(text, strlen(text), "again", &err);
        if (config_from_json(&again, json, "again", &err)) fail_msg("%s", err.message);
        assert_string_equal(json_string_value(json_object_get(json, "torch_dtype")), "bfloat16");
        assert_memory_equal(&c, &again, sizeof c);
        json_decref(json);
        free(text);
    }
}

// ---- GGUF ---------------------------------------------------------------------------------------------------------

enum { V = 40, D = 32, F32 = 0 };

// A llama of 2 layers, less one key ("-": none) that the caller may then give otherwise.
static GgufBuilder tiny(const char *without) {
    GgufBuilder b = {.alignment = 32};
    static const struct {
        const char *key;
        uint32_t value;
    } number[] = {
        {"llama.block_count", 2},          {"llama.context_length", 512},         {"llama.embedding_length", D},
        {"llama.feed_forward_length", 64}, {"llama.attention.head_count", 4},     {"llama.attention.head_count_kv", 2},
        {"llama.vocab_size", V},           {"llama.rope.dimension_count", D / 4}, {"tokenizer.ggml.eos_token_id", 3}};
    if (strcmp(without, "general.architecture")) gb_string(&b, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        if (strcmp(without, number[i].key)) gb_u32(&b, number[i].key, number[i].value);
    if (strcmp(without, "llama.attention.layer_norm_rms_epsilon")) gb_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (strcmp(without, "llama.rope.freq_base")) gb_f32(&b, "llama.rope.freq_base", 50000);
    if (strcmp(without, "tokens")) {
        gb_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, V);
        for (int i = 0; i < V; i++) put_string(&b.values, "t");
    }
    if (strcmp(without, "token_embd.weight"))
        gb_tensor(&b, "token_embd.weight", 2, (int64_t[]){V, D}, F32, NULL, V * D * sizeof(float));
    return b;
}

static int from_builder(ModelConfig *c, GgufBuilder b, Err *err) {
    Str file = gb_finish(&b);
    Gguf g;
    if (gguf_parse(&g, file.data, file.len, "model.gguf", err)) fail_msg("%s", err->message);
    int status = config_from_gguf(c, &g, err);
    gguf_close(&g);
    str_free(&file);
    return status;
}

static void refuse_gguf(GgufBuilder b, const char *part) {
    ModelConfig c;
    Err err = {0};
    if (from_builder(&c, b, &err) != -1) fail_msg("accepted; wanted \"%s\"", part);
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.message, "model.gguf") || !strstr(err.message, part))
        fail_msg("\"%s\" should name \"%s\"", err.message, part);
}

static void refuse_u32(const char *key, uint32_t value, const char *part) {
    GgufBuilder b = tiny(key);
    gb_u32(&b, key, value);
    refuse_gguf(b, part);
}

static void refuse_f32(const char *key, float value, const char *part) {
    GgufBuilder b = tiny(key);
    gb_f32(&b, key, value);
    refuse_gguf(b, part);
}

static void test_gguf(void **state) {
    (void)state;
    ModelConfig c;
    Err err = {0};
    GgufBuilder b = tiny("-");
    gb_bool(&b, "tokenizer.ggml.add_bos_token", 0);
    if (from_builder(&c, b, &err)) fail_msg("%s", err.message);
    assert_true(c.family == FAMILY_LLAMA && c.L == 2 && c.D == D && c.H == 4 && c.G == 2 && c.K == 8 && c.F == 64 && c.V == V);
    assert_true(c.tied == 1 && c.rope_base == 50000 && c.rms_eps == 1e-5f && c.bos_id == -1 && c.eos_id == 3);
    assert_true(c.add_bos == 0 && c.max_positions == 512 && c.thoughts == 0);
    b = tiny("llama.attention.head_count_kv");
    gb_tensor(&b, "output.weight", 2, (int64_t[]){V, D}, F32, NULL, V * D * sizeof(float));
    gb_u32(&b, "llama.expert_count", 0);
    gb_string(&b, "llama.rope.scaling.type", "none");
    if (from_builder(&c, b, &err)) fail_msg("%s", err.message);
    assert_true(c.G == 4 && c.tied == 0 && c.add_bos == -1);
    // Llama 3's prompts begin with BOS unless the file says otherwise.
    static const char *const pre[] = {"llama-bpe", "qwen2"};
    for (int i = 0; i < 4; i++) {
        b = tiny("-");
        gb_string(&b, "tokenizer.ggml.pre", pre[i % 2]);
        gb_u32(&b, "tokenizer.ggml.bos_token_id", 1);
        if (i >= 2) gb_bool(&b, "tokenizer.ggml.add_bos_token", i % 2);
        if (from_builder(&c, b, &err)) fail_msg("%s", err.message);
        assert_int_equal(c.add_bos, i == 0 ? 1 : i == 1 ? -1 : i % 2);
    }
    b = tiny("-");
    gb_string(&b, "tokenizer.ggml.pre", "llama-bpe");
    if (from_builder(&c, b, &err)) fail_msg("%s", err.message);
    assert_true(c.add_bos == -1 && c.bos_id == -1);
    b = tiny("-"); // and Llama 2's
    gb_string(&b, "tokenizer.ggml.model", "llama");
    gb_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    if (from_builder(&c, b, &err)) fail_msg("%s", err.message);
    assert_int_equal(c.add_bos, 1);
}

static void test_gguf_refused(void **state) {
    (void)state;
    GgufBuilder b = tiny("general.architecture");
    gb_string(&b, "general.architecture", "gemma");
    refuse_gguf(b, "\"gemma\"");
    refuse_gguf(tiny("general.architecture"), "general.architecture");
    refuse_gguf(tiny("llama.block_count"), "llama.block_count");
    refuse_u32("llama.block_count", 513, "not in 1..512");
    refuse_u32("llama.block_count", 0, "not in 1..512");
    refuse_u32("llama.block_count", UINT32_MAX, "llama.block_count");
    b = tiny("llama.block_count");
    gb_key(&b, "llama.block_count", GGUF_U64), put_u64(&b.values, (uint64_t)1 << 32);
    refuse_gguf(b, "llama.block_count");
    b = tiny("llama.block_count");
    gb_string(&b, "llama.block_count", "2");
    refuse_gguf(b, "llama.block_count");
    refuse_u32("llama.attention.head_count", 0, "does not divide");
    refuse_u32("llama.attention.head_count", 5, "does not divide");
    refuse_u32("llama.attention.head_count_kv", 0, "key/value heads");
    refuse_u32("llama.attention.head_count_kv", 3, "do not divide");
    refuse_u32("llama.vocab_size", V + 1, "vocab_size");
    refuse_u32("llama.rope.dimension_count", 4, "rotary embedding over 4");
    refuse_u32("llama.rope.scaling.factor", 1, "no real number");
    refuse_u32("llama.expert_count", 8, "experts");
    refuse_u32("llama.attention.sliding_window", 4096, "sliding_window");
    refuse_u32("llama.attention.value_length", 4, "values");
    refuse_u32("tokenizer.ggml.eos_token_id", V, "outside the vocabulary");
    refuse_u32("tokenizer.ggml.bos_token_id", UINT32_MAX, "no token id");
    refuse_f32("llama.attention.layer_norm_rms_epsilon", 0, "rms_norm_eps");
    refuse_f32("llama.attention.layer_norm_rms_epsilon", NAN, "layer_norm_rms_epsilon");
    refuse_f32("llama.rope.freq_base", INFINITY, "freq_base");
    refuse_f32("llama.rope.scaling.factor", 4, "rotary scaling");
    refuse_f32("llama.logit_scale", 2, "llama.logit_scale");
    b = tiny("-");
    gb_string(&b, "llama.rope.scaling.type", "yarn");
    refuse_gguf(b, "\"yarn\"");
    refuse_gguf(tiny("token_embd.weight"), "token_embd.weight");
}

static void test_gguf_vocabulary(void **state) {
    (void)state;
    GgufBuilder b = tiny("tokens");
    gb_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, V - 1);
    for (int i = 0; i < V - 1; i++) put_string(&b.values, "t");
    refuse_gguf(b, "tokenizer.ggml.tokens has 39 entries");
    b = tiny("tokens");
    gb_array(&b, "tokenizer.ggml.tokens", GGUF_I32, V);
    for (int i = 0; i < V; i++) put_u32(&b.values, 0);
    refuse_gguf(b, "tokenizer.ggml.tokens is no array");
    b = tiny("-");
    gb_array(&b, "tokenizer.ggml.token_type", GGUF_I32, 1);
    put_u32(&b.values, 0);
    refuse_gguf(b, "tokenizer.ggml.token_type has 1 entries");
    b = tiny("-");
    gb_array(&b, "tokenizer.ggml.scores", GGUF_F64, 1);
    put_u64(&b.values, 0);
    refuse_gguf(b, "tokenizer.ggml.scores");
    b = tiny("-");
    gb_string(&b, "tokenizer.ggml.merges", "a b");
    refuse_gguf(b, "tokenizer.ggml.merges");
    b = tiny("-");
    gb_u32(&b, "tokenizer.ggml.add_bos_token", 1);
    refuse_gguf(b, "add_bos_token");
}

// Llama-3 scaling stands in GGUF as divisors; the factors come back out of them.
static void test_gguf_rope_freqs(void **state) {
    (void)state;
    enum { K = 64 };
    float divisor[K / 2];
    for (int i = 0; i < K / 2; i++) {
        double wave = 2 * acos(-1) * pow(50000, 2.0 * i / K), smooth = (8192 / wave - 1) / (4 - 1);
        divisor[i] = wave < 8192 / 4.0 ? 1 : wave > 8192 / 1.0 ? 32 : (float)(1 / ((1 - smooth) / 32 + smooth));
    }
    for (int kind = 0; kind < 4; kind++) {
        GgufBuilder b = tiny("llama.rope.dimension_count"); // whose base is 50000
        gb_u32(&b, "llama.attention.key_length", K);
        gb_u32(&b, "llama.attention.value_length", K);
        float given[K / 2];
        for (int i = 0; i < K / 2; i++) given[i] = kind == 1 ? 1 : divisor[i];
        if (kind == 2) given[20] *= 1.01f;
        if (kind == 3) given[0] = NAN;
        gb_tensor(&b, "rope_freqs.weight", 1, (int64_t[]){K / 2}, F32, given, sizeof given);
        ModelConfig c;
        Err err = {0};
        int status = from_builder(&c, b, &err);
        assert_int_equal(status, kind >= 2 ? -1 : 0);
        if (kind == 0) assert_true(c.rope_factor == 32 && c.rope_low_freq == 1 && c.rope_high_freq == 4);
        if (kind == 1) assert_true(c.rope_factor == 0);
        if (kind >= 2) assert_non_null(strstr(err.message, "rope_freqs.weight["));
    }
    GgufBuilder b = tiny("-");
    gb_tensor(&b, "rope_freqs.weight", 1, (int64_t[]){K / 2}, F32, divisor, sizeof divisor);
    refuse_gguf(b, "not F32 of 4 values");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_configs),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_own_keys),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_gguf_refused),
        cmocka_unit_test(test_gguf_vocabulary),
        cmocka_unit_test(test_gguf_rope_freqs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
