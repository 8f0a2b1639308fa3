/* A cheap HTTP/1.1 backend: `http_backend PORT`. It answers every request head with 200 bytes of text; a
   request has no body. One recv and one send a request, so that its own cost is the least there can be. */
#include "sockets.h"

enum { BODY = 200, BATCH = 64 };

static char answer[512], batch[BATCH * 512], input[65536];
static size_t answer_bytes;
/* Bytes of "\r\n\r\n" seen at the end of the last read of a connection: heads may be cut anywhere. */
static unsigned char matched[DESCRIPTORS];

static unsigned heads_in(int descriptor, const char *p, ssize_t n) {
  unsigned heads = 0, state = matched[descriptor];
  /* The common case: one whole head. */
  if (state == 0 && n >= 4 && memcmp(p + n - 4, "\r\n\r\n", 4) == 0) {
    const char *first = memmem(p, (size_t)n, "\r\n\r\n", 4);
    if (first == p + n - 4) return 1;
  }
  for (ssize_t i = 0; i < n; i++) {
    if (p[i] == (state % 2 ? '\n' : '\r')) state++;
    else state = p[i] == '\r';
    if (state == 4) heads++, state = 0;
  }
  matched[descriptor] = (unsigned char)state;
  return heads;
}

static void serve(int descriptor) {
  ssize_t n = recv(descriptor, input, sizeof input, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    close(descriptor);
    return;
  }
  for (unsigned heads = heads_in(descriptor, input, n); heads > 0;) {
    unsigned now = heads < BATCH ? heads : BATCH;
    /* An answer that does not fit the socket's buffer ends the connection: no client here sends so much. */
    if (send(descriptor, batch, now * answer_bytes, MSG_NOSIGNAL) != (ssize_t)(now * answer_bytes)) {
      close(descriptor);
      return;
    }
    heads -= now;
  }
}

int main(int count, char **arguments) {
  if (count != 2) return fprintf(stderr, "usage: http_backend PORT\n"), 2;
  answer_bytes = (size_t)snprintf(
      answer, sizeof answer,
      "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 05 Jan 2026 10:00:00 GMT\r\n"
      "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", BODY);
  memset(answer + answer_bytes, 'x', BODY);
  answer_bytes += BODY;
  for (int i = 0; i < BATCH; i++) memcpy(batch + (size_t)i * answer_bytes, answer, answer_bytes);

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
        matched[accepted] = 0;
        watch(epoll, accepted, EPOLLIN | EPOLLRDHUP);
      }
    }
  }
}
