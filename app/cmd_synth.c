// latentr3 synth: a world small enough to try everything on in a minute.
//   OUT/log/synth.inter, synth.item   the log, as RecBole atomic files
//   OUT/data                          the same through `prepare`
//   OUT/model                         a random language model whose vocabulary knows the titles
// A title is "Theme Noun". Users like one theme best and go through its nouns in their order more often than not, so the
// history says more about the next item than popularity does.
// With --data there is a catalogue already: OUT is the model alone, for its titles.
#include "app/commands.h"
#include "app/out.h"
#include "app/run.h"
#include "app/synth_model.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/vec.h"
#include "data/prepare.h"
#include "text/prompt.h"

#include <stdlib.h>

enum { NOUNS = 20, LONGEST = 16, SHORTEST = 8, WORDS = 70 * 70 };

typedef struct World {
    int items, themes;
    uint64_t seed, drawn;
    char (*word)[8]; // (WORDS) made up, in random order: themes first, then nouns
    uint32_t *order; // (WORDS)
} World;

// The next draw, below n.
static int draw(World *w, int n) {
    return (int)rng_below(w->seed, RNG_SYNTHETIC, w->drawn++, (uint64_t)n);
}

// Below n, small numbers more often: the lesser of two draws.
static int draw_low(World *w, int n) {
    int a = draw(w, n), b = draw(w, n);
    return a < b ? a : b;
}

// Four letters, consonants and vowels in turn.
static void world_word(char out[8], int number) {
    static const char consonant[] = "bdfgklmnprstvz", vowel[] = "aeiou";
    int a = number / 70, b = number % 70;
    snprintf(out, 8, "%c%c%c%c", consonant[a / 5] - 'a' + 'A', vowel[a % 5], consonant[b / 5], vowel[b % 5]);
}

static void world_init(World *w, const Options *o) {
    *w = (World){.items = o->items, .themes = (o->items + NOUNS - 1) / NOUNS, .seed = (uint64_t)o->seed};
    w->word = mem_alloc(WORDS, sizeof *w->word);
    w->order = mem_alloc(WORDS, sizeof *w->order);
    rng_permutation(w->order, WORDS, w->seed, RNG_SYNTHETIC);
    for (int i = 0; i < WORDS; i++) world_word(w->word[i], (int)w->order[i]);
}

static void world_free(World *w) {
    free(w->word);
    free(w->order);
}

// Item i is noun i % NOUNS of theme i / NOUNS.
static void world_title(const World *w, int item, char out[20]) {
    snprintf(out, 20, "%s %s", w->word[item / NOUNS], w->word[w->themes + item % NOUNS]);
}

// The next item of a user who likes `favourite` and has seen seen[0..n).
static int world_next(World *w, int favourite, const int *seen, int n) {
    for (;;) {
        int theme = draw(w, 10) ? favourite : draw_low(w, w->themes), noun = draw_low(w, NOUNS);
        if (draw(w, 10) < 8)
            for (int i = n - 1; i >= 0; i--)
                if (seen[i] / NOUNS == theme) {
                    noun = (seen[i] % NOUNS + 1) % NOUNS;
                    break;
                }
        int item = theme * NOUNS + noun, repeated = item >= w->items;
        for (int i = 0; i < n; i++) repeated |= seen[i] == item;
        if (!repeated) return item;
    }
}

static int write_items(const World *w, const char *path, Err *err) {
    OutFile f;
    if (outfile_open(&f, path, err)) return -1;
    outfile_printf(&f, "item_id:token\tmovie_title:token_seq\n");
    for (int i = 0; i < w->items; i++) {
        char title[20];
        world_title(w, i, title);
        outfile_printf(&f, "%d\t%s\n", i + 1, title);
    }
    return outfile_commit(&f, err);
}

static int write_log(World *w, int rows, const char *path, Err *err) {
    OutFile f;
    if (outfile_open(&f, path, err)) return -1;
    outfile_printf(&f, "user_id:token\titem_id:token\trating:float\ttimestamp:float\n");
    for (int user = 1, written = 0; written < rows; user++) {
        int seen[LONGEST], n = SHORTEST + draw(w, LONGEST - SHORTEST), favourite = draw_low(w, w->themes);
        long time = 1500000000L + draw(w, 90 * 86400);
        for (int i = 0; i < n && written < rows; i++, written++) {
            seen[i] = world_next(w, favourite, seen, i);
            time += 3600 + draw(w, 86400);
            outfile_printf(&f, "%d\t%d\t%d\t%ld\n", user, seen[i] + 1, 3 + draw(w, 3), time);
        }
    }
    return outfile_commit(&f, err);
}

static int write_model(const Options *o, const char *folder, const char *data, Err *err) {
    Dataset d;
    SynthShape shape = {.layers = o->layers, .width = o->width, .seed = (uint64_t)o->seed};
    if (dataset_open(&d, data, NULL, err)) return -1;
    int status = run_forget(folder, err) || synth_model_write(folder, &d, shape, err) || run_card(o, folder, err) ? -1 : 0;
    dataset_close(&d);
    return status;
}

static int synth_write(World *w, const Options *o, Err *err) {
    char *log = file_join(o->out, "log"), *inter = file_join(log, "synth.inter"), *item = file_join(log, "synth.item"),
         *data = file_join(o->out, "data"), *model = file_join(o->out, "model");
    PrepareOptions p = {.input = log,
                        .out = data,
                        .format = "recbole",
                        .category = "book",
                        .k_core = 5,
                        .history = PROMPT_HISTORY,
                        .split = "time",
                        .strict = 1};
    int status = file_make_folder(log, err) || file_make_folder(data, err) || write_items(w, item, err) ||
                         write_log(w, o->rows, inter, err) || prepare_run(&p, NULL, err) || write_model(o, model, data, err)
                     ? -1
                     : 0;
    if (status == 0) log_info("wrote %s, %s and %s", log, data, model);
    free(log);
    free(inter);
    free(item);
    free(data);
    free(model);
    return status;
}

int cmd_synth(const Options *o, Err *err) {
    if (o->width % (2 * SYNTH_HEADS))
        return err_set(err, ERR_USAGE, "--width: %d is not a multiple of %d", o->width, 2 * SYNTH_HEADS);
    if (out_check_folder(o, err)) return -1;
    if (o->data) {
        const int status = write_model(o, o->out, o->data, err);
        if (status == 0) log_info("wrote %s", o->out);
        return status;
    }
    World w;
    world_init(&w, o);
    int status = synth_write(&w, o, err);
    world_free(&w);
    return status;
}
