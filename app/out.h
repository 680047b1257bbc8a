// What --out names, looked at before the work begins.
#ifndef APP_OUT_H
#define APP_OUT_H

#include "app/options.h"

// Refuses (ERR_USAGE) a non-empty --out without --force, but for a training run with --resume, and one that is what
// --model or --data names. ERR_IO where it is a file or cannot be made. Makes nothing.
int out_check_folder(const Options *o, Err *err);

// ERR_IO where no file can be written at `path`, its folders made; ERR_USAGE where an input is there, or a file that by its
// name belongs to a model, to data or to a run. Makes nothing; out_make_parent does.
int out_check_file(const Options *o, const char *path, Err *err);
int out_make_parent(const char *path, Err *err);

#endif
