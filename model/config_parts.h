// What the readers of config.json and of GGUF share.
#ifndef MODEL_CONFIG_PARTS_H
#define MODEL_CONFIG_PARTS_H

#include "model/config.h"

// Far above any model this engine is meant for; they keep the rows and columns of every matrix inside an int.
enum {
    MAX_LAYERS = 512,
    MAX_WIDTH = 1 << 16,
    MAX_HEADS = 1 << 10,
    MAX_FEED_FORWARD = 1 << 20,
    MAX_VOCABULARY = 1 << 22,
    MAX_POSITIONS = 1 << 24
};

typedef struct ConfigFamily {
    const char *model_type, *architecture, *published; // published: what the published code calls its subclass, or NULL
} ConfigFamily;

extern const ConfigFamily config_family[]; // by ModelFamily
extern const ModelConfig config_unset;     // before anything is read

#endif
