// Ctrl-C (SIGINT), SIGTERM and SIGHUP (the terminal has gone) for commands that take long: the first asks the work to stop
// where it can go on later, one that comes more than a second behind it ends the program at once. SIGINT and SIGHUP stay
// ignored where they are, as in a job that a script has put into the background, or nohup. main.c turns the signal into the
// exit code (130, 143, 129).
#ifndef APP_INTERRUPT_H
#define APP_INTERRUPT_H

#include <stdatomic.h>

enum { INTERRUPT_SECONDS = 1 };

// Before all else: a thread takes these signals from now on, and the calling one, with all that it starts, does not. A product
// of oneDNN's (f32 before AVX512) moves the stack pointer into memory of its own while it runs, and a handler that ran there
// would write over what lies before that.
void interrupt_open(void);
// Installs the handlers; the flag becomes the signal's number. To be handed to the training loop.
const atomic_int *interrupt_watch(void);
// What the first signal says on stderr: "\nstopping ...\n", a literal; the first line end is for terminals alone.
void interrupt_tell(const char *line);
// The signal that came, or 0.
int interrupt_signal(void);
// One came to another rank, or to the run of an experiment alone.
void interrupt_elsewhere(int number);

#endif
