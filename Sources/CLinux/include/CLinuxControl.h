#pragma once
// Unix sockets with descriptors and credentials, sealed memory, signal descriptors: calls whose macros
// Swift cannot import. Each returns what the system call returns; errno is the caller's to read at once.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLINUX_MAX_DESCRIPTORS 8

// Sends up to `count` bytes; `descriptor` goes with the first of them unless it is negative.
static inline ssize_t clinux_send_descriptor(int socket, const void *bytes, size_t count, int descriptor) {
  union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
  struct iovec vector = {(void *)bytes, count};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  ssize_t sent;
  do { sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT); } while (sent < 0 && errno == EINTR);
  return sent;
}

// Receives up to `count` bytes and up to CLINUX_MAX_DESCRIPTORS descriptors (close-on-exec).
static inline ssize_t clinux_receive_descriptors(
    int socket, void *bytes, size_t count, int *descriptors, int *descriptor_count) {
  union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int) * CLINUX_MAX_DESCRIPTORS)]; } control;
  struct iovec vector = {bytes, count};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.space;
  message.msg_controllen = sizeof control.space;
  *descriptor_count = 0;
  ssize_t received;
  do { received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT); } while (received < 0 && errno == EINTR);
  if (received < 0) return received;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int found = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < found; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(header) + (size_t)i * sizeof(int), sizeof(int));
      if (*descriptor_count < CLINUX_MAX_DESCRIPTORS) descriptors[(*descriptor_count)++] = descriptor;
      else close(descriptor);
    }
  }
  return received;
}

static inline int clinux_peer_credentials(int socket, uint32_t *uid, int32_t *pid) {
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  int result = getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
  if (result == 0) { *uid = credentials.uid; *pid = credentials.pid; }
  return result;
}

// -1 with ENAMETOOLONG when the path does not fit.
static inline int clinux_unix_address(struct sockaddr_un *address, const char *path) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  size_t length = strlen(path);
  if (length >= sizeof address->sun_path) { errno = ENAMETOOLONG; return -1; }
  memcpy(address->sun_path, path, length + 1);
  return 0;
}
static inline int clinux_unix_socket(void) {
  return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}
static inline int clinux_unix_bind(int socket, const char *path) {
  struct sockaddr_un address;
  if (clinux_unix_address(&address, path) != 0) return -1;
  return bind(socket, (struct sockaddr *)&address, sizeof address);
}
static inline int clinux_unix_connect(int socket, const char *path) {
  struct sockaddr_un address;
  if (clinux_unix_address(&address, path) != 0) return -1;
  return connect(socket, (struct sockaddr *)&address, sizeof address);
}
static inline int clinux_accept_any(int socket) {
  return accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
static inline int clinux_tcp_listen(uint32_t address_host_order, uint16_t port) {
  int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (s < 0) return -1;
  int one = 1;
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(address_host_order);
  if (bind(s, (struct sockaddr *)&address, sizeof address) != 0 || listen(s, 64) != 0) {
    int saved = errno; close(s); errno = saved; return -1;
  }
  return s;
}
static inline int clinux_duplicate(int descriptor) { return fcntl(descriptor, F_DUPFD_CLOEXEC, 0); }
static inline int clinux_local_port(int socket) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  if (getsockname(socket, (struct sockaddr *)&address, &length) != 0) return -1;
  return ntohs(address.sin_port);
}

static inline int clinux_memfd(const char *name) { return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); }
static inline int clinux_seal(int descriptor) {
  return fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}
// 1 when all four seals are there, 0 when not (or when it is no memfd).
static inline int clinux_is_sealed(int descriptor) {
  int wanted = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  int seals = fcntl(descriptor, F_GET_SEALS);
  return seals >= 0 && (seals & wanted) == wanted;
}
// -1 when it is not a regular file (or memfd).
static inline int64_t clinux_file_size(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return -1;
  if (!S_ISREG(status.st_mode)) { errno = EINVAL; return -1; }
  return status.st_size;
}
static inline int clinux_is_regular(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
}
static inline int clinux_is_socket(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0 && S_ISSOCK(status.st_mode);
}
static inline int clinux_open_read(const char *path) {
  int d;
  do { d = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW); } while (d < 0 && errno == EINTR);
  return d;
}
static inline int clinux_open_create(const char *path) {
  int d;
  do { d = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600); } while (d < 0 && errno == EINTR);
  return d;
}
static inline int clinux_open_append(const char *path) {
  int d;
  do { d = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640); } while (d < 0 && errno == EINTR);
  return d;
}
static inline int clinux_open_directory(const char *path) { return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }

// Blocks SIGTERM, SIGINT and SIGHUP for this thread and those it starts, ignores SIGPIPE.
static inline int clinux_block_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  signal(SIGPIPE, SIG_IGN);
  return pthread_sigmask(SIG_BLOCK, &set, NULL);
}
static inline int clinux_signal_descriptor(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}
// The next signal's number, 0: none.
static inline int clinux_next_signal(int descriptor) {
  struct signalfd_siginfo information;
  ssize_t n = read(descriptor, &information, sizeof information);
  return n == (ssize_t)sizeof information ? (int)information.ssi_signo : 0;
}

static inline uint64_t clinux_realtime_nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline uint64_t clinux_monotonic_nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
// Raises the soft limit of open files to the hard one; returns the new soft limit or 0.
static inline uint64_t clinux_raise_open_files(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  }
  return limit.rlim_cur;
}
// Processors that this process may run on.
static inline int clinux_processors(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}
// Text of an errno; thread-safe.
static inline const char *clinux_error_text(int code, char *buffer, size_t capacity) {
  return strerror_r(code, buffer, capacity);
}
