/* Messages on long-lived bidirectional gRPC streams: `grpc_stream_load PORT SECONDS CONNECTIONS STREAMS BYTES`.
   Each stream sends a message, waits for its echo, and sends the next. A round trip is the unit of its count. */
#include "http2.h"
#include "report.h"

enum { PREFIX = 5, MOST = 4096 };

typedef struct {
  int is_waiting;
  size_t received;
  int64_t sent;
} Call;

static uint8_t message[PREFIX + MOST];
static size_t message_bytes;
static uint64_t done, opened;

static const nghttp2_nv head[] = {
    LITERAL(":method", "POST"), LITERAL(":scheme", "http"), LITERAL(":authority", "bench.example.org"),
    LITERAL(":path", "/bench.Echo/Stream"), LITERAL("content-type", "application/grpc"),
    LITERAL("te", "trailers")};

static void fail(const char *what) {
  fprintf(stderr, "grpc_stream_load: %s\n", what);
  exit(1);
}

static ssize_t read_message(nghttp2_session *session, int32_t stream, uint8_t *out, size_t capacity,
                            uint32_t *flags, nghttp2_data_source *source, void *user) {
  (void)session, (void)stream, (void)flags, (void)user;
  Call *call = source->ptr;
  if (call->is_waiting) return NGHTTP2_ERR_DEFERRED;
  if (capacity < message_bytes) fail("no room for a message");
  memcpy(out, message, message_bytes);
  call->is_waiting = 1;
  call->sent = now();
  return (ssize_t)message_bytes;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes, size_t count,
                   void *user) {
  (void)flags, (void)bytes, (void)user;
  Call *call = nghttp2_session_get_stream_user_data(session, stream);
  call->received += count;
  if (call->received < message_bytes) return 0;
  if (call->received > message_bytes) fail("more came back than was sent");
  call->received = 0;
  call->is_waiting = 0;
  add_time(now() - call->sent);
  done++;
  return nghttp2_session_resume_data(session, stream);
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user) {
  (void)session, (void)stream, (void)user;
  char text[64];
  snprintf(text, sizeof text, "a stream was closed with code %u", error);
  fail(text);
  return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                     const uint8_t *value, size_t value_bytes, uint8_t flags, void *user) {
  (void)session, (void)frame, (void)flags, (void)user;
  if (name_bytes != 7 || memcmp(name, ":status", 7)) return 0;
  if (value_bytes != 3 || memcmp(value, "200", 3)) fail("an answer is not 200");
  opened++;
  return 0;
}

static void open_connection(int descriptor, nghttp2_session_callbacks *callbacks, int streams) {
  nghttp2_session *session;
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
  if (nghttp2_session_client_new(&session, callbacks, NULL)) die("nghttp2_session_client_new");
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 1);
  connections[descriptor].session = session;
  for (int i = 0; i < streams; i++) {
    Call *call = calloc(1, sizeof *call);
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_message};
    if (nghttp2_submit_request(session, NULL, head, sizeof head / sizeof *head, &provider, call) < 0)
      fail("nghttp2_submit_request");
  }
  mark(descriptor);
}

static nghttp2_session_callbacks *make_callbacks(void) {
  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  return callbacks;
}

int main(int count, char **arguments) {
  if (count != 6) return fprintf(stderr, "usage: grpc_stream_load PORT SECONDS CONNECTIONS STREAMS BYTES\n"), 2;
  begin();
  int payload = atoi(arguments[5]), streams = atoi(arguments[4]), all = atoi(arguments[3]);
  if (payload <= 0 || payload > MOST) return fprintf(stderr, "grpc_stream_load: 1 to %d bytes\n", MOST), 2;
  message_bytes = PREFIX + (size_t)payload;
  message[3] = (uint8_t)(payload >> 8), message[4] = (uint8_t)payload;
  memset(message + PREFIX, 'x', (size_t)payload);
  nghttp2_session_callbacks *callbacks = make_callbacks();
  struct sockaddr_in address = loopback(arguments[1]);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < all; i++) {
    int descriptor = connect_to(&address);
    watch(epoll, descriptor, EPOLLIN | EPOLLRDHUP);
    open_connection(descriptor, callbacks, streams);
  }
  int64_t start = now(), end = start + (int64_t)(atof(arguments[2]) * 1e9);
  while (now() < end) {
    while (dirty_count > 0)
      if (!flush(dirty[--dirty_count])) fail("a connection ended");
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, 100);
    for (int i = 0; i < ready; i++)
      if (!receive(events[i].data.fd)) fail("a connection ended");
  }
  if (opened != (uint64_t)all * (uint64_t)streams) fail("not every stream was answered");
  return report(done, 0, start);
}
