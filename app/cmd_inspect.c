// latentr3 inspect: what a model, a checkpoint, a data folder or a training run holds. One JSON value is made; without --json
// it is printed as indented lines, and the list of tensors is left out.
#include "app/commands.h"
#include "app/tokenizer_files.h"
#include "base/utf8.h"
#include "data/dataset.h"
#include "text/prompt.h"

#include <stdlib.h>
#include <string.h>

enum { METRICS_BYTES = 64 << 20 };

// ---- model ----------------------------------------------------------------------------------------------------------------

static void describe_tensors(json_t *out, const Tensor *tensor, int n) {
    json_t *list = json_array(), *types = json_object();
    size_t parameters = 0, bytes = 0;
    for (int i = 0; i < n; i++) {
        const char *type = tensor_type_name(tensor[i].type);
        json_t *shape = json_array();
        for (int d = 0; d < tensor[i].n_dims; d++) json_array_append_new(shape, json_integer(tensor[i].dims[d]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", tensor[i].name, "type", type, "shape", shape));
        json_object_set_new(types, type, json_integer(json_integer_value(json_object_get(types, type)) + 1));
        parameters += tensor[i].count;
        bytes += tensor[i].bytes;
    }
    json_object_set_new(out, "parameters", json_integer((json_int_t)parameters));
    json_object_set_new(out, "bytes", json_integer((json_int_t)bytes));
    json_object_set_new(out, "types", types);
    json_object_set_new(out, "tensors", list);
}

static int describe_tokenizer(json_t *out, const char *path, Err *err) {
    Tokenizer *t;
    if (tokenizer_files_tokenizer(&t, path, err)) return -1;
    int thought = tokenizer_id(t, PROMPT_THOUGHT_TOKEN);
    json_object_set_new(
        out, "tokenizer",
        json_pack("{s:i, s:o}", "size", tokenizer_size(t), "thought_id", thought < 0 ? json_null() : json_integer(thought)));
    tokenizer_close(t);
    return 0;
}

static json_t *describe_model(const char *path, Err *err) {
    WeightsSource s;
    if (weights_open(&s, path, err)) return NULL;
    const Tensor *tensor = s.is_gguf ? s.gguf.tensor : s.tensors.tensor;
    int n = s.is_gguf ? s.gguf.n_tensors : s.tensors.n;
    json_t *out = json_pack("{s:s, s:o, s:s, s:b}", "kind", "model", "path", options_text(path), "format",
                            s.is_gguf ? "GGUF" : "Hugging Face folder", "latent_layer", s.has_latent);
    CHECK(out);
    json_object_set_new(out, "configuration", config_to_json(&s.config, tensor_type_name(n ? tensor[0].type : TENSOR_F32)));
    describe_tensors(out, tensor, n);
    const int reads_text = s.config.family != FAMILY_SASREC;
    weights_close(&s);
    if (reads_text && describe_tokenizer(out, path, err)) {
        json_decref(out);
        return NULL;
    }
    return out;
}

// Tensors alone: one .safetensors file, or the index of shards.
static json_t *describe_checkpoint(const char *path, Err *err) {
    Safetensors s;
    if (safetensors_open(&s, path, err)) return NULL;
    json_t *out = json_pack("{s:s, s:o}", "kind", "checkpoint", "path", options_text(path));
    describe_tensors(out, s.tensor, s.n);
    if (s.metadata) json_object_set(out, "metadata", s.metadata);
    safetensors_close(&s);
    return out;
}

// ---- data -----------------------------------------------------------------------------------------------------------------

static int describe_rows(json_t *out, const Dataset *d, Err *err) {
    static const char *const split[] = {"train", "valid", "test"};
    json_t *counts = json_object();
    json_object_set_new(out, "rows", counts);
    for (int i = 0; i < 3; i++) {
        char file[16];
        snprintf(file, sizeof file, "%s.csv", split[i]);
        if (!dataset_has(d->folder, file)) {
            json_object_set_new(counts, split[i], json_null());
            continue;
        }
        Rows rows;
        if (dataset_rows(d, &rows, split[i], 0, err)) return -1;
        json_object_set_new(counts, split[i], json_integer(rows.n));
        rows_free(&rows);
    }
    return 0;
}

static json_t *describe_data(const char *path, Err *err) {
    Dataset d;
    if (dataset_open(&d, path, NULL, err)) return NULL;
    int titles = 0;
    for (int i = 0; i < d.items.n; i++) titles += !d.items.removed[i] && items_title_group(&d.items, i) == i;
    json_t *out = json_pack("{s:s, s:o, s:o, s:i, s:i, s:i, s:i}", "kind", "data", "path", options_text(path), "category",
                            options_text(d.category), "items", d.items.live, "distinct_titles", titles, "removed_items",
                            d.items.n - d.items.live, "index_texts", d.items.texts);
    CHECK(out);
    json_t *hashes = dataset_hashes(&d, 1, err);
    int status = hashes ? describe_rows(out, &d, err) : -1;
    json_object_set_new(out, "hashes", hashes ? hashes : json_null());
    if (d.json) json_object_set(out, "dataset", d.json);
    dataset_close(&d);
    if (status) {
        json_decref(out);
        return NULL;
    }
    return out;
}

// ---- run ------------------------------------------------------------------------------------------------------------------

static json_t *read_metrics(const char *folder, Err *err) {
    char *path = file_join(folder, "metrics.json");
    json_t *metrics = json_read(path, METRICS_BYTES, err);
    free(path);
    return metrics;
}

// A training run leaves metrics.json beside the model it made.
static json_t *describe_path(const char *path, Err *err) {
    int folder = file_is_folder(path);
    if (folder && dataset_has(path, "info.txt")) return describe_data(path, err);
    if (!folder && (file_ends_with(path, ".safetensors") || file_ends_with(path, ".safetensors.index.json")))
        return describe_checkpoint(path, err);
    json_t *out = NULL;
    if (!folder || file_exists_in(path, "config.json"))
        out = describe_model(path, err);
    else if (file_exists_in(path, "metrics.json"))
        out = json_pack("{s:s, s:o}", "kind", "run", "path", options_text(path));
    else
        err_set(err, ERR_DATA, "%s: neither a model (config.json), nor a data folder (info.txt), nor a run (metrics.json)",
                path);
    if (!out || !folder || !file_exists_in(path, "metrics.json")) return out;
    json_t *metrics = read_metrics(path, err);
    if (!metrics) {
        json_decref(out);
        return NULL;
    }
    json_object_set_new(out, "run", metrics);
    return out;
}

// ---- print ----------------------------------------------------------------------------------------------------------------

// A string that a terminal shows as it is; others are printed as JSON, escaped.
static int is_plain(const char *s) {
    for (; *s; s++) // the controls above ASCII are C2 80 to C2 9F
        if (utf8_is_control(*s) || (s[0] == '\xc2' && (unsigned char)s[1] < 0xa0)) return 0;
    return 1;
}

static void print_text(const json_t *value) {
    const char *plain = json_is_string(value) && is_plain(json_string_value(value)) ? json_string_value(value) : NULL;
    const size_t escape = json_is_string(value) ? JSON_ENSURE_ASCII : 0;
    char *text = plain ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9) | escape);
    fputs(plain ? plain : text, stdout);
    free(text);
}

static void print_lines(const json_t *object, int indent) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        json_t *name = json_string(key);
        printf("%*s", indent, "");
        print_text(name);
        json_decref(name);
        if (json_is_object(value)) {
            puts(":");
            print_lines(value, indent + 2);
        } else {
            fputs(": ", stdout), print_text(value), putchar('\n');
        }
    }
}

int cmd_inspect(const Options *o, Err *err) {
    json_t *out = o->model  ? describe_model(o->model, err)
                  : o->data ? describe_data(o->data, err)
                            : describe_path(o->operand, err);
    if (!out) return -1;
    if (o->json) {
        json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else {
        json_object_del(out, "tensors");
        print_lines(out, 0);
    }
    json_decref(out);
    return 0;
}
