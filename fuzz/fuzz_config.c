// Any bytes as config.json: refused with a line, or a sound configuration that comes back the same when written.
#include "model/config.h"

#include <stdlib.h>
#include <string.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    Err err = {0};
    ModelConfig c, again;
    json_t *json = json_parse((const char *)data, bytes, "fuzz", &err);
    if (!json || config_from_json(&c, json, "fuzz", &err)) {
        EXPECT(err.code == ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
        json_decref(json);
        return 0;
    }
    json_decref(json);
    json = config_to_json(&c, "float32");
    char *text = json_dumps(json, JSON_REAL_PRECISION(9)); // as json_save writes
    json_decref(json);
    json = json_parse(text, strlen(text), "again", &err);
    EXPECT(json && config_from_json(&again, json, "again", &err) == 0 && memcmp(&c, &again, sizeof c) == 0);
    json_decref(json);
    free(text);
    return 0;
}
