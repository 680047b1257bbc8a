// latentr3 sft: stage 1.
#include "app/commands.h"
#include "app/training.h"
#include "train/sft.h"

#include <string.h>

static int sft_run(Training *t, Err *err) {
    const Options *o = t->o;
    int slots = sft_slots(&t->train, t->model.llm.config.thoughts, o->micro_rows),
        valid_slots = sft_slots(&t->valid, t->model.llm.config.thoughts, o->micro_rows);
    if (training_session(t, slots > valid_slots ? slots : valid_slots, err)) return -1;
    const unsigned network = o->lora_rank > 0 ? TRAIN_LORA : strcmp(o->train, "latent") ? TRAIN_BACKBONE : 0u;
    SftOptions options = {.loop = training_loop(t), .optimizer = training_optimizer(o), .groups = TRAIN_LATENT | network};
    LoopReport report;
    if (sft_train(&t->session, &t->train, &t->valid, &options, &report, err)) return -1;
    return training_finish(t, "sft", &report, err);
}

int cmd_sft(const Options *o, Err *err) {
    Training t;
    int status = training_open(&t, o, o->valid_rows, err);
    if (status == 0) status = sft_run(&t, err);
    training_close(&t);
    return status;
}
