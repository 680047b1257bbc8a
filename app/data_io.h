// The rows of a data folder as the commands read them.
#ifndef APP_DATA_IO_H
#define APP_DATA_IO_H

#include "app/options.h"
#include "data/dataset.h"

// dataset_rows, with --strict: then a split with bad rows, or with rows out of time order, is refused (ERR_DATA).
int data_io_rows(const Options *o, const Dataset *d, Rows *rows, const char *split, int max_rows, Err *err);

#endif
