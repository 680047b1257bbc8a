// Files: read-only maps, and outputs that appear whole or not at all.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/err.h"
#include "base/hash.h"
#include <stddef.h>
#include <stdint.h>

typedef struct MapFile {
    const char *data; // borrowed until mapfile_close; never NULL after a successful open
    size_t bytes;
    char *path;
} MapFile;

// Only a regular file of at most `limit_bytes` (0: no limit) is opened.
int mapfile_open(MapFile *f, const char *path, size_t limit_bytes, Err *err);
void mapfile_close(MapFile *f);
// The bytes (of any open map) will hardly be read again: their memory may go to others.
void mapfile_forget(const void *data, size_t bytes);

// An output under a temporary name beside `path`. Commit flushes it to the disk, renames it and flushes the folder;
// without commit nothing is left. Writing errors are kept and reported by flush and commit. A folder, a device or a pipe in the
// place is refused; of a symbolic link the link is replaced.
typedef struct OutFile {
    int fd, failed_errno;
    char *path, *temporary;
    char *buffer; // 1 MiB
    size_t buffered;
    uint64_t bytes, flushed; // flushed: 1 + the bytes that were flushed
    Hash *hash;
} OutFile;

int outfile_check(const char *path, Err *err); // whether a file can take that place: nothing, or a file, is there
// Temporary files that ended programs have left beside the path go.
int outfile_open(OutFile *f, const char *path, Err *err);
void outfile_write(OutFile *f, const void *data, size_t bytes);
void outfile_printf(OutFile *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
void outfile_hash(OutFile *f, char hex[33]); // as file_hash, of what was written so far
int outfile_flush(OutFile *f, Err *err);     // all of it is on the disk, still under the temporary name
int outfile_commit(OutFile *f, Err *err);    // closes in either case
void outfile_abandon(OutFile *f);            // closes and removes; harmless after a commit

// An output that several runs of the program write one after the other: it grows as "path.part" and becomes `path` when it is
// whole. What was flushed is still there whatever stops the program. For one program at a time.
typedef struct PartFile {
    int fd;
    char *path, *part;
    uint64_t bytes;
} PartFile;

char *partfile_name(const char *path);                      // "path.part", malloc'd
int partfile_open(PartFile *f, const char *path, Err *err); // path.part as it is, or a new one; ERR_IO where another has it
int partfile_cut(PartFile *f, uint64_t bytes, Err *err);    // its first `bytes` stay; ERR_DATA where it has fewer
int partfile_write(PartFile *f, const void *data, size_t bytes, Err *err);
int partfile_flush(PartFile *f, Err *err);
int partfile_commit(PartFile *f, Err *err);
void partfile_close(PartFile *f); // leaves what is there

// All of it to a descriptor, in one write where the system takes it in one. 0, or the error's number.
int file_put(int fd, const void *data, size_t bytes);

// Write a whole file in one call.
int file_write(const char *path, const void *data, size_t bytes, Err *err);

// Rename within a folder, and flush the folder.
int file_rename(const char *from, const char *to, Err *err);
// Hold a folder against others who call this: a descriptor that gives it free when it is closed; FILE_BUSY, with ERR_IO, where
// another has it; -1 after another error.
enum { FILE_BUSY = -2 };
int file_lock(const char *folder, Err *err);

int file_copy(const char *from, const char *to, Err *err);
// A second name for a file that is whole; a copy where the file system has no such names.
int file_link(const char *from, const char *to, Err *err);
// Removes a folder of ours with the files in it; one that is not there is fine.
int file_remove_folder(const char *path, Err *err);
// Removes these files of a folder; those that are not there are fine.
int file_remove_all(const char *folder, const char *const *name, size_t n, Err *err);
// A name beside `path` that no other call gets, malloc'd: "path.tmp-PID-N"; and whether a name is such a one.
char *file_temporary(const char *path);
int file_is_temporary(const char *name);
// Removes what programs that were ended have left in a folder under temporary names: files, and folders of files.
int file_remove_temporaries(const char *folder, Err *err);

int file_exists(const char *path);
int file_exists_in(const char *folder, const char *name);
// What tells a file from the one that takes its place; all 0 where there is none. Without padding: for memcmp.
typedef struct FileStamp {
    uint64_t device, inode, bytes, seconds, nanoseconds;
} FileStamp;
FileStamp file_stamp(const char *path);
int file_is_folder(const char *path);
// One file or folder, by whatever names; or neither is there, and both would be made as one.
int file_is_same(const char *path, const char *other);
int file_make_folder(const char *path, Err *err); // with its parents; an existing folder is fine

// "folder/name", malloc'd.
char *file_join(const char *folder, const char *name);
// The last part of a path; borrowed, empty where the path ends in a slash.
const char *file_name(const char *path);
// The same of a folder's path, which may end in slashes; malloc'd.
char *file_last_part(const char *path);
int file_ends_with(const char *path, const char *end);

// 128-bit XXH3 of a file's bytes as 32 hexadecimal digits.
int file_hash(char hex[33], const char *path, Err *err);

#endif
