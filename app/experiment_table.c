#include "app/experiment_table.h"
#include "app/use.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "report/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPERIMENT_RESAMPLES = 1000, EXPERIMENT_SEED = 42 };

// The metrics, what thoughts of others do, and what each training moved.
enum { TABLE_METRICS, TABLE_THOUGHTS, TABLE_TRAININGS, TABLES };

typedef struct Tabling {
    const Plan *p;
    Record *record; // (runs) of trainings, and of the evaluations that make rows; else zeroed
    Table table[TABLES];
} Tabling;

// What a run tells besides its metrics: a number of its evaluation or of metrics.json, or the last one or the mean of a curve.
typedef struct Column {
    const char *name;
    enum { OF_EVALUATION, OF_METRICS, LAST_OF, MEAN_OF } source;
    const char *path[5]; // members within members; of a curve event and name
} Column;

static const Column thought_column[] = {
    {"loss", OF_EVALUATION, {"thought_test", "own", "loss"}},
    {"another row's", OF_EVALUATION, {"thought_test", "other", "against_own", "loss", "gain"}},
    {"zero", OF_EVALUATION, {"thought_test", "zero", "against_own", "loss", "gain"}},
    {"own and noise", OF_EVALUATION, {"thought_test", "noise", "against_own", "loss", "gain"}},
    {"HR@10", OF_EVALUATION, {"thought_test", "own", "HR@10"}},
    {"another row's HR@10", OF_EVALUATION, {"thought_test", "other", "against_own", "HR@10", "gain"}},
};
static const Column training_column[] = {
    {"validation loss before", OF_METRICS, {"validation_loss_before"}},
    {"at the end", LAST_OF, {"validation", "loss"}},
    {"kept", OF_METRICS, {"validation_loss_kept"}},
    {"reward spread within groups", MEAN_OF, {"step", "reward_spread_within_groups"}},
    {"between prompts", MEAN_OF, {"step", "reward_spread_between_prompts"}},
    {"advantage share between prompts", MEAN_OF, {"step", "advantage_share_between_prompts"}},
};
enum {
    THOUGHT_COLUMNS = sizeof thought_column / sizeof *thought_column,
    TRAINING_COLUMNS = sizeof training_column / sizeof *training_column
};

// ---- combinations of variables -------------------------------------------------------------------------------------------

static const char SEED[] = "seed"; // the variable that runs are repeated over

static int is_seed(const Plan *p, int variable) {
    return !strcmp(p->e->variable[variable].name, SEED);
}

// The first run of a step shows which variables it uses.
static const PlanRun *first_run(const Plan *p, const ExperimentStep *s) {
    for (int i = 0; i < p->runs; i++)
        if (p->run[i].step == s) return &p->run[i];
    return NULL;
}

// The next combination of the variables in `moves` (bits), the last changing fastest; 0 behind the last.
static int next_chosen(const Plan *p, unsigned moves, int *chosen) {
    for (int v = p->e->variables - 1; v >= 0; v--) {
        if (!(moves >> v & 1)) continue;
        if (++chosen[v] < p->e->variable[v].n) return 1;
        chosen[v] = 0;
    }
    return 0;
}

static unsigned uses_of(const Plan *p, const ExperimentStep *s) {
    const PlanRun *r = first_run(p, s);
    unsigned uses = 0;
    for (int v = 0; v < p->e->variables; v++)
        if (r->chosen[v] >= 0) uses |= 1u << v;
    return uses;
}

static unsigned seed_bit(const Plan *p) {
    for (int v = 0; v < p->e->variables; v++)
        if (is_seed(p, v)) return 1u << v;
    return 0;
}

// How many rows a step makes: one for each combination of its variables but the seed.
static int rows_of(const Plan *p, const ExperimentStep *s) {
    const unsigned moves = uses_of(p, s) & ~seed_bit(p);
    int chosen[EXPERIMENT_VARIABLES] = {0}, n = 1;
    while (next_chosen(p, moves, chosen)) n++;
    return n;
}

// ---- rows ------------------------------------------------------------------------------------------------------------------

static int is_training(const ExperimentStep *s) {
    return (s->command->bit & (CMD_SFT | CMD_RL)) != 0;
}

static const Record *record_of(const Tabling *t, const PlanRun *r) {
    return &t->record[r - t->p->run];
}

static const char *split_of(const PlanRun *r) {
    for (int i = 0; i < r->argc; i++)
        if (!strncmp(r->argv[i], "--split=", 8)) return r->argv[i] + 8;
    return "test";
}

static int open_records(Tabling *t, Err *err) {
    t->record = mem_zalloc((size_t)t->p->runs + 1, sizeof *t->record);
    for (int i = 0; i < t->p->runs; i++) {
        const PlanRun *r = &t->p->run[i];
        if ((r->step->row || is_training(r->step)) && record_open(&t->record[i], r->folder, split_of(r), err)) return -1;
        if (r->step->row && !t->record[i].evaluation)
            return err_set(err, ERR_DATA, "%s: no evaluation of the split", r->folder);
    }
    return 0;
}

// The name of a variable that makes rows of the baseline and not of the step, so that none of those rows is the one to hold it
// against; or NULL.
static const char *lacks(const Plan *p, const ExperimentStep *s, const ExperimentStep *base) {
    const unsigned more = uses_of(p, base) & ~uses_of(p, s) & ~seed_bit(p);
    for (int v = 0; v < p->e->variables; v++)
        if (more >> v & 1 && p->e->variable[v].n > 1) return p->e->variable[v].name;
    return NULL;
}

// Each run of the row beside the baseline's that shares its variables: a pair for each seed. Returns how many.
static int pair_up(const Tabling *t, const ExperimentStep *s, const ExperimentStep *base, const int *at, SpreadPair *pair) {
    const unsigned moves = (uses_of(t->p, s) | uses_of(t->p, base)) & seed_bit(t->p);
    int chosen[EXPERIMENT_VARIABLES], n = 0;
    memcpy(chosen, at, sizeof chosen);
    for (int v = 0; v < t->p->e->variables; v++)
        if (moves >> v & 1) chosen[v] = 0;
    do {
        const PlanRun *mine = experiment_plan_find(t->p, s, chosen), *other = experiment_plan_find(t->p, base, chosen);
        if (mine != other) pair[n++] = (SpreadPair){record_of(t, mine), record_of(t, other)};
    } while (n < PLAN_RUNS && next_chosen(t->p, moves, chosen));
    return n;
}

static char *label_of(const Plan *p, const ExperimentStep *s, const int *at) {
    Str label = {0};
    str_puts(&label, s->row ? s->row : s->name);
    for (int v = 0; v < p->e->variables; v++)
        if (uses_of(p, s) >> v & 1 && !is_seed(p, v) && p->e->variable[v].n > 1)
            str_printf(&label, ", %s=%s", p->e->variable[v].name, p->e->variable[v].value[at[v]]);
    return label.data;
}

// The runs of a row, one a seed. at: what the row's variables are, but for the seed.
static int runs_at(const Tabling *t, const ExperimentStep *s, const int *at, const Record *run[EXPERIMENT_VALUES]) {
    const unsigned seeds = uses_of(t->p, s) & seed_bit(t->p);
    int chosen[EXPERIMENT_VARIABLES], n = 0;
    memcpy(chosen, at, sizeof chosen);
    do run[n++] = record_of(t, experiment_plan_find(t->p, s, chosen));
    while (n < EXPERIMENT_VALUES && next_chosen(t->p, seeds, chosen));
    return n;
}

static TableRow *new_row(const Tabling *t, Table *table, const ExperimentStep *s, const int *at) {
    table->row = mem_realloc(table->row, (size_t)table->rows + 1, sizeof *table->row);
    TableRow *row = &table->row[table->rows++];
    *row = (TableRow){label_of(t->p, s, at), mem_zalloc((size_t)table->metrics, sizeof *row->value)};
    return row;
}

// Numbers among drawn candidates say so wherever they stand.
static void name_protocol(TableRow *row, const Record *r) {
    Str label = {0};
    if (!strcmp(record_protocol(r->evaluation), "full")) return;
    str_printf(&label, "%s (%s)", row->label, record_protocol(r->evaluation));
    free(row->label);
    row->label = label.data;
}

// A row that cannot be held against the baseline stands without gains.
static void metrics_row(Tabling *t, const ExperimentStep *s, const ExperimentStep *base, const int *at) {
    Table *table = &t->table[TABLE_METRICS];
    const Record *run[EXPERIMENT_VALUES];
    const int n = runs_at(t, s, at, run);
    SpreadPair *pair = mem_alloc(PLAN_RUNS, sizeof *pair);
    const char *lacking = base ? lacks(t->p, s, base) : NULL;
    int pairs = base && base != s && !lacking ? pair_up(t, s, base, at, pair) : 0;
    TableRow *row = new_row(t, table, s, at);
    name_protocol(row, run[0]);
    if (lacking) log_warn("%s: no gain over %s: that has a row for each value of %s", row->label, base->row, lacking);
    for (int i = 0; i < pairs; i++)
        if (!record_same_train(pair[i].mine, pair[i].other)) {
            log_warn("%s: measured with another train.csv than %s", row->label, base->row);
            break;
        }
    for (int j = 0; j < table->metrics; j++) {
        double x[EXPERIMENT_VALUES];
        Err why;
        for (int i = 0; i < n; i++) x[i] = record_number(run[i]->evaluation, "title", table->metric[j], NULL);
        spread_mean(&row->value[j], x, n);
        if (spread_gain(&row->value[j], pair, pairs, table->metric[j], EXPERIMENT_RESAMPLES, EXPERIMENT_SEED, &why) == 0)
            continue;
        log_warn("%s: no gain over %s: %s", row->label, base->row, why.message);
        pairs = 0;
    }
    free(pair);
}

// NAN where the run has none.
static double column_value(const Column *c, const Record *r) {
    const char *const *path = c->path;
    if (c->source == OF_EVALUATION || c->source == OF_METRICS)
        return record_number(c->source == OF_METRICS ? r->metrics : r->evaluation, path[0], path[1], path[2], path[3], path[4],
                             NULL);
    double *x, *y, sum = 0;
    const int n = record_curve(r, path[0], path[1], &x, &y);
    for (int i = 0; i < n; i++) sum += y[i];
    const double value = !n ? NAN : c->source == LAST_OF ? y[n - 1] : sum / n;
    free(x), free(y);
    return value;
}

// No row where no run has a value.
static void columns_row(Tabling *t, int which, const Column *column, const ExperimentStep *s, const int *at) {
    Table *table = &t->table[which];
    const Record *run[EXPERIMENT_VALUES];
    SpreadValue value[EXPERIMENT_METRICS];
    const int n = runs_at(t, s, at, run);
    int known = 0;
    for (int j = 0; j < table->metrics; j++) {
        double x[EXPERIMENT_VALUES];
        for (int i = 0; i < n; i++) x[i] = column_value(&column[j], run[i]);
        value[j] = (SpreadValue){0};
        spread_mean(&value[j], x, n);
        known += value[j].n;
    }
    if (known) memcpy(new_row(t, table, s, at)->value, value, (size_t)table->metrics * sizeof *value);
}

static void add_rows(Tabling *t, const ExperimentStep *s, const ExperimentStep *base) {
    const unsigned moves = uses_of(t->p, s) & ~seed_bit(t->p);
    int at[EXPERIMENT_VARIABLES] = {0};
    do {
        if (s->row) metrics_row(t, s, base, at);
        if (s->row) columns_row(t, TABLE_THOUGHTS, thought_column, s, at);
        if (is_training(s)) columns_row(t, TABLE_TRAININGS, training_column, s, at);
    } while (next_chosen(t->p, moves, at));
}

static Table table_of_columns(const char *title, const Column *column, int n, const char *name[]) {
    for (int i = 0; i < n; i++) name[i] = column[i].name;
    return (Table){.title = title, .metric = name, .metrics = n};
}

static void fill_tables(Tabling *t) {
    const Experiment *e = t->p->e;
    const ExperimentStep *base = NULL;
    for (int i = 0; i < e->steps; i++)
        if (e->baseline && e->step[i].row && !strcmp(e->step[i].row, e->baseline)) base = &e->step[i];
    for (int i = 0; i < e->steps; i++) add_rows(t, &e->step[i], base);
    if (base && rows_of(t->p, base) > 1)
        log_warn("%s: %d rows, which have no gains over each other", base->row, rows_of(t->p, base));
}

// ---- results -------------------------------------------------------------------------------------------------------------

static void all_markdown(Str *out, const Table *t) {
    for (int i = 0; i < TABLES; i++) {
        if (i && !t[i].rows) continue;
        if (i) str_puts(out, "\n");
        table_markdown(out, &t[i]);
    }
}

static json_t *all_json(const Tabling *t) {
    const Experiment *e = t->p->e;
    json_t *json = json_pack("{s:s, s:o, s:s?, s:o}", "experiment", e->name, "file", options_text(e->text), "baseline",
                             e->baseline, "rows", table_to_json(&t->table[TABLE_METRICS]));
    if (json && t->table[TABLE_THOUGHTS].rows)
        json_object_set_new(json, "thought_test", table_to_json(&t->table[TABLE_THOUGHTS]));
    if (json && t->table[TABLE_TRAININGS].rows)
        json_object_set_new(json, "training", table_to_json(&t->table[TABLE_TRAININGS]));
    return json;
}

static const char *const output_name[] = {"results.json", "table.md", "table.csv", "table.tex"};

int experiment_table_forget(const char *out, Err *err) {
    return file_remove_all(out, output_name, sizeof output_name / sizeof *output_name, err);
}

static int write_text(const char *folder, const char *name, void (*form)(Str *, const Table *), const Table *t, Err *err) {
    Str text = {0};
    char *path = file_join(folder, name);
    form(&text, t);
    int status = file_write(path, text.data, text.len, err);
    free(path);
    str_free(&text);
    return status;
}

static int write_tables(const Tabling *t, const Options *o, Err *err) {
    json_t *json = all_json(t);
    char *path = file_join(o->out, output_name[0]);
    int status = json ? json_save(path, json, err) : err_set(err, ERR_DATA, "%s: a label is no UTF-8", t->p->e->path);
    if (status == 0) status = write_text(o->out, output_name[1], all_markdown, t->table, err);
    if (status == 0) status = write_text(o->out, output_name[2], table_csv, &t->table[TABLE_METRICS], err);
    if (status == 0) status = write_text(o->out, output_name[3], table_latex, &t->table[TABLE_METRICS], err);
    if (status == 0 && o->json) {
        use_print(json);
    } else if (status == 0) {
        Str text = {0};
        all_markdown(&text, t->table);
        fputs(text.data, stdout);
        str_free(&text);
    }
    json_decref(json);
    free(path);
    return status;
}

int experiment_table_make(const Plan *p, const Options *o, Err *err) {
    const char *thoughts[THOUGHT_COLUMNS], *trainings[TRAINING_COLUMNS];
    Tabling t = {.p = p};
    t.table[TABLE_METRICS] = (Table){
        .title = "by title", .baseline = p->e->baseline, .metric = (const char *const *)p->e->metric, .metrics = p->e->metrics};
    t.table[TABLE_THOUGHTS] = table_of_columns("thought test: own, and less own", thought_column, THOUGHT_COLUMNS, thoughts);
    t.table[TABLE_TRAININGS] = table_of_columns("training", training_column, TRAINING_COLUMNS, trainings);
    int status = open_records(&t, err);
    if (status == 0) fill_tables(&t);
    if (status == 0) status = write_tables(&t, o, err);
    for (int i = 0; i < p->runs; i++) record_close(&t.record[i]);
    for (int i = 0; i < TABLES; i++) {
        for (int j = 0; j < t.table[i].rows; j++) free(t.table[i].row[j].label), free(t.table[i].row[j].value);
        free(t.table[i].row);
    }
    free(t.record);
    return status;
}
