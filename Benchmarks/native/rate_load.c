/* HTTP/1.1 requests at a constant rate: `rate_load PORT SECONDS CONNECTIONS RATE REQUEST_FILE [TIMES_FILE]`. The
   time of a request counts from when it was due, whether or not a connection was free then: a proxy that stops
   for a while delays all requests of that while, not just one for each connection. What the generator itself is
   woken too late does not count: then a request was due when it woke. TIMES_FILE gets two 64-bit numbers for each
   request, in nanoseconds of CLOCK_MONOTONIC: when it was due and when its answer was there.

   It leaves its core to others most of the time: it wakes once a TICK (or for each request, if they are fewer),
   sends together what is due then, reads the answers that have come since the last time, and has the kernel say
   when each of them came. */
#include "sockets.h"
#include "report.h"
#include <sched.h>

enum { ANSWER = 8192, REQUEST = 2048, PATIENCE = 5, TICK = 250000 };

typedef struct {
  int64_t due;
  int is_busy;
  size_t answer_bytes;
  char answer[ANSWER];
} Connection;

typedef struct {
  int64_t due, answered;
} Times;

static Connection connections[DESCRIPTORS];
/* First in, first out: every connection has its turn, so that no proxy closes one as idle. */
static int idle[DESCRIPTORS], first_idle, idle_count;
static char request[REQUEST];
static size_t request_bytes;
static Times *all_times;
static uint64_t sent, done, total;
/* The kernel's time of a packet is CLOCK_REALTIME. */
static int64_t realtime_ahead;

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "rate_load: %s %s\n", what, detail);
  exit(1);
}

static void add_idle(int descriptor) {
  idle[(first_idle + idle_count++) % DESCRIPTORS] = descriptor;
}

static int take_idle(void) {
  int descriptor = idle[first_idle];
  first_idle = (first_idle + 1) % DESCRIPTORS;
  idle_count--;
  return descriptor;
}

static void send_request(int descriptor, int64_t due) {
  Connection *c = &connections[descriptor];
  c->due = due;
  c->is_busy = 1;
  c->answer_bytes = 0;
  sent++;
  if (!send_all(descriptor, request, request_bytes)) fail("a connection ended", "");
}

/* Whether the whole answer is there. */
static int is_whole(Connection *c) {
  c->answer[c->answer_bytes] = 0;
  const char *end = strstr(c->answer, "\r\n\r\n");
  if (!end) return 0;
  if (strncmp(c->answer, "HTTP/1.1 200 ", 13)) fail("an answer is not 200:", c->answer);
  const char *length = strcasestr(c->answer, "\r\ncontent-length:");
  if (!length || length > end) fail("an answer has no Content-Length:", c->answer);
  return (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10) <= c->answer_bytes;
}

/* recv that says when the last of the bytes came. */
static ssize_t receive(int descriptor, void *bytes, size_t room, int64_t *came) {
  union {
    char bytes[CMSG_SPACE(sizeof(struct timespec))];
    struct cmsghdr header;
  } control;
  struct iovec place = {.iov_base = bytes, .iov_len = room};
  struct msghdr message = {
      .msg_iov = &place, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n = recvmsg(descriptor, &message, 0);
  if (n <= 0) return n;
  struct cmsghdr *first = CMSG_FIRSTHDR(&message);
  if (!first || first->cmsg_type != SCM_TIMESTAMPNS) {
    /* The kernel begins with it a moment after the first socket asked. */
    *came = now();
    return n;
  }
  struct timespec time;
  memcpy(&time, CMSG_DATA(first), sizeof time);
  *came = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec - realtime_ahead;
  return n;
}

static void serve(int descriptor) {
  Connection *c = &connections[descriptor];
  int64_t answered = 0;
  ssize_t n = receive(descriptor, c->answer + c->answer_bytes, ANSWER - 1 - c->answer_bytes, &answered);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0 || !c->is_busy) fail("a connection ended", "");
  c->answer_bytes += (size_t)n;
  if (!is_whole(c)) return;
  add_time(answered - c->due);
  all_times[done++] = (Times){c->due, answered};
  c->is_busy = 0;
  add_idle(descriptor);
}

static void sleep_until(int64_t time) {
  struct timespec t = {.tv_sec = time / 1000000000, .tv_nsec = time % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
}

static void read_answers(int epoll) {
  struct epoll_event events[TURN_EVENTS];
  int ready = epoll_wait(epoll, events, TURN_EVENTS, 0);
  for (int i = 0; i < ready; i++) serve(events[i].data.fd);
}

/* `woken`: when the generator woke for each burst. */
static void load(int epoll, int64_t start, double interval, int64_t give_up, int64_t *woken) {
  uint64_t burst = interval < TICK ? (uint64_t)(TICK / interval) : 1;
  for (uint64_t turn = 0; done < total; turn++) {
    sleep_until(start + (int64_t)((double)(turn * burst) * interval));
    uint64_t due = (turn + 1) * burst < total ? (turn + 1) * burst : total;
    int64_t time = now();
    if (time > give_up) fail("the proxy did not keep up with the rate", "");
    if (turn * burst < total) woken[turn] = time;
    read_answers(epoll);
    while (sent < due && idle_count > 0) send_request(take_idle(), woken[sent / burst]);
    /* Late bursts follow each other without a sleep: the backend has its turn in between. */
    sched_yield();
  }
}

static void read_request(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) die(path);
  request_bytes = fread(request, 1, sizeof request, file);
  fclose(file);
}

static void write_times(const char *path) {
  FILE *file = fopen(path, "w");
  if (!file || fwrite(all_times, sizeof *all_times, done, file) != done || fclose(file)) die(path);
}

int main(int count, char **arguments) {
  if (count < 6 || count > 7)
    return fprintf(stderr, "usage: rate_load PORT SECONDS CONNECTIONS RATE REQUEST_FILE [TIMES_FILE]\n"), 2;
  begin();
  /* Sleeps end when they should. */
  prctl(PR_SET_TIMERSLACK, 1);
  double seconds = atof(arguments[2]), rate = atof(arguments[4]);
  total = (uint64_t)(seconds * rate);
  all_times = calloc(total + 1, sizeof *all_times);
  int64_t *woken = calloc(total + 1, sizeof *woken);
  if (!all_times || !woken || total == 0) return fprintf(stderr, "rate_load: nothing to do\n"), 2;
  read_request(arguments[5]);
  struct sockaddr_in address = loopback(arguments[1]);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (int i = atoi(arguments[3]), one = 1; i > 0; i--) {
    int descriptor = connect_to(&address);
    if (setsockopt(descriptor, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one)) die("SO_TIMESTAMPNS");
    watch(epoll, descriptor, EPOLLIN | EPOLLRDHUP);
    add_idle(descriptor);
  }
  struct timespec realtime;
  clock_gettime(CLOCK_REALTIME, &realtime);
  int64_t start = now();
  realtime_ahead = (int64_t)realtime.tv_sec * 1000000000 + realtime.tv_nsec - start;
  load(epoll, start, 1e9 / rate, start + (int64_t)((seconds + PATIENCE) * 1e9), woken);
  if (count == 7) write_times(arguments[6]);
  return report(done, 0, start);
}
