// latentr3 report: runs as one HTML file.
#include "app/commands.h"
#include "app/out.h"
#include "base/file.h"
#include "base/log.h"
#include "report/page.h"

#include <string.h>

enum { REPORT_RESAMPLES = 1000 };

int cmd_report(const Options *o, Err *err) {
    Record record[PAGE_RUNS] = {{0}};
    Str page = {0};
    int opened = 0, status = 0;
    if (out_check_file(o, o->out, err)) return -1;
    if (o->operands.n > PAGE_RUNS) return err_set(err, ERR_USAGE, "report: at most %d runs stand side by side", PAGE_RUNS);
    while (opened < o->operands.n && status == 0) {
        status = record_open(&record[opened], o->operands.text[opened], o->split, err);
        opened += status == 0;
    }
    int evaluations = 0;
    for (int i = 0; i < opened; i++) evaluations += record[i].evaluation != NULL;
    if (status == 0 && !evaluations && strcmp(o->split, "test"))
        log_warn("no run has an evaluation of --split %s: eval --split %s --save RUN makes one", o->split, o->split);
    if (status == 0) status = page_write(&page, record, opened, o->split, REPORT_RESAMPLES, (uint64_t)o->seed, err);
    if (status == 0) status = out_make_parent(o->out, err);
    if (status == 0) status = file_write(o->out, page.data, page.len, err);
    if (status == 0) log_info("wrote %s", o->out);
    while (opened > 0) record_close(&record[--opened]);
    str_free(&page);
    return status;
}
