/* A cheap HTTP/1.1 backend: `http_backend PORT`. A request without a body gets 200 bytes of text; `GET
   /bytes/N` gets N bytes; the body of a POST or PUT, by its length or chunked, is read to its end before the
   same 200 bytes answer it. A small request takes one recv and one send, so that its own cost is the least
   there can be. */
#include "sockets.h"

enum { BODY = 200, BATCH = 64, HEAD = 2048, SOURCE = 1 << 20 };

typedef enum { IN_HEAD, IN_BODY, IN_CHUNK_SIZE, IN_CHUNK, IN_TRAILERS } Part;

typedef struct {
  Part part;
  /* Bytes of the body or of the chunk (with its CRLF) that are still to come. */
  uint64_t left;
  /* Bytes of the answer's body that are still to go out. */
  uint64_t output;
  unsigned line_bytes, head_bytes;
  char head[HEAD];
} Connection;

static Connection connections[DESCRIPTORS];
static char answer[512], batch[BATCH * 512], input[1 << 18], source[SOURCE];
static size_t answer_bytes;
static int epoll;

static void end(int descriptor) {
  connections[descriptor].head_bytes = 0;
  close(descriptor);
}

/* What an answer that does not fit the socket's buffer means: no client here sends so much. */
static int answer_all(int descriptor, unsigned count) {
  while (count > 0) {
    unsigned now = count < BATCH ? count : BATCH;
    ssize_t size = (ssize_t)(now * answer_bytes);
    if (send(descriptor, batch, (size_t)size, MSG_NOSIGNAL) != size) return 0;
    count -= now;
  }
  return 1;
}

/* Sends what there is left; waits for room with EPOLLOUT, and reads nothing meanwhile. */
static int continue_output(int descriptor) {
  Connection *c = &connections[descriptor];
  struct epoll_event event = {.events = EPOLLOUT, .data.fd = descriptor};
  while (c->output > 0) {
    size_t wanted = c->output < SOURCE ? c->output : SOURCE;
    ssize_t n = send(descriptor, source, wanted, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return !epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event);
    if (n < 0) return 0;
    c->output -= (uint64_t)n;
  }
  event.events = EPOLLIN | EPOLLRDHUP;
  return !epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event);
}

static int start_output(int descriptor, uint64_t bytes) {
  char head[256];
  int n = snprintf(head, sizeof head,
                   "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: %llu\r\n\r\n",
                   (unsigned long long)bytes);
  connections[descriptor].output = bytes;
  if (send(descriptor, head, (size_t)n, MSG_NOSIGNAL | MSG_MORE) != n) return 0;
  return continue_output(descriptor);
}

/* A whole head, which ends in a zero. Returns 0 when the connection is to be closed. */
static int take_head(int descriptor, char *head) {
  Connection *c = &connections[descriptor];
  if (strncmp(head, "GET ", 4) == 0) {
    const char *bytes = strncmp(head + 4, "/bytes/", 7) ? NULL : head + 11;
    return bytes ? start_output(descriptor, strtoull(bytes, NULL, 10)) : answer_all(descriptor, 1);
  }
  const char *length = strcasestr(head, "\r\ncontent-length:");
  c->left = length ? strtoull(length + 17, NULL, 10) : 0;
  c->line_bytes = 0;
  if (strcasestr(head, "\r\ntransfer-encoding:")) c->part = IN_CHUNK_SIZE;
  else if (c->left > 0) c->part = IN_BODY;
  else return answer_all(descriptor, 1);
  return 1;
}

/* One byte of a chunk's size line or of the trailers. */
static int take_line_byte(int descriptor, char byte) {
  Connection *c = &connections[descriptor];
  if (byte == '\r') return 1;
  if (byte != '\n') {
    if (c->line_bytes < sizeof c->head - 1) c->head[c->line_bytes++] = byte;
    return 1;
  }
  c->head[c->line_bytes] = 0;
  unsigned bytes = c->line_bytes;
  c->line_bytes = 0;
  if (c->part == IN_CHUNK_SIZE) {
    c->left = strtoull(c->head, NULL, 16);
    c->part = c->left > 0 ? IN_CHUNK : IN_TRAILERS;
    c->left += 2;
    return 1;
  }
  if (bytes > 0) return 1;
  c->part = IN_HEAD;
  return answer_all(descriptor, 1);
}

/* Collects a head; returns how many bytes were taken, or -1. */
static ssize_t take_head_bytes(int descriptor, const char *p, size_t n) {
  Connection *c = &connections[descriptor];
  size_t taken = 0;
  while (taken < n && c->head_bytes < HEAD - 1) {
    c->head[c->head_bytes++] = p[taken++];
    if (c->head_bytes < 4 || memcmp(c->head + c->head_bytes - 4, "\r\n\r\n", 4)) continue;
    c->head[c->head_bytes] = 0;
    c->head_bytes = 0;
    return take_head(descriptor, c->head) ? (ssize_t)taken : -1;
  }
  return c->head_bytes < HEAD - 1 ? (ssize_t)taken : -1;
}

static int take(int descriptor, const char *p, size_t n) {
  Connection *c = &connections[descriptor];
  while (n > 0) {
    size_t taken = 1;
    if (c->part == IN_HEAD) {
      ssize_t head = take_head_bytes(descriptor, p, n);
      if (head < 0) return 0;
      taken = (size_t)head;
    } else if (c->part == IN_BODY || c->part == IN_CHUNK) {
      taken = c->left < n ? c->left : n;
      c->left -= taken;
      if (c->left == 0 && c->part == IN_CHUNK) c->part = IN_CHUNK_SIZE;
      else if (c->left == 0) {
        c->part = IN_HEAD;
        if (!answer_all(descriptor, 1)) return 0;
      }
    } else if (!take_line_byte(descriptor, *p)) {
      return 0;
    }
    p += taken, n -= taken;
  }
  return 1;
}

/* The common case: whole heads of small requests, and nothing else. Returns how many, or 0. */
static unsigned small_heads(const Connection *c, const char *p, size_t n) {
  if (c->part != IN_HEAD || c->head_bytes > 0) return 0;
  unsigned heads = 0;
  for (const char *end = p + n; p < end; heads++) {
    const char *blank = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
    if (!blank || memcmp(p, "GET /", 5) || memcmp(p, "GET /bytes/", 11) == 0) return 0;
    p = blank + 4;
  }
  return heads;
}

static void serve(int descriptor) {
  Connection *c = &connections[descriptor];
  /* The kernel throws most of a large body away, without a copy. */
  int is_skipped = c->part == IN_BODY && c->left > sizeof input;
  ssize_t n = is_skipped ? recv(descriptor, NULL, c->left - 1, MSG_TRUNC)
                         : recv(descriptor, input, sizeof input, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    end(descriptor);
    return;
  }
  if (is_skipped) {
    c->left -= (uint64_t)n;
    return;
  }
  unsigned heads = small_heads(c, input, (size_t)n);
  if (heads > 0 ? !answer_all(descriptor, heads) : !take(descriptor, input, (size_t)n)) end(descriptor);
}

static void make_answers(void) {
  answer_bytes = (size_t)snprintf(
      answer, sizeof answer,
      "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 05 Jan 2026 10:00:00 GMT\r\n"
      "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", BODY);
  memset(answer + answer_bytes, 'x', BODY);
  answer_bytes += BODY;
  for (int i = 0; i < BATCH; i++) memcpy(batch + (size_t)i * answer_bytes, answer, answer_bytes);
  memset(source, 'x', sizeof source);
}

int main(int count, char **arguments) {
  if (count != 2) return fprintf(stderr, "usage: http_backend PORT\n"), 2;
  make_answers();
  int listener = listen_on(arguments[1]);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  watch(epoll, listener, EPOLLIN);
  for (;;) {
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      int descriptor = events[i].data.fd;
      if (descriptor != listener) {
        if (connections[descriptor].output == 0) serve(descriptor);
        else if (!continue_output(descriptor)) end(descriptor);
        continue;
      }
      for (int accepted; (accepted = accept_next(listener)) >= 0;) {
        Connection *c = &connections[accepted];
        c->part = IN_HEAD;
        c->output = 0;
        c->head_bytes = 0;
        watch(epoll, accepted, EPOLLIN | EPOLLRDHUP);
      }
    }
  }
}
