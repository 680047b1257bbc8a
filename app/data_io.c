#include "app/data_io.h"

int data_io_rows(const Options *o, const Dataset *d, Rows *rows, const char *split, int max_rows, Err *err) {
    if (dataset_rows(d, rows, split, max_rows, err)) return -1;
    if (!o->strict || (rows->bad == 0 && rows->unordered == 0)) return 0;
    err_set(err, ERR_DATA, "%s/%s.csv: --strict: %lld bad rows, %lld rows out of time order", d->folder, split,
            (long long)rows->bad, (long long)rows->unordered);
    rows_free(rows);
    return -1;
}
