#include "serve/request.h"
#include "base/arena.h"
#include "base/utf8.h"
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

// Every message begins with where in the body the fault lies.
typedef struct Place {
    char text[64];
} Place;

static int refuse(const Place *at, const char *name, const char *why, Err *err) {
    return err_set(err, ERR_USAGE, "%s%s: %s", at->text, name, why);
}

// ---- values -----------------------------------------------------------------------------------------------------------

static int read_int(const json_t *json, const char *name, int least, int most, int *out, const Place *at, Err *err) {
    const json_t *v = json_object_get(json, name);
    if (!v) return 0;
    const json_int_t x = json_integer_value(v);
    if (!json_is_integer(v) || x < least || x > most)
        return err_set(err, ERR_USAGE, "%s%s: not a whole number from %d to %d", at->text, name, least, most);
    *out = (int)x;
    return 0;
}

static int read_flag(const json_t *json, const char *name, int *out, const Place *at, Err *err) {
    const json_t *v = json_object_get(json, name);
    if (!v) return 0;
    if (!json_is_boolean(v)) return refuse(at, name, "neither true nor false", err);
    *out = json_is_true(v);
    return 0;
}

// A text that can be a title: no control bytes (a NUL would end it), not too long.
static const char *text_fault(const json_t *v) {
    if (!json_is_string(v)) return "no text";
    const char *text = json_string_value(v);
    const size_t len = json_string_length(v);
    if (len == 0) return "an empty text";
    for (size_t i = 0; i < len; i++)
        if (utf8_is_control(text[i])) return "a text with a control byte";
    return utf8_count(text, len) > REQUEST_CHARACTERS ? "a text of more than 1024 characters" : NULL;
}

static const char **new_list(Request *r, size_t n) {
    const char **list = mem_alloc(n + 1, sizeof *list);
    r->list = mem_realloc(r->list, (size_t)r->lists + 1, sizeof *r->list);
    return r->list[r->lists++] = list;
}

static int read_list(Request *r, const json_t *json, const char *name, size_t most, const char ***out, int *n, const Place *at,
                     Err *err) {
    const json_t *list = json_object_get(json, name), *v;
    size_t i;
    if (!list) return 0;
    if (!json_is_array(list)) return refuse(at, name, "no list", err);
    if (json_array_size(list) > most)
        return err_set(err, ERR_USAGE, "%s%s: %zu entries, more than the limit of %zu", at->text, name, json_array_size(list),
                       most);
    *out = new_list(r, json_array_size(list));
    json_array_foreach(list, i, v) {
        const char *fault = text_fault(v);
        if (fault) return err_set(err, ERR_USAGE, "%s%s[%zu]: %s", at->text, name, i, fault);
        (*out)[i] = json_string_value(v);
    }
    *n = (int)json_array_size(list);
    return 0;
}

// Members that nobody knows are refused: a misspelt one would be passed over in silence.
static int known_members(const json_t *json, const char *const *names, const Place *at, Err *err) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)json, key, v) {
        int known = 0;
        for (const char *const *name = names; *name; name++) known |= !strcmp(key, *name);
        if (!known) return err_set(err, ERR_USAGE, "%s%.60s: there is no such member", at->text, key);
    }
    return 0;
}

// ---- /v1/recommend ----------------------------------------------------------------------------------------------------

// What stands beside "users" holds for each of them that does not say otherwise. k and beams stay 0 where nothing is said.
static int read_wish(Request *r, const json_t *json, Ask *ask, const RequestLimits *limits, const Place *at, Err *err) {
    return read_int(json, "k", 1, limits->max_beams, &ask->k, at, err) ||
                   read_int(json, "beams", 1, limits->max_beams, &ask->beams, at, err) ||
                   read_flag(json, "exclude_seen", &ask->exclude_seen, at, err) ||
                   read_flag(json, "explain", &ask->explain, at, err) ||
                   read_list(r, json, "allow", REQUEST_LIST, &ask->allow, &ask->allows, at, err) ||
                   read_list(r, json, "deny", REQUEST_LIST, &ask->deny, &ask->denies, at, err)
               ? -1
               : 0;
}

static void settle(Ask *ask, const RequestLimits *limits) {
    if (!ask->beams) ask->beams = limits->beams;
    if (!ask->k) ask->k = REQUEST_K < ask->beams ? REQUEST_K : ask->beams;
    if (ask->k > ask->beams) ask->beams = ask->k;
}

static int read_history(Request *r, const json_t *json, Ask *ask, const Place *at, Err *err) {
    const int ids = json_object_get(json, "history_ids") != NULL;
    if (ids == (json_object_get(json, "history") != NULL))
        return refuse(at, "history", ids ? "beside history_ids: one of them is expected" : "missing, as is history_ids", err);
    ask->by_id = ids;
    return read_list(r, json, ids ? "history_ids" : "history", REQUEST_HISTORY, &ask->history, &ask->n, at, err);
}

static int parse_object(Request *r, const char *body, size_t bytes, Err *err) {
    *r = (Request){0};
    r->json = json_parse(body, bytes, "the body", err);
    if (!r->json) return -1;
    return json_is_object(r->json) ? 0 : err_set(err, ERR_USAGE, "the body: no JSON object");
}

static int read_users(Request *r, const json_t *users, const Ask *common, const RequestLimits *limits, Err *err) {
    static const char *const members[] = {"history", "history_ids", "k",    "beams", "exclude_seen",
                                          "explain", "allow",       "deny", NULL};
    const size_t n = json_array_size(users);
    const json_t *user;
    size_t i;
    if (!json_is_array(users) || n == 0 || n > (size_t)limits->users)
        return err_set(err, ERR_USAGE, "users: not a list of 1 to %d users", limits->users);
    r->form = REQUEST_SEVERAL;
    r->ask = mem_zalloc(n, sizeof *r->ask);
    json_array_foreach(users, i, user) {
        Place at;
        snprintf(at.text, sizeof at.text, "users[%zu].", i);
        if (!json_is_object(user)) return err_set(err, ERR_USAGE, "users[%zu]: no JSON object", i);
        r->ask[i] = *common;
        r->ask[i].number = (int)i;
        if (known_members(user, members, &at, err) || read_history(r, user, &r->ask[i], &at, err) ||
            read_wish(r, user, &r->ask[i], limits, &at, err))
            return -1;
        settle(&r->ask[i], limits);
        r->n++;
    }
    return 0;
}

int request_parse(Request *r, const char *body, size_t bytes, const RequestLimits *limits, Err *err) {
    static const char *const members[] = {"users",        "history", "history_ids", "k",    "beams",
                                          "exclude_seen", "explain", "allow",       "deny", NULL};
    const Place top = {""};
    Ask ask = {.allows = -1};
    if (parse_object(r, body, bytes, err) || known_members(r->json, members, &top, err) ||
        read_wish(r, r->json, &ask, limits, &top, err))
        return -1;
    const json_t *users = json_object_get(r->json, "users");
    if (users && (json_object_get(r->json, "history") || json_object_get(r->json, "history_ids")))
        return refuse(&top, "history", "stands beside users; it belongs to each of them", err);
    if (users) return read_users(r, users, &ask, limits, err);
    if (read_history(r, r->json, &ask, &top, err)) return -1;
    settle(&ask, limits);
    r->ask = mem_alloc(1, sizeof *r->ask);
    r->ask[r->n++] = ask;
    return 0;
}

// ---- Open Inference Protocol --------------------------------------------------------------------------------------------

// One entry after the other; `what` they are a part of.
static int read_entries(const json_t *list, const char *what, size_t width, const char **out, Err *err) {
    const json_t *v;
    size_t i;
    if (json_array_size(list) != width)
        return err_set(err, ERR_USAGE, "inputs[0].%s: %zu entries, the shape has %zu", what, json_array_size(list), width);
    json_array_foreach(list, i, v) {
        const char *fault = json_is_string(v) && json_string_length(v) == 0 ? NULL : text_fault(v);
        if (fault) return err_set(err, ERR_USAGE, "inputs[0].%s: entry %zu: %s", what, i, fault);
        out[i] = json_string_value(v);
    }
    return 0;
}

// Data of a tensor are flat, or a list for each user.
static int read_data(const json_t *data, size_t users, size_t width, const char **out, Err *err) {
    const json_t *row;
    size_t u;
    if (!json_is_array(data)) return err_set(err, ERR_USAGE, "inputs[0].data: no list");
    if (!json_is_array(json_array_get(data, 0))) return read_entries(data, "data", users * width, out, err);
    if (json_array_size(data) != users)
        return err_set(err, ERR_USAGE, "inputs[0].data: %zu lists, the shape has %zu", json_array_size(data), users);
    json_array_foreach(data, u, row) {
        char what[32];
        snprintf(what, sizeof what, "data[%zu]", u);
        if (!json_is_array(row)) return err_set(err, ERR_USAGE, "inputs[0].%s: no list, as the first one is", what);
        if (read_entries(row, what, width, out + u * width, err)) return -1;
    }
    return 0;
}

static int read_shape(const json_t *input, const RequestLimits *limits, size_t *users, size_t *width, Err *err) {
    const json_t *shape = json_object_get(input, "shape");
    const json_int_t rows = json_integer_value(json_array_get(shape, 0)),
                     columns = json_integer_value(json_array_get(shape, 1));
    if (json_array_size(shape) != 2 || rows < 1 || rows > limits->users || columns < 0 || columns > REQUEST_HISTORY ||
        !json_is_integer(json_array_get(shape, 1)))
        return err_set(err, ERR_USAGE, "inputs[0].shape: not [1 to %d users, at most %d titles]", limits->users,
                       REQUEST_HISTORY);
    *users = (size_t)rows;
    *width = (size_t)columns;
    return 0;
}

// Entry i of `list`, "inputs" or "outputs". Its parameters may say what holds anyway; what else clients could ask of a tensor
// (binary data, classification) is not done.
static int check_tensor(const json_t *tensor, const char *const *members, const char *list, size_t i, Err *err) {
    static const char *const known[] = {"binary_data", "content_type", NULL};
    const json_t *parameters = json_object_get(tensor, "parameters"), *binary = json_object_get(parameters, "binary_data"),
                 *type = json_object_get(parameters, "content_type");
    Place at, in;
    snprintf(at.text, sizeof at.text, "%s[%zu].", list, i);
    snprintf(in.text, sizeof in.text, "%s[%zu].parameters.", list, i);
    if (known_members(tensor, members, &at, err)) return -1;
    if (parameters && !json_is_object(parameters)) return refuse(&at, "parameters", "no JSON object", err);
    if (known_members(parameters, known, &in, err)) return -1;
    if (binary && !json_is_false(binary)) return refuse(&in, "binary_data", "not false", err);
    if (type && !(json_is_string(type) && !strcmp(json_string_value(type), "str")))
        return refuse(&in, "content_type", "not str", err);
    return 0;
}

// Each row of the tensor is a user's history.
static int read_tensor(Request *r, const json_t *input, const Ask *common, const RequestLimits *limits, Err *err) {
    static const char *const members[] = {"name", "datatype", "shape", "parameters", "data", NULL};
    if (check_tensor(input, members, "inputs", 0, err)) return -1;
    const char *name = json_string_value(json_object_get(input, "name")),
               *type = json_string_value(json_object_get(input, "datatype"));
    size_t users = 0, width = 0;
    const int by_id = name && !strcmp(name, "history_ids");
    if (!name || (!by_id && strcmp(name, "history")))
        return err_set(err, ERR_USAGE, "inputs[0].name: neither history nor history_ids");
    if (!type || strcmp(type, "BYTES")) return err_set(err, ERR_USAGE, "inputs[0].datatype: not BYTES");
    if (read_shape(input, limits, &users, &width, err)) return -1;
    const char **all = new_list(r, users * width);
    if (read_data(json_object_get(input, "data"), users, width, all, err)) return -1;
    r->ask = mem_zalloc(users, sizeof *r->ask);
    for (size_t u = 0; u < users; u++) {
        Ask *ask = &r->ask[r->n++];
        *ask = *common;
        ask->by_id = by_id;
        ask->number = (int)u;
        ask->history = all + u * width;
        for (size_t i = 0; i < width; i++)
            if (*all[u * width + i]) ask->history[ask->n++] = all[u * width + i];
    }
    return 0;
}

const char *const request_output[REQUEST_OUTPUTS] = {"item", "title", "score"};

static int read_outputs(Request *r, const json_t *outputs, Err *err) {
    static const char *const members[] = {"name", "parameters", NULL};
    const json_t *v;
    size_t i;
    if (outputs && !json_is_array(outputs)) return err_set(err, ERR_USAGE, "outputs: no list");
    json_array_foreach(outputs, i, v) {
        const char *name = json_string_value(json_object_get(v, "name"));
        int what = 0;
        if (check_tensor(v, members, "outputs", i, err)) return -1;
        while (what < REQUEST_OUTPUTS && !(name && !strcmp(name, request_output[what]))) what++;
        if (what == REQUEST_OUTPUTS) return err_set(err, ERR_USAGE, "outputs[%zu].name: neither item, title nor score", i);
        r->outputs |= 1 << what;
    }
    if (!r->outputs) r->outputs = (1 << REQUEST_OUTPUTS) - 1;
    return 0;
}

int request_infer(Request *r, const char *body, size_t bytes, const RequestLimits *limits, Err *err) {
    static const char *const members[] = {"id", "parameters", "inputs", "outputs", NULL}, *const wishes[] = {"k", "beams",
                                                                                                             "exclude_seen",
                                                                                                             NULL};
    const Place top = {""}, at = {"parameters."};
    Ask ask = {.allows = -1};
    if (parse_object(r, body, bytes, err) || known_members(r->json, members, &top, err)) return -1;
    r->form = REQUEST_INFER;
    const json_t *id = json_object_get(r->json, "id"), *parameters = json_object_get(r->json, "parameters"),
                 *inputs = json_object_get(r->json, "inputs");
    if (id && !json_is_string(id)) return err_set(err, ERR_USAGE, "id: no text");
    r->id = id;
    if (read_outputs(r, json_object_get(r->json, "outputs"), err)) return -1;
    if (parameters && !json_is_object(parameters)) return err_set(err, ERR_USAGE, "parameters: no JSON object");
    if (parameters && (known_members(parameters, wishes, &at, err) || read_wish(r, parameters, &ask, limits, &at, err)))
        return -1;
    if (json_array_size(inputs) != 1 || !json_is_object(json_array_get(inputs, 0)))
        return err_set(err, ERR_USAGE, "inputs: not a list of one tensor");
    settle(&ask, limits);
    return read_tensor(r, json_array_get(inputs, 0), &ask, limits, err);
}

void request_free(Request *r) {
    for (int i = 0; i < r->lists; i++) free(r->list[i]);
    free(r->list), free(r->ask);
    json_decref(r->json);
    *r = (Request){0};
}

// ---- PUT /v1/items/ID -----------------------------------------------------------------------------------------------------

int request_item(ItemText *item, const char *body, size_t bytes, Err *err) {
    static const char *const members[] = {"title", "text", NULL};
    const Place top = {""};
    *item = (ItemText){.json = json_parse(body, bytes, "the body", err)};
    if (!item->json) return -1;
    const json_t *title = json_object_get(item->json, "title"), *text = json_object_get(item->json, "text");
    const char *fault = NULL;
    int status = 0;
    if (!json_is_object(item->json))
        status = err_set(err, ERR_USAGE, "the body: no JSON object");
    else if (known_members(item->json, members, &top, err))
        status = -1;
    else if ((fault = text_fault(title)) || (fault = items_title_fault(json_string_value(title), json_string_length(title))))
        status = refuse(&top, "title", title ? fault : "missing", err);
    else if (text && (fault = text_fault(text)))
        status = refuse(&top, "text", fault, err);
    if (status) {
        json_decref(item->json);
        item->json = NULL;
        return -1;
    }
    item->title = json_string_value(title);
    item->text = json_string_value(text);
    return 0;
}
