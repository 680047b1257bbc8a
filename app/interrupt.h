// Ctrl-C (SIGINT) and SIGTERM for commands that take long: the first asks the work to stop where it can go on later, the second
// ends the program at once. SIGINT stays ignored where it is, as in a job that a script has put into the background. main.c
// turns the signal into the exit code (130, 143).
#ifndef APP_INTERRUPT_H
#define APP_INTERRUPT_H

#include <stdatomic.h>

// Installs the handlers; the flag becomes the signal's number. To be handed to the training loop.
const atomic_int *interrupt_watch(void);
// What the first signal says on stderr: "\nstopping ...\n", a literal; the first line end is for terminals alone.
void interrupt_tell(const char *line);
// The signal that came, or 0.
int interrupt_signal(void);
// One came to another rank, or to the run of an experiment alone.
void interrupt_elsewhere(int number);

#endif
