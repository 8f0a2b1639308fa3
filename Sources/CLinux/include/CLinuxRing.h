#pragma once
#include <linux/io_uring.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

// io_uring's three calls, for which the C library has no functions. -1 and errno, as ever.
static inline int clinux_ring_setup(uint32_t entries, struct io_uring_params *p) {
  return (int)syscall(__NR_io_uring_setup, entries, p);
}
static inline int clinux_ring_enter(
    int ring, uint32_t submit, uint32_t wait, uint32_t flags, const void *argument, size_t size) {
  return (int)syscall(__NR_io_uring_enter, ring, submit, wait, flags, argument, size);
}
static inline int clinux_ring_register(int ring, uint32_t operation, void *argument, uint32_t count) {
  return (int)syscall(__NR_io_uring_register, ring, operation, argument, count);
}

// Words that the kernel reads or writes on the other side of the mapping.
static inline uint32_t clinux_load_acquire_u32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void clinux_store_release_u32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void clinux_store_release_u16(uint16_t *p, uint16_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

static inline int clinux_getpeername(int fd, void *address, socklen_t *n) {
  return getpeername(fd, (struct sockaddr *)address, n);
}
