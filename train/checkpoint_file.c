// Layout: header, a 128-bit hash of each block, zeros up to 64 bytes, then the payload: the state (spaces up to 64 bytes) and
// the data. The header's hash covers header and block hashes, and so stands for the whole: blocks that are swapped, or come
// from another checkpoint, do not fit it.
#include "train/checkpoint_file.h"
#include "base/arena.h"
#include "base/checked.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char MAGIC[16] = "latentr3state 1";
static const uint64_t ORDER = 0x0102030405060708; // another byte order reads another number
enum { BLOCK = 1 << 20, ALIGN = 64, STATE_BYTES = 16 << 20 };

typedef struct Header {
    char magic[16];
    uint64_t order;
    uint64_t state_bytes, data_bytes; // state_bytes: a multiple of ALIGN
    uint64_t block_bytes;
    char hash[16]; // of the header with zeros here, and the blocks' hashes
} Header;
_Static_assert(sizeof(Header) == 64, "the header has no padding");

static int damaged(const char *name, const char *what, Err *err) {
    return err_set(err, ERR_DATA, "%s: a damaged checkpoint: %s", name, what);
}

static size_t table_bytes(size_t payload) {
    const size_t bytes = (payload + BLOCK - 1) / BLOCK * 16;
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static void hash_block(char out[16], const char *data, size_t bytes) {
    const XXH128_hash_t h = XXH3_128bits(data, bytes);
    memcpy(out, &h.low64, 8);
    memcpy(out + 8, &h.high64, 8);
}

// Of the header and the table behind it.
static void hash_head(char out[16], const Header *h, const char *table, size_t bytes) {
    char *head = mem_alloc(sizeof *h + bytes, 1);
    memcpy(head, h, sizeof *h);
    memset(head + offsetof(Header, hash), 0, sizeof h->hash);
    memcpy(head + sizeof *h, table, bytes);
    hash_block(out, head, sizeof *h + bytes);
    free(head);
}

// ---- writing --------------------------------------------------------------------------------------------------------

// The payload as it will be read: its blocks run across the seam between state and data.
typedef struct Payload {
    const char *state, *data;
    size_t state_bytes, data_bytes;
} Payload;

// Block number i, in place or put together in `seam` (BLOCK).
static const char *payload_block(const Payload *p, size_t i, char *seam, size_t *bytes) {
    const size_t first = i * BLOCK, total = p->state_bytes + p->data_bytes;
    *bytes = total - first < BLOCK ? total - first : BLOCK;
    if (first >= p->state_bytes) return p->data + (first - p->state_bytes);
    if (first + *bytes <= p->state_bytes) return p->state + first;
    const size_t head = p->state_bytes - first;
    memcpy(seam, p->state + first, head);
    memcpy(seam + head, p->data, *bytes - head);
    return seam;
}

static int write_all(const char *path, const Payload *p, Err *err) {
    const size_t payload = p->state_bytes + p->data_bytes, blocks = (payload + BLOCK - 1) / BLOCK, table = table_bytes(payload);
    char *hashes = mem_zalloc(table, 1), *seam = mem_alloc(BLOCK, 1);
    size_t bytes;
    for (size_t i = 0; i < blocks; i++) {
        const char *block = payload_block(p, i, seam, &bytes);
        hash_block(hashes + i * 16, block, bytes);
    }
    Header h = {.order = ORDER, .state_bytes = p->state_bytes, .data_bytes = p->data_bytes, .block_bytes = BLOCK};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    hash_head(h.hash, &h, hashes, table);
    OutFile f;
    int status = outfile_open(&f, path, err);
    if (status == 0) {
        outfile_write(&f, &h, sizeof h);
        outfile_write(&f, hashes, table);
        outfile_write(&f, p->state, p->state_bytes);
        outfile_write(&f, p->data, p->data_bytes);
        status = outfile_commit(&f, err);
    }
    free(hashes), free(seam);
    return status;
}

int checkpoint_file_write(const char *path, const char *state, const void *data, size_t bytes, Err *err) {
    const size_t length = strlen(state), padded = (length + ALIGN - 1) / ALIGN * ALIGN;
    char *text = mem_alloc(padded + 1, 1);
    memset(text, ' ', padded);
    memcpy(text, state, length);
    const Payload p = {text, data, padded, bytes};
    int status = write_all(path, &p, err);
    free(text);
    return status;
}

// ---- reading --------------------------------------------------------------------------------------------------------

static int check_header(const Header *h, size_t size, const char *name, Err *err) {
    size_t payload, total;
    if (memcmp(h->magic, MAGIC, sizeof h->magic)) return damaged(name, "it does not begin as one of this version", err);
    if (h->order != ORDER) return damaged(name, "its byte order is another machine's", err);
    if (h->block_bytes != BLOCK || h->state_bytes == 0 || h->state_bytes > STATE_BYTES || h->state_bytes % ALIGN)
        return damaged(name, "a size in its header is out of range", err);
    if (checked_add(&payload, h->state_bytes, h->data_bytes) || payload > size ||
        checked_add(&total, sizeof *h + table_bytes(payload), payload) || total != size)
        return damaged(name, "its size is not what its header says", err);
    return 0;
}

static int check_blocks(const char *table, const char *payload, size_t bytes, const char *name, Err *err) {
    for (size_t at = 0, n; at < bytes; at += n, table += 16) {
        char hash[16];
        n = bytes - at < BLOCK ? bytes - at : BLOCK;
        hash_block(hash, payload + at, n);
        if (memcmp(hash, table, sizeof hash))
            return err_set(err, ERR_DATA, "%s: a damaged checkpoint: block %zu is not as it was written", name, at / BLOCK);
    }
    return 0;
}

int checkpoint_file_parse(CheckpointFile *c, const char *bytes, size_t size, const char *name, Err *err) {
    Header h;
    char hash[16];
    *c = (CheckpointFile){0};
    if (size < sizeof h) return damaged(name, "it is shorter than a header", err);
    memcpy(&h, bytes, sizeof h);
    if (check_header(&h, size, name, err)) return -1;
    const size_t payload = h.state_bytes + h.data_bytes, table = table_bytes(payload);
    hash_head(hash, &h, bytes + sizeof h, table);
    if (memcmp(hash, h.hash, sizeof hash)) return damaged(name, "its header is not as it was written", err);
    const char *body = bytes + sizeof h + table;
    if (check_blocks(bytes + sizeof h, body, payload, name, err)) return -1;
    c->state = json_parse(body, h.state_bytes, name, err);
    if (!c->state) return -1;
    if (!json_is_object(c->state)) {
        checkpoint_file_close(c);
        return damaged(name, "its state is no object", err);
    }
    c->data = body + h.state_bytes;
    c->bytes = h.data_bytes;
    return 0;
}

int checkpoint_file_open(CheckpointFile *c, const char *path, Err *err) {
    MapFile file;
    *c = (CheckpointFile){0};
    if (mapfile_open(&file, path, 0, err)) return -1;
    if (checkpoint_file_parse(c, file.data, file.bytes, path, err)) {
        mapfile_close(&file);
        return -1;
    }
    c->file = file;
    return 0;
}

void checkpoint_file_close(CheckpointFile *c) {
    json_decref(c->state);
    mapfile_close(&c->file);
    *c = (CheckpointFile){0};
}
