"""Backends that a test scripts: HTTP/1.1 on plain sockets, HTTP/2 with prior knowledge on the h2 library.

Both call `handler(exchange)` on a thread for each request; the exchange looks the same for both."""

import queue
import select
import socket
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .server import Server

REASONS = {100: "Continue", 103: "Early Hints", 200: "OK", 204: "No Content", 304: "Not Modified"}


class PeerGone(Exception):
    """The proxy closed the connection or reset the stream."""


class Exchange:
    """One request and its response. Header names are lower-case, values as they came."""

    backend = None
    protocol = ""
    method = target = authority = ""
    headers = ()
    trailers = ()

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        return self.target.partition("?")[2]

    def header(self, name, default=None):
        values = self.all_headers(name)
        return values[0] if values else default

    def all_headers(self, name):
        return [value for key, value in self.headers if key == name]

    def read(self):
        return b"".join(self.body())

    def respond(self, status, headers=(), body=b"", trailers=None):
        """A whole response; with trailers its length is not told before."""
        headers = list(headers)
        bodyless = status in (204, 304) or self.method == "HEAD"
        if trailers is None and status not in (204, 304):
            headers.append(("content-length", str(len(body))))
        self.start(status, headers, end=bodyless or (not body and trailers is None))
        if bodyless:
            return
        if body:
            self.write(body, end=trailers is None)
        if trailers is not None:
            self.end(trailers)


class Backend(Server):
    timeout = None
    endings = (PeerGone, OSError, ValueError, h2.exceptions.ProtocolError)

    def __init__(self, handler, address="127.0.0.1", port=0):
        self.handler = handler
        super().__init__(address, port)


# HTTP/1.1


class H1Exchange(Exchange):
    protocol = "http/1.1"

    def __init__(self, backend, connection, reader):
        self.backend = backend
        self.connection = connection
        self.reader = reader
        self.chunked_response = False
        self.keep_alive = True
        self.body_is_read = False
        line = reader.readline(1 << 17)
        if not line:
            raise PeerGone
        self.method, self.target, version = line.decode("latin-1").split()
        # An assertion that nobody catches would keep this frame, and with it the connection.
        if version != "HTTP/1.1":
            raise ValueError(line)
        self.raw_headers = read_fields(reader)
        self.headers = [(name.lower(), value) for name, value in self.raw_headers]
        self.authority = self.header("host")

    def body(self):
        self.body_is_read = True
        if self.header("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        else:
            left = int(self.header("content-length", "0"))
            while left:
                piece = self.reader.read1(min(left, 1 << 18))
                if not piece:
                    raise PeerGone
                left -= len(piece)
                yield piece

    def _chunks(self):
        while True:
            line = self.reader.readline(1024)
            if not line:
                raise PeerGone
            size = int(line.split(b";")[0], 16)
            if size == 0:
                self.trailers = [(name.lower(), value) for name, value in read_fields(self.reader)]
                return
            piece = self.reader.read(size)
            if len(piece) < size or self.reader.read(2) != b"\r\n":
                raise PeerGone
            yield piece

    def _head(self, status, headers):
        text = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in headers)
        return (text + "\r\n").encode("latin-1")

    def interim(self, status, headers=()):
        self.connection.sendall(self._head(status, headers))

    def start(self, status, headers=(), end=False):
        headers = list(headers)
        names = {name.lower() for name, _ in headers}
        self.chunked_response = not end and "content-length" not in names
        if self.chunked_response:
            headers.append(("transfer-encoding", "chunked"))
        elif end and self.method != "HEAD" and status not in (204, 304) and "content-length" not in names:
            headers.append(("content-length", "0"))
        self.connection.sendall(self._head(status, headers))

    def write(self, data, end=False):
        if self.chunked_response:
            data = b"%x\r\n%b\r\n" % (len(data), data)
            if end:
                data += b"0\r\n\r\n"
        self.connection.sendall(data)

    def end(self, trailers=None):
        if self.chunked_response:
            text = "0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers or ()) + "\r\n"
            self.connection.sendall(text.encode("latin-1"))

    def abort(self):
        """Breaks off in the middle."""
        self.keep_alive = False
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        raise PeerGone

    def wait_gone(self, timeout=20):
        """True when the proxy gave this request up."""
        poller = select.poll()
        poller.register(self.connection, select.POLLIN | select.POLLHUP | select.POLLRDHUP)
        while poller.poll(timeout * 1000):
            try:
                if not self.connection.recv(65536):
                    return True
            except OSError:
                return True
        return False


def read_fields(reader):
    fields = []
    while True:
        line = reader.readline(1 << 17)
        if line == b"\r\n":
            return fields
        if not line:
            raise PeerGone
        name, _, value = line.decode("latin-1").rstrip("\r\n").partition(":")
        fields.append((name, value.strip()))


class H1Backend(Backend):
    def serve(self, connection):
        reader = connection.makefile("rb", 1 << 18)
        while True:
            exchange = H1Exchange(self, connection, reader)
            if exchange.header("expect") == "100-continue":
                exchange.interim(100)
            self.handler(exchange)
            if not exchange.keep_alive:
                return
            if not exchange.body_is_read:
                # A request that was not read would be taken for the next one.
                has_body = exchange.header("content-length", "0") != "0" or exchange.header("transfer-encoding")
                if has_body:
                    return


# HTTP/2


class H2Exchange(Exchange):
    protocol = "h2"

    def __init__(self, connection, stream, fields):
        self.backend = connection.backend
        self.peer = connection
        self.stream = stream
        self.pseudo = {name: value for name, value in fields if name.startswith(":")}
        self.headers = [(name, value) for name, value in fields if not name.startswith(":")]
        self.method = self.pseudo[":method"]
        self.target = self.pseudo[":path"]
        self.authority = self.pseudo.get(":authority")
        self.incoming = queue.Queue()
        self.gone = threading.Event()
        # The handler has returned: what still comes is of no interest.
        self.done = False

    def body(self):
        while True:
            item = self.incoming.get(timeout=60)
            if item is None:
                return
            if item is PeerGone:
                raise PeerGone
            data, credit = item
            yield data
            self.peer.acknowledge(self.stream, credit)

    def interim(self, status, headers=()):
        self.peer.send_headers(self.stream, [(":status", str(status)), *headers], end=False)

    def start(self, status, headers=(), end=False):
        self.peer.send_headers(self.stream, [(":status", str(status)), *headers], end=end)

    def write(self, data, end=False):
        self.peer.send_data(self, data, end)

    def end(self, trailers=None):
        if trailers:
            self.peer.send_headers(self.stream, list(trailers), end=True)
        else:
            self.peer.send_data(self, b"", True)

    def abort(self):
        with self.peer.lock:
            self.peer.state.reset_stream(self.stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self.peer.flush()
        raise PeerGone

    def wait_gone(self, timeout=20):
        return self.gone.wait(timeout)


class H2Peer:
    """One connection from the proxy."""

    def __init__(self, backend, connection):
        self.backend = backend
        self.connection = connection
        self.lock = threading.RLock()
        self.window = threading.Condition(self.lock)
        self.state = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self.exchanges = {}
        self.is_open = True

    def flush(self):
        data = self.state.data_to_send()
        if data:
            self.connection.sendall(data)

    def send_headers(self, stream, fields, end):
        with self.lock:
            self._check(stream)
            self.state.send_headers(stream, fields, end_stream=end)
            self.flush()

    def _check(self, stream):
        exchange = self.exchanges.get(stream)
        if not self.is_open or exchange is None or exchange.gone.is_set():
            raise PeerGone

    def send_data(self, exchange, data, end):
        view = memoryview(data)
        with self.lock:
            while True:
                self._check(exchange.stream)
                room = min(
                    self.state.local_flow_control_window(exchange.stream), self.state.max_outbound_frame_size)
                if len(view) and room <= 0:
                    self.window.wait(60)
                    continue
                piece, view = view[:room], view[room:]
                self.state.send_data(exchange.stream, piece.tobytes(), end_stream=end and not len(view))
                self.flush()
                if not len(view):
                    return

    def acknowledge(self, stream, credit):
        """Gives window back, the connection's also when the stream is gone."""
        with self.lock:
            if self.is_open and credit:
                self.state.acknowledge_received_data(credit, stream)
                self.flush()

    def run(self):
        with self.lock:
            self.state.update_settings({})
            if self.backend.announces_connect:
                self.state.local_settings = h2.settings.Settings(
                    client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
            self.state.initiate_connection()
            self.flush()
        try:
            while True:
                data = self.connection.recv(1 << 18)
                if not data:
                    return
                with self.lock:
                    for event in self.state.receive_data(data):
                        self.handle(event)
                    self.flush()
        finally:
            with self.lock:
                self.is_open = False
                for exchange in self.exchanges.values():
                    exchange.gone.set()
                    exchange.incoming.put(PeerGone)
                self.window.notify_all()

    def handle(self, event):
        if isinstance(event, h2.events.RequestReceived):
            exchange = H2Exchange(self, event.stream_id, event.headers)
            self.exchanges[event.stream_id] = exchange
            threading.Thread(target=self.answer, args=(exchange,), daemon=True).start()
        elif isinstance(event, h2.events.DataReceived):
            exchange = self.exchanges[event.stream_id]
            if exchange.done:
                self.acknowledge(event.stream_id, event.flow_controlled_length)
            else:
                exchange.incoming.put((event.data, event.flow_controlled_length))
        elif isinstance(event, h2.events.TrailersReceived):
            self.exchanges[event.stream_id].trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.exchanges[event.stream_id].incoming.put(None)
        elif isinstance(event, h2.events.StreamReset):
            exchange = self.exchanges.get(event.stream_id)
            if exchange:
                exchange.gone.set()
                exchange.incoming.put(PeerGone)
                self.window.notify_all()
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.window.notify_all()

    def answer(self, exchange):
        try:
            if exchange.header("expect") == "100-continue":
                exchange.interim(100)
            self.backend.handler(exchange)
        except (PeerGone, OSError, h2.exceptions.ProtocolError):
            pass
        with self.lock:
            exchange.done = True
            while not exchange.incoming.empty():
                item = exchange.incoming.get()
                if isinstance(item, tuple):
                    self.acknowledge(exchange.stream, item[1])


class H2Backend(Backend):
    # RFC 8441: extended CONNECT.
    announces_connect = False

    def serve(self, connection):
        H2Peer(self, connection).run()
