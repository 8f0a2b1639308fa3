/* WebSocket ping-pong: `ws_load PORT SECONDS CONNECTIONS BYTES` sends one masked message at a time on each
   connection and waits for its echo. A message round trip is the unit of its count. */
#include "sockets.h"
#include "report.h"

enum { MASKED_HEAD = 6, PLAIN_HEAD = 2, HEAD = 2048 };

typedef struct {
  int is_open;
  size_t answer_bytes;
  int64_t sent;
  char answer[HEAD];
} Connection;

static Connection connections[DESCRIPTORS];
static unsigned char frame[MASKED_HEAD + 125];
static size_t message_bytes;
static uint64_t done;

static const char upgrade[] =
    "GET /socket HTTP/1.1\r\nHost: bench.example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "ws_load: %s\n%s\n", what, detail);
  exit(1);
}

static void send_message(int descriptor) {
  Connection *c = &connections[descriptor];
  c->sent = now();
  if (!send_all(descriptor, frame, MASKED_HEAD + message_bytes)) fail("a connection ended", "");
}

static void open_socket(int descriptor) {
  Connection *c = &connections[descriptor];
  c->answer[c->answer_bytes] = 0;
  if (!strstr(c->answer, "\r\n\r\n")) return;
  if (strncmp(c->answer, "HTTP/1.1 101 ", 13)) fail("no upgrade", c->answer);
  c->is_open = 1;
  c->answer_bytes = 0;
  send_message(descriptor);
}

static void serve(int descriptor) {
  Connection *c = &connections[descriptor];
  ssize_t n = recv(descriptor, c->answer + c->answer_bytes, HEAD - 1 - c->answer_bytes, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) fail("a connection ended", "");
  c->answer_bytes += (size_t)n;
  if (!c->is_open) {
    open_socket(descriptor);
    return;
  }
  if (c->answer_bytes < PLAIN_HEAD + message_bytes) return;
  if (c->answer_bytes > PLAIN_HEAD + message_bytes || (size_t)c->answer[1] != message_bytes ||
      c->answer[PLAIN_HEAD] != 'x')
    fail("an echo differs from its message", "");
  c->answer_bytes = 0;
  add_time(now() - c->sent);
  done++;
  send_message(descriptor);
}

int main(int count, char **arguments) {
  if (count != 5) return fprintf(stderr, "usage: ws_load PORT SECONDS CONNECTIONS BYTES\n"), 2;
  begin();
  message_bytes = (size_t)atoi(arguments[4]);
  if (message_bytes == 0 || message_bytes > 125) return fprintf(stderr, "ws_load: 1 to 125 bytes\n"), 2;
  memcpy(frame, (unsigned char[]){0x82, (unsigned char)(128 | message_bytes), 1, 2, 3, 4}, MASKED_HEAD);
  for (size_t i = 0; i < message_bytes; i++) frame[MASKED_HEAD + i] = (unsigned char)('x' ^ frame[2 + i % 4]);
  struct sockaddr_in address = loopback(arguments[1]);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (int i = atoi(arguments[3]); i > 0; i--) {
    int descriptor = connect_to(&address);
    watch(epoll, descriptor, EPOLLIN | EPOLLRDHUP);
    if (!send_all(descriptor, upgrade, sizeof upgrade - 1)) fail("a connection ended", "");
  }
  int64_t start = now(), end = start + (int64_t)(atof(arguments[2]) * 1e9);
  while (now() < end) {
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, 100);
    for (int i = 0; i < ready; i++) serve(events[i].data.fd);
  }
  return report(done, 0, start);
}
