/* HTTP/1.1 requests at a constant rate: `rate_load PORT SECONDS CONNECTIONS RATE REQUEST_FILE [TIMES_FILE]`. The
   time of a request counts from when it was due, whether or not a connection was free then: a proxy that stops
   for a while delays all requests of that while, not just one for each connection. TIMES_FILE gets two 64-bit
   numbers for each request: when it was due and when its answer was there, in nanoseconds of CLOCK_MONOTONIC. */
#include "sockets.h"
#include "report.h"

enum { ANSWER = 8192, REQUEST = 2048, PATIENCE = 5 };

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
static int idle[DESCRIPTORS], idle_count;
static char request[REQUEST];
static size_t request_bytes;
static Times *all_times;
static uint64_t sent, done, total;

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "rate_load: %s %s\n", what, detail);
  exit(1);
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

static void serve(int descriptor) {
  Connection *c = &connections[descriptor];
  ssize_t n = recv(descriptor, c->answer + c->answer_bytes, ANSWER - 1 - c->answer_bytes, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0 || !c->is_busy) fail("a connection ended", "");
  c->answer_bytes += (size_t)n;
  if (!is_whole(c)) return;
  int64_t answered = now();
  add_time(answered - c->due);
  all_times[done++] = (Times){c->due, answered};
  c->is_busy = 0;
  idle[idle_count++] = descriptor;
}

static void load(int epoll, int64_t start, double interval, int64_t give_up) {
  while (done < total) {
    int64_t time = now(), next = INT64_MAX;
    while (sent < total) {
      next = start + (int64_t)((double)sent * interval);
      if (next > time || idle_count == 0) break;
      send_request(idle[--idle_count], next);
      next = INT64_MAX;
    }
    if (time > give_up) fail("the proxy did not keep up with the rate", "");
    int64_t wait = next == INT64_MAX || idle_count == 0 ? 100000000 : next - now();
    if (wait < 0) wait = 0;
    struct timespec patience = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_pwait2(epoll, events, TURN_EVENTS, &patience, NULL);
    for (int i = 0; i < ready; i++) serve(events[i].data.fd);
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
  if (!all_times || total == 0) return fprintf(stderr, "rate_load: nothing to do\n"), 2;
  read_request(arguments[5]);
  struct sockaddr_in address = loopback(arguments[1]);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (int i = atoi(arguments[3]); i > 0; i--) {
    int descriptor = connect_to(&address);
    watch(epoll, descriptor, EPOLLIN | EPOLLRDHUP);
    idle[idle_count++] = descriptor;
  }
  int64_t start = now();
  load(epoll, start, 1e9 / rate, start + (int64_t)((seconds + PATIENCE) * 1e9));
  if (count == 7) write_times(arguments[6]);
  return report(done, 0, start);
}
