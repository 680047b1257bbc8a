// latentr3 convert: a GGUF file or a model folder into a Hugging Face folder.
#include "app/commands.h"
#include "app/out.h"
#include "app/run.h"
#include "base/file.h"
#include "base/log.h"

#include <string.h>
#include <unistd.h>

// Cut short, the folder is no model, rather than one of two.
static int forget_other(const char *folder, Err *err) {
    static const char *const file[] = {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"};
    return run_forget(folder, err) || file_remove_all(folder, file, sizeof file / sizeof *file, err) ? -1 : 0;
}

int cmd_convert(const Options *o, Err *err) {
    OpenModel m;
    if (out_check_folder(o, err) || model_io_open(&m, o, NULL, err)) return -1;
    int status = file_make_folder(o->out, err), lock = status ? -1 : file_lock(o->out, err);
    if (lock < 0) status = -1;
    if (status == 0) status = forget_other(o->out, err); // out_check_folder has seen that it is not the input
    if (status == 0) status = model_io_save(&m, o->out, strcmp(o->save_dtype, "bf16") ? TENSOR_F32 : TENSOR_BF16, err);
    if (status == 0) status = run_card(o, o->out, err);
    if (status == 0) log_info("wrote %s", o->out);
    if (lock >= 0) close(lock);
    model_io_close(&m);
    return status;
}
