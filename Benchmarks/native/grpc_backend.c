/* A cheap gRPC backend over HTTP/2 with prior knowledge: `grpc_backend PORT`. Every unary call is answered with
   one message of 96 bytes and the trailer grpc-status 0, once the request's stream has ended. What comes on
   /bench.Echo/Stream goes back as it comes, until the client ends the stream. */
#include "http2.h"

enum { MESSAGE = 96, PREFIX = 5, ECHO = 4096 };

/* What waits to go back on a stream of echoes. */
typedef struct {
  int is_ended, is_deferred;
  size_t count;
  uint8_t bytes[ECHO];
} Echo;

static uint8_t message[PREFIX + MESSAGE];
static const char stream_path[] = "/bench.Echo/Stream";

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

static ssize_t read_echo(nghttp2_session *session, int32_t stream, uint8_t *out, size_t capacity,
                         uint32_t *flags, nghttp2_data_source *source, void *user) {
  (void)user;
  Echo *echo = source->ptr;
  size_t n = echo->count < capacity ? echo->count : capacity;
  memcpy(out, echo->bytes, n);
  memmove(echo->bytes, echo->bytes + n, echo->count - n);
  echo->count -= n;
  if (echo->count == 0 && echo->is_ended) {
    *flags = NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, stream, trailers, 1);
  } else if (n == 0) {
    echo->is_deferred = 1;
    return NGHTTP2_ERR_DEFERRED;
  }
  return (ssize_t)n;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                     const uint8_t *value, size_t value_bytes, uint8_t flags, void *user) {
  (void)flags, (void)user;
  if (name_bytes != 5 || memcmp(name, ":path", 5)) return 0;
  if (value_bytes != sizeof stream_path - 1 || memcmp(value, stream_path, value_bytes)) return 0;
  Echo *echo = calloc(1, sizeof *echo);
  return echo ? nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, echo)
              : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void resume(nghttp2_session *session, int32_t stream, Echo *echo) {
  if (!echo->is_deferred) return;
  echo->is_deferred = 0;
  nghttp2_session_resume_data(session, stream);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes, size_t count,
                   void *user) {
  (void)flags, (void)user;
  Echo *echo = nghttp2_session_get_stream_user_data(session, stream);
  if (!echo) return 0;
  if (echo->count + count > ECHO) return NGHTTP2_ERR_CALLBACK_FAILURE;
  memcpy(echo->bytes + echo->count, bytes, count);
  echo->count += count;
  resume(session, stream, echo);
  return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  (void)user;
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  int32_t stream = frame->hd.stream_id;
  int is_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
  Echo *echo = nghttp2_session_get_stream_user_data(session, stream);
  nghttp2_data_provider provider = {.source.ptr = echo, .read_callback = echo ? read_echo : read_message};
  if (!echo) return is_end ? nghttp2_submit_response(session, stream, head, 2, &provider) : 0;
  if (is_end) {
    echo->is_ended = 1;
    resume(session, stream, echo);
  }
  return frame->hd.type == NGHTTP2_HEADERS ? nghttp2_submit_response(session, stream, head, 2, &provider) : 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user) {
  (void)error, (void)user;
  free(nghttp2_session_get_stream_user_data(session, stream));
  return 0;
}

/* Echoes of streams that were open are lost with their memory: that happens once a run. */
static void end(int descriptor) {
  nghttp2_session_del(connections[descriptor].session);
  connections[descriptor].session = NULL;
  close(descriptor);
}

static void start(int descriptor, nghttp2_session_callbacks *callbacks) {
  nghttp2_session *session;
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
  if (nghttp2_session_server_new(&session, callbacks, NULL)) die("nghttp2_session_server_new");
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2);
  connections[descriptor].session = session;
  mark(descriptor);
}

static nghttp2_session_callbacks *make_callbacks(void) {
  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  return callbacks;
}

int main(int count, char **arguments) {
  if (count != 2) return fprintf(stderr, "usage: grpc_backend PORT\n"), 2;
  message[4] = MESSAGE;
  memset(message + PREFIX, 'x', MESSAGE);
  nghttp2_session_callbacks *callbacks = make_callbacks();
  int listener = listen_on(arguments[1]), epoll = epoll_create1(EPOLL_CLOEXEC);
  watch(epoll, listener, EPOLLIN);
  for (;;) {
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      int descriptor = events[i].data.fd;
      if (descriptor != listener) {
        if (connections[descriptor].session && !receive(descriptor)) end(descriptor);
        continue;
      }
      for (int accepted; (accepted = accept_next(listener)) >= 0;) {
        start(accepted, callbacks);
        watch(epoll, accepted, EPOLLIN | EPOLLRDHUP);
      }
    }
    while (dirty_count > 0) {
      int descriptor = dirty[--dirty_count];
      if (!flush(descriptor)) end(descriptor);
    }
  }
}
