/* Bodies over HTTP/1.1: `body_load PORT SECONDS down|up BYTES COUNT CONNECTIONS` moves COUNT bodies and ends;
   SECONDS are not looked at. What it downloads the kernel throws away without a copy. */
#include "sockets.h"
#include "report.h"

enum { SOURCE = 1 << 20, HEAD = 8192 };

typedef struct {
  /* Bytes of the request that are still to go out: of its head, of its body. */
  size_t head_left;
  uint64_t up_left, down_left;
  int is_in_body;
  size_t answer_bytes;
  char answer[HEAD];
} Connection;

static Connection connections[DESCRIPTORS];
static char source[SOURCE], request[512];
static size_t request_bytes;
static uint64_t body, started, done, wanted;
static int is_upload, epoll;

static void fail(const char *what) {
  fprintf(stderr, "body_load: %s\n", what);
  exit(1);
}

static void push(int descriptor) {
  Connection *c = &connections[descriptor];
  while (c->head_left + c->up_left > 0) {
    const char *bytes = c->head_left ? request + request_bytes - c->head_left : source;
    size_t most = c->head_left ? c->head_left : c->up_left < SOURCE ? c->up_left : SOURCE;
    ssize_t n = send(descriptor, bytes, most, MSG_NOSIGNAL | (c->head_left && c->up_left ? MSG_MORE : 0));
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) fail("the connection ended while a request was sent");
    if (c->head_left) c->head_left -= (size_t)n;
    else c->up_left -= (uint64_t)n;
  }
}

static void begin_request(int descriptor) {
  if (started == wanted) return;
  started++;
  Connection *c = &connections[descriptor];
  *c = (Connection){.head_left = request_bytes, .up_left = is_upload ? body : 0};
  push(descriptor);
}

static void finish(int descriptor) {
  done++;
  if (connections[descriptor].up_left) fail("an answer came before the end of the request");
  begin_request(descriptor);
}

/* Reads the answer's head and what of its body came with it. */
static ssize_t take_head(int descriptor) {
  Connection *c = &connections[descriptor];
  ssize_t n = recv(descriptor, c->answer + c->answer_bytes, HEAD - 1 - c->answer_bytes, 0);
  if (n <= 0) return n;
  c->answer_bytes += (size_t)n;
  c->answer[c->answer_bytes] = 0;
  char *end = strstr(c->answer, "\r\n\r\n");
  if (!end) return n;
  if (strncmp(c->answer, "HTTP/1.1 200 ", 13)) fail("an answer is not 200");
  *end = 0;
  const char *length = strcasestr(c->answer, "\r\ncontent-length:");
  if (!length) fail("an answer has no Content-Length");
  c->down_left = strtoull(length + 17, NULL, 10);
  if (!is_upload && c->down_left != body) fail("an answer has another length than was asked for");
  size_t rest = c->answer_bytes - (size_t)(end + 4 - c->answer);
  if (rest > c->down_left) fail("more came than one answer");
  c->down_left -= rest;
  c->is_in_body = 1;
  return n;
}

static ssize_t take_body(int descriptor) {
  Connection *c = &connections[descriptor];
  ssize_t n = recv(descriptor, NULL, c->down_left, MSG_TRUNC);
  if (n > 0) c->down_left -= (uint64_t)n;
  return n;
}

static void pull(int descriptor) {
  Connection *c = &connections[descriptor];
  for (;;) {
    ssize_t n = c->is_in_body ? take_body(descriptor) : take_head(descriptor);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) fail("the connection ended within an answer");
    if (!c->is_in_body || c->down_left > 0) continue;
    finish(descriptor);
    return;
  }
}

int main(int count, char **arguments) {
  if (count != 7) return fprintf(stderr, "usage: body_load PORT SECONDS down|up BYTES COUNT CONNECTIONS\n"), 2;
  begin();
  is_upload = strcmp(arguments[3], "up") == 0;
  body = strtoull(arguments[4], NULL, 10);
  wanted = strtoull(arguments[5], NULL, 10);
  memset(source, 'x', sizeof source);
  static const char common[] = "Host: bench.example.org\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n";
  request_bytes = (size_t)(
      is_upload ? snprintf(request, sizeof request, "POST /sink HTTP/1.1\r\n%sContent-Length: %llu\r\n\r\n", common,
                           (unsigned long long)body)
                : snprintf(request, sizeof request, "GET /bytes/%llu HTTP/1.1\r\n%s\r\n", (unsigned long long)body,
                           common));
  struct sockaddr_in address = loopback(arguments[1]);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  int64_t start = now();
  for (int i = atoi(arguments[6]); i > 0; i--) {
    int descriptor = connect_to(&address);
    watch(epoll, descriptor, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    begin_request(descriptor);
  }
  while (done < wanted) {
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, 30000);
    if (ready == 0) fail("nothing moved for 30 s");
    for (int i = 0; i < ready; i++) {
      if (events[i].events & EPOLLOUT) push(events[i].data.fd);
      if (events[i].events & ~(uint32_t)EPOLLOUT) pull(events[i].data.fd);
    }
  }
  return report(done, 0, start);
}
