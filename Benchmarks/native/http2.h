/* What the programs on nghttp2 share: connections that a turn of the loop touched are flushed at its end. */
#ifndef BENCH_HTTP2_H
#define BENCH_HTTP2_H

#include "sockets.h"
#include <nghttp2/nghttp2.h>

typedef struct {
  nghttp2_session *session;
  int is_dirty;
} Connection;

static Connection connections[DESCRIPTORS];
static int dirty[DESCRIPTORS], dirty_count;
static uint8_t input[65536];

#define LITERAL(n, v)                                                                              \
  {(uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1,                                   \
   NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

static void mark(int descriptor) {
  if (connections[descriptor].is_dirty) return;
  connections[descriptor].is_dirty = 1;
  dirty[dirty_count++] = descriptor;
}

/* Whether the connection goes on. */
static int receive(int descriptor) {
  nghttp2_session *session = connections[descriptor].session;
  ssize_t n = recv(descriptor, input, sizeof input, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
  if (n <= 0 || nghttp2_session_mem_recv(session, input, (size_t)n) != n) return 0;
  mark(descriptor);
  return 1;
}

/* Everything that a turn of the loop has made goes out with one send. Whether the connection goes on. */
static int flush(int descriptor) {
  static uint8_t output[1 << 20];
  nghttp2_session *session = connections[descriptor].session;
  size_t count = 0;
  connections[descriptor].is_dirty = 0;
  if (!session) return 1;
  for (;;) {
    const uint8_t *bytes;
    ssize_t n = nghttp2_session_mem_send(session, &bytes);
    if (n < 0 || count + (size_t)n > sizeof output) return 0;
    if (n == 0) break;
    memcpy(output + count, bytes, (size_t)n);
    count += (size_t)n;
  }
  return send_all(descriptor, output, count);
}

#endif
