// Users are ranked in groups of --batch, in their order, and the lists appended to OUT.part. Every second the file is
// flushed, and OUT.part.json, which appears whole or not at all, says how many users and bytes that are: going on cuts the file
// there. The groups of a run that went on are those of one that never stopped, and so are its bits. Of a finished run
// OUT.run.json says the same, so that --resume can tell whether OUT is what it would write.
#include "app/recommend_users.h"
#include "app/interrupt.h"
#include "app/out.h"
#include "app/resume.h"
#include "app/run.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "data/users.h"
#include "rec/lists.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATE_BYTES = 1 << 20 };
static const double seconds_between_saves = 1;

typedef struct Shop {
    Use *u;
    const Options *o;
    Users users;
    int64_t n, unknown_ids, unknown_titles; // of all users
    char input_hash[33];                    // of --users
    json_t *identity;                       // resume.h
    PartFile out;
    char *state, *made; // paths: OUT.part.json, OUT.run.json
    ListForm form;
    int64_t done, begun; // users whose lists are in the file; of them, by earlier runs
    Str text;            // of one group
} Shop;

// ---- the users -------------------------------------------------------------------------------------------------------

static int open_users(Shop *x, Err *err) {
    struct stat st;
    if (x->o->users && stat(x->o->users, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(err, ERR_IO, "%s: not a regular file, and --users is read twice", x->o->users);
    return x->o->users ? users_open_file(&x->users, x->o->users, &x->u->data.items, x->o->strict, err)
                       : users_open_folder(&x->users, &x->u->data, err);
}

static int check_user(const Shop *x, const UserHistory *h, Err *err) {
    char what[32];
    if (x->form == LIST_JSONL) return 0; // which holds any name
    snprintf(what, sizeof what, "user %lld,", (long long)x->users.read);
    return x->form == LIST_TREC ? lists_check_word(h->user, what, err) : lists_check_field(h->user, what, err);
}

// From the first one again. A folder's histories are in memory already; a file is read anew.
static int reopen_users(Shop *x, Err *err) {
    if (x->users.from_folder) {
        x->users.read = 0;
        return 0;
    }
    users_close(&x->users);
    return open_users(x, err);
}

// All of it is read before the work begins, so that no line is found bad in the middle of the night.
static int count_users(Shop *x, Err *err) {
    UserHistory h;
    const int bad_ids = x->form == LIST_TREC && lists_check_trec(&x->u->data.items, NULL, err);
    int status = bad_ids || open_users(x, err) ? -1 : 1;
    while (status > 0 && (status = users_next(&x->users, &h, err)) > 0) {
        if (check_user(x, &h, err)) status = -1;
        user_history_free(&h);
    }
    x->n = x->users.read;
    x->unknown_ids = x->users.unknown_ids;
    x->unknown_titles = x->users.unknown_titles;
    if (status) return -1;
    if (x->users.stream) stream_hash(x->users.stream, x->input_hash);
    if (x->n == 0) return err_set(err, ERR_DATA, "%s: no users", x->o->users ? x->o->users : x->o->data);
    if (x->unknown_ids) log_warn("%lld ids of histories are not in the catalogue: left out", (long long)x->unknown_ids);
    if (x->unknown_titles)
        log_warn("%lld titles of histories are not in the catalogue: %s", (long long)x->unknown_titles,
                 use_reads_titles(x->u) ? "they stand in the prompts as they are" : "left out");
    return 0;
}

// ---- going on --------------------------------------------------------------------------------------------------------

static int describe(Shop *x, Err *err) {
    const Use *u = x->u;
    const OpenModel *m = baseline_kind(x->o->model) < 0 ? &u->model : NULL;
    char hash[33];
    json_t *all = run_describe(x->o, m, &u->data, 1, err);
    if (!all) return -1;
    x->identity = resume_identity(all);
    json_decref(all);
    json_t *inputs = json_object_get(x->identity, "inputs");
    if (x->o->users) json_object_set_new(inputs, "the users", json_string(x->input_hash));
    if (u->guide.opened) {
        weights_hash(&u->guide.model.llm, hash);
        json_object_set_new(inputs, "the guide", json_string(hash));
        run_configuration_hash(&u->guide.model, hash);
        json_object_set_new(inputs, "the guide's configuration", json_string(hash));
    }
    return 0;
}

// hash: of the lists, once they are all there; NULL before.
static int save(Shop *x, const char *path, const char *hash, Err *err) {
    if (partfile_flush(&x->out, err)) return -1;
    json_t *state =
        json_pack("{s:I, s:I, s:O}", "users", (json_int_t)x->done, "bytes", (json_int_t)x->out.bytes, "identity", x->identity);
    if (hash) json_object_set_new(state, "hash", json_string(hash));
    const int status = json_save(path, state, err);
    json_decref(state);
    return status;
}

static int finish(Shop *x, Err *err) {
    char hash[33];
    if (partfile_flush(&x->out, err) || file_hash(hash, x->out.part, err) || save(x, x->made, hash, err) ||
        partfile_commit(&x->out, err))
        return -1;
    unlink(x->state);
    return 0;
}

// Where an earlier run came to: its users are passed over, and what the file holds behind them is cut off.
static int go_on(Shop *x, Err *err) {
    json_t *state = json_read(x->state, STATE_BYTES, err);
    if (!state) return -1;
    const json_t *users = json_object_get(state, "users"), *bytes = json_object_get(state, "bytes");
    x->done = x->begun = json_integer_value(users);
    int status = 0;
    if (!json_is_integer(users) || !json_is_integer(bytes) || x->done < 0 || json_integer_value(bytes) < 0)
        status = err_set(err, ERR_DATA, "%s: not what a run of recommend leaves", x->state);
    if (status == 0) status = resume_same(json_object_get(state, "identity"), x->identity, x->out.part, err);
    if (status == 0) status = partfile_cut(&x->out, (uint64_t)json_integer_value(bytes), err);
    if (status == 0) status = users_skip(&x->users, x->done, err);
    json_decref(state);
    return status;
}

static int begin(Shop *x, Err *err) {
    const char *head = lists_head(x->form);
    unlink(x->state);
    return partfile_cut(&x->out, 0, err) || partfile_write(&x->out, head, strlen(head), err) ? -1 : 0;
}

// The longest name that is made from OUT has to be one too, or all is computed for nothing.
static int check_name(const char *out, const char *state, Err *err) {
    static const size_t later = 6; // digits more, when it has been saved for a week
    char *name = file_temporary(state);
    struct stat st;
    const size_t longest = strlen(file_name(name)) + later, all = strlen(name) + later;
    const int fits = longest <= NAME_MAX && all < PATH_MAX && !(lstat(name, &st) && errno == ENAMETOOLONG);
    free(name);
    if (fits) return 0;
    return err_set(err, ERR_IO, "--out %s: too long: names of up to %zu bytes are made from it, and %d are the most", out,
                   longest, NAME_MAX);
}

// 1: there is something to do; 0: lists are there, and --resume asks whether they are those of this run.
static int check_out(const Options *o, const char *part, const char *state, Err *err) {
    if (out_check_file(o, o->out, err) || check_name(o->out, state, err)) return -1;
    const int whole = file_exists(o->out), cut_off = file_exists(part);
    if (whole && o->resume && !o->force && !cut_off) return 0;
    if (whole && !o->force) return err_set(err, ERR_USAGE, "--out %s is there; --force writes over it", o->out);
    if (cut_off && !o->force && !o->resume)
        return err_set(err, ERR_USAGE, "%s is there, of a run that was cut off: --resume goes on with it, --force begins anew",
                       part);
    return 1;
}

// ---- ranking ---------------------------------------------------------------------------------------------------------

static int rank_group(Shop *x, const Ranker *r, UserHistory *user, int n, Err *err) {
    History *history = mem_alloc((size_t)n, sizeof *history);
    Recommendation *item = mem_alloc((size_t)n * (size_t)r->k, sizeof *item);
    int *found = mem_alloc((size_t)n, sizeof *found);
    for (int i = 0; i < n; i++)
        history[i] = (History){.title = user[i].title,
                               .item_id = user[i].by_id ? user[i].id : NULL,
                               .text = user[i].text,
                               .n = user[i].n,
                               .number = (int)((x->done + i) & INT32_MAX)};
    int status = r->rank(r->self, history, n, item, found, err);
    if (status) err_prefix(err, "%s: users %lld to %lld", x->o->model, (long long)x->done + 1, (long long)x->done + n);
    str_clear(&x->text);
    for (int i = 0; i < n && status == 0; i++)
        lists_put(&x->text, x->form, r->items, user[i].user, item + (size_t)i * (size_t)r->k, found[i]);
    if (status == 0) status = partfile_write(&x->out, x->text.data, x->text.len, err);
    free(history), free(item), free(found);
    return status;
}

// One group more; *n becomes how many users it had.
static int next_group(Shop *x, const Ranker *r, int *n, Err *err) {
    UserHistory *user = mem_alloc((size_t)r->users, sizeof *user);
    int status = 1;
    for (*n = 0; *n < r->users && status > 0; *n += status > 0) status = users_next(&x->users, &user[*n], err);
    if (status >= 0) status = *n ? rank_group(x, r, user, *n, err) : 0;
    if (status == 0) x->done += *n;
    for (int i = 0; i < *n; i++) user_history_free(&user[i]);
    free(user);
    return status;
}

static int rank_all(Shop *x, const Ranker *r, Err *err) {
    const atomic_int *stop = interrupt_watch();
    signal(SIGPIPE, SIG_IGN); // as main.c has it for other commands that take long
    interrupt_tell("\nstopping after these users; once more stops at once\n");
    double saved = log_seconds();
    int n = 1, status = 0;
    Progress progress;
    progress_start(&progress, "recommend", "users", (uint64_t)x->n);
    progress.begun = progress.done = (uint64_t)x->begun;
    while (status == 0 && x->done < x->n && !*stop) {
        status = next_group(x, r, &n, err);
        if (status == 0 && n == 0) status = err_set(err, ERR_DATA, "%s: the users became fewer meanwhile", x->o->users);
        progress_update(&progress, (uint64_t)x->done, "%s", "");
        if (status == 0 && log_seconds() - saved > seconds_between_saves) {
            status = save(x, x->state, NULL, err);
            saved = log_seconds();
        }
    }
    progress_finish(&progress);
    if (status) return status;
    return x->done < x->n ? save(x, x->state, NULL, err) : finish(x, err);
}

static void report(const Shop *x, double seconds) {
    const Options *o = x->o;
    const double rate = seconds > 0 ? (double)(x->done - x->begun) / seconds * 3600 : 0;
    if (o->json) {
        json_t *json =
            json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:f}", "out", options_text(o->out), "users", (json_int_t)x->n,
                      "resumed_at", (json_int_t)x->begun, "done", (json_int_t)x->done, "unknown_ids",
                      (json_int_t)x->unknown_ids, "unknown_titles", (json_int_t)x->unknown_titles, "seconds", seconds);
        use_print(json);
        json_decref(json);
    } else {
        printf("%lld of %lld users, %.0f an hour: %s\n", (long long)x->done, (long long)x->n, rate,
               x->done < x->n ? x->out.part : o->out);
    }
}

// What makes the lists, and what they depend on: the guide is open by then, and named.
static int open_run(Shop *x, Ranker *r, Err *err) {
    const int users = x->n < x->o->batch ? (int)x->n : x->o->batch;
    return use_ranker(x->u, x->o, x->o->k, users, r, err) || describe(x, err) ? -1 : 0;
}

// Lists that an earlier run has finished: of the same model, users, data and options, or they are not what is asked for.
static int check_whole(Shop *x, Err *err) {
    const char *out = x->o->out;
    char hash[33];
    Ranker r;
    if (count_users(x, err) || open_run(x, &r, err)) return -1;
    json_t *made;
    json_read_optional(&made, x->made, STATE_BYTES, NULL);
    const char *was = json_string_value(json_object_get(made, "hash"));
    int status = file_hash(hash, out, err);
    if (status == 0 && (!was || strcmp(was, hash) != 0))
        status =
            err_set(err, ERR_USAGE, "--out %s is there, and %s does not say of what run; --force writes over it", out, x->made);
    if (status == 0) status = resume_same(json_object_get(made, "identity"), x->identity, out, err);
    json_decref(made);
    if (status) return -1;
    log_info("%s is there, of this very run: nothing to do", out);
    x->done = x->begun = x->n;
    if (x->o->json) report(x, 0);
    return 0;
}

static int write_lists(Shop *x, Err *err) {
    const Options *o = x->o;
    Ranker r;
    if (count_users(x, err) || open_run(x, &r, err) || reopen_users(x, err) || out_make_parent(o->out, err) ||
        partfile_open(&x->out, o->out, err))
        return -1;
    if (o->resume && file_exists(x->state) ? go_on(x, err) : begin(x, err)) return -1;
    if (x->begun) log_info("%s: %lld of %lld users are there", x->out.part, (long long)x->begun, (long long)x->n);
    const double start = log_seconds();
    if (rank_all(x, &r, err)) {
        if (x->done == 0) unlink(x->out.part); // nothing to go on with
        return -1;
    }
    report(x, log_seconds() - start);
    return 0;
}

int recommend_users_write(Use *u, const Options *o, Err *err) {
    Shop x = {.u = u, .o = o, .out.fd = -1};
    Str state = {0}, made = {0};
    char *part = partfile_name(o->out);
    while (strcmp(o->form, list_form_name[x.form])) x.form++;
    str_printf(&state, "%s.json", part);
    str_printf(&made, "%s.run.json", o->out);
    x.state = state.data, x.made = made.data;
    int status = check_out(o, part, x.state, err);
    if (status >= 0) status = status ? write_lists(&x, err) : check_whole(&x, err);
    partfile_close(&x.out);
    users_close(&x.users);
    json_decref(x.identity);
    str_free(&x.text), str_free(&state), str_free(&made);
    free(part);
    return status;
}
