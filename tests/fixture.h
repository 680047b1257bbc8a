// A tiny golden model with its tokenizer and the catalogue of golden.json, as the recommender wants them.
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include "golden.h"
#include "rec/recommend.h"

#include <unistd.h>

typedef struct Fixture {
    Golden g;
    Tokenizer *tokenizer;
    PromptStyle style;
    Items items;
    Catalogue catalogue;
    History history[64]; // of the golden rows
    const char *titles[64][PROMPT_HISTORY];
    int rows;
} Fixture;

static inline json_t *fixture_row(const Fixture *f, int row) {
    return json_array_get(json_object_get(f->g.json, "rows"), (size_t)row);
}

// info.txt of these titles; ids are 100, 101, ...
static inline void fixture_items(Items *items, json_t *titles) {
    Err err = {0};
    Str text = {0};
    char path[] = "/tmp/latentr3-items-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < json_array_size(titles); i++)
        str_printf(&text, "%s\t%zu\n", json_string_value(json_array_get(titles, i)), 100 + i);
    OK(file_write(path, text.data, text.len, &err));
    OK(items_open(items, path, &err));
    unlink(path);
    str_free(&text);
}

static inline void fixture_open(Fixture *f, const char *folder, int thoughts) {
    Err err = {0};
    memset(f, 0, sizeof *f);
    golden_open(&f->g, folder, DTYPE_F32, thoughts, 1);
    char *path = file_join(folder, "tokenizer.json");
    OK(tokenizer_open(&f->tokenizer, path, &err));
    free(path);
    f->style = (PromptStyle){
        .category = "office products", .bos_id = -1, .eos_id = f->g.llm.config.eos_id}; // their tokenizers name no BOS
    fixture_items(&f->items, json_object_get(f->g.json, "catalogue"));
    OK(catalogue_build(&f->catalogue, &f->items, f->tokenizer, &f->style, &err));
    f->rows = (int)json_array_size(json_object_get(f->g.json, "rows"));
    for (int i = 0; i < f->rows; i++) {
        json_t *history = json_object_get(fixture_row(f, i), "history");
        f->history[i] = (History){.title = f->titles[i], .n = (int)json_array_size(history), .number = i};
        for (int h = 0; h < f->history[i].n; h++) f->titles[i][h] = json_string_value(json_array_get(history, (size_t)h));
    }
}

static inline void fixture_close(Fixture *f) {
    catalogue_free(&f->catalogue);
    items_free(&f->items);
    tokenizer_close(f->tokenizer);
    golden_close_all(&f->g);
}

#endif
