#include "model/weights.h"
#include "base/arena.h"
#include "base/hash.h"
#include "model/adapter.h"
#include "model/frozen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Values held on the host at a time. The widest row of any model fits (config_check), and every block divides it.
enum { STAGE = 1 << 20, MAX_JSON = 1 << 20, MAX_INDEX = 64 << 20 };

// ---- names --------------------------------------------------------------------------------------------------------

// "model.layers.7.mlp.up_proj.weight" -> "blk.7.ffn_up.weight"; empty for a tensor that GGUF files do not have.
static void gguf_name(char out[80], const char *name) {
    static const char *const pair[][2] = {
        {"model.embed_tokens", "token_embd"},
        {"lm_head", "output"},
        {"model.norm", "output_norm"},
        {"input_layernorm", "attn_norm"},
        {"self_attn.q_proj", "attn_q"},
        {"self_attn.k_proj", "attn_k"},
        {"self_attn.v_proj", "attn_v"},
        {"self_attn.o_proj", "attn_output"},
        {"post_attention_layernorm", "ffn_norm"},
        {"mlp.gate_proj", "ffn_gate"},
        {"mlp.up_proj", "ffn_up"},
        {"mlp.down_proj", "ffn_down"},
    };
    const char *rest = name, *suffix = strrchr(name, '.');
    int layer = -1, skip = 0;
    if (sscanf(name, "model.layers.%d.%n", &layer, &skip) == 1) rest = name + skip;
    *out = 0;
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        size_t n = strlen(pair[i][0]);
        if (strncmp(rest, pair[i][0], n) || rest + n != suffix) continue;
        if (layer >= 0)
            snprintf(out, 80, "blk.%d.%s%s", layer, pair[i][1], suffix);
        else
            snprintf(out, 80, "%s%s", pair[i][1], suffix);
    }
}

const Tensor *weights_find(const WeightsSource *s, const char *name) {
    char other[80];
    if (!s->is_gguf) return safetensors_find(&s->tensors, name);
    gguf_name(other, name);
    return gguf_tensor(&s->gguf, other);
}

static int is_table(const char *name) { // a row for each token
    return strcmp(name, "model.embed_tokens.weight") == 0 || strcmp(name, "lm_head.weight") == 0;
}

// ---- opening ------------------------------------------------------------------------------------------------------

static const char *shape_text(char out[96], int n, const int64_t *dims) {
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < n && at < 64; i++)
        at += (size_t)snprintf(out + at, 96 - at, "%s%lld", i ? ", " : "", (long long)dims[i]);
    return out;
}

static int check_param(const WeightsSource *s, const Param *p, Err *err) {
    const Tensor *t = weights_find(s, p->name);
    char have[96], want[96], other[80] = "";
    if (s->is_gguf) gguf_name(other, p->name);
    if (!t) return err_set(err, ERR_DATA, "%s: tensor \"%s\" is missing", s->path, *other ? other : p->name);
    if (t->type >= TENSOR_I32)
        return err_set(err, ERR_DATA, "%s: tensor \"%s\" has type %s, which holds no weights", s->path, t->name,
                       tensor_type_name(t->type));
    int64_t dims[2] = {p->dims[0], p->dims[1]};
    if (t->n_dims == p->n_dims && memcmp(t->dims, dims, (size_t)p->n_dims * sizeof *dims) == 0) return 0;
    return err_set(err, ERR_DATA, "%s: tensor \"%s\" has shape [%s], the configuration wants [%s]", s->path, t->name,
                   shape_text(have, t->n_dims, t->dims), shape_text(want, p->n_dims, dims));
}

// Tensors beside the model's own that are known to say nothing more.
static int is_redundant(const WeightsSource *s, const Tensor *t) {
    static const char buffer[] = ".rotary_emb.inv_freq"; // computed; old checkpoints hold it
    size_t n = strlen(t->name), m = strlen(buffer);
    if (s->is_gguf) return strcmp(t->name, "rope_freqs.weight") == 0; // read with the configuration
    if (n > m && strcmp(t->name + n - m, buffer) == 0) return 1;
    if (!s->config.tied || strcmp(t->name, "lm_head.weight")) return 0;
    const Tensor *embed = weights_find(s, "model.embed_tokens.weight");
    return t->type == embed->type && t->bytes == embed->bytes && memcmp(t->data, embed->data, t->bytes) == 0;
}

// Every tensor of the model is there in its shape, and no other.
static int check_tensors(const WeightsSource *s, Err *err) {
    const Tensor *all = s->is_gguf ? s->gguf.tensor : s->tensors.tensor;
    int n = s->is_gguf ? s->gguf.n_tensors : s->tensors.n, status = 0;
    char *used = mem_zalloc((size_t)n, 1);
    ModelConfig c = s->config;
    Params params;
    if (s->has_latent) { // even where it will not be used
        if (!c.thoughts) c.thoughts = 1;
        c.thought_hidden = 0;
    }
    params_init(&params, &c);
    for (int i = 0; i < params.n && status == 0; i++) {
        status = check_param(s, &params.param[i], err);
        if (status == 0) used[weights_find(s, params.param[i].name) - all] = 1;
    }
    for (int i = 0; i < n && status == 0; i++)
        if (!used[i] && !is_redundant(s, &all[i]))
            status = err_set(err, ERR_DATA, "%s: unexpected tensor \"%.200s\"%s", s->path, all[i].name,
                             strcmp(all[i].name, "lm_head.weight") ? "" : ": it differs from the embeddings it is tied to");
    params_free(&params);
    free(used);
    return status;
}

static int holds(const WeightsSource *s, const char *name) {
    return file_exists_in(s->path, name);
}

static int check_folder(const WeightsSource *s, Err *err) {
    if (!holds(s, "config.json"))
        return err_set(err, ERR_IO, "%s: holds no config.json%s", s->path,
                       holds(s, "info.txt") ? ": it is a data folder, not a model" : "");
    if (holds(s, "model.safetensors") || holds(s, "model.safetensors.index.json")) return 0;
    if (holds(s, "pytorch_model.bin") || holds(s, "pytorch_model.bin.index.json"))
        return err_set(err, ERR_IO,
                       "%s: pytorch_model.bin is not read; load the folder with transformers and save_pretrained() it, which "
                       "writes model.safetensors",
                       s->path);
    return err_set(err, ERR_IO, "%s: neither model.safetensors nor model.safetensors.index.json is there", s->path);
}

int weights_forget(const char *folder, Err *err) {
    static const char *const whole[] = {"model.safetensors.index.json", "model.safetensors"};
    json_t *index = json_read_in(folder, whole[0], MAX_INDEX), *shard;
    const char *tensor;
    int status = file_remove_all(folder, whole, 2, err);
    json_object_foreach(json_object_get(index, "weight_map"), tensor, shard) {
        const char *name = json_string_value(shard);
        if (status == 0 && name && !strchr(name, '/') && file_ends_with(name, ".safetensors"))
            status = file_remove_all(folder, &name, 1, err);
    }
    json_decref(index);
    return status;
}

static int open_folder(WeightsSource *s, Err *err) {
    if (check_folder(s, err)) return -1;
    char *config = file_join(s->path, "config.json"), *generation = file_join(s->path, "generation_config.json");
    char *single = file_join(s->path, "model.safetensors"), *index = file_join(s->path, "model.safetensors.index.json");
    int status = -1;
    if ((s->config_json = json_read(config, MAX_JSON, err))) status = config_from_json(&s->config, s->config_json, config, err);
    if (status == 0) status = json_read_optional(&s->generation, generation, MAX_JSON, err);
    if (s->generation && !json_is_object(s->generation)) status = err_set(err, ERR_DATA, "%s: no object", generation);
    if (status == 0) status = safetensors_open(&s->tensors, file_exists(single) ? single : index, err);
    s->has_latent = status == 0 && safetensors_find(&s->tensors, "attention.query.weight");
    if (status == 0 && !json_object_get(json_object_get(s->config_json, "latentr3"), "thoughts"))
        s->config.thoughts = s->has_latent;
    free(config), free(generation), free(single), free(index);
    return status;
}

static int open_gguf(WeightsSource *s, Err *err) {
    int64_t parts = 1;
    if (gguf_open(&s->gguf, s->path, err)) return -1;
    if (gguf_find(&s->gguf, "split.count") && gguf_int(&s->gguf, "split.count", &parts, err)) return -1;
    if (parts > 1)
        return err_set(err, ERR_DATA, "%s: one of %lld parts of a model: merge them with `llama-gguf-split --merge`", s->path,
                       (long long)parts);
    return config_from_gguf(&s->config, &s->gguf, err);
}

int weights_open(WeightsSource *s, const char *path, Err *err) {
    *s = (WeightsSource){.path = mem_strndup(path, strlen(path)), .is_gguf = !file_is_folder(path)};
    int status = s->is_gguf ? open_gguf(s, err) : open_folder(s, err);
    if (status == 0) status = check_tensors(s, err);
    if (status) weights_close(s);
    return status;
}

void weights_close(WeightsSource *s) {
    gguf_close(&s->gguf);
    safetensors_close(&s->tensors);
    json_decref(s->generation), json_decref(s->config_json);
    free(s->path);
    *s = (WeightsSource){0};
}

// ---- loading ------------------------------------------------------------------------------------------------------

typedef struct Loader {
    Llm *m;
    const WeightsSource *s;
    float *stage; // (STAGE)
    Err *err;
} Loader;

// GGUF files of the Llama family pair neighbouring values of a head in the rotary embedding, we and Hugging Face files pair
// value j with j + K/2. Row 2j + p of a head there is row p K/2 + j here.
size_t weights_source_row(const WeightsSource *s, const ModelConfig *c, const Param *p, size_t row) {
    const size_t K = (size_t)c->K, at = row % K;
    if (!s->is_gguf || c->family != FAMILY_LLAMA) return row;
    if (!strstr(p->name, ".q_proj.weight") && !strstr(p->name, ".k_proj.weight")) return row;
    return row - at + 2 * (at % (K / 2)) + at / (K / 2);
}

int weights_check_finite(const WeightsSource *s, const Tensor *t, Err *err) {
    const size_t width = (size_t)t->dims[t->n_dims - 1];
    const char *path = s->is_gguf ? s->path : safetensors_path(&s->tensors, t);
    float *row = mem_alloc(width, sizeof *row);
    int status = 0;
    for (size_t at = 0; at < t->count && status == 0; at += width) {
        tensor_to_f32(row, t, at, width);
        const size_t bad = tensor_first_not_finite(row, width);
        if (bad < width)
            status = err_set(err, ERR_DATA, "%s: tensor \"%s\": a value in row %zu, column %zu is not finite", path, t->name,
                             at / width, bad);
    }
    free(row);
    return status;
}

// Rows [first, first + n) of p into the stage.
static int read_rows(const Loader *l, const Param *p, const Tensor *t, size_t first, size_t n, size_t width) {
    for (size_t r = 0; r < n; r++)
        tensor_to_f32(l->stage + r * width, t, weights_source_row(l->s, &l->m->config, p, first + r) * width, width);
    return tensor_first_not_finite(l->stage, n * width) < n * width ? weights_check_finite(l->s, t, l->err) : 0;
}

float *weights_mean_row(const WeightsSource *s, const ModelConfig *c, const Param *p) {
    const Tensor *t = weights_find(s, p->name);
    const size_t width = (size_t)p->dims[1], have = (size_t)t->dims[0];
    if (have >= (size_t)p->dims[0]) return NULL;
    double *sum = mem_zalloc(width, sizeof *sum);
    float *row = mem_alloc(width, sizeof *row);
    for (size_t r = 0; r < have; r++) {
        tensor_to_f32(row, t, weights_source_row(s, c, p, r) * width, width);
        for (size_t i = 0; i < width; i++) sum[i] += (double)row[i];
    }
    for (size_t i = 0; i < width; i++) row[i] = (float)(sum[i] / (double)have);
    free(sum);
    return row;
}

static int load_param(const Loader *l, const Param *p) {
    const Tensor *t = weights_find(l->s, p->name);
    const size_t width = (size_t)p->dims[p->n_dims - 1], rows = p->count / width, have = t->count / width;
    const size_t step = STAGE / width, end = have < rows ? have : rows;
    for (size_t r = 0; r < end; r += step) {
        const size_t n = end - r < step ? end - r : step;
        if (read_rows(l, p, t, r, n, width)) return -1;
        llm_set(l->m, p, r * width, n * width, l->stage);
    }
    if (have >= rows) return 0;
    float *mean = weights_mean_row(l->s, &l->m->config, p);
    for (size_t r = have; r < rows; r++) llm_set(l->m, p, r * width, width, mean);
    free(mean);
    return 0;
}

// The model may differ from the file in its vocabulary, and in having LatentRATT or not.
int weights_check(const Llm *m, const WeightsSource *s, Err *err) {
    for (int i = 0; i < m->params.n; i++) {
        const Param *p = &m->params.param[i];
        const Tensor *t = weights_find(s, p->name);
        if (!t && p->group != PARAMS_BACKBONE) continue;
        if (!t || t->n_dims != p->n_dims || (t->dims[0] != p->dims[0] && !is_table(p->name)) ||
            (p->n_dims == 2 && t->dims[1] != p->dims[1]))
            return err_set(err, ERR_DATA, "%s: tensor \"%s\" is missing or has not the shape of this model", s->path, p->name);
    }
    return 0;
}

static int load(Llm *m, const WeightsSource *s, int small, Err *err) {
    Loader l = {.m = m, .s = s, .err = err};
    l.stage = mem_alloc(STAGE, sizeof *l.stage);
    int status = 0;
    for (int i = 0; i < m->params.n && status == 0; i++) {
        const Param *p = &m->params.param[i];
        if (small && p->group == PARAMS_BACKBONE && p->n_dims == 2) continue;
        if (weights_find(s, p->name)) status = load_param(&l, p);
    }
    llm_changed(m, PARAMS_BACKBONE), llm_changed(m, PARAMS_LATENT);
    free(l.stage);
    return status;
}

int weights_load(Llm *m, const WeightsSource *s, Err *err) {
    return weights_check(m, s, err) ? -1 : load(m, s, 0, err);
}

int weights_load_small(Llm *m, const WeightsSource *s, Err *err) {
    return load(m, s, 1, err);
}

// ---- saving -------------------------------------------------------------------------------------------------------

// Values [at, at + n) of a parameter as f32, whole rows; those of a frozen backbone's matrices come from the file. Adapters are
// merged into the weights they belong to.
static void param_values(const Llm *m, const Param *p, size_t at, size_t n, float *out) {
    const size_t width = (size_t)p->dims[p->n_dims - 1];
    if (!m->frozen || p->group != PARAMS_BACKBONE || p->n_dims == 1)
        llm_get(m, p, at, n, out);
    else
        for (size_t i = 0; i < n; i += width) frozen_param_row(m, p, (at + i) / width, out + i);
    adapter_add(m, p, at / width, n / width, out);
}

// What a saved model holds: all but the adapters, which are merged.
static int saved_params(const Llm *m) {
    int n = 0;
    while (n < m->params.n && m->params.param[n].group != PARAMS_LORA) n++;
    return n;
}

// How many values of a parameter go through the stage at a time: whole rows.
static size_t param_step(const Param *p) {
    const size_t width = (size_t)p->dims[p->n_dims - 1];
    return STAGE / width * width;
}

typedef struct Saver {
    const Llm *m;
    TensorType type;
    SafetensorsWriter writer;
    float *stage;   // (STAGE)
    uint16_t *half; // (STAGE)
} Saver;

static int not_saved(const Llm *m, const Param *p, Err *err) {
    if (m->frozen && frozen_check_param(m, p, err)) return -1; // it came so from the file
    return err_set(err, ERR_DATA, "tensor \"%s\" holds a value that is not finite: not saved", p->name);
}

static int rounds_to_inf(const uint16_t *half, size_t n) { // bf16
    size_t i = 0;
    while (i < n && (half[i] & 0x7f80) != 0x7f80) i++;
    return i < n;
}

static int save_param(Saver *s, const Param *p, Err *err) {
    for (size_t at = 0, n; at < p->count; at += n) {
        n = p->count - at < param_step(p) ? p->count - at : param_step(p);
        param_values(s->m, p, at, n, s->stage);
        if (tensor_first_not_finite(s->stage, n) < n) return not_saved(s->m, p, err);
        if (s->type == TENSOR_BF16) tensor_to_bf16(s->half, s->stage, n);
        if (s->type == TENSOR_BF16 && rounds_to_inf(s->half, n))
            return err_set(err, ERR_DATA, "tensor \"%s\" holds a value beyond bf16's largest, 3.39e38: not saved", p->name);
        safetensors_write_data(&s->writer, s->type == TENSOR_BF16 ? (void *)s->half : (void *)s->stage,
                               n * tensor_block_bytes(s->type));
    }
    return 0;
}

static int save_begin(Saver *s, const char *path, Err *err) {
    const Params *p = &s->m->params;
    const int n = saved_params(s->m);
    Tensor *tensor = mem_zalloc((size_t)n, sizeof *tensor);
    for (int i = 0; i < n; i++) {
        const Param *x = &p->param[i];
        tensor[i] = (Tensor){.name = x->name, .type = s->type, .n_dims = x->n_dims, .dims = {x->dims[0], x->dims[1]}};
    }
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    int status = safetensors_write_begin(&s->writer, path, tensor, n, metadata, err);
    json_decref(metadata);
    free(tensor);
    return status;
}

static int save_tensors(const Llm *m, const char *path, TensorType type, Err *err) {
    Saver s = {.m = m, .type = type};
    if (save_begin(&s, path, err)) return -1;
    s.stage = mem_alloc(STAGE, sizeof *s.stage);
    s.half = mem_alloc(STAGE, sizeof *s.half);
    int status = 0;
    for (int i = 0; i < saved_params(m) && status == 0; i++) status = save_param(&s, &m->params.param[i], err);
    free(s.stage), free(s.half);
    if (status == 0) return safetensors_write_end(&s.writer, err);
    outfile_abandon(&s.writer.file);
    return -1;
}

static int names_id(const json_t *ids, int id) { // an id, or a list of them
    if (json_is_integer(ids)) return json_integer_value(ids) == id;
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (json_is_integer(json_array_get(ids, i)) && json_integer_value(json_array_get(ids, i)) == id) return 1;
    return 0;
}

// What the source had, and the ids that end and pad an answer of this model. Others stop at a chat's ends of turns too.
static int save_generation(const ModelConfig *c, const json_t *source, const char *path, Err *err) {
    json_t *json = source ? json_deep_copy(source) : json_object();
    json_object_del(json, "_from_model_config"); // transformers would take config.json's ids instead
    if (c->bos_id >= 0) json_object_set_new(json, "bos_token_id", json_integer(c->bos_id));
    if (c->eos_id >= 0) {
        if (!names_id(json_object_get(json, "eos_token_id"), c->eos_id))
            json_object_set_new(json, "eos_token_id", json_integer(c->eos_id));
        if (!json_is_integer(json_object_get(json, "pad_token_id")))
            json_object_set_new(json, "pad_token_id", json_integer(c->eos_id));
    }
    int status = json_save(path, json, err);
    json_decref(json);
    return status;
}

int weights_save(const Llm *m, const char *folder, TensorType type, const json_t *generation, Err *err) {
    CHECK(type == TENSOR_F32 || type == TENSOR_BF16);
    char *tensors = file_join(folder, "model.safetensors"), *config = file_join(folder, "config.json");
    char *generation_path = file_join(folder, "generation_config.json");
    json_t *json = config_to_json(&m->config, type == TENSOR_BF16 ? "bfloat16" : "float32");
    int status = save_tensors(m, tensors, type, err);
    if (status == 0 && m->config.family != FAMILY_SASREC)
        status = save_generation(&m->config, generation, generation_path, err);
    if (status == 0) status = json_save(config, json, err);
    json_decref(json);
    free(tensors), free(config), free(generation_path);
    return status;
}

void weights_hash(const Llm *m, char hex[33]) {
    Hash *hash = hash_open();
    float *stage = mem_alloc(STAGE, sizeof *stage);
    for (int i = 0; i < saved_params(m); i++) {
        const Param *p = &m->params.param[i];
        for (size_t at = 0, n; at < p->count; at += n) {
            const size_t step = param_step(p);
            n = p->count - at < step ? p->count - at : step;
            param_values(m, p, at, n, stage);
            hash_update(hash, stage, n * sizeof *stage);
        }
    }
    hash_text(hash, hex);
    hash_close(hash);
    free(stage);
}
