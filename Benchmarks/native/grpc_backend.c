/* A cheap gRPC backend over HTTP/2 with prior knowledge: `grpc_backend PORT`. Every unary call is answered with
   one message of 96 bytes and the trailer grpc-status 0, once the request's stream has ended. */
#include "sockets.h"
#include <nghttp2/nghttp2.h>

enum { MESSAGE = 96, PREFIX = 5 };

typedef struct {
  nghttp2_session *session;
  int is_dirty;
} Connection;

static Connection connections[DESCRIPTORS];
static int dirty[DESCRIPTORS], dirty_count;
static uint8_t message[PREFIX + MESSAGE], input[65536];

#define LITERAL(n, v)                                                                              \
  {(uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1,                                   \
   NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

static const nghttp2_nv head[] = {
    LITERAL(":status", "200"), LITERAL("content-type", "application/grpc")};
static const nghttp2_nv trailers[] = {LITERAL("grpc-status", "0")};

static ssize_t read_message(nghttp2_session *session, int32_t stream, uint8_t *out, size_t capacity,
                            uint32_t *flags, nghttp2_data_source *source, void *user) {
  (void)source, (void)user;
  if (capacity < sizeof message) return NGHTTP2_ERR_CALLBACK_FAILURE;
  memcpy(out, message, sizeof message);
  *flags = NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
  nghttp2_submit_trailer(session, stream, trailers, 1);
  return sizeof message;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  (void)user;
  int is_message = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
  if (!is_message || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  const nghttp2_data_provider provider = {.read_callback = read_message};
  return nghttp2_submit_response(session, frame->hd.stream_id, head, 2, &provider);
}

static void end(int descriptor) {
  nghttp2_session_del(connections[descriptor].session);
  connections[descriptor].session = NULL;
  close(descriptor);
}

static void mark(int descriptor) {
  if (connections[descriptor].is_dirty) return;
  connections[descriptor].is_dirty = 1;
  dirty[dirty_count++] = descriptor;
}

static void serve(int descriptor) {
  nghttp2_session *session = connections[descriptor].session;
  ssize_t n = recv(descriptor, input, sizeof input, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0 || nghttp2_session_mem_recv(session, input, (size_t)n) != n) {
    end(descriptor);
    return;
  }
  mark(descriptor);
}

/* Everything that a turn of the loop has made goes out with one send. */
static void flush(int descriptor) {
  static uint8_t output[1 << 20];
  nghttp2_session *session = connections[descriptor].session;
  size_t count = 0;
  connections[descriptor].is_dirty = 0;
  if (!session) return;
  for (;;) {
    const uint8_t *bytes;
    ssize_t n = nghttp2_session_mem_send(session, &bytes);
    if (n < 0 || count + (size_t)n > sizeof output) {
      end(descriptor);
      return;
    }
    if (n == 0) break;
    memcpy(output + count, bytes, (size_t)n);
    count += (size_t)n;
  }
  for (size_t sent = 0; sent < count;) {
    ssize_t n = send(descriptor, output + sent, count - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) continue;
    if (n < 0) {
      end(descriptor);
      return;
    }
    sent += (size_t)n;
  }
}

static void start(int descriptor, nghttp2_session_callbacks *callbacks) {
  nghttp2_session *session;
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
  if (nghttp2_session_server_new(&session, callbacks, NULL)) die("nghttp2_session_server_new");
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2);
  connections[descriptor] = (Connection){.session = session};
  mark(descriptor);
}

int main(int count, char **arguments) {
  if (count != 2) return fprintf(stderr, "usage: grpc_backend PORT\n"), 2;
  message[4] = MESSAGE;
  memset(message + PREFIX, 'x', MESSAGE);
  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);

  int listener = listen_on(arguments[1]), epoll = epoll_create1(EPOLL_CLOEXEC);
  watch(epoll, listener, EPOLLIN);
  for (;;) {
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.fd != listener) {
        if (connections[events[i].data.fd].session) serve(events[i].data.fd);
        continue;
      }
      for (int accepted; (accepted = accept_next(listener)) >= 0;) {
        start(accepted, callbacks);
        watch(epoll, accepted, EPOLLIN | EPOLLRDHUP);
      }
    }
    while (dirty_count > 0) flush(dirty[--dirty_count]);
  }
}
