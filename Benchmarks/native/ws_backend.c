/* A WebSocket echo: `ws_backend PORT` accepts the one key that ws_load sends and returns each message of up to
   125 bytes unmasked (RFC 6455 section 5). */
#include "sockets.h"

enum { SHORT = 125, MASKED_HEAD = 6, INPUT = 1 << 16, REST = 4096 };

typedef struct {
  int is_open;
  size_t rest_bytes;
  char rest[REST];
} Connection;

static Connection connections[DESCRIPTORS];
static char input[INPUT + REST], output[INPUT + REST];
/* The answer to the key of the RFC's example. */
static const char accepted_head[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/* Echoes whole frames; returns how many bytes they were, or -1. */
static ssize_t echo(int descriptor, const char *p, size_t n) {
  size_t taken = 0, made = 0;
  while (n - taken >= MASKED_HEAD) {
    const char *frame = p + taken, *mask = frame + 2;
    size_t length = (unsigned char)frame[1] & 127;
    if (!((unsigned char)frame[1] & 128) || length > SHORT) return -1;
    if (n - taken < MASKED_HEAD + length) break;
    output[made++] = frame[0];
    output[made++] = (char)length;
    for (size_t i = 0; i < length; i++) output[made++] = frame[MASKED_HEAD + i] ^ mask[i % 4];
    taken += MASKED_HEAD + length;
  }
  return made == 0 || send_all(descriptor, output, made) ? (ssize_t)taken : -1;
}

static ssize_t take(int descriptor, char *p, size_t n) {
  Connection *c = &connections[descriptor];
  if (c->is_open) return echo(descriptor, p, n);
  const char *end = memmem(p, n, "\r\n\r\n", 4);
  if (!end) return 0;
  c->is_open = 1;
  if (!send_all(descriptor, accepted_head, sizeof accepted_head - 1)) return -1;
  size_t head = (size_t)(end + 4 - p);
  ssize_t frames = echo(descriptor, p + head, n - head);
  return frames < 0 ? -1 : frames + (ssize_t)head;
}

static void serve(int descriptor) {
  Connection *c = &connections[descriptor];
  memcpy(input, c->rest, c->rest_bytes);
  ssize_t n = recv(descriptor, input + c->rest_bytes, INPUT, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  size_t have = c->rest_bytes + (size_t)(n > 0 ? n : 0);
  ssize_t taken = n > 0 ? take(descriptor, input, have) : -1;
  if (taken < 0 || have - (size_t)taken > REST) {
    close(descriptor);
    return;
  }
  c->rest_bytes = have - (size_t)taken;
  memcpy(c->rest, input + taken, c->rest_bytes);
}

int main(int count, char **arguments) {
  if (count != 2) return fprintf(stderr, "usage: ws_backend PORT\n"), 2;
  int listener = listen_on(arguments[1]), epoll = epoll_create1(EPOLL_CLOEXEC);
  watch(epoll, listener, EPOLLIN);
  for (;;) {
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.fd != listener) {
        serve(events[i].data.fd);
        continue;
      }
      for (int accepted; (accepted = accept_next(listener)) >= 0;) {
        connections[accepted].is_open = 0;
        connections[accepted].rest_bytes = 0;
        watch(epoll, accepted, EPOLLIN | EPOLLRDHUP);
      }
    }
  }
}
