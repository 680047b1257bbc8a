#include "data/source.h"
#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "data/dataset.h"

#include <dirent.h>
#include <fnmatch.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Candidate {
    char *path;
    const RecordsFormat *format; // NULL: a damaged file, by its name one of data; it may be of any format and role
    RecordsRole role;
    int misnamed; // its names are not those that the user gave
    int sure;     // it was found to be of the format that was forced, and not only that it can be read so
    Err fault;    // of a damaged one
} Candidate;

typedef struct Folder {
    const char *path;
    Candidate *file; // (n): what is known among its files, by name
    int n;
    Err no_log; // its code set: why the file that looks most like a log is none
    int likeness;
    const char *log; // the files are looked for that belong to it; NULL: for a log
    Err no_items;    // its code set: why a file that by its name holds the log's items is nothing that is known
} Folder;

// ---- what lies in a folder ----

static int sniff_stream(Candidate *c, Stream *stream, const char *const column[RECORDS_NAMES], Err *err) {
    const char *head;
    size_t bytes;
    if (stream_peek(stream, &head, &bytes, err)) return -1;
    const int known = records_sniff(&c->format, &c->role, column, head, bytes);
    c->misnamed = known == RECORDS_MISNAMED;
    return known ? 1 : records_check_text(head, bytes, c->path, err);
}

static int is_regular(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int is_data(const char *name) {
    static const char *const ending[] = {".csv", ".tsv", ".json", ".jsonl", ".dat", ".data", ".inter", ".item"};
    size_t n = strlen(name);
    if (file_ends_with(name, ".gz")) n -= 3;
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
        const size_t m = strlen(ending[i]);
        if (n > m && memcmp(name + n - m, ending[i], m) == 0) return 1;
    }
    return 0;
}

static int is_well_known(const char *name, RecordsRole role) {
    static const char *const known[RECORDS_ROLES][5] = {{"u.data", "ratings.dat", "ratings.csv", "interactions.*", NULL},
                                                        {"u.item", "movies.dat", "movies.csv", "items.*", NULL}};
    for (int i = 0; known[role][i]; i++)
        if (fnmatch(known[role][i], name, 0) == 0) return 1;
    return 0;
}

static const char *behind(const char *name, const char *prefix) {
    const size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : name;
}

// Of Amazon's logs of 2014, whose names begin with one word more.
static const char *bare_log(const char *path) {
    return behind(file_name(path), "reviews_");
}

// movies.item beside movies.inter, meta_Games.json.gz beside Games_5.json.gz.
static int is_named_like(const char *items, const char *log) {
    items = behind(items, "meta_");
    size_t n = strcspn(items, ".");
    return n > 0 && strncmp(items, log, n) == 0;
}

// Whether a file that is nothing known would be taken for that of the log's items if it were sound: its name says so.
static int is_items_by_name(const char *name, const char *log) {
    const size_t stem = strcspn(log, ".");
    return is_well_known(name, RECORDS_ITEMS) || strncmp(name, "meta_", 5) == 0 ||
           (is_data(name) && strncmp(name, log, stem) == 0 && name[stem] == '.' && strcmp(name, log) != 0);
}

// A log of the format that was forced: 1 where it can be read so, whatever it looks like but a file of items.
static int is_forced(Candidate *c, Stream *stream, const RecordsFormat *forced, const char *const column[RECORDS_NAMES],
                     Err *err) {
    const char *head;
    size_t bytes;
    if (stream_peek(stream, &head, &bytes, err)) return 0;
    const int known = c->format != NULL, reads = records_reads(forced, column, head, bytes, c->path, err);
    if (!reads || (known && c->role == RECORDS_ITEMS)) return 0;
    c->sure = c->format == forced && !column[RECORDS_ORDER]; // a header says nothing of a log without
    c->format = forced;
    c->role = RECORDS_LOG;
    c->misnamed = 0;
    return 1;
}

enum { ITEMS = 1, UNKNOWN, LOG }; // Folder.likeness

// Of several files that are no logs, what the log by its own names is (one that was given is mistyped), else what is unknown.
static void folder_explain(Folder *f, const Candidate *c, Stream *stream, const char *const column[RECORDS_NAMES]) {
    const RecordsFormat *format;
    RecordsRole role;
    const char *head;
    size_t bytes;
    if ((c->format ? c->role == RECORDS_LOG : !is_data(c->path)) || stream_peek(stream, &head, &bytes, NULL)) return;
    const int is_log = records_sniff(&format, &role, NULL, head, bytes) && role == RECORDS_LOG, likeness = is_log ? LOG
                                                                                                           : c->format
                                                                                                               ? ITEMS
                                                                                                               : UNKNOWN;
    if (likeness > f->likeness &&
        records_why_not(is_log ? format : c->format, RECORDS_LOG, column, head, bytes, c->path, &f->no_log))
        f->likeness = likeness;
}

// As folder_explain, where a format is forced; whether the file can be read in it.
static int folder_force(Folder *f, Candidate *c, Stream *stream, const RecordsFormat *forced,
                        const char *const column[RECORDS_NAMES]) {
    Err why = {0}; // may stay so where it is of items
    const int likeness = !c->format ? is_data(c->path) * UNKNOWN : c->role == RECORDS_LOG ? LOG : ITEMS;
    if (is_forced(c, stream, forced, column, &why)) return 1;
    if (why.code && likeness > f->likeness) f->no_log = why, f->likeness = likeness;
    return 0;
}

// Ids must not take the place of titles unseen.
static void explain_items(Folder *f, const Candidate *c, Stream *stream, const char *const column[RECORDS_NAMES]) {
    const char *head;
    size_t bytes;
    if (!f->log || f->no_items.code || !is_items_by_name(file_name(c->path), file_name(f->log))) return;
    if (c->fault.code)
        f->no_items = c->fault;
    else if (stream_peek(stream, &head, &bytes, &f->no_items) == 0 &&
             !records_why_not(NULL, RECORDS_ITEMS, column, head, bytes, c->path, &f->no_items))
        err_set(&f->no_items, ERR_DATA, "%s: no file of items that is known", c->path);
}

// A damaged file stays a candidate: another one, or the ids, must not take its place unseen.
static void folder_look(Folder *f, const char *name, const RecordsFormat *forced, const char *const column[RECORDS_NAMES]) {
    Candidate c = {.path = file_join(f->path, name)};
    Stream *stream = is_regular(c.path) ? stream_open(c.path, &c.fault) : NULL;
    int known = stream ? sniff_stream(&c, stream, column, &c.fault) : 0;
    if (stream && !c.fault.code && forced)
        known = folder_force(f, &c, stream, forced, column);
    else if (stream && !c.fault.code)
        folder_explain(f, &c, stream, column);
    if (known != 1 && (stream || c.fault.code)) explain_items(f, &c, stream, column);
    if (known == 1 || (c.fault.code && is_data(name))) {
        f->file = mem_realloc(f->file, (size_t)f->n + 1, sizeof *f->file);
        f->file[f->n++] = c;
    } else {
        free(c.path);
    }
    stream_close(stream);
}

// forced: the format of a log that the user gave, or NULL. log: its path, where the file of its items is looked for, or NULL.
static int folder_open(Folder *f, const char *path, const RecordsFormat *forced, const char *log,
                       const char *const column[RECORDS_NAMES], Err *err) {
    struct dirent **entry;
    *f = (Folder){.path = path, .log = log};
    int n = scandir(path, &entry, NULL, alphasort);
    if (n < 0) return err_errno(err, "%s", path);
    for (int i = 0; i < n; i++) {
        if (entry[i]->d_name[0] != '.') folder_look(f, entry[i]->d_name, forced, column);
        free(entry[i]);
    }
    free(entry);
    return 0;
}

static void folder_close(Folder *f) {
    for (int i = 0; i < f->n; i++) free(f->file[i].path);
    free(f->file);
}

// ---- choosing ----

enum { PERHAPS = 2 }; // taken where another one is
typedef int (*Preference)(const Candidate *c, const void *context);

static int has_role(const Candidate *c, const void *role) {
    return !c->format ? PERHAPS : c->role == *(const RecordsRole *)role;
}
static int has_format(const Candidate *c, const void *format) {
    return !c->format ? PERHAPS : !format || c->format == format;
}
static int is_sure(const Candidate *c, const void *nothing) {
    (void)nothing;
    return !c->format ? PERHAPS : c->sure;
}
static int is_named_as_data(const Candidate *c, const void *nothing) {
    (void)nothing;
    return is_data(c->path);
}
static int is_so_named(const Candidate *c, const void *nothing) {
    (void)nothing;
    return !c->format ? PERHAPS : !c->misnamed;
}
static int is_known(const Candidate *c, const void *role) {
    return is_well_known(file_name(c->path), *(const RecordsRole *)role);
}
static int is_like(const Candidate *c, const void *log_path) {
    return is_named_like(file_name(c->path), bare_log(log_path));
}
static int is_another(const Candidate *c, const void *path) {
    return strcmp(c->path, path) != 0;
}

// The role of those that were found misnamed is known.
static int check_names(const Folder *f, RecordsRole role, const char *const column[RECORDS_NAMES], Err *err) {
    return f->n == 1 && f->file[0].misnamed ? records_check_names(f->file[0].format, role, column, f->file[0].path, err) : 0;
}

// Strikes out (path to the end of the list) what the preference does not take; where it takes none, all stay unless `must`.
static void narrow(Folder *f, Preference takes, const void *context, int must) {
    int taken = 0, sure = 0;
    for (int i = 0; i < f->n; i++) {
        const int takes_it = takes(&f->file[i], context);
        sure |= takes_it == 1;
        if (!takes_it) continue;
        Candidate c = f->file[i];
        f->file[i] = f->file[taken];
        f->file[taken++] = c;
    }
    if (!sure && !must) return;
    for (int i = taken; i < f->n; i++) free(f->file[i].path);
    f->n = taken;
}

static const Err *damage(const Folder *f) {
    for (int i = 0; i < f->n; i++)
        if (!f->file[i].format) return &f->file[i].fault;
    return NULL;
}

static int take_one(SourceFile *out, const Folder *f, const char *what, const char *option, Err *err) {
    const Err *fault = damage(f);
    if (fault) return err_set(err, fault->code, "%s; another file can be named with %s", fault->message, option);
    if (f->n > 1)
        return err_set(err, ERR_DATA, "%s: several %s (%.60s, %.60s%s); name one with %s", f->path, what,
                       file_name(f->file[0].path), file_name(f->file[1].path), f->n > 2 ? ", ..." : "", option);
    if (f->n == 1) *out = (SourceFile){mem_strndup(f->file[0].path, strlen(f->file[0].path)), f->file[0].format, NULL};
    return 0;
}

// ---- the log ----

// The published layout, in a folder for each of its files. (A catalogue that was changed lies beside them.)
static int is_nested(const char *folder) {
    static const char *const split[] = {"train.csv", "valid.csv", "test.csv"};
    int nested = 0;
    for (int i = 0; i < 3 && !nested; i++) {
        char *beside = file_join(folder, split[i]);
        nested = !file_exists(beside) && dataset_has(folder, split[i]);
        free(beside);
    }
    return nested;
}

static int log_in_folder(Source *s, const char *folder, const RecordsFormat *format, const char *const column[RECORDS_NAMES],
                         Err *err) {
    static const RecordsRole role = RECORDS_LOG;
    const RecordsFormat *published = records_format("latentr3");
    Folder f;
    const int can_force = format && format->shape[role].kind != RECORDS_NONE;
    if (folder_open(&f, folder, can_force ? format : NULL, NULL, column, err)) return -1;
    narrow(&f, has_role, &role, 1);
    if (format) narrow(&f, has_format, format, 1);
    if (can_force) narrow(&f, is_sure, NULL, 0), narrow(&f, is_named_as_data, NULL, 0);
    if (!format) narrow(&f, is_so_named, NULL, 0);
    narrow(&f, is_known, &role, 0);
    int logs = 0, all_published = 1, status = check_names(&f, role, column, err);
    for (int i = 0; i < f.n; i++)
        if (f.file[i].format) logs++, all_published &= f.file[i].format == published;
    if (!logs) all_published = (!format || format == published) && is_nested(folder);
    if (status == 0 && all_published)
        s->log = (SourceFile){mem_strndup(folder, strlen(folder)), published, NULL};
    else if (status == 0)
        status = take_one(&s->log, &f, "logs", "--data", err);
    if (status == 0 && !s->log.path && f.no_log.code)
        status = err_set(err, f.no_log.code, "%.250s: no interaction log%s%s was found; %.350s", folder,
                         format ? " of the format " : "", format ? format->name : "", f.no_log.message);
    else if (status == 0 && !s->log.path)
        status = err_set(err, ERR_DATA, "%s: no interaction log%s%s was found%s; name the file%s", folder,
                         format ? " of the format " : "", format ? format->name : "",
                         can_force ? "" : " (nor one info/NAME.txt with train/NAME.csv beside it)",
                         format ? "" : ", and its --format");
    folder_close(&f);
    return status;
}

static char *folder_of(const char *path) {
    char *copy = mem_strndup(path, strlen(path)), *out;
    const char *folder = dirname(copy);
    out = mem_strndup(folder, strlen(folder));
    free(copy);
    return out;
}

// The file is unknown, or one of items.
static int no_log(const Candidate *c, Stream *stream, const char *const column[RECORDS_NAMES], Err *err) {
    Str name = {0};
    const char *head;
    size_t bytes;
    int given = 0, said;
    for (int f = 0; f < RECORD_FIELDS; f++) given |= column[f] != NULL; // it may be a log but for that
    str_puts(&name, c->path);
    if (c->format && !given) str_printf(&name, ": a file of items (%s), not a log", c->format->name);
    said = stream_peek(stream, &head, &bytes, NULL) == 0 &&
           records_why_not(c->format, RECORDS_LOG, column, head, bytes, name.data, err);
    if (!said && c->format) err_set(err, ERR_DATA, "%s: a file of items (%s), not a log", c->path, c->format->name);
    if (!said && !c->format)
        err_set(err, ERR_DATA,
                "%s: no format that is known; --format says which (" RECORDS_FORMATS
                "), and --columns what a log without names holds",
                c->path);
    str_free(&name);
    return -1;
}

static int log_named(Source *s, const char *path, const RecordsFormat *format, const char *const column[RECORDS_NAMES],
                     Err *err) {
    s->log.path = mem_strndup(path, strlen(path));
    Candidate c = {.path = s->log.path, .format = format};
    s->log.stream = stream_open(path, err);
    if (!s->log.stream) return -1;
    int known = format ? 1 : sniff_stream(&c, s->log.stream, column, err);
    if (known < 0) return -1;
    if (!known || c.role == RECORDS_ITEMS) return no_log(&c, s->log.stream, column, err);
    if (c.misnamed && records_check_names(c.format, c.role, column, path, err)) return -1;
    s->log.format = c.format;
    if (c.format != records_format("latentr3")) return 0;
    stream_close(s->log.stream);
    s->log.stream = NULL;
    char *folder = folder_of(path);
    free(s->log.path);
    s->log.path = folder;
    return 0;
}

// ---- the items ----

// movies.csv beside another log than MovieLens's: its ids may be any text.
static const RecordsFormat *items_format(const RecordsFormat *items, const RecordsFormat *log) {
    const RecordsFormat *movielens = records_format("ml-csv");
    return items == movielens && log != movielens ? records_format("csv") : items;
}

// What a file that does not look like items is read as, to say what is wrong with it.
static const RecordsFormat *unknown_items(const Source *s) {
    const char *head;
    size_t bytes;
    const RecordsFormat *guess = stream_peek(s->items.stream, &head, &bytes, NULL) == 0 ? records_guess(head, bytes) : NULL;
    return guess && s->log.format->any_names ? guess : s->log.format;
}

static int items_named(Source *s, const char *path, const char *const column[RECORDS_NAMES], Err *err) {
    s->items.path = mem_strndup(path, strlen(path));
    Candidate c = {.path = s->items.path};
    s->items.stream = stream_open(path, err);
    int known = s->items.stream ? sniff_stream(&c, s->items.stream, column, err) : -1;
    if (known < 0) return err_prefix(err, "the items' titles");
    const int unknown = !known || c.role != RECORDS_ITEMS;
    s->items.format = unknown ? unknown_items(s) : items_format(c.format, s->log.format);
    if (s->items.format->shape[RECORDS_ITEMS].kind == RECORDS_NONE)
        return err_set(err, ERR_DATA, "%s: no file of items that is known", path);
    return unknown || c.misnamed ? records_check_names(s->items.format, RECORDS_ITEMS, column, path, err) : 0;
}

static int items_beside(Source *s, const char *const column[RECORDS_NAMES], Err *err) {
    static const RecordsRole role = RECORDS_ITEMS;
    const RecordsShape *log = &s->log.format->shape[RECORDS_LOG];
    int optional = log->kind == RECORDS_SEQUENCES || log->name[RECORD_TITLE];
    char *folder = folder_of(s->log.path);
    Folder f;
    int status = folder_open(&f, folder, NULL, s->log.path, column, err);
    if (status == 0) {
        narrow(&f, has_role, &role, 1);
        narrow(&f, is_another, s->log.path, 1);
        narrow(&f, is_so_named, NULL, optional);
        narrow(&f, has_format, s->log.format, 0);
        narrow(&f, is_like, s->log.path, 0);
        narrow(&f, is_known, &role, 0);
        const Err *fault = damage(&f);
        if (f.n == 1 && !fault) f.file[0].format = items_format(f.file[0].format, s->log.format);
        status = check_names(&f, role, column, err);
        if (status == 0 && fault && f.n == 1 && optional) // the log may hold the titles
            s->no_items = *fault;
        else if (status == 0)
            status = take_one(&s->items, &f, "files of items", "--items", err);
        if (status == 0 && !s->items.path && !s->no_items.code) s->no_items = f.no_items;
        if (status == 0 && !s->items.path && !optional)
            status =
                f.no_items.code
                    ? err_set(err, f.no_items.code, "the items' titles: %s; --items names another file", f.no_items.message)
                    : err_set(err, ERR_IO, "the items' titles: no file of them beside %s; name it with --items", s->log.path);
        folder_close(&f);
    }
    free(folder);
    return status;
}

// ---- together ----

static char *folder_name(const char *path, int is_folder) {
    char *real = realpath(path, NULL), *copy = real ? real : mem_strndup(path, strlen(path));
    const char *name = basename(is_folder ? copy : dirname(copy));
    char *out = mem_strndup(name, strlen(name));
    free(copy);
    return out;
}

// A file that was named without a folder lies in whatever the present one is called, and a pipe in one of the system's.
static void set_category(Source *s, const char *input, int is_folder) {
    const int lies_here = !strchr(input, '/') && !file_is_folder(input),
              unnamed = lies_here || !(is_folder || is_regular(s->log.path));
    s->category = folder_name(s->log.path, is_folder);
    int movies = s->log.format->category || strncmp(s->category, "ml-", 3) == 0;
    const char *by_file = is_folder ? NULL : dataset_published_category(bare_log(s->log.path)),
               *phrase = by_file ? by_file : dataset_published_category(s->category);
    const char *instead = movies ? "movie" : phrase ? phrase : unnamed ? "item" : NULL;
    if (!instead) return;
    free(s->category);
    s->category = mem_strndup(instead, strlen(instead));
}

static int open_stream(SourceFile *f, Err *err) {
    if (f->path && !f->stream) f->stream = stream_open(f->path, err);
    return !f->path || f->stream ? 0 : -1;
}

static int find(Source *s, const char *input, const char *items, const RecordsFormat *format,
                const char *const column[RECORDS_NAMES], int say, Err *err) {
    *s = (Source){0};
    if (!file_exists(input)) return err_set(err, ERR_IO, "%s: no such file or folder", input);
    if (file_is_folder(input) ? log_in_folder(s, input, format, column, err) : log_named(s, input, format, column, err))
        return -1;
    const int published = source_is_published(s);
    set_category(s, input, published);
    if (say) log_info("%s: %s%s", s->log.path, s->log.format->name, format ? " (as --format says)" : "");
    if (published) return 0;
    if (items ? items_named(s, items, column, err) : items_beside(s, column, err)) return -1;
    if (say && s->items.path) log_info("%s: %s, the items", s->items.path, s->items.format->name);
    return 0;
}

int source_find(Source *s, const char *input, const char *items, const RecordsFormat *format,
                const char *const column[RECORDS_NAMES], Err *err) {
    return find(s, input, items, format, column, 0, err);
}

int source_open(Source *s, const char *input, const char *items, const RecordsFormat *format,
                const char *const column[RECORDS_NAMES], Err *err) {
    if (find(s, input, items, format, column, 1, err)) return -1;
    if (source_is_published(s)) return 0;
    return open_stream(&s->log, err) || open_stream(&s->items, err) ? -1 : 0;
}

int source_is_published(const Source *s) {
    return s->log.format == records_format("latentr3");
}

void source_close(Source *s) {
    stream_close(s->log.stream), stream_close(s->items.stream);
    free(s->log.path), free(s->items.path), free(s->category);
    *s = (Source){0};
}
