#include "app/resume.h"
#include "app/commands.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/vec.h"

#include <stdlib.h>
#include <string.h>

enum { METRICS_BYTES = 16 << 20 };

json_t *resume_identity(const json_t *metrics) {
    // Where things lie and how often they are saved may change; what lies there is told by hashes.
    static const char *const free_options[] = {"model",     "data",           "users",  "out",     "force", "config",
                                               "category",  "keep",           "resume", "threads", "index", "save-every",
                                               "recompute", "weights-memory", "json"};
    static const char *const hash[][2] = {
        {"model_hash_before", "the model"}, {"configuration_hash", "the configuration"}, {"tokenizer_hash", "the tokenizer"}};
    json_t *settings = json_deep_copy(json_object_get(metrics, "configuration")),
           *inputs = json_deep_copy(json_object_get(metrics, "data")),
           *machine = json_deep_copy(json_object_get(metrics, "versions")), *v;
    for (size_t i = 0; i < sizeof free_options / sizeof *free_options; i++) json_object_del(settings, free_options[i]);
    json_object_set_new(settings, "command", json_incref(json_object_get(metrics, "command")));
    if ((v = json_object_get(metrics, "category"))) json_object_set(settings, "category", v);
    json_object_del(inputs, "folder");
    for (size_t i = 0; i < sizeof hash / sizeof *hash; i++)
        if ((v = json_object_get(metrics, hash[i][0]))) json_object_set(inputs, hash[i][1], v);
    json_object_update(machine, json_object_get(metrics, "environment"));
    if (!json_is_true(json_object_get(settings, "deterministic")) && json_object_get(metrics, "ranks"))
        json_object_set(machine, "ranks", json_object_get(metrics, "ranks"));
    return json_pack("{s:o, s:o, s:o}", "settings", settings, "inputs", inputs, "machine", machine);
}

// "name (value, now value)" for every member that is not the same in both; where word is NULL (of hashes) the name alone.
static void list_differences(Str *list, const json_t *then, const json_t *now, const char *word) {
    json_t *all = json_copy((json_t *)now), *value;
    const char *name;
    json_object_update_missing(all, (json_t *)then);
    json_object_foreach(all, name, value) {
        const json_t *a = json_object_get(then, name), *b = json_object_get(now, name);
        if (a && b && json_equal(a, b)) continue;
        char *was = a ? json_dumps(a, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL,
             *is = b ? json_dumps(b, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
        str_printf(list, "%s%s", list->len ? ", " : "", name);
        if (word) str_printf(list, " (%s, %s %s)", was ? was : "not there", word, is ? is : "not there");
        free(was), free(is);
    }
    json_decref(all);
}

int resume_agree(const Ranks *ranks, const json_t *identity, Err *err) {
    int status = ranks_agree(ranks, identity ? 0 : -1, err);
    if (status || ranks_size(ranks) == 1) return status;
    char *mine = json_dumps(identity, JSON_COMPACT | JSON_SORT_KEYS), *text = ranks_text(ranks, mine);
    if (strcmp(mine, text)) {
        Str list = {0};
        json_t *first = json_loads(text, 0, NULL);
        list_differences(&list, json_object_get(first, "settings"), json_object_get(identity, "settings"), "here");
        list_differences(&list, json_object_get(first, "inputs"), json_object_get(identity, "inputs"), NULL);
        list_differences(&list, json_object_get(first, "machine"), json_object_get(identity, "machine"), "here");
        status = err_set(err, ERR_USAGE, "not the same as at rank 0: %s", list.data);
        json_decref(first);
        str_free(&list);
    }
    free(mine), free(text);
    return ranks_agree(ranks, status, err);
}

// Settings of before an option was there: it had its default.
static json_t *with_new_options(const json_t *then, const json_t *now) {
    const Command *command = commands_find(json_string_value(json_object_get(now, "command")));
    json_t *settings = json_copy((json_t *)then), *defaults, *value;
    const char *name;
    Options o;
    if (!command) return settings;
    options_init(&o, command);
    defaults = options_to_json(&o);
    json_object_foreach(defaults, name, value) {
        if (json_object_get(now, name) && !json_object_get(settings, name)) json_object_set(settings, name, value);
    }
    json_decref(defaults);
    options_free(&o);
    return settings;
}

// Without what a run of before it was noted cannot say.
static json_t *known_then(const json_t *then, const json_t *now) {
    static const char *const later[] = {"category", "the configuration", "the tokenizer"};
    json_t *known = json_copy((json_t *)now);
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (!json_object_get(then, later[i])) json_object_del(known, later[i]);
    return known;
}

int resume_same(const json_t *then, const json_t *now, const char *what, Err *err) {
    Str list = {0};
    const json_t *inputs = json_object_get(then, "inputs");
    json_t *settings = known_then(json_object_get(then, "settings"), json_object_get(now, "settings")),
           *before = with_new_options(json_object_get(then, "settings"), settings),
           *given = known_then(inputs, json_object_get(now, "inputs"));
    list_differences(&list, before, settings, "now");
    list_differences(&list, inputs, given, NULL);
    json_decref(settings), json_decref(before), json_decref(given);
    int status = 0;
    if (list.len) status = err_set(err, ERR_USAGE, "%s: its run was another one, so it cannot go on: %s", what, list.data);
    str_clear(&list);
    list_differences(&list, json_object_get(then, "machine"), json_object_get(now, "machine"), "now");
    if (status == 0 && list.len) log_warn("not on the same machine as before, so the last bits may differ: %s", list.data);
    str_free(&list);
    return status;
}

int resume_check(const Checkpoints *c, const json_t *identity, ResumePoint *point, Err *err) {
    const json_t *run = json_object_get(c->found.state, "run"), *bytes = json_object_get(run, "log_bytes");
    int status = resume_same(json_object_get(run, "identity"), identity, c->folder, err);
    if (status == 0 && !(json_integer_value(bytes) >= 0))
        status = err_set(err, ERR_DATA, "%s: no length of the log", c->folder);
    point->log_bytes = (size_t)json_integer_value(bytes);
    point->log_hash = json_string_value(json_object_get(run, "log_hash"));
    point->rest = json_string_value(json_object_get(run, "log_rest"));
    if (!point->rest) point->rest = "";
    point->cost = (RunCost){.seconds = json_number_value(json_object_get(run, "seconds")),
                            .cpu_seconds = json_number_value(json_object_get(run, "cpu_seconds")),
                            .peak_bytes = json_integer_value(json_object_get(run, "peak_bytes"))};
    return status;
}

int resume_best(const Checkpoints *c, const char *path, Err *err) {
    char hash[33];
    const char *wanted = json_string_value(json_object_get(json_object_get(c->found.state, "run"), "best"));
    if (file_hash(hash, path, NULL) == 0 && wanted && !strcmp(hash, wanted)) return 0;
    char *temporary = file_temporary(path);
    int status = file_link(c->found_best, temporary, err);
    if (status == 0) status = file_rename(temporary, path, err);
    free(temporary);
    return status;
}

int resume_finished(const json_t *metrics) {
    return json_object_get(metrics, "steps") && json_is_false(json_object_get(metrics, "interrupted"));
}

int resume_done(const char *out, const json_t *identity, Err *err) {
    json_t *metrics = json_read_in(out, "metrics.json", METRICS_BYTES);
    int done = resume_finished(metrics);
    if (done) {
        json_t *then = resume_identity(metrics);
        if (resume_same(then, identity, out, err)) done = -1;
        json_decref(then);
    }
    json_decref(metrics);
    if (done == 1) log_info("%s: done already", out);
    return done;
}
