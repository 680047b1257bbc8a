// Answers as JSON.
#ifndef SERVE_ANSWER_H
#define SERVE_ANSWER_H

#include "serve/queue.h"

// The body for a job whose users are all answered, by this engine. now: log_seconds.
void answer_print(Str *out, const Job *job, const Engine *e, double now);
// {"error": {"status": N, "message": "..."}}
void answer_error(Str *out, int status, const char *message);
void answer_error_text(Str *out, const char *message); // {"error": "..."}: the Open Inference Protocol's form
// {"id": "...", "title": "...", "text": "...", "removed": false, "interactions": N}; text where the item has one
void answer_item(Str *out, const Shelf *s, int item);

#endif
