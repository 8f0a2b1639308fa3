/* The floor of what a proxy can cost: `relay PORT BACKEND_PORT` copies bytes between a client and its own
   backend connection and looks at none of them. */
#include "sockets.h"

static int peer[DESCRIPTORS];
static char bytes[65536];

static void copy(int from) {
  int to = peer[from];
  if (to < 0) return;
  ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n) return;
  peer[from] = peer[to] = -1;
  close(from);
  close(to);
}

int main(int count, char **arguments) {
  if (count != 3) return fprintf(stderr, "usage: relay PORT BACKEND_PORT\n"), 2;
  int listener = listen_on(arguments[1]), epoll = epoll_create1(EPOLL_CLOEXEC);
  struct sockaddr_in backend = loopback(arguments[2]);
  watch(epoll, listener, EPOLLIN);
  for (;;) {
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.fd != listener) {
        copy(events[i].data.fd);
        continue;
      }
      for (int accepted; (accepted = accept_next(listener)) >= 0;) {
        int other = connect_to(&backend);
        peer[accepted] = other;
        peer[other] = accepted;
        watch(epoll, accepted, EPOLLIN | EPOLLET);
        watch(epoll, other, EPOLLIN | EPOLLET);
      }
    }
  }
}
