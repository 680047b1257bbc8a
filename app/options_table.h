// The table that options.c walks: a row for each option, and one more where a command has it otherwise.
#ifndef APP_OPTIONS_TABLE_H
#define APP_OPTIONS_TABLE_H

#include "app/options.h"

#include <stddef.h>

typedef enum OptionKind { KIND_FLAG, KIND_INT, KIND_LONG, KIND_REAL, KIND_CHOICE, KIND_TEXT, KIND_LIST } OptionKind;

typedef struct OptionRow {
    const char *name;
    int commands;
    OptionKind kind;
    size_t field;
    const char *initial; // as a user would write it; NULL: not set (-1 for numbers); options_required: must be given
    const char *value;   // what stands behind the name in the help; for KIND_CHOICE the choices, "a|b|c"
    double least, most;
    const char *help;
} OptionRow;

extern const OptionRow options_table[]; // (options_rows)
extern const int options_rows;
extern const char options_required[];

#endif
