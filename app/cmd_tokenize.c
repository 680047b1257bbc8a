// latentr3 tokenize: lines of text from stdin, each a JSON list of token ids on stdout. With --json a line is a JSON string,
// so that a text may hold line breaks.
#include "app/commands.h"
#include "app/tokenizer_files.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>

// `text` of line number `line`.
static int tokenize_text(const Tokenizer *t, const char *text, size_t len, int specials, long line, Err *err) {
    Ints ids = {0};
    int status = tokenizer_encode(t, &ids, text, len, specials, err);
    if (status) err_prefix(err, "stdin: line %ld", line);
    if (status == 0) {
        putchar('[');
        for (size_t i = 0; i < ids.len; i++) printf(i ? ", %d" : "%d", ids.data[i]);
        puts("]");
    }
    ints_free(&ids);
    return status;
}

static int tokenize_line(const Tokenizer *t, const Options *o, const char *text, size_t len, long line, Err *err) {
    if (!o->json) { // bytes that are no UTF-8 become U+FFFD, as Python's errors="replace" has it
        Str fixed = {0};
        utf8_replace(&fixed, text, len);
        int status = tokenize_text(t, fixed.len ? fixed.data : "", fixed.len, !o->plain, line, err);
        str_free(&fixed);
        return status;
    }
    json_t *value = json_parse_line(text, len, "stdin", line, err);
    if (!value) return -1;
    int status = json_is_string(value)
                     ? tokenize_text(t, json_string_value(value), json_string_length(value), !o->plain, line, err)
                     : err_set(err, ERR_DATA, "stdin: line %ld: not a JSON string", line);
    json_decref(value);
    return status;
}

// The next line without its end, in `text`. Returns 1, 0 at the end of the input, -1 with err.
static int read_line(Str *text, long line, Err *err) {
    enum { LINE_BYTES = 16 << 20 };
    str_clear(text);
    errno = 0;
    for (int c; (c = getc_unlocked(stdin)) != '\n';) {
        if (c == EOF && ferror(stdin)) return err_errno(err, "stdin");
        if (c == EOF) return text->len > 0;
        if (text->len == LINE_BYTES) return err_set(err, ERR_DATA, "stdin: line %ld is longer than %d bytes", line, LINE_BYTES);
        char byte = (char)c;
        str_append(text, &byte, 1);
    }
    return 1;
}

int cmd_tokenize(const Options *o, Err *err) {
    Tokenizer *t;
    if (tokenizer_files_tokenizer(&t, o->model, err)) return -1;
    Str text = {0};
    int status;
    for (long line = 1; (status = read_line(&text, line, err)) > 0; line++)
        if ((status = tokenize_line(t, o, text.len ? text.data : "", text.len, line, err)) < 0) break;
    str_free(&text);
    tokenizer_close(t);
    return status;
}
