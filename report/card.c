#include "report/card.h"
#include "base/file.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "report/markdown.h"
#include "report/record.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CARD_BYTES = 1 << 20 };

static const char marker[] = "<!-- written by latentr3: a later command writes it anew; without this line it stays -->";

typedef struct Card {
    Str text;
    const char *name;         // of the folder
    json_t *made;             // CARD_ORIGIN, or NULL
    const json_t *origin;     // "command", "configuration", "data", ...: `made`, else `metrics`; or NULL
    json_t *metrics, *config; // or NULL
    json_t *evaluation[2];    // test, valid; or NULL
} Card;

static const char *const split_name[2] = {"test", "valid"};

// ---- pieces --------------------------------------------------------------------------------------------------------------

static void put_quoted(Str *s, const char *before, const char *text) {
    str_puts(s, before);
    str_json(s, text, strlen(text));
    str_puts(s, "\n");
}

static int is_text(const char *a, const char *b) {
    return a && !strcmp(a, b);
}

// The model, whichever command trained it last.
static int is_sasrec(const Card *c) {
    return record_is_sasrec(c->config);
}

// What the validation rows measured, which is the command's choice.
static const char *figure_of(const Card *c) {
    if (is_text(record_text(c->origin, "command", NULL), "sasrec")) return "1 - NDCG@10";
    return is_sasrec(c) ? "loss, nats an item," : "loss, nats a token,";
}

static void put_option(Str *s, const char *name, const json_t *value) {
    str_puts(s, "--");
    str_shell(s, name);
    if (json_is_true(value)) return;
    str_puts(s, " ");
    char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    str_shell(s, text ? text : json_string_value(value));
    free(text);
}

// What makes the numbers others than those of the model as it was saved, among all items: "popularity-100, --exclude-seen".
static void conditions(Str *s, const json_t *evaluation) {
    const char *name;
    json_t *value, *settings = json_object_get(evaluation, "settings");
    if (strcmp(record_protocol(evaluation), "full")) str_printf(s, "%s%s", s->len ? ", " : "", record_protocol(evaluation));
    if (!settings) str_printf(s, "%soptions that an earlier version did not tell", s->len ? ", " : "");
    json_object_foreach(settings, name, value) {
        const int is_path = !strcmp(name, "guidance") && json_is_string(value);
        char *part = is_path ? file_last_part(json_string_value(value)) : NULL;
        json_t *shown = is_path ? json_string(part) : json_incref(value);
        str_puts(s, s->len ? ", " : "");
        put_option(s, name, shown);
        json_decref(shown);
        free(part);
    }
}

static const char *train_hash(const json_t *made) {
    return record_text(made, "data", "train.csv", NULL);
}

// Whether the evaluation is of other data than those that the model learnt from.
static int is_elsewhere(const Card *c, const json_t *evaluation) {
    return train_hash(c->origin) && !is_text(train_hash(evaluation), train_hash(c->origin));
}

// ---- the header ----------------------------------------------------------------------------------------------------------

static void header_results(Card *c, int i) {
    const json_t *e = c->evaluation[i], *title = json_object_get(e, "title");
    const char *name, *folder = record_text(e, "configuration", "data", NULL);
    char *data = file_last_part(folder ? folder : "data");
    json_t *value;
    Str how = {0};
    if (is_elsewhere(c, e)) str_puts(&how, "other data than it learnt from");
    conditions(&how, e);
    put_quoted(&c->text, "  - task:\n      type: sequential-recommendation\n    dataset:\n      name: ", data);
    put_quoted(&c->text, "      type: ", data);
    str_printf(&c->text, "      split: %s\n    metrics:\n", split_name[i]);
    json_object_foreach((json_t *)title, name, value) {
        if (!json_is_number(value) || !isfinite(json_number_value(value))) continue;
        Str type = {0};
        str_puts(&type, name);
        if (how.len) str_printf(&type, " (%s)", how.data);
        put_quoted(&c->text, "    - type: ", type.data);
        str_free(&type);
        const double x = json_number_value(value); // YAML takes 5e-05 for a text
        str_printf(&c->text, x > 0 && x < 1e-4 ? "      value: %.9f\n" : "      value: %.6g\n", x);
    }
    str_free(&how);
    free(data);
}

static void header(Card *c) {
    Str *s = &c->text;
    const char *model = record_text(c->origin, "configuration", "model", NULL);
    str_printf(s, "---\nlibrary_name: %s\n", is_sasrec(c) ? "latentr3" : "transformers");
    if (!is_sasrec(c)) str_puts(s, "pipeline_tag: text-generation\n");
    if (model) {
        char *base = file_last_part(model);
        put_quoted(s, "base_model: ", base);
        free(base);
    }
    str_puts(s, "tags:\n- recommendation\n- latentr3\n");
    if (c->evaluation[0] || c->evaluation[1]) {
        put_quoted(s, "model-index:\n- name: ", c->name);
        str_puts(s, "  results:\n");
        for (int i = 0; i < 2; i++)
            if (c->evaluation[i]) header_results(c, i);
    }
    str_printf(s, "---\n%s\n\n# ", marker);
    markdown_text(s, c->name);
    str_puts(s, "\n\n");
}

// ---- the body ------------------------------------------------------------------------------------------------------------

static void about(Card *c) {
    Str *s = &c->text;
    const double thoughts = record_number(c->config, "latentr3", "thoughts", NULL);
    if (is_sasrec(c))
        str_puts(s,
                 "A sequential recommender (SASRec): from the items of a user's history, in order, to a score of every item.");
    else if (thoughts > 0)
        str_printf(
            s,
            "A language model that recommends the next item by writing its title, after %.0f latent thought%s (LatentR3, "
            "arXiv 2505.19092). Its decoder loads in transformers; thoughts and the search over the catalogue's titles need "
            "latentr3.",
            thoughts, thoughts > 1 ? "s" : "");
    else
        str_puts(s, "A language model in the layout that transformers loads.");
    str_puts(s, "\n\n");
}

// Where it was written or how often it was saved says nothing of the model; nor do threads that nobody asked for, which are 0.
static int is_aside(const char *name, const json_t *value) {
    static const char *const aside[] = {"out", "force", "resume", "keep", "save-every", "config"};
    for (size_t i = 0; i < sizeof aside / sizeof *aside; i++)
        if (!strcmp(aside[i], name)) return 1;
    return !strcmp(name, "threads") && json_integer_value(value) == 0;
}

static void command(Card *c) {
    Str *s = &c->text;
    const char *name;
    json_t *value;
    str_puts(s, "## How it was made\n\n    latentr3 ");
    str_shell(s, record_text(c->origin, "command", NULL) ? record_text(c->origin, "command", NULL) : "?");
    json_object_foreach(json_object_get(c->origin, "configuration"), name, value) {
        if (json_is_null(value) || json_is_false(value) || is_aside(name, value) || json_is_array(value)) continue;
        str_puts(s, " ");
        put_option(s, name, value);
    }
    str_puts(s, "\n\n");
}

static void training(Card *c) {
    Str *s = &c->text;
    if (!c->metrics) return;
    const double before = record_number(c->metrics, "validation_loss_before", NULL),
                 kept = record_number(c->metrics, "validation_loss_kept", NULL);
    str_printf(s, "%.0f steps on %.0f rows over all passes", record_number(c->metrics, "steps", NULL),
               record_number(c->metrics, "rows", NULL));
    if (isfinite(before) && isfinite(kept))
        str_printf(s, "; %s on the validation rows %.4f before, %.4f of the model kept (step %.0f)", figure_of(c), before, kept,
                   record_number(c->metrics, "kept_step", NULL));
    str_puts(s,
             json_is_true(json_object_get(c->metrics, "interrupted")) ? ". The run was stopped before its end.\n\n" : ".\n\n");
}

static void hashes(Card *c) {
    Str *s = &c->text;
    const char *name;
    json_t *value;
    const json_t *data = json_object_get(c->origin, "data");
    if (!json_is_object(data)) return;
    str_puts(
        s,
        "## Data\n\n128-bit XXH3 of the files it learnt from; test rows are never read in training.\n\n| | |\n| --- | --- |\n");
    json_object_foreach((json_t *)data, name, value) {
        str_puts(s, "| ");
        markdown_text(s, name);
        str_puts(s, " | ");
        markdown_text(s, json_is_string(value) ? json_string_value(value) : "-");
        str_puts(s, " |\n");
    }
    const char *before = record_text(c->origin, "model_hash_before", NULL);
    if (before) {
        str_puts(s, "| the model as it came | ");
        markdown_text(s, before);
        str_puts(s, " |\n");
    }
    str_puts(s, "\n");
}

static void put_value(Str *s, const json_t *metrics, const char *name, int interval) {
    const json_t *pair = json_object_get(json_object_get(metrics, "interval"), name);
    const double x = record_number(metrics, name, NULL);
    if (!isfinite(x)) {
        str_puts(s, " - |");
        return;
    }
    str_printf(s, " %.4f", x);
    if (interval && json_array_size(pair) == 2)
        str_printf(s, " (%.4f .. %.4f)", json_number_value(json_array_get(pair, 0)),
                   json_number_value(json_array_get(pair, 1)));
    str_puts(s, " |");
}

static void metrics_row(Str *s, const char *label, const json_t *metrics, int interval) {
    static const char *const name[] = {"HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10"};
    str_printf(s, "| %s |", label);
    for (size_t j = 0; j < sizeof name / sizeof *name; j++) put_value(s, metrics, name[j], interval);
    str_puts(s, "\n");
}

// Nothing of the table of hashes is theirs.
static void put_elsewhere(Str *s, const json_t *e, const char *split) {
    char file[16];
    snprintf(file, sizeof file, "%s.csv", split);
    const char *train = train_hash(e), *rows = record_text(e, "data", file, NULL);
    str_puts(s, " These are not rows of the data it learnt from: train.csv there is ");
    markdown_text(s, train ? train : "missing");
    str_printf(s, ", %s is ", file);
    markdown_text(s, rows ? rows : "-");
    str_puts(s, ".");
}

static void evaluation(Card *c, int i) {
    Str *s = &c->text;
    const json_t *e = c->evaluation[i];
    Str how = {0};
    str_printf(s, "%.0f rows of %s.csv, ranked among ", record_number(e, "rows", NULL), split_name[i]);
    record_put_among(s, e);
    if (strcmp(record_protocol(e), "full")) str_puts(s, ", which gives higher numbers than among all items");
    str_puts(s, "; hits by title, with 95 % intervals.");
    conditions(&how, e);
    if (how.len) str_puts(s, " Measured with "), markdown_text(s, how.data), str_puts(s, ".");
    str_free(&how);
    if (is_elsewhere(c, e)) put_elsewhere(s, e, split_name[i]);
    str_puts(s, "\n\n");
    str_puts(s, "| | HR@1 | HR@5 | HR@10 | NDCG@5 | NDCG@10 |\n| --- | --- | --- | --- | --- | --- |\n");
    metrics_row(s, "this model", json_object_get(e, "title"), 1);
    const json_t *baselines = json_object_get(e, "baselines");
    if (json_object_get(baselines, "popularity")) metrics_row(s, "popularity", json_object_get(baselines, "popularity"), 0);
    if (json_object_get(baselines, "item_knn")) metrics_row(s, "item-kNN", json_object_get(baselines, "item_knn"), 0);
    str_puts(s, "\n");
}

static void metrics(Card *c) {
    str_puts(&c->text, "## Metrics\n\n");
    for (int i = 0; i < 2; i++)
        if (c->evaluation[i]) evaluation(c, i);
    if (!c->evaluation[0] && !c->evaluation[1])
        str_puts(&c->text, "Not measured yet: `latentr3 eval --model DIR --data DATA --save DIR` puts them here.\n\n");
}

static void limits(Card *c) {
    Str *s = &c->text;
    str_puts(s, "## Limits\n\n");
    if (!c->metrics)
        str_puts(s,
                 "- Nothing was learnt in this step: the weights are those that the command was given, or made at random.\n");
    if (c->metrics)
        str_puts(
            s,
            "- It knows the users and items of one log, up to the time when that ends. It copies what is over-represented "
            "there, "
            "popular items above all.\n"
            "- The metrics are of a log that was recorded under some other recommender: they tell which item was taken next, "
            "not what people would have liked.\n");
    if (c->metrics && !is_sasrec(c))
        str_puts(
            s,
            "- Without the search over the catalogue it may write titles that do not exist. It is no assistant: it was trained "
            "to write titles alone.\n");
    if (!is_sasrec(c)) str_puts(s, "- Licence and biases of the base model stay with it.\n");
    str_puts(s, "\n");
    str_printf(s, "latentr3 %s\n",
               record_text(c->origin, "versions", "latentr3", NULL) ? record_text(c->origin, "versions", "latentr3", NULL)
                                                                    : LATENTR3_VERSION);
}

// ---- together ------------------------------------------------------------------------------------------------------------

static int read_optional(json_t **value, const char *folder, const char *name, Err *err) {
    char *path = file_join(folder, name);
    const int status = json_read_optional(value, path, RECORD_JSON_BYTES, err);
    free(path);
    return status;
}

// Somebody else's, or one of ours that somebody took over.
static int is_foreign(const char *path) {
    MapFile f;
    if (!file_exists(path)) return 0;
    if (mapfile_open(&f, path, CARD_BYTES, NULL)) return 1;
    const int ours = memmem(f.data, f.bytes, marker, sizeof marker - 1) != NULL;
    mapfile_close(&f);
    return !ours;
}

static int read_all(Card *c, const char *folder, Err *err) {
    if (read_optional(&c->made, folder, CARD_ORIGIN, err) ||
        (!c->made && read_optional(&c->metrics, folder, "metrics.json", err)) ||
        read_optional(&c->config, folder, "config.json", err))
        return -1;
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "eval-%s.json", split_name[i]);
        if (read_optional(&c->evaluation[i], folder, name, err)) return -1;
        if (json_is_true(json_object_get(c->evaluation[i], "of_folder"))) continue;
        json_decref(c->evaluation[i]);
        c->evaluation[i] = NULL;
    }
    c->origin = c->made ? c->made : c->metrics;
    return 0;
}

int card_forget(const char *folder, Err *err) {
    char *path = file_join(folder, "README.md");
    const int status = !is_foreign(path) && unlink(path) && errno != ENOENT ? err_errno(err, "%s", path) : 0;
    free(path);
    return status;
}

int card_write(const char *folder, Err *err) {
    Card c = {0};
    char *path = file_join(folder, "README.md"), *whole = realpath(folder, NULL);
    char *part = file_last_part(whole ? whole : folder);
    Str name = {0};
    utf8_replace(&name, part, strlen(part));
    c.name = name.len ? name.data : part;
    int status = is_foreign(path) ? 0 : read_all(&c, folder, err);
    if (status == 0 && c.origin) {
        header(&c), about(&c), command(&c), training(&c), hashes(&c), metrics(&c), limits(&c);
        status = file_write(path, c.text.data, c.text.len, err);
    }
    json_decref(c.made), json_decref(c.metrics), json_decref(c.config);
    json_decref(c.evaluation[0]), json_decref(c.evaluation[1]);
    str_free(&c.text);
    str_free(&name);
    free(path), free(whole), free(part);
    return status;
}
