// latentr3 convert: a GGUF file or a model folder into a Hugging Face folder.
#include "app/commands.h"
#include "app/out.h"
#include "app/run.h"
#include "base/log.h"

#include <string.h>

int cmd_convert(const Options *o, Err *err) {
    OpenModel m;
    if (out_check_folder(o, err) || model_io_open(&m, o, NULL, err)) return -1;
    int status = model_io_save(&m, o->out, strcmp(o->save_dtype, "bf16") ? TENSOR_F32 : TENSOR_BF16, err);
    if (status == 0) status = run_card(o, o->out, err);
    if (status == 0) log_info("wrote %s", o->out);
    model_io_close(&m);
    return status;
}
