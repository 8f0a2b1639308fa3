#pragma once
#include <sys/types.h>

// Starts `path` in this environment with its two output streams on `output` (both, close-on-exec in the
// caller) and standard input on /dev/null. The child is ended by SIGKILL when the thread that called this
// ends, so it never outlives its supervisor. Returns 0 and the process id, or an errno (also that of a
// failed execve).
int clinux_spawn(const char *path, char *const arguments[], int output, pid_t *process);

// From now on these signals are written, one byte each (the signal's number), into a pipe instead of
// ending the process. Returns the read end (non-blocking, close-on-exec) or -1 with errno. Call once.
int clinux_signal_pipe(const int *signals, int count);

// True when `status` of waitpid says that the process ended by itself; its code or signal in `*code`.
int clinux_exited(int status, int *code);
