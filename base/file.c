#include "base/file.h"
#include "base/arena.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 20 };

int mapfile_open(MapFile *f, const char *path, size_t limit_bytes, Err *err) {
    *f = (MapFile){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not make us wait
    if (fd < 0) return err_errno(err, "%s", path);
    struct stat st;
    int status = -1;
    if (fstat(fd, &st)) {
        err_errno(err, "%s", path);
    } else if (!S_ISREG(st.st_mode)) {
        err_set(err, ERR_IO, "%s: not a regular file", path);
    } else if (limit_bytes && (size_t)st.st_size > limit_bytes) {
        err_set(err, ERR_DATA, "%s: %zu bytes, more than the limit of %zu", path, (size_t)st.st_size, limit_bytes);
    } else if (st.st_size == 0) { // mmap refuses an empty file
        f->data = "";
        status = 0;
    } else {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            err_errno(err, "%s: mapping %zu bytes", path, (size_t)st.st_size);
        } else {
            f->data = data;
            f->bytes = (size_t)st.st_size;
            status = 0;
        }
    }
    close(fd);
    if (status == 0) f->path = mem_strndup(path, strlen(path));
    return status;
}

void mapfile_close(MapFile *f) {
    if (f->bytes) munmap((void *)f->data, f->bytes);
    free(f->path);
    *f = (MapFile){0};
}

void mapfile_forget(const void *data, size_t bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)data + page - 1) / page * page,
                    end = ((uintptr_t)data + bytes) / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

// ---- temporary names ----

static const char TEMPORARY[] = ".tmp-";

char *file_temporary(const char *path) {
    static atomic_uint calls; // threads may write one path at the same time
    const size_t n = strlen(path) + sizeof TEMPORARY + 32;
    char *name = mem_alloc(n, 1);
    snprintf(name, n, "%s%s%ld-%u", path, TEMPORARY, (long)getpid(), atomic_fetch_add(&calls, 1));
    return name;
}

int file_is_temporary(const char *name) {
    static const char digits[] = "0123456789";
    const char *end = NULL;
    for (const char *at = name; (at = strstr(at, TEMPORARY));) end = at += sizeof TEMPORARY - 1;
    size_t n = end ? strspn(end, digits) : 0;
    if (n && end[n] == '-') { // the first versions wrote no second number
        const size_t m = strspn(end + n + 1, digits);
        n = m ? n + 1 + m : 0;
    }
    return n && end[n] == 0;
}

// malloc'd; "." of a name alone.
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return !slash ? mem_strndup(".", 1) : mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

// What programs that were ended have left beside the path. A living one holds a lock on its own, wherever it runs.
static void remove_stale(const char *path) {
    const char *name = file_name(path);
    const size_t n = strlen(name), m = n + sizeof TEMPORARY - 1;
    char *folder = folder_of(path);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, name, n) || strncmp(e->d_name + n, TEMPORARY, m - n) || !file_is_temporary(e->d_name)) continue;
        const int fd = openat(dirfd(d), e->d_name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) unlinkat(dirfd(d), e->d_name, 0);
        if (fd >= 0) close(fd);
    }
    if (d) closedir(d);
    free(folder);
}

// A rename would put a file in the place of a device or a pipe.
int outfile_check(const char *path, Err *err) {
    struct stat st;
    if (stat(path, &st) || S_ISREG(st.st_mode)) return 0;
    return err_set(err, ERR_IO, S_ISDIR(st.st_mode) ? "%s: a folder, where a file is to be written" : "%s: not a regular file",
                   path);
}

// A new file under a lock, which tells remove_stale that it is in use; a file system without locks keeps what is stale. Between
// its making and its lock another thread may take it for stale and remove it: then another one is made.
static int open_temporary(OutFile *f, Err *err) {
    struct stat st;
    for (;;) {
        f->temporary = file_temporary(f->path);
        f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (f->fd < 0) return err_errno(err, "%s", f->temporary);
        while (flock(f->fd, LOCK_EX) && errno == EINTR) {
        }
        if (fstat(f->fd, &st) || st.st_nlink > 0) return 0;
        close(f->fd);
        free(f->temporary);
    }
}

int outfile_open(OutFile *f, const char *path, Err *err) {
    *f = (OutFile){.fd = -1};
    if (outfile_check(path, err)) return -1;
    remove_stale(path);
    f->path = mem_strndup(path, strlen(path));
    if (open_temporary(f, err)) {
        outfile_abandon(f);
        return -1;
    }
    f->buffer = mem_alloc(BUFFER_BYTES, 1);
    f->hash = hash_open();
    return 0;
}

int file_put(int fd, const void *data, size_t bytes) {
    const char *at = data, *end = at + bytes;
    while (at < end) {
        ssize_t n = write(fd, at, (size_t)(end - at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : EIO;
        at += n;
    }
    return 0;
}

static void outfile_push(OutFile *f, const char *data, size_t bytes) {
    hash_update(f->hash, data, bytes);
    if (!f->failed_errno) f->failed_errno = file_put(f->fd, data, bytes);
}

void outfile_write(OutFile *f, const void *data, size_t bytes) {
    f->bytes += bytes;
    if (f->buffered + bytes > BUFFER_BYTES) {
        outfile_push(f, f->buffer, f->buffered);
        f->buffered = 0;
    }
    if (bytes > BUFFER_BYTES) {
        outfile_push(f, data, bytes);
        return;
    }
    if (bytes) memcpy(f->buffer + f->buffered, data, bytes);
    f->buffered += bytes;
}

void outfile_printf(OutFile *f, const char *format, ...) {
    char small[1024];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    CHECK(n >= 0);
    if ((size_t)n < sizeof small) {
        outfile_write(f, small, (size_t)n);
    } else {
        char *large = mem_alloc((size_t)n + 1, 1);
        vsnprintf(large, (size_t)n + 1, format, again);
        outfile_write(f, large, (size_t)n);
        free(large);
    }
    va_end(again);
}

void outfile_hash(OutFile *f, char hex[33]) {
    outfile_push(f, f->buffer, f->buffered);
    f->buffered = 0;
    hash_text(f->hash, hex);
}

// The rename is durable only once the folder that holds the name is. File systems that cannot flush one (EINVAL) have their own
// way.
static int flush_folder_of(const char *path) {
    char *folder = folder_of(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status = fd < 0 || (fsync(fd) && errno != EINVAL) ? -1 : 0;
    if (fd >= 0) close(fd);
    free(folder);
    return status;
}

int outfile_flush(OutFile *f, Err *err) {
    outfile_push(f, f->buffer, f->buffered);
    f->buffered = 0;
    if (!f->failed_errno && f->flushed < f->bytes + 1 && fsync(f->fd)) f->failed_errno = errno;
    f->flushed = f->bytes + 1;
    errno = f->failed_errno;
    return f->failed_errno ? err_errno(err, "%s: writing", f->path) : 0;
}

int outfile_commit(OutFile *f, Err *err) {
    outfile_flush(f, NULL);                            // an error is kept
    const int lock = fcntl(f->fd, F_DUPFD_CLOEXEC, 0); // for remove_stale, until the file has its own name
    if (close(f->fd) && !f->failed_errno) f->failed_errno = errno;
    f->fd = -1;
    if (!f->failed_errno && rename(f->temporary, f->path)) f->failed_errno = errno;
    if (lock >= 0 && close(lock) && !f->failed_errno) f->failed_errno = errno;
    if (!f->failed_errno && flush_folder_of(f->path)) f->failed_errno = errno;
    int status = 0;
    if (f->failed_errno) {
        errno = f->failed_errno;
        status = err_errno(err, "%s: writing", f->path);
        unlink(f->temporary);
    }
    free(f->temporary);
    f->temporary = NULL;
    outfile_abandon(f);
    return status;
}

void outfile_abandon(OutFile *f) {
    if (f->fd >= 0 && f->temporary) {
        close(f->fd);
        unlink(f->temporary);
    }
    free(f->path), free(f->temporary), free(f->buffer);
    hash_close(f->hash);
    *f = (OutFile){.fd = -1};
}

char *partfile_name(const char *path) {
    const size_t n = strlen(path) + sizeof ".part";
    char *part = mem_alloc(n, 1);
    snprintf(part, n, "%s.part", path);
    return part;
}

// Where files cannot be locked, others are trusted.
static int has_no_locks(const char *path) {
    if (errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOLCK) return 0;
    log_warn("%s: its file system has no locks: that no other command changes it is not checked", path);
    return 1;
}

int partfile_open(PartFile *f, const char *path, Err *err) {
    *f = (PartFile){.fd = -1};
    if (outfile_check(path, err)) return -1;
    *f = (PartFile){.path = mem_strndup(path, strlen(path)), .part = partfile_name(path)};
    f->fd = open(f->part, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const off_t end = f->fd < 0 ? -1 : lseek(f->fd, 0, SEEK_END);
    int status = end < 0 ? err_errno(err, "%s", f->part) : 0;
    if (status == 0 && flock(f->fd, LOCK_EX | LOCK_NB) && !has_no_locks(f->part))
        status = errno == EWOULDBLOCK ? err_set(err, ERR_IO, "%s: another command is writing it", f->part)
                                      : err_errno(err, "%s", f->part);
    struct stat ours, named;
    if (status == 0 && (fstat(f->fd, &ours) || stat(f->part, &named) || ours.st_ino != named.st_ino))
        status = err_set(err, ERR_IO, "%s: another command has just finished it", f->part);
    f->bytes = (uint64_t)end;
    if (status) partfile_close(f);
    return status;
}

int partfile_cut(PartFile *f, uint64_t bytes, Err *err) {
    if (bytes > f->bytes)
        return err_set(err, ERR_DATA, "%s: %llu bytes, but %llu were written", f->part, (unsigned long long)f->bytes,
                       (unsigned long long)bytes);
    f->bytes = bytes;
    return ftruncate(f->fd, (off_t)bytes) ? err_errno(err, "%s: writing", f->part) : 0;
}

int partfile_write(PartFile *f, const void *data, size_t bytes, Err *err) {
    const int failed = file_put(f->fd, data, bytes);
    f->bytes += bytes;
    errno = failed;
    return failed ? err_errno(err, "%s: writing", f->part) : 0;
}

int partfile_flush(PartFile *f, Err *err) {
    return fsync(f->fd) ? err_errno(err, "%s: writing", f->part) : 0;
}

int partfile_commit(PartFile *f, Err *err) {
    return partfile_flush(f, err) || file_rename(f->part, f->path, err) ? -1 : 0;
}

void partfile_close(PartFile *f) {
    if (f->path && f->fd >= 0) close(f->fd);
    free(f->path), free(f->part);
    *f = (PartFile){.fd = -1};
}

int file_write(const char *path, const void *data, size_t bytes, Err *err) {
    OutFile f;
    if (outfile_open(&f, path, err)) return -1;
    outfile_write(&f, data, bytes);
    return outfile_commit(&f, err);
}

int file_rename(const char *from, const char *to, Err *err) {
    return rename(from, to) || flush_folder_of(to) ? err_errno(err, "%s: renaming to %s", from, to) : 0;
}

int file_lock(const char *folder, Err *err) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_errno(err, "%s", folder);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 || has_no_locks(folder)) return fd;
    const int busy = errno == EWOULDBLOCK;
    if (busy)
        err_set(err, ERR_IO, "%s: another command is changing this folder", folder);
    else
        err_errno(err, "%s", folder);
    close(fd);
    return busy ? FILE_BUSY : -1;
}

int file_copy(const char *from, const char *to, Err *err) {
    MapFile f;
    if (mapfile_open(&f, from, 0, err)) return -1;
    int status = file_write(to, f.data, f.bytes, err);
    mapfile_close(&f);
    return status;
}

int file_link(const char *from, const char *to, Err *err) {
    if (link(from, to) == 0) return 0;
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK && errno != EXDEV)
        return err_errno(err, "%s", to);
    return file_copy(from, to, err);
}

int file_remove_folder(const char *path, Err *err) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); // not through a link into somebody's folder
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        const int failed = errno;
        if (fd >= 0) close(fd);
        errno = failed;
        return failed == ENOENT ? 0 : err_errno(err, "%s", path);
    }
    int failed = 0;
    for (struct dirent *e; !failed && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlinkat(dirfd(d), e->d_name, 0)) failed = errno;
    closedir(d);
    errno = failed;
    return failed || rmdir(path) ? err_errno(err, "%s: removing it", path) : 0;
}

int file_remove_all(const char *folder, const char *const *name, size_t n, Err *err) {
    int status = 0;
    for (size_t i = 0; i < n && status == 0; i++) {
        char *path = file_join(folder, name[i]);
        if (unlink(path) && errno != ENOENT) status = err_errno(err, "%s: cannot be removed", path);
        free(path);
    }
    return status;
}

int file_remove_temporaries(const char *folder, Err *err) {
    DIR *d = opendir(folder);
    int status = 0;
    if (!d) return err_errno(err, "%s", folder);
    for (struct dirent *e; status == 0 && (e = readdir(d));) {
        if (!file_is_temporary(e->d_name)) continue;
        char *path = file_join(folder, e->d_name);
        struct stat st;
        if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            status = file_remove_folder(path, err);
        else if (unlink(path))
            status = err_errno(err, "%s", path);
        free(path);
    }
    closedir(d);
    return status;
}

FileStamp file_stamp(const char *path) {
    struct stat st;
    if (stat(path, &st)) return (FileStamp){0};
    return (FileStamp){(uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
                       (uint64_t)st.st_mtim.tv_nsec};
}

int file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

int file_exists_in(const char *folder, const char *name) {
    char *path = file_join(folder, name);
    const int there = file_exists(path);
    free(path);
    return there;
}

// Of two that are not there yet.
static int is_same_place(const char *path, const char *other) {
    if (strcmp(file_name(path), file_name(other)) != 0) return 0;
    char *a = folder_of(path), *b = folder_of(other);
    const int same = !strcmp(a, b) || file_is_same(a, b);
    free(a), free(b);
    return same;
}

int file_is_same(const char *path, const char *other) {
    struct stat a, b;
    const int here = !stat(path, &a), there = !stat(other, &b);
    return here && there ? a.st_dev == b.st_dev && a.st_ino == b.st_ino : !here && !there && is_same_place(path, other);
}

int file_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int file_make_folder(const char *path, Err *err) {
    char *p = mem_strndup(path, strlen(path));
    int status = 0;
    for (char *at = p + 1; status == 0; at++) {
        if (*at != '/' && *at) continue;
        char saved = *at;
        *at = 0;
        if ((mkdir(p, 0777) || flush_folder_of(p)) && errno != EEXIST) status = err_errno(err, "%s", p);
        *at = saved;
        if (!saved) break;
    }
    if (status == 0 && !file_is_folder(path)) status = err_set(err, ERR_IO, "%s: not a folder", path);
    free(p);
    return status;
}

char *file_join(const char *folder, const char *name) {
    size_t n = strlen(folder), m = strlen(name);
    char *path = mem_alloc(n + m + 2, 1);
    memcpy(path, folder, n);
    path[n] = '/';
    memcpy(path + n + 1, name, m + 1);
    return path;
}

const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *file_last_part(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return mem_strndup(path + begin, n - begin);
}

int file_ends_with(const char *path, const char *end) {
    const size_t n = strlen(path), m = strlen(end);
    return n >= m && !strcmp(path + n - m, end);
}

int file_hash(char hex[33], const char *path, Err *err) {
    MapFile f;
    if (mapfile_open(&f, path, 0, err)) return -1;
    hash_bytes(hex, f.data, f.bytes);
    mapfile_close(&f);
    return 0;
}
