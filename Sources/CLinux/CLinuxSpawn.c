#include "CLinux.h"
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

// What the child does between fork and execve: async-signal-safe calls only. An error goes back to the
// parent through `report`, which execve closes on success.
static void become(const char *path, char *const arguments[], int output, pid_t parent, int report) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
  // A process group of its own: Ctrl-C reaches the supervisor only, which drains the children in order.
  setpgid(0, 0);
  int ok = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  // The parent may have died before the line above.
  if (ok && getppid() != parent) _exit(1);
  int null = open("/dev/null", O_RDONLY);
  ok = ok && null >= 0 && dup2(null, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0;
  if (ok) execv(path, arguments);
  int error = errno;
  if (write(report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

int clinux_spawn(const char *path, char *const arguments[], int output, pid_t *process) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) < 0) return errno;
  pid_t parent = getpid();
  pid_t child = fork();
  if (child < 0) {
    int error = errno;
    close(report[0]);
    close(report[1]);
    return error;
  }
  if (child == 0) become(path, arguments, output, parent, report[1]);
  close(report[1]);
  int error = 0;
  ssize_t n;
  do n = read(report[0], &error, sizeof error);
  while (n < 0 && errno == EINTR);
  close(report[0]);
  if (n == (ssize_t)sizeof error) {
    waitpid(child, NULL, 0);
    return error;
  }
  *process = child;
  return 0;
}

// A signal handler reaches nothing but a static; written once, before the handlers are installed.
static int signal_output = -1;

static void forward(int signal) {
  int kept = errno;
  unsigned char byte = (unsigned char)signal;
  // A full pipe means that the reader has plenty to read already.
  ssize_t ignored = write(signal_output, &byte, 1);
  (void)ignored;
  errno = kept;
}

int clinux_signal_pipe(const int *signals, int count) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -1;
  signal_output = ends[1];
  struct sigaction action = {.sa_handler = forward, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < count; i++)
    if (sigaction(signals[i], &action, NULL) < 0) return -1;
  return ends[0];
}

int clinux_exited(int status, int *code) {
  int byItself = WIFEXITED(status);
  *code = byItself ? WEXITSTATUS(status) : WTERMSIG(status);
  return byItself;
}
