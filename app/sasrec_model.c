#include "app/sasrec_model.h"
#include "base/arena.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

// Of items.json an item takes at most its id and its title, each byte escaped, with what stands around them.
enum { ITEM_BYTES = 6 * (ITEMS_ID_LIMIT + ITEMS_TITLE_LIMIT) + 64, ITEMS_BYTES = 256 << 20, CONFIG_BYTES = 1 << 20 };

int sasrec_model_is(const char *path) {
    if (!file_is_folder(path)) return 0;
    json_t *json = json_read_in(path, "config.json", CONFIG_BYTES);
    const char *type = json_string_value(json_object_get(json, "model_type"));
    const int is = type && !strcmp(type, "sasrec");
    json_decref(json);
    return is;
}

static int open_network(OpenModel *m, const Options *o, const ModelConfig *c, Err *err) {
    if (config_check(c, m->path, err) || model_io_ops(&m->ops, o, err)) return -1;
    return llm_init(&m->llm, m->ops, c, c->max_positions + c->thoughts, err);
}

// Where the folder has no ids but row ids, which the next `prepare` may give to other items, the titles bear witness.
static json_t *describe_items(const Items *items) {
    json_t *ids = json_array(), *titles = items->named ? NULL : json_array(), *all = json_pack("{s:o}", "ids", ids);
    for (int i = 0; i < items->n; i++) {
        json_array_append_new(ids, json_string(items->id[i]));
        if (titles) json_array_append_new(titles, json_string(items->title[i]));
    }
    if (titles) json_object_set_new(all, "titles", titles);
    return all;
}

int sasrec_model_new(OpenModel *m, const Options *o, const Items *items, Err *err) {
    *m = (OpenModel){.path = mem_strndup("the new SASRec", 14)};
    if (o->width % o->heads) return err_set(err, ERR_USAGE, "--width %d does not divide by --heads %d", o->width, o->heads);
    if (o->width / o->heads > CONFIG_HEAD_SIZE)
        return err_set(err, ERR_USAGE, "--width %d with --heads %d: heads of %d values, at most %d", o->width, o->heads,
                       o->width / o->heads, CONFIG_HEAD_SIZE);
    ModelConfig c = config_sasrec(items->n);
    c.L = o->layers;
    c.D = o->width;
    c.H = c.G = o->heads;
    c.K = o->width / o->heads;
    c.F = o->feed_forward ? o->feed_forward : o->width;
    c.max_positions = o->max_length;
    if (!strcmp(o->activation, "gelu")) c.activation = ACTIVATION_GELU;
    if (model_io_thoughts(&c, o, err) || open_network(m, o, &c, err)) {
        model_io_close(m);
        return -1;
    }
    llm_init_random(&m->llm, (uint64_t)o->seed);
    m->had_latent = 1;
    m->items = describe_items(items);
    log_info("SASRec: %d layers, width %d, %d heads, %d items, %d positions, %d thought%s, %s", c.L, c.D, c.H, c.V,
             c.max_positions, c.thoughts, c.thoughts == 1 ? "" : "s", ops_description(m->ops));
    return 0;
}

// A bare list, as it was written once, holds row ids.
static int has_row_ids(const OpenModel *m) {
    return json_is_array(m->items);
}

static const json_t *ids_of(const OpenModel *m) {
    return has_row_ids(m) ? m->items : json_object_get(m->items, "ids");
}

static const json_t *titles_of(const OpenModel *m) {
    return json_object_get(m->items, "titles");
}

static int check_list(const json_t *list, const char *path, const char *of, int V, Err *err) {
    size_t i;
    json_t *v;
    if (!json_is_array(list) || json_array_size(list) != (size_t)V)
        return err_set(err, ERR_DATA, "%s: not a list of %d %s, as many as the model has items", path, V, of);
    json_array_foreach(list, i, v) {
        if (!json_is_string(v)) return err_set(err, ERR_DATA, "%s: entry %zu is no string", path, i);
    }
    return 0;
}

static int read_items(OpenModel *m, const char *folder, int V, Err *err) {
    char *path = file_join(folder, "items.json");
    int status = (m->items = json_read(path, ITEMS_BYTES + (size_t)V * ITEM_BYTES, err)) ? 0 : -1;
    if (status == 0) status = check_list(ids_of(m), path, "ids", V, err);
    if (status == 0 && titles_of(m)) status = check_list(titles_of(m), path, "titles", V, err);
    free(path);
    return status;
}

// Its thoughts were learnt, each with a row of a table: their number and kind are those of the file.
static int open_saved(OpenModel *m, const Options *o, Err *err) {
    ModelConfig *c = &m->source.config;
    if (weights_open(&m->source, o->model, err)) return -1;
    const int thoughts = c->thoughts, hidden = c->thought_hidden;
    if (model_io_thoughts(c, o, err)) return -1;
    if (c->thoughts != thoughts || (thoughts && c->thought_hidden != hidden))
        return err_set(err, ERR_USAGE, "%s: this SASRec was trained with %d thought%s%s, which no option changes", o->model,
                       thoughts, thoughts == 1 ? "" : "s",
                       !thoughts ? ""
                       : hidden  ? " (hidden)"
                                 : " (ratt)");
    m->had_latent = m->source.has_latent;
    return read_items(m, o->model, c->V, err) || open_network(m, o, c, err) || weights_load(&m->llm, &m->source, err) ? -1 : 0;
}

int sasrec_model_open(OpenModel *m, const Options *o, Err *err) {
    const int uses = CMD_EVAL | CMD_RECOMMEND | CMD_SERVE | CMD_LIBRARY | CMD_SFT | CMD_RL;
    if (!(o->command->bit & uses))
        return err_set(err, ERR_USAGE, "%s is a SASRec: %s works on language models", o->model, o->command->name);
    if (o->lora_rank > 0) return err_set(err, ERR_USAGE, "%s is a SASRec: adapters go on language models", o->model);
    if (o->lean) return err_set(err, ERR_USAGE, "%s is a SASRec: --lean is for language models", o->model);
    if (o->item_text) return err_set(err, ERR_USAGE, "%s is a SASRec: its answers are items, not texts", o->model);
    if (open_saved(m, o, err)) return -1;
    weights_close(&m->source);
    const ModelConfig *c = &m->llm.config;
    log_info("SASRec %s: %d layers, width %d, %d items, %d thought%s, %s", m->path, c->L, c->D, c->V, c->thoughts,
             c->thoughts == 1 ? "" : "s", ops_description(m->ops));
    return 0;
}

int sasrec_model_save(const OpenModel *m, const char *folder, TensorType type, Err *err) {
    if (weights_save(&m->llm, folder, type, NULL, err)) return -1;
    char *path = file_join(folder, "items.json");
    int status = json_save(path, m->items, err);
    free(path);
    return status;
}

// Row ids that mostly stand for other titles now are those of other items.
static int check_titles(const OpenModel *m, int found, int other, Err *err) {
    if (2 * other > found)
        return err_set(
            err, ERR_DATA,
            "%s: it tells items by their row ids, and %d of %d are items of other titles here: another folder, or one "
            "that was prepared anew: train it again (or take \"titles\" out of its items.json, if only the titles are new)",
            m->path, other, found);
    if (other) log_warn("%s: %d of the %d items that it knows have other titles here", m->path, other, found);
    return 0;
}

int sasrec_model_tokens(const OpenModel *m, const Items *items, int32_t **token, Err *err) {
    const int V = m->llm.config.V, by_row_id = has_row_ids(m);
    const json_t *titles = titles_of(m);
    int found = 0, other = 0;
    size_t t;
    json_t *v;
    *token = mem_alloc((size_t)items->n, sizeof **token);
    for (int i = 0; i < items->n; i++) (*token)[i] = -1;
    json_array_foreach(ids_of(m), t, v) {
        const char *id = json_string_value(v);
        const int item = by_row_id || titles ? items_by_row_id(items, id) : items_by_id(items, id);
        if (item < 0) continue;
        if (by_row_id && strcmp(items->id[item], id))
            return err_set(
                err, ERR_DATA,
                "%s: its items.json holds the row ids of the folder it was trained on, and here item %.60s is %.60s: "
                "train it again",
                m->path, id, items->id[item]);
        other += titles && strcmp(items->title[item], json_string_value(json_array_get(titles, t)));
        (*token)[item] = (int32_t)t;
        found++;
    }
    if (found == 0) return err_set(err, ERR_DATA, "%s: none of its %d items is in the catalogue", m->path, V);
    if (found < (V + 1) / 2) log_warn("%s: only %d of its %d items are in the catalogue", m->path, found, V);
    return check_titles(m, found, other, err);
}
