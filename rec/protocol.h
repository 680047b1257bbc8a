// How a target is ranked: among all items, or among itself and 100 drawn ones, as older papers do. Such numbers are far higher
// and are never to be compared with those over all items (Krichene & Rendle 2020); the protocol's name stands with each.
#ifndef REC_PROTOCOL_H
#define REC_PROTOCOL_H

#include "rec/ranker.h"

typedef enum Protocol { PROTOCOL_FULL, PROTOCOL_UNIFORM, PROTOCOL_POPULARITY } Protocol;
enum { PROTOCOL_CANDIDATES = 100 };
extern const char *const protocol_name[3]; // "full", "uniform-100", "popularity-100"

typedef struct ProtocolRanker {
    Protocol protocol;
    Ranker inner;             // scores all items
    const Rows *rows, *train; // borrowed: a history's number is its row, train is what popularity counts
    int fewer;                // rows so far for which there were fewer than PROTOCOL_CANDIDATES
} ProtocolRanker;

// A Ranker that lists of each row the best of the target and the drawn items: distinct, in the catalogue, neither the target
// nor in the row's history; uniformly, or by their interactions in the train rows. The same ones for every model, if `rows`
// hold the whole histories for each, and whatever rows are left out. ERR_USAGE where `inner` only writes lists; ERR_DATA where
// popularity has no train rows. `p` must stay where it is.
int protocol_ranker(ProtocolRanker *p, Protocol protocol, const Ranker *inner, const Rows *rows, const Rows *train, Ranker *r,
                    Err *err);

#endif
