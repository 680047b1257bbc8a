#include "app/yaml_file.h"
#include "base/arena.h"

#include <string.h>

enum { FILE_BYTES = 1 << 20 };

int yaml_file_line(const yaml_node_t *at) {
    return (int)at->start_mark.line + 1;
}

int yaml_file_fail(const YamlFile *f, const yaml_node_t *at, const char *what, const char *name) {
    return err_set(f->err, ERR_USAGE, "%s: line %d: %s%s%.60s%s", f->path, yaml_file_line(at), what, name ? " '" : "",
                   name ? name : "", name ? "'" : "");
}

// ---- open -----------------------------------------------------------------------------------------------------------------

// Of bytes that are no text the parser knows the place in the file alone.
static int problem_line(const yaml_parser_t *parser, const MapFile *f) {
    size_t line = parser->problem_mark.line + 1;
    for (size_t i = 0; parser->error == YAML_READER_ERROR && i < parser->problem_offset && i < f->bytes; i++)
        line += f->data[i] == '\n';
    return (int)line;
}

static int refuse(const YamlFile *f, const yaml_parser_t *parser) {
    mem_need((void *)parser->problem, "YAML"); // all but memory has a name
    return err_set(f->err, ERR_USAGE, "%s: line %d: %s", f->path, problem_line(parser, &f->file), parser->problem);
}

// What follows the first document would be ignored.
static int check_alone(const YamlFile *f, yaml_parser_t *parser) {
    yaml_document_t next;
    if (!yaml_parser_load(parser, &next)) return refuse(f, parser);
    const int alone = !yaml_document_get_root_node(&next), line = (int)next.start_mark.line + 1;
    yaml_document_delete(&next);
    return alone ? 0 : err_set(f->err, ERR_USAGE, "%s: line %d: one document is expected", f->path, line);
}

static int load(YamlFile *f, yaml_parser_t *parser, const char *what) {
    if (!yaml_parser_load(parser, &f->document)) return refuse(f, parser);
    int status = yaml_file_root(f) ? check_alone(f, parser) : err_set(f->err, ERR_USAGE, "%s: line 1: %s", f->path, what);
    if (status) yaml_document_delete(&f->document);
    return status;
}

int yaml_file_open(YamlFile *f, const char *path, const char *what, Err *err) {
    yaml_parser_t parser;
    *f = (YamlFile){.path = path, .err = err};
    if (mapfile_open(&f->file, path, FILE_BYTES, err)) return -1;
    mem_need(yaml_parser_initialize(&parser) ? &parser : NULL, "a YAML parser");
    yaml_parser_set_input_string(&parser, (const unsigned char *)f->file.data, f->file.bytes);
    const int status = load(f, &parser, what);
    yaml_parser_delete(&parser);
    if (status) mapfile_close(&f->file);
    return status;
}

void yaml_file_close(YamlFile *f) {
    yaml_document_delete(&f->document);
    mapfile_close(&f->file);
}

// ---- nodes ----------------------------------------------------------------------------------------------------------------

yaml_node_t *yaml_file_root(YamlFile *f) {
    return yaml_document_get_root_node(&f->document);
}

const char *yaml_file_text(const YamlFile *f, const yaml_node_t *at, const char *what, const char *name) {
    if (at->type != YAML_SCALAR_NODE) return yaml_file_fail(f, at, what, name), NULL;
    const char *text = (const char *)at->data.scalar.value;
    if (strlen(text) != at->data.scalar.length) return yaml_file_fail(f, at, "NUL byte", NULL), NULL;
    return text;
}

int yaml_file_items(const yaml_node_t *list) {
    return (int)(list->data.sequence.items.top - list->data.sequence.items.start);
}

yaml_node_t *yaml_file_item(YamlFile *f, const yaml_node_t *list, int i) {
    return yaml_document_get_node(&f->document, list->data.sequence.items.start[i]);
}

// The first pair with that name.
static const yaml_node_pair_t *find(YamlFile *f, const yaml_node_t *mapping, const char *name) {
    const yaml_node_pair_t *p = mapping->data.mapping.pairs.start, *end = mapping->data.mapping.pairs.top;
    for (; p < end; p++) {
        const yaml_node_t *key = yaml_document_get_node(&f->document, p->key);
        if (key->type == YAML_SCALAR_NODE && !strcmp((const char *)key->data.scalar.value, name)) return p;
    }
    return NULL;
}

yaml_node_t *yaml_file_find(YamlFile *f, const yaml_node_t *mapping, const char *name) {
    const yaml_node_pair_t *p = find(f, mapping, name);
    return p ? yaml_document_get_node(&f->document, p->value) : NULL;
}

int yaml_file_members(YamlFile *f, const yaml_node_t *mapping, const char *what, YamlTake *take, void *context) {
    if (mapping->type != YAML_MAPPING_NODE) return yaml_file_fail(f, mapping, what, NULL);
    const yaml_node_pair_t *p = mapping->data.mapping.pairs.start, *end = mapping->data.mapping.pairs.top;
    for (; p < end; p++) {
        yaml_node_t *key = yaml_document_get_node(&f->document, p->key);
        const char *name = yaml_file_text(f, key, "a name is expected", NULL);
        if (!name) return -1;
        if (find(f, mapping, name) != p) return yaml_file_fail(f, key, "given twice:", name);
        const int status = take(context, name, key, yaml_document_get_node(&f->document, p->value));
        if (status) return status;
    }
    return 0;
}
