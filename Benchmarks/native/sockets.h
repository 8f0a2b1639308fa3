/* What the benchmark's own programs share: sockets on the loopback, edge-triggered epoll. */
#ifndef BENCH_SOCKETS_H
#define BENCH_SOCKETS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TURN_EVENTS = 512, DESCRIPTORS = 8192 };

static inline void die(const char *what) {
  perror(what);
  exit(1);
}

static inline struct sockaddr_in loopback(const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/* Before anything else: the harness may be killed, and nothing of it outlives it. */
static inline void begin(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
}

static inline int listen_on(const char *port) {
  begin();
  int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = loopback(port);
  if (bind(descriptor, (struct sockaddr *)&address, sizeof address)) die("bind");
  if (listen(descriptor, 4096)) die("listen");
  return descriptor;
}

static inline void watch(int epoll, int descriptor, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = descriptor};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event)) die("epoll_ctl");
}

/* The next accepted connection, or -1. */
static inline int accept_next(int listener) {
  int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
  if (descriptor < 0) return -1;
  if (descriptor >= DESCRIPTORS) {
    close(descriptor);
    return -1;
  }
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return descriptor;
}

/* A connected socket; later calls do not block. */
static inline int connect_to(const struct sockaddr_in *address) {
  int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (descriptor < 0 || descriptor >= DESCRIPTORS) die("socket");
  if (connect(descriptor, (const struct sockaddr *)address, sizeof *address)) die("connect");
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (fcntl(descriptor, F_SETFL, O_NONBLOCK)) die("fcntl");
  return descriptor;
}

/* Whether all bytes went out. They are few and the peer reads, so that a full buffer does not last. */
static inline int send_all(int descriptor, const void *bytes, size_t count) {
  for (size_t sent = 0; sent < count;) {
    ssize_t n = send(descriptor, (const char *)bytes + sent, count - sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return 0;
    if (n > 0) sent += (size_t)n;
  }
  return 1;
}

#endif
