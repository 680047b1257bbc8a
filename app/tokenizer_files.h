// A model's tokenizer and what stands beside it: tokenizer.json, tokenizer_config.json, special_tokens_map.json and
// chat_template.jinja of a Hugging Face folder, or what a GGUF's metadata says in their words.
#ifndef APP_TOKENIZER_FILES_H
#define APP_TOKENIZER_FILES_H

#include "base/json.h"
#include "model/weights.h"
#include "text/tokenizer.h"

// *config: tokenizer_config.json with what the others say, an empty object where the folder has none. What transformers would
// read otherwise is refused. Both are the caller's to close; NULL after an error.
int tokenizer_files_open(Tokenizer **t, json_t **config, const WeightsSource *s, Err *err);

// The tokenizer alone, of a folder, a tokenizer.json or a GGUF, as it is in the file.
int tokenizer_files_tokenizer(Tokenizer **t, const char *path, Err *err);

// The id that the config names by `key` ("bos_token", "eos_token"), where it names none `otherwise` (-1: none). path: of the
// model, for errors.
int tokenizer_files_id(int *id, const Tokenizer *t, const json_t *config, const char *key, int otherwise, const char *path,
                       Err *err);
int tokenizer_files_has_bos(const json_t *config);

// Tokens that were added to `t` come into the config's lists: the pieces of index texts, and <|Thought|> as number `id`.
void tokenizer_files_announce_pieces(json_t *config, const Tokenizer *t);
void tokenizer_files_announce_thought(json_t *config, int id);

// Writes the three JSON files into `folder`. bos: what prompts begin with, eos: what ends answers; -1: none.
int tokenizer_files_save(const Tokenizer *t, const json_t *config, ModelFamily family, int bos, int eos, const char *folder,
                         Err *err);

#endif
