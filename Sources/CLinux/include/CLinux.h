#pragma once
// Thin shims over Linux calls and compiler builtins that Swift cannot import directly. No logic.
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static inline int clinux_errno(void) { return errno; }

// Atomics on raw memory that two threads share.
static inline uint64_t clinux_load_acquire_u64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void clinux_store_release_u64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint64_t clinux_load_relaxed_u64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline void clinux_store_relaxed_u64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline uint64_t clinux_fetch_add_u64(uint64_t *p, uint64_t v) {
  return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL);
}

// Bit i is set where byte i of the 16 at `p` equals `c`. (emmintrin.h clashes with the Glibc module.)
typedef char clinux_v16 __attribute__((vector_size(16)));
typedef char clinux_v16u __attribute__((vector_size(16), aligned(1)));
static inline uint32_t clinux_equal_mask16(const void *p, uint8_t c) {
  clinux_v16 v = *(const clinux_v16u *)p;
  char k = (char)c;
  clinux_v16 w = {k, k, k, k, k, k, k, k, k, k, k, k, k, k, k, k};
  return (uint32_t)__builtin_ia32_pmovmskb128((clinux_v16)(v == w));
}


#include "CLinuxSpawn.h"

// epoll_event is packed and holds a union: fields go in and out through these.
static inline int clinux_epoll_add(int ep, int fd, uint32_t events, uint64_t data) {
  struct epoll_event e;
  e.events = events;
  e.data.u64 = data;
  return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}
static inline int clinux_epoll_delete(int ep, int fd) { return epoll_ctl(ep, EPOLL_CTL_DEL, fd, 0); }
static inline uint64_t clinux_event_data(const struct epoll_event *e, int i) { return e[i].data.u64; }
static inline uint32_t clinux_event_mask(const struct epoll_event *e, int i) { return e[i].events; }

// With _GNU_SOURCE socket addresses are transparent unions, which Swift cannot pass.
static inline int clinux_bind(int fd, const void *address, socklen_t n) {
  return bind(fd, (const struct sockaddr *)address, n);
}
static inline int clinux_connect(int fd, const void *address, socklen_t n) {
  return connect(fd, (const struct sockaddr *)address, n);
}
static inline int clinux_accept(int fd, void *address, socklen_t *n) {
  return accept4(fd, (struct sockaddr *)address, n, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
static inline int clinux_getsockname(int fd, void *address, socklen_t *n) {
  return getsockname(fd, (struct sockaddr *)address, n);
}

#include "CLinuxControl.h"
#include "CLinuxRing.h"
#include "CLinuxScan.h"
