// What of the machine this process may use: its memory and processors, less where its control group, or one around it, has
// less.
#ifndef BASE_MACHINE_H
#define BASE_MACHINE_H

#include <stddef.h>

// Bytes of memory.
size_t machine_bytes(void);

// How many of `processors` (1 or more) a container's CPU quota pays for, a part of one counted as one.
int machine_processors(int processors);

// The same by other files than the kernel's: `groups` for /proc/self/cgroup, `root` for /sys/fs/cgroup.
size_t machine_bytes_by(const char *groups, const char *root, size_t bytes);
int machine_processors_by(const char *groups, const char *root, int processors);

#endif
