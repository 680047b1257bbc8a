// LD_PRELOAD: the n-th call that touches files under a path, or the n-th allocation, fails as it is told to. For tests.
//
// FAULTS_CALLS: "alloc", or a list of open,read,write,fsync,rename,link,mkdir,remove,mmap,truncate,close; "all": all of these.
// Beside them, for what some file systems lack: flock, and folder (fsync of one).
//
// FAULTS_UNDER: only files whose path begins so count.
//
// FAULTS_AT: which call fails, from 1; FAULTS_ON=1: and all that come after it.
//
// FAULTS_HOW: ENOSPC, EIO, EINTR, ENOMEM, ENOSYS, EINVAL; SHORT: half of it is read or written; KILL: half of it is written,
// and SIGKILL; CUT: the file that is mapped loses its bytes.
//
// FAULTS_COUNT: a file for the number of calls that counted, and the name of the one that failed. FAULTS_PLACES=1: behind it, a
// line each, the numbers of those to which another way through the code led than to all before.
//
// A file that is flushed again after a flush of it has failed ends the program with code 99: the second one may succeed though
// the data are lost. Allocations count once the program has begun (its first call of signal()), but for those of oneDNN and the
// C++ library: where these get none, oneDNN 2.6 itself follows the NULL.
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

enum { FDS = 4096, FAILED = 64, PLACES = 1 << 16, FRAMES = 48 };
static const char *calls, *under, *how, *count_path, *failed_call = "";
static long at, on;
static atomic_long counted;
static atomic_int begun;
static unsigned char watched[FDS];
static ino_t failed_flush[FAILED];
static atomic_int failed_flushes;

// FAULTS_PLACES: the ways that led to a call, and its number where it was the first to come by that way.
static int by_place;
static atomic_flag place_lock = ATOMIC_FLAG_INIT;
static uint64_t place[PLACES];
static long first_at[PLACES];
static int places;
static _Thread_local int placing; // what backtrace() itself calls does not count

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void faults_start(void) {
    calls = getenv("FAULTS_CALLS"), under = getenv("FAULTS_UNDER"), how = getenv("FAULTS_HOW");
    count_path = getenv("FAULTS_COUNT");
    at = getenv("FAULTS_AT") ? atol(getenv("FAULTS_AT")) : 0;
    on = getenv("FAULTS_ON") != NULL;
    by_place = getenv("FAULTS_PLACES") != NULL;
    void *frame[1];
    if (by_place) backtrace(frame, 1); // loads what it needs
}

__attribute__((destructor)) static void faults_end(void) {
    char text[64];
    if (!count_path) return;
    const long n = atomic_load(&counted);
    calls = NULL;
    int fd = REAL(open)(count_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0) return;
    const int len = snprintf(text, sizeof text, "%ld %s\n", n, failed_call);
    if (REAL(write)(fd, text, (size_t)len) < 0) perror(count_path);
    for (int i = 0; i < places; i++) {
        const int bytes = snprintf(text, sizeof text, "%ld\n", first_at[i]);
        if (REAL(write)(fd, text, (size_t)bytes) < 0) perror(count_path);
    }
    REAL(close)(fd);
}

static int wants(const char *call) {
    if (!calls || !strcmp(calls, "alloc")) return 0;
    if (!strcmp(calls, "all")) return 1;
    const char *found = strstr(calls, call);
    return found != NULL;
}

static int is_under(const char *path) {
    return !under || (path && !strncmp(path, under, strlen(under)));
}

static int is_watched(int fd) {
    return fd >= 0 && fd < FDS && watched[fd];
}

static void keep_place(long n) {
    void *frame[FRAMES];
    placing = 1;
    const int frames = backtrace(frame, FRAMES);
    placing = 0;
    uint64_t hash = 0;
    for (int i = 0; i < frames; i++) hash = (hash ^ (uintptr_t)frame[i]) * 0x9e3779b97f4a7c15u, hash ^= hash >> 29;
    while (atomic_flag_test_and_set(&place_lock)) {
    }
    int i = 0;
    while (i < places && place[i] != hash) i++;
    if (i == places && places < PLACES) place[places] = hash, first_at[places++] = n;
    atomic_flag_clear(&place_lock);
}

static int due(void) {
    if (placing) return 0;
    const long n = atomic_fetch_add(&counted, 1) + 1;
    if (by_place) keep_place(n);
    return at && (n == at || (on && n > at));
}

static int is(const char *what) {
    return how && !strcmp(how, what);
}

// 1: this call fails, errno is set. A short one is the caller's business, as what comes before the kill.
static int fails(const char *call, int counts) {
    if (!counts || !wants(call) || !due()) return 0;
    if (is("KILL")) kill(getpid(), SIGKILL);
    if (is("SHORT")) return 0;
    failed_call = call;
    errno = is("ENOSPC")   ? ENOSPC
            : is("EINTR")  ? EINTR
            : is("ENOMEM") ? ENOMEM
            : is("ENOSYS") ? ENOSYS
            : is("EINVAL") ? EINVAL
                           : EIO;
    return 1;
}

static void watch(int fd, const char *path) {
    if (fd >= 0 && fd < FDS) watched[fd] = (unsigned char)is_under(path);
}

#define OPEN(name)                                                                                                             \
    int name(const char *path, int flags, ...) {                                                                               \
        va_list args;                                                                                                          \
        va_start(args, flags);                                                                                                 \
        const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;                                          \
        va_end(args);                                                                                                          \
        if (fails("open", is_under(path))) return -1;                                                                          \
        int fd = REAL(name)(path, flags, mode);                                                                                \
        watch(fd, path);                                                                                                       \
        return fd;                                                                                                             \
    }
OPEN(open)
OPEN(open64)

DIR *opendir(const char *path) {
    return fails("open", is_under(path)) ? NULL : REAL(opendir)(path);
}

ssize_t read(int fd, void *data, size_t n) {
    const int counts = is_watched(fd) && wants("read");
    if (counts && is("SHORT") && n > 1) return REAL(read)(fd, data, due() ? n / 2 : n);
    return fails("read", counts) ? -1 : REAL(read)(fd, data, n);
}

ssize_t write(int fd, const void *data, size_t n) {
    const int counts = is_watched(fd) && wants("write");
    if (counts && n > 1 && (is("SHORT") || is("KILL"))) {
        if (!due()) return REAL(write)(fd, data, n);
        ssize_t done = REAL(write)(fd, data, n / 2);
        if (is("KILL")) kill(getpid(), SIGKILL);
        return done;
    }
    return fails("write", counts) ? -1 : REAL(write)(fd, data, n);
}

static int lacks(const char *call, int fd) {
    return is_watched(fd) && calls && strcmp(calls, "all") && fails(call, 1);
}

int flock(int fd, int operation) {
    return lacks("flock", fd) ? -1 : REAL(flock)(fd, operation);
}

static int flush(int fd, int (*real)(int)) {
    struct stat st;
    if (!is_watched(fd) || fstat(fd, &st)) return real(fd);
    if (S_ISDIR(st.st_mode) && lacks("folder", fd)) return -1;
    for (int i = 0; i < failed_flushes && i < FAILED; i++)
        if (failed_flush[i] == st.st_ino) _exit(99);
    if (!fails("fsync", 1)) return real(fd);
    const int i = atomic_fetch_add(&failed_flushes, 1);
    if (i < FAILED) failed_flush[i] = st.st_ino;
    return -1;
}

int fsync(int fd) {
    return flush(fd, REAL(fsync));
}

int fdatasync(int fd) {
    return flush(fd, REAL(fdatasync));
}

int close(int fd) {
    const int counts = is_watched(fd);
    if (fd >= 0 && fd < FDS) watched[fd] = 0;
    const int status = REAL(close)(fd); // whatever is said, the descriptor is gone
    return fails("close", counts) ? -1 : status;
}

int rename(const char *from, const char *to) {
    return fails("rename", is_under(from)) ? -1 : REAL(rename)(from, to);
}

int link(const char *from, const char *to) {
    return fails("link", is_under(from)) ? -1 : REAL(link)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    return fails("mkdir", is_under(path)) ? -1 : REAL(mkdir)(path, mode);
}

int unlink(const char *path) {
    return fails("remove", is_under(path)) ? -1 : REAL(unlink)(path);
}

int unlinkat(int fd, const char *path, int flags) {
    return fails("remove", wants("remove")) ? -1 : REAL(unlinkat)(fd, path, flags);
}

int rmdir(const char *path) {
    return fails("remove", is_under(path)) ? -1 : REAL(rmdir)(path);
}

int ftruncate(int fd, off_t n) {
    return fails("truncate", is_watched(fd)) ? -1 : REAL(ftruncate)(fd, n);
}

enum { RANGES = 16 };
static struct { uintptr_t begin, end; } spared[RANGES]; // code whose allocations do not fail
static int spares;

static int spare(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size, (void)context;
    if (!strstr(info->dlpi_name, "libdnnl") && !strstr(info->dlpi_name, "libstdc++")) return 0;
    for (int i = 0; i < info->dlpi_phnum && spares < RANGES; i++) {
        const uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        spared[spares].begin = begin;
        spared[spares++].end = begin + info->dlpi_phdr[i].p_memsz;
    }
    return 0;
}

static int allocates(const void *caller) {
    if (!begun || !calls || strcmp(calls, "alloc")) return 1;
    for (int i = 0; i < spares; i++)
        if ((uintptr_t)caller >= spared[i].begin && (uintptr_t)caller < spared[i].end) return 1;
    if (!due()) return 1;
    errno = ENOMEM;
    return 0;
}
#define ALLOCATES allocates(__builtin_return_address(0))

void *mmap(void *where, size_t n, int protection, int flags, int fd, off_t offset) {
    const int cut = is("CUT") && is_watched(fd) && due();
    if ((!is("CUT") && fails("mmap", is_watched(fd))) || (fd < 0 && !ALLOCATES)) return MAP_FAILED;
    void *p = REAL(mmap)(where, n, protection, flags, fd, offset);
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (cut && truncate(path, 0)) perror("the shim");
    return p;
}

__sighandler_t signal(int number, __sighandler_t handler) {
    if (!begun) dl_iterate_phdr(spare, NULL);
    begun = 1;
    return REAL(signal)(number, handler);
}

void *malloc(size_t n) {
    return ALLOCATES ? __libc_malloc(n) : NULL;
}

void *calloc(size_t count, size_t n) {
    return ALLOCATES ? __libc_calloc(count, n) : NULL;
}

void *realloc(void *p, size_t n) {
    return ALLOCATES ? __libc_realloc(p, n) : NULL;
}

void *aligned_alloc(size_t alignment, size_t n) {
    return ALLOCATES ? __libc_memalign(alignment, n) : NULL;
}

void *memalign(size_t alignment, size_t n) {
    return ALLOCATES ? __libc_memalign(alignment, n) : NULL;
}

int posix_memalign(void **out, size_t alignment, size_t n) {
    void *p = ALLOCATES ? __libc_memalign(alignment, n) : NULL;
    if (p) *out = p;
    return p ? 0 : ENOMEM;
}
