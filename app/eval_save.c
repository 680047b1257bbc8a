#include "app/eval_save.h"
#include "app/run.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "rec/explain.h"
#include "report/card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 12, ATTENTION_ROWS = 200 };

static char *path_of(const Options *o, const char *what, const char *ending) {
    char name[64];
    snprintf(name, sizeof name, "%s-%s.%s", what, o->split, ending);
    return file_join(o->save, name);
}

char *eval_save_results(const Options *o, Err *err) {
    return file_make_folder(o->save, err) ? NULL : path_of(o, "results", "jsonl.part");
}

// Entry i of n spread evenly over `rows`.
static int spread(int i, int n, int rows) {
    return (int)((int64_t)rows * i / n);
}

// ---- samples -------------------------------------------------------------------------------------------------------------

// weight NULL: nothing attends.
static json_t *sample_of(const Row *row, int number, const float *weight, float rest) {
    json_t *sample = json_pack("{s:i, s:[]}", "row", number, "history"), *weights = json_array();
    for (int i = row->n > PROMPT_HISTORY ? row->n - PROMPT_HISTORY : 0; i < row->n; i++) {
        json_array_append_new(json_object_get(sample, "history"), options_text(row->title[i]));
        if (weight) json_array_append_new(weights, json_real((double)weight[i]));
    }
    if (weight) {
        json_object_set(sample, "weights", weights);
        json_object_set_new(sample, "rest", json_real((double)rest));
    }
    json_decref(weights);
    return sample;
}

// A recommender that writes titles behind a thought.
static Reader *reader_of(Use *u, const Options *o) {
    return u->model.tokenizer && u->model.llm.config.thoughts > 0 ? use_reader(u, o) : NULL;
}

static int explain_row(Reader *r, const Row *row, int number, float *weight, float *rest, Err *err) {
    const History h = ranker_history(row, number);
    return r ? explain_history(r, &h, weight, rest, err) : 0;
}

static int longest_history(const Rows *rows) {
    int longest = 0;
    for (int i = 0; i < rows->n; i++)
        if (rows->row[i].n > longest) longest = rows->row[i].n;
    return longest;
}

static int add_samples(json_t *json, Use *u, const Options *o, const Rows *rows, Err *err) {
    const int n = rows->n < SAMPLES ? rows->n : SAMPLES;
    float rest = 0, *weight = mem_alloc((size_t)longest_history(rows) + 1, sizeof *weight);
    json_t *samples = json_array();
    int found = 0;
    for (int i = 0; i < n && found >= 0; i++) {
        const int number = spread(i, n, rows->n);
        found = explain_row(reader_of(u, o), &rows->row[number], number, weight, &rest, err);
        if (found >= 0) json_array_append_new(samples, sample_of(&rows->row[number], number, found ? weight : NULL, rest));
    }
    json_object_set_new(json, "samples", samples);
    free(weight);
    return found < 0 ? -1 : 0;
}

// ---- attention -----------------------------------------------------------------------------------------------------------

static int add_attention(json_t *json, Use *u, const Options *o, const Rows *rows, Err *err) {
    const int n = rows->n < ATTENTION_ROWS ? rows->n : ATTENTION_ROWS, longest = longest_history(rows);
    float rest = 0, *weight = mem_alloc((size_t)longest + 1, sizeof *weight);
    double sum[PROMPT_HISTORY] = {0}, rests = 0;
    int count[PROMPT_HISTORY] = {0}, found = 0, all = 0;
    for (int i = 0; i < n && found >= 0 && reader_of(u, o); i++) {
        const int number = spread(i, n, rows->n);
        const Row *row = &rows->row[number];
        found = explain_row(reader_of(u, o), row, number, weight, &rest, err);
        if (found != 1) continue;
        all++;
        rests += (double)rest;
        for (int back = 0; back < row->n && back < PROMPT_HISTORY; back++) {
            sum[back] += (double)weight[row->n - 1 - back];
            count[back]++;
        }
    }
    free(weight);
    if (found < 0) return -1;
    if (!all) return 0;
    json_t *positions = json_array();
    for (int back = 0; back < PROMPT_HISTORY && count[back]; back++)
        json_array_append_new(positions, json_pack("{s:i, s:f}", "rows", count[back], "weight", sum[back] / count[back]));
    json_object_set_new(json, "attention",
                        json_pack("{s:i, s:f, s:o}", "rows", all, "rest", rests / all, "positions", positions));
    return 0;
}

// ---- settings ------------------------------------------------------------------------------------------------------------

enum { CONFIG_BYTES = 1 << 20 };

// What moves no number of an evaluation but in its last bits, or stands beside them by itself.
static int is_aside(const char *name) {
    static const char *const aside[] = {"model",      "data",   "config",  "json",  "split",          "protocol",
                                        "results",    "save",   "against", "index", "strict",         "trec-run",
                                        "trec-qrels", "device", "threads", "batch", "weights-memory", "thought-test"};
    for (size_t i = 0; i < sizeof aside / sizeof *aside; i++)
        if (!strcmp(aside[i], name)) return 1;
    return 0;
}

static void put_where(json_t *settings, const char *name, int differs, json_t *value) {
    if (differs)
        json_object_set(settings, name, value);
    else
        json_object_del(settings, name);
    json_decref(value);
}

// How the model is used other than it was saved, whether an option said so or the data folder.
static void set_unsaved(json_t *settings, const OpenModel *m) {
    ModelConfig saved;
    const ModelConfig *now = &m->llm.config;
    json_t *config = json_read_in(m->path, "config.json", CONFIG_BYTES);
    if (config && config_from_json(&saved, config, m->path, NULL) == 0) {
        const int thinks = now->thoughts > 0, ratt = thinks && !now->thought_hidden;
        if (!json_object_get(json_object_get(config, "latentr3"), "thoughts")) saved.thoughts = m->had_latent;
        put_where(settings, "thoughts", now->thoughts != saved.thoughts, json_integer(now->thoughts));
        put_where(settings, "thought", thinks && now->thought_hidden != saved.thought_hidden,
                  json_string(now->thought_hidden ? "hidden" : "ratt"));
        put_where(settings, "thought-window", ratt && now->thought_window != saved.thought_window,
                  json_integer(now->thought_window));
        put_where(settings, "answer-sees", thinks && now->answer_sees_thought != saved.answer_sees_thought,
                  json_string(now->answer_sees_thought ? "thought" : "prompt"));
        if (saved.add_bos >= 0)
            put_where(settings, "bos", now->add_bos != saved.add_bos, json_string(now->add_bos ? "yes" : "no"));
        if (*saved.category)
            put_where(settings, "category", strcmp(now->category, saved.category), options_text(now->category));
    }
    json_decref(config);
}

static json_t *settings_of(const Options *o, const OpenModel *m) {
    json_t *settings = options_to_json(o), *value;
    const char *name;
    void *next;
    json_object_foreach_safe(settings, next, name, value) {
        if (is_aside(name) || !options_changed(o, name) || json_is_null(value) || json_is_false(value))
            json_object_del(settings, name);
    }
    if (m->path) set_unsaved(settings, m);
    return settings;
}

// ---- together ------------------------------------------------------------------------------------------------------------

static int add_origin(json_t *json, const Use *u, const Options *o, const char *results, Err *err) {
    char hash[33];
    json_t *data = dataset_hashes(&u->data, 1, err);
    if (!data || file_hash(hash, results, err)) {
        json_decref(data);
        return -1;
    }
    json_object_set_new(json, "results_hash", json_string(hash));
    json_object_set_new(json, "of_folder", json_boolean(u->model.path && file_is_same(u->model.path, o->save)));
    json_object_set_new(json, "configuration", options_to_json(o));
    json_object_set_new(json, "settings", settings_of(o, &u->model));
    json_object_set_new(json, "data", data);
    json_object_set_new(json, "versions", json_pack("{s:s, s:s}", "latentr3", LATENTR3_VERSION, "compiler", __VERSION__));
    run_cost(json);
    if (u->model.path) {
        weights_hash(&u->model.llm, hash);
        json_object_set_new(json, "model_hash", json_string(hash));
    }
    return 0;
}

static void add_slices(json_t *json, const Rows *rows, const int *slices) {
    json_t *all = json_array();
    for (int i = 0; i < rows->n; i++) json_array_append_new(all, json_integer(slices[i]));
    json_object_set_new(json, "row_slices", all);
}

int eval_save(json_t *json, Use *u, const Options *o, const Rows *rows, const int *slices, const char *results, Err *err) {
    char *path = path_of(o, "eval", "json"), *kept_results = path_of(o, "results", "jsonl");
    int status = add_origin(json, u, o, results, err);
    if (json_object_get(json, "warm")) add_slices(json, rows, slices);
    if (status == 0) status = add_samples(json, u, o, rows, err);
    if (status == 0) status = add_attention(json, u, o, rows, err);
    if (status == 0) status = file_rename(results, kept_results, err) || json_save(path, json, err) ? -1 : 0;
    json_decref(json);
    Err why;
    if (status == 0 && card_write(o->save, &why)) // all that was measured is kept
        log_warn("the model card was not written: %s", why.message);
    if (status == 0) {
        log_info("wrote %s", path);
        log_next("latentr3 report %s --out report.html", o->save);
    }
    free(path), free(kept_results);
    return status;
}

// What stands in a folder about its model.
static const char *const kept[] = {"eval-test.json",           "eval-valid.json",
                                   "eval-train.json",          "results-test.jsonl",
                                   "results-valid.jsonl",      "results-train.jsonl",
                                   "results-test.jsonl.part",  "results-valid.jsonl.part",
                                   "results-train.jsonl.part", CARD_ORIGIN};

int eval_save_forget(const char *folder, Err *err) {
    return file_remove_all(folder, kept, sizeof kept / sizeof *kept, err);
}
