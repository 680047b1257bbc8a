// Any bytes as a model, a GGUF file or a folder (config.json, tokenizer.json and model.safetensors parted by lines of "===="),
// all the way to the first token behind a text: refused with a line, or its log-probability.
#include "app/model_io.h"
#include "base/file.h"
#include "base/log.h"
#include "model/session.h"
#include "text/prompt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

enum { SLOTS = 16 };
static const char *const part_name[] = {"config.json", "tokenizer.json", "model.safetensors"};
static char folder[] = "/tmp/latentr3-fuzz-XXXXXX", gguf[64];
static Options options;

static void at_end(void) {
    (void)!unlink(gguf);
    (void)!file_remove_folder(folder, NULL);
}

static void begin(void) {
    static const Command eval = {"eval", "", CMD_EVAL, NULL, NULL};
    log_level = LOG_ERROR - 1;
    EXPECT(mkdtemp(folder) && atexit(at_end) == 0);
    snprintf(gguf, sizeof gguf, "%s.gguf", folder);
    options_init(&options, &eval);
    options.threads = 1;
    options.dtype = "f32";
}

static void put(const char *path, const char *data, size_t bytes) {
    FILE *f = fopen(path, "w");
    EXPECT(f && fwrite(data, 1, bytes, f) == bytes && fclose(f) == 0);
}

// The path of the model.
static const char *fill(const char *data, size_t bytes) {
    static const char line[] = "====\n";
    char path[96];
    if (bytes >= 4 && !memcmp(data, "GGUF", 4)) {
        put(gguf, data, bytes);
        return gguf;
    }
    for (int i = 0; i < 3; i++) {
        const char *end = i < 2 && bytes ? memmem(data, bytes, line, sizeof line - 1) : NULL;
        const size_t n = end ? (size_t)(end - data) : bytes, step = n + (end ? sizeof line - 1 : 0);
        snprintf(path, sizeof path, "%s/%s", folder, part_name[i]);
        put(path, data, n);
        data += step, bytes -= step;
    }
    return folder;
}

static void first_token(OpenModel *m) {
    Session s;
    Segment g;
    Err err = {0};
    Ints ids = {0};
    if (prompt_item(&ids, m->tokenizer, "a b", 0, &err) || session_init(&s, &m->llm, SLOTS, &err)) {
        EXPECT(err.code >= ERR_USAGE && err.message[0] && !strchr(err.message, '\n'));
        ints_free(&ids);
        return;
    }
    for (size_t i = 0; i < ids.len; i++) EXPECT(ids.data[i] >= 0 && ids.data[i] < m->llm.config.V);
    segment_begin(&s, &g, 1, SLOTS);
    const int node = segment_add(&s, &g, -1, ids.data, (int)ids.len);
    segment_forward(&s, &g, NULL, 0);
    const int32_t slot = session_last(&s, node), target = m->style.eos_id;
    float logprob;
    head_logprob(&s, &slot, &target, 1, &logprob, NULL);
    EXPECT(isnan(logprob) || logprob <= 1e-3f); // weights may be so large that nothing comes of them
    session_free(&s);
    ints_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    OpenModel m;
    Err err = {0};
    if (!options.command) begin();
    options.model = (char *)fill((const char *)data, bytes);
    if (model_io_open(&m, &options, NULL, &err)) {
        EXPECT(err.code >= ERR_USAGE && err.code <= ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    first_token(&m);
    model_io_close(&m);
    return 0;
}
