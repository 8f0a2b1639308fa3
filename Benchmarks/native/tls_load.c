/* TLS 1.3 connections one after the other: `tls_load PORT SECONDS CONNECTIONS full|resume REQUEST_FILE`. On each
   of CONNECTIONS at once: a handshake, one request that asks for the end of the connection, its answer, the
   end, and again. `resume` offers the ticket that the place's last connection got. */
#include "sockets.h"
#include "report.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

enum { HEAD = 8192, REQUEST = 2048, ENOUGH_PERCENT = 95 };

typedef struct {
  int descriptor;
  SSL *ssl;
  SSL_SESSION *session;
  int is_shaken, is_sent;
  int64_t started;
  size_t answer_bytes;
  char answer[HEAD];
} Place;

static Place places[DESCRIPTORS];
static SSL_CTX *context;
static struct sockaddr_in address;
static char request[REQUEST];
static int request_bytes, epoll, is_resuming;
static uint64_t done, resumed;

static void fail(const char *what) {
  fprintf(stderr, "tls_load: %s\n", what);
  ERR_print_errors_fp(stderr);
  exit(1);
}

/* The place takes the session over. */
static int on_session(SSL *ssl, SSL_SESSION *session) {
  Place *place = SSL_get_app_data(ssl);
  SSL_SESSION_free(place->session);
  place->session = session;
  return 1;
}

static void begin_connection(Place *place) {
  int one = 1;
  place->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (place->descriptor < 0) die("socket");
  setsockopt(place->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  place->started = now();
  if (connect(place->descriptor, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
    die("connect");
  place->ssl = SSL_new(context);
  SSL_set_app_data(place->ssl, place);
  SSL_set_fd(place->ssl, place->descriptor);
  SSL_set_tlsext_host_name(place->ssl, "bench.example.org");
  if (is_resuming && place->session) SSL_set_session(place->ssl, place->session);
  place->is_shaken = place->is_sent = 0;
  place->answer_bytes = 0;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = place};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, place->descriptor, &event)) die("epoll_ctl");
}

/* The answer is there to its last byte: a reset spares the kernel a TIME_WAIT, of which there would be
   thousands a second. */
static void end_connection(Place *place) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  place->answer[place->answer_bytes] = 0;
  const char *head_end = strstr(place->answer, "\r\n\r\n");
  const char *length = strcasestr(place->answer, "\r\ncontent-length:");
  if (strncmp(place->answer, "HTTP/1.1 200 ", 13)) fail("an answer is not 200");
  if (!head_end || !length || strlen(head_end + 4) != strtoul(length + 17, NULL, 10))
    fail("an answer is not whole");
  resumed += (uint64_t)SSL_session_reused(place->ssl);
  /* A session of a connection that was not shut down is marked as not resumable. */
  SSL_set_shutdown(place->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(place->ssl);
  setsockopt(place->descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(place->descriptor);
  add_time(now() - place->started);
  done++;
}

/* Goes as far as there are bytes. Whether the connection is through. */
static int advance(Place *place) {
  int result = 1;
  if (!place->is_shaken) {
    result = SSL_connect(place->ssl);
    place->is_shaken = result == 1;
  }
  if (place->is_shaken && !place->is_sent) {
    result = SSL_write(place->ssl, request, request_bytes);
    place->is_sent = result == request_bytes;
  }
  while (place->is_sent && result > 0) {
    result = SSL_read(place->ssl, place->answer + place->answer_bytes, (int)(HEAD - 1 - place->answer_bytes));
    if (result > 0) place->answer_bytes += (size_t)result;
  }
  int error = SSL_get_error(place->ssl, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return 0;
  if (error == SSL_ERROR_ZERO_RETURN) return 1;
  fail(place->is_sent ? "reading an answer failed" : "a handshake failed");
  return 0;
}

static void make_context(void) {
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set1_groups_list(context, "X25519");
  SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, on_session);
  /* Not every proxy says goodbye before it closes: the length of the answer tells whether it is whole. */
  SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
}

static void read_request(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) die(path);
  request_bytes = (int)fread(request, 1, sizeof request, file);
  fclose(file);
}

int main(int count, char **arguments) {
  if (count != 6) return fprintf(stderr, "usage: tls_load PORT SECONDS CONNECTIONS full|resume FILE\n"), 2;
  begin();
  int all = atoi(arguments[3]);
  if (all <= 0 || all > TURN_EVENTS) return fprintf(stderr, "tls_load: 1 to %d connections\n", TURN_EVENTS), 2;
  is_resuming = strcmp(arguments[4], "resume") == 0;
  read_request(arguments[5]);
  make_context();
  address = loopback(arguments[1]);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  int64_t start = now(), end = start + (int64_t)(atof(arguments[2]) * 1e9);
  for (int i = 0; i < all; i++) begin_connection(&places[i]);
  while (now() < end) {
    struct epoll_event events[TURN_EVENTS];
    int ready = epoll_wait(epoll, events, TURN_EVENTS, 100);
    for (int i = 0; i < ready; i++) {
      Place *place = events[i].data.ptr;
      ERR_clear_error();
      if (!advance(place)) continue;
      end_connection(place);
      begin_connection(place);
    }
  }
  /* The first connection of each place has no ticket yet. */
  uint64_t could = done > (uint64_t)all ? done - (uint64_t)all : 0;
  if (is_resuming && resumed * 100 < could * ENOUGH_PERCENT) {
    fprintf(stderr, "tls_load: only %llu of %llu connections were resumed\n", (unsigned long long)resumed,
            (unsigned long long)could);
    return 1;
  }
  if (!is_resuming && resumed > 0) fail("a connection was resumed without a ticket");
  return report(done, 0, start);
}
