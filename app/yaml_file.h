// A YAML file of one document, as options and experiments are read from: every fault is one line with the file and its line.
#ifndef APP_YAML_FILE_H
#define APP_YAML_FILE_H

#include "base/err.h"
#include "base/file.h"

#include <yaml.h>

typedef struct YamlFile {
    const char *path; // borrowed
    Err *err;         // where faults go
    MapFile file;
    yaml_document_t document;
} YamlFile;

// what: what is expected of its root ("a mapping of ... is expected"), for a file that holds nothing. Faults are ERR_USAGE.
int yaml_file_open(YamlFile *f, const char *path, const char *what, Err *err);
void yaml_file_close(YamlFile *f);

yaml_node_t *yaml_file_root(YamlFile *f);
int yaml_file_line(const yaml_node_t *at); // from 1
// Sets the error "FILE: line N: WHAT 'NAME'" (name may be NULL) and returns -1.
int yaml_file_fail(const YamlFile *f, const yaml_node_t *at, const char *what, const char *name);

// A scalar's text (borrowed). Anything else is a fault, "what 'name'".
const char *yaml_file_text(const YamlFile *f, const yaml_node_t *at, const char *what, const char *name);

// Of a sequence.
int yaml_file_items(const yaml_node_t *list);
yaml_node_t *yaml_file_item(YamlFile *f, const yaml_node_t *list, int i);

// The value of the first member with that name, or NULL.
yaml_node_t *yaml_file_find(YamlFile *f, const yaml_node_t *mapping, const char *name);
// take(context, name, key, value) for each member of a mapping, in the order of the file; a name that was there before is a
// fault. Ends with the first that is not 0, and returns it.
typedef int YamlTake(void *context, const char *name, yaml_node_t *key, yaml_node_t *value);
int yaml_file_members(YamlFile *f, const yaml_node_t *mapping, const char *what, YamlTake *take, void *context);

#endif
