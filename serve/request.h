// What clients ask for, out of the bytes that they send. A request is one user, or several.
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include "base/json.h"

typedef struct Ask {      // one user; all texts are borrowed from the request
    const char **history; // (n) oldest first
    int n, by_id;         // by_id: item ids, else titles
    int number;           // of the user in the request (History.number)
    int k, beams;         // k <= beams: a k above the beams that were given widens the search
    int exclude_seen, explain;
    const char **allow, **deny; // (allows), (denies) item ids
    int allows, denies;         // allows -1: all items
} Ask;

// The form of the answer: the one user's, a list of users, or that of the Open Inference Protocol.
typedef enum RequestForm { REQUEST_ONE, REQUEST_SEVERAL, REQUEST_INFER } RequestForm;

// Tensors of an answer by the Open Inference Protocol.
typedef enum RequestOutput { REQUEST_ITEM, REQUEST_TITLE, REQUEST_SCORE, REQUEST_OUTPUTS } RequestOutput;
extern const char *const request_output[REQUEST_OUTPUTS]; // their names

typedef struct Request {
    RequestForm form;
    Ask *ask; // (n)
    int n;
    const json_t *id; // REQUEST_INFER: the text by which the client calls it, or NULL
    int outputs;      // REQUEST_INFER: a bit for each tensor that is wanted
    json_t *json;
    const char ***list; // what is freed with it
    int lists;
} Request;

typedef struct RequestLimits {
    int beams;     // where nothing is said
    int max_beams; // at most
    int users;     // at most
} RequestLimits;

enum { REQUEST_K = 10, REQUEST_HISTORY = 1000, REQUEST_LIST = 100000, REQUEST_CHARACTERS = 1024, REQUEST_ID_CHARACTERS = 256 };

// The body of /v1/recommend. ERR_DATA: no JSON; ERR_USAGE: JSON that asks for what there is not, the message names the member.
int request_parse(Request *r, const char *body, size_t bytes, const RequestLimits *limits, Err *err);
// The body of /v2/models/MODEL/infer: the input "history" (or "history_ids"), BYTES of shape [users, titles], empty ones left
// out, "k", "beams", "exclude_seen" among the parameters, and the names of `outputs`, all where none is given.
int request_infer(Request *r, const char *body, size_t bytes, const RequestLimits *limits, Err *err);
void request_free(Request *r); // safe after a failure

typedef struct ItemText {     // the body of PUT /v1/items/ID
    const char *title, *text; // text: index text, or NULL
    json_t *json;
} ItemText;
int request_item(ItemText *item, const char *body, size_t bytes, Err *err);

#endif
