// Any bytes as a file of options (--config) and as an experiment: refused with a line that names one of its own, or options
// that hold together, or an experiment whose steps are commands.
#include "app/commands.h"
#include "app/experiment_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPECT(x) ((x) ? (void)0 : abort()) // CHECK would end the fuzzer before it keeps the input

// In the place of app/main.c.
static const Command commands[] = {{"sft", "", CMD_SFT, NULL, NULL},       {"rl", "", CMD_RL, NULL, NULL},
                                   {"sasrec", "", CMD_SASREC, NULL, NULL}, {"eval", "", CMD_EVAL, NULL, NULL},
                                   {"serve", "", CMD_SERVE, NULL, NULL},   {"prepare", "", CMD_PREPARE, NULL, NULL}};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

const Command *commands_find(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i].name, name)) return &commands[i];
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void refused(const Err *err) {
    EXPECT((err->code == ERR_USAGE || err->code == ERR_DATA) && err->message[0] && !strchr(err->message, '\n'));
}

static void as_options(const Command *command, char *path) {
    Options o;
    Err err = {0};
    char name[] = "--config";
    char *argv[] = {name, path};
    if (options_parse(&o, command, 2, argv, &err)) {
        refused(&err);
    } else {
        json_t *json = options_to_json(&o);
        EXPECT(json_is_object(json) && options_check(&o, &err) == 0);
        json_decref(json);
    }
    options_free(&o);
}

static void as_experiment(const char *path) {
    Experiment e;
    Err err = {0};
    if (experiment_file_open(&e, path, &err)) {
        refused(&err);
        return;
    }
    EXPECT(e.steps > 0 && e.metrics > 0 && e.name);
    for (int i = 0; i < e.steps; i++) {
        EXPECT(e.step[i].command && e.step[i].line > 0);
        for (int k = 0; k < e.step[i].n; k++) {
            const ExperimentOption *o = &e.step[i].option[k];
            EXPECT(options_form(e.step[i].command, o->name) == (o->is_flag ? OPTION_FLAG : OPTION_VALUE));
            EXPECT(k == 0 || strcmp(e.step[i].option[k - 1].name, o->name) < 0);
        }
    }
    experiment_file_close(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    EXPECT(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (int i = 0; i < COMMANDS; i++) as_options(&commands[i], path);
    as_experiment(path);
    close(fd);
    return 0;
}
