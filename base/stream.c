#include "base/stream.h"
#include "base/arena.h"
#include "base/hash.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { BLOCKS = 4 }; // one that the reader holds, three ahead of it

struct Stream {
    char *path;
    int fd, gzip;
    uint64_t file_bytes;
    // The thread's own.
    z_stream inflater;
    int in_member; // between the first and the last byte of a gzip member
    int file_ended;
    char *raw; // (STREAM_BLOCK): bytes of a gzip file
    Hash *hash;
    // Between the threads, under the lock: blocks first, first + 1, ... first + filled - 1 (mod BLOCKS) are full.
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *block[BLOCKS];
    size_t bytes[BLOCKS];
    int first, filled, held, ended, stop;
    uint64_t done;
    Err err; // code 0: none
};

// ---- the thread ----

static int read_file(Stream *s, char *out, size_t room, size_t *n) {
    *n = 0;
    while (*n < room && !s->file_ended) {
        ssize_t got = read(s->fd, out + *n, room - *n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return err_errno(&s->err, "%s", s->path);
        s->file_ended = got == 0;
        *n += (size_t)got;
    }
    hash_update(s->hash, out, *n);
    return 0;
}

static int damaged(Stream *s, const char *what) {
    return err_set(&s->err, ERR_DATA, "%s: byte %llu of the gzip file: %s", s->path,
                   (unsigned long long)(s->done - s->inflater.avail_in), what);
}

static void count_done(Stream *s, size_t n) {
    pthread_mutex_lock(&s->lock);
    s->done += n;
    pthread_mutex_unlock(&s->lock);
}

static int refill(Stream *s) {
    size_t n;
    if (read_file(s, s->raw, STREAM_BLOCK, &n)) return -1;
    s->inflater.next_in = (unsigned char *)s->raw;
    s->inflater.avail_in = (unsigned)n;
    count_done(s, n);
    return 0;
}

// Members follow each other, as `cat a.gz b.gz` makes them; zlib checks header, checksum and length of each.
static int inflate_file(Stream *s, char *out, size_t room, size_t *n) {
    z_stream *z = &s->inflater;
    *n = 0;
    while (*n < room) {
        if (z->avail_in == 0 && refill(s)) return -1;
        if (z->avail_in == 0) return s->in_member ? damaged(s, "the file is cut off") : 0;
        s->in_member = 1;
        z->next_out = (unsigned char *)out + *n;
        z->avail_out = (unsigned)(room - *n);
        int status = inflate(z, Z_NO_FLUSH);
        *n = room - z->avail_out;
        if (status == Z_STREAM_END) {
            s->in_member = 0;
            CHECK(inflateReset(z) == Z_OK);
        } else if (status == Z_MEM_ERROR) {
            return err_set(&s->err, ERR_MEMORY, "%s: no memory to inflate", s->path);
        } else if (status != Z_OK && status != Z_BUF_ERROR) {
            return damaged(s, z->msg ? z->msg : "not gzip");
        }
    }
    return 0;
}

// gzip is known when the first bytes are there; a plain file's go to the reader as they are.
static int first_block(Stream *s, char *out, size_t *n) {
    if (read_file(s, out, STREAM_BLOCK, n)) return -1;
    count_done(s, *n);
    s->gzip = *n >= 2 && memcmp(out, "\x1f\x8b", 2) == 0;
    if (!s->gzip) return 0;
    s->raw = mem_alloc(STREAM_BLOCK, 1);
    memcpy(s->raw, out, *n);
    if (inflateInit2(&s->inflater, 15 + 16) != Z_OK) return err_set(&s->err, ERR_MEMORY, "%s: no memory to inflate", s->path);
    s->inflater.next_in = (unsigned char *)s->raw;
    s->inflater.avail_in = (unsigned)*n;
    return inflate_file(s, out, STREAM_BLOCK, n);
}

static int next_block(Stream *s, char *out, size_t *n) {
    if (s->gzip) return inflate_file(s, out, STREAM_BLOCK, n);
    if (read_file(s, out, STREAM_BLOCK, n)) return -1;
    count_done(s, *n);
    return 0;
}

static void *run(void *argument) {
    Stream *s = argument;
    for (int started = 0, last = 0; !last; started = 1) {
        pthread_mutex_lock(&s->lock);
        while (s->filled == BLOCKS && !s->stop) pthread_cond_wait(&s->changed, &s->lock);
        int free_block = (s->first + s->filled) % BLOCKS, stop = s->stop;
        pthread_mutex_unlock(&s->lock);
        if (stop) break;
        if (!s->block[free_block]) s->block[free_block] = mem_alloc(STREAM_BLOCK, 1); // small files need one
        size_t n;
        int failed = started ? next_block(s, s->block[free_block], &n) : first_block(s, s->block[free_block], &n);
        last = failed || n < STREAM_BLOCK;
        pthread_mutex_lock(&s->lock);
        s->bytes[free_block] = n;
        s->filled += !failed && n > 0;
        s->ended = last;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

// ---- the reader ----

Stream *stream_open(const char *path, Err *err) {
    struct stat st;
    if (stat(path, &st)) {
        err_errno(err, "%s", path);
        return NULL;
    }
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
        err_set(err, ERR_IO, "%s: neither a regular file nor a pipe", path);
        return NULL;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_errno(err, "%s", path);
        return NULL;
    }
    Stream *s = mem_zalloc(1, sizeof *s);
    s->path = mem_strndup(path, strlen(path));
    s->fd = fd;
    s->file_bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    s->hash = hash_open();
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    mem_need(thread_start(&s->thread, run, s) ? NULL : s, "a thread");
    return s;
}

// Waits until a block is full or the end is known; under the lock.
static int wait_filled(Stream *s, Err *err) {
    while (s->filled == 0 && !s->ended) pthread_cond_wait(&s->changed, &s->lock);
    if (s->filled) return 1;
    if (!s->err.code) return 0;
    if (err) *err = s->err;
    return -1;
}

static int take(Stream *s, int hold, const char **data, size_t *bytes, Err *err) {
    pthread_mutex_lock(&s->lock);
    if (s->held) {
        s->first = (s->first + 1) % BLOCKS;
        s->filled--;
        s->held = 0;
        pthread_cond_broadcast(&s->changed);
    }
    int status = wait_filled(s, err);
    *data = status == 1 ? s->block[s->first] : "";
    *bytes = status == 1 ? s->bytes[s->first] : 0;
    s->held = status == 1 && hold;
    pthread_mutex_unlock(&s->lock);
    return status;
}

int stream_next(Stream *s, const char **data, size_t *bytes, Err *err) {
    return take(s, 1, data, bytes, err);
}

int stream_peek(Stream *s, const char **data, size_t *bytes, Err *err) {
    return take(s, 0, data, bytes, err) < 0 ? -1 : 0;
}

int stream_is_gzip(const Stream *s) {
    return s->gzip;
}

void stream_progress(Stream *s, uint64_t *done, uint64_t *file_bytes) {
    pthread_mutex_lock(&s->lock);
    *done = s->done;
    pthread_mutex_unlock(&s->lock);
    *file_bytes = s->file_bytes;
}

void stream_hash(const Stream *s, char hex[33]) {
    hash_text(s->hash, hex);
}

void stream_close(Stream *s) {
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->stop = 1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    if (s->raw) inflateEnd(&s->inflater);
    hash_close(s->hash);
    for (int i = 0; i < BLOCKS; i++) free(s->block[i]);
    close(s->fd);
    free(s->raw), free(s->path);
    free(s);
}
