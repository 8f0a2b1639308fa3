"""Clients that show everything: interim responses, framing, trailers, resets. HTTP/1.1 on plain sockets,
HTTP/2 (prior knowledge or ALPN) on the h2 library. Both have the same two calls: `open` and `request`."""

import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events


class Broken(Exception):
    """The connection or stream ended before the response did."""

    def __init__(self, text, response=None, code=None):
        super().__init__(text)
        self.response = response
        self.code = code


class Response:
    def __init__(self):
        self.interims = []
        self.status = None
        self.headers = []
        self.body = b""
        self.trailers = []

    def header(self, name, default=None):
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return default

    def trailer(self, name):
        return dict(self.trailers).get(name)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r} trailers {self.trailers}>"


def connect(address, port, timeout=20):
    connection = socket.create_connection((address, port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def tls(connection, server_name, alpn, authority=None):
    context = ssl.create_default_context(cadata=authority)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(alpn)
    return context.wrap_socket(connection, server_hostname=server_name)


class Client:
    def request(self, method, target, host, headers=(), body=None, chunks=None, trailers=None):
        """One exchange. `body` is sent with its length, `chunks` without."""
        headers = list(headers)
        if body is not None:
            headers.append(("content-length", str(len(body))))
        has_body = body or chunks is not None or trailers
        call = self.open(method, target, host, headers, end=not has_body, chunked=chunks is not None or bool(trailers))
        if has_body:
            for piece in chunks if chunks is not None else [body] if body else []:
                call.send(piece)
            call.finish(trailers)
        return call.response()

    @classmethod
    def over(cls, connection):
        """A client on a connection (of TLS) that somebody else has made."""
        made = cls.__new__(cls)
        made.connection = connection
        made.begin("https")
        return made

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# HTTP/1.1


class H1Call:
    def __init__(self, client, method, chunked):
        self.client = client
        self.method = method
        self.chunked = chunked
        self.result = Response()

    def send(self, data):
        if not data:
            return
        if self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.client.connection.sendall(data)

    def finish(self, trailers=None):
        if self.chunked:
            text = "0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers or ()) + "\r\n"
            self.client.connection.sendall(text.encode("latin-1"))

    def head(self):
        """Reads up to the final head, with the interim responses before it."""
        result = self.result
        while result.status is None:
            line = self.client.reader.readline(1 << 17)
            if not line:
                raise Broken("the connection ended before a response head", result)
            version, status, *_ = line.decode("latin-1").split(" ", 2)
            assert version == "HTTP/1.1", line
            fields = self.client.fields()
            if 100 <= int(status) < 200 and int(status) != 101:
                result.interims.append((int(status), fields))
            else:
                result.status, result.headers = int(status), fields
        return result

    def interim(self):
        """Reads one interim response."""
        line = self.client.reader.readline(1 << 17).decode("latin-1")
        status = int(line.split(" ", 2)[1])
        assert 100 <= status < 200, line
        return status, self.client.fields()

    def body(self):
        """The body as it comes."""
        result, reader = self.result, self.client.reader
        if self.method == "HEAD" or result.status in (204, 304):
            assert result.header("transfer-encoding") is None
            return
        if result.header("transfer-encoding") == "chunked":
            while True:
                line = reader.readline(1024)
                if not line.endswith(b"\r\n"):
                    raise Broken("the body ended within its chunks", result)
                size = int(line, 16)
                if size == 0:
                    result.trailers = self.client.fields()
                    return
                piece = reader.read(size)
                if len(piece) < size or reader.read(2) != b"\r\n":
                    raise Broken("the body ended within a chunk", result)
                yield piece
        elif result.header("content-length") is not None:
            left = int(result.header("content-length"))
            while left:
                piece = reader.read1(min(left, 1 << 18))
                if not piece:
                    raise Broken(f"the body ended {left} bytes early", result)
                left -= len(piece)
                yield piece
        else:
            assert result.header("connection") == "close", result.headers
            while piece := reader.read1(1 << 18):
                yield piece

    def response(self):
        self.head()
        pieces = []
        try:
            for piece in self.body():
                pieces.append(piece)
        finally:
            self.result.body = b"".join(pieces)
        return self.result

    def abort(self):
        """Resets the connection: an orderly end would only say that no more is coming from here."""
        self.client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.client.close()


class H1Client(Client):
    protocol = "http/1.1"

    def __init__(self, address, port, server_name=None, authority=None):
        self.connection = connect(address, port)
        if server_name:
            self.connection = tls(self.connection, server_name, ["http/1.1"], authority)
        self.begin()

    def begin(self, scheme="http"):
        self.reader = self.connection.makefile("rb", 1 << 18)

    def fields(self):
        fields = []
        while True:
            line = self.reader.readline(1 << 17)
            if line == b"\r\n":
                return fields
            if not line:
                raise Broken("the connection ended within a head")
            assert line.endswith(b"\r\n"), line
            name, _, value = line.decode("latin-1")[:-2].partition(":")
            fields.append((name.lower(), value.strip()))

    def open(self, method, target, host, headers=(), end=True, chunked=False):
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        self.connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return H1Call(self, method, chunked)

    def send_raw(self, data):
        self.connection.sendall(data)

    def is_closed(self):
        """True when the other side has ended; nothing but the end may come."""
        try:
            data = self.reader.read1(1)
        except (ConnectionError, ssl.SSLError):
            return True
        assert data == b"", data
        return True

    def close(self):
        # The reader holds the descriptor open.
        self.reader.close()
        self.connection.close()


# HTTP/2


class H2Call:
    def __init__(self, client, stream):
        self.client = client
        self.stream = stream
        self.result = Response()
        self.pieces = []
        self.ended = False
        self.reset = None
        # No more can be sent, be it that the response was whole without the rest of the request.
        self.closed = False

    def send(self, data):
        self.client.send_data(self, data, end=False)

    def finish(self, trailers=None):
        if trailers:
            self.client.send_headers(self.stream, list(trailers), end=True)
        else:
            self.client.send_data(self, b"", end=True)

    def _broken(self):
        self.result.body = b"".join(self.pieces)
        if self.reset is not None:
            return Broken(f"the stream was reset with {self.reset}", self.result, self.reset)
        return Broken("the connection ended", self.result)

    def _pump(self, condition):
        while not condition():
            if self.reset is not None or not self.client.is_open:
                raise self._broken()
            self.client.pump()

    def head(self):
        self._pump(lambda: self.result.status is not None)
        return self.result

    def interim(self):
        self._pump(lambda: self.result.interims)
        return self.result.interims[0]

    def body(self):
        self.head()
        while True:
            while self.pieces:
                yield self.pieces.pop(0)
            if self.ended:
                return
            self._pump(lambda: self.pieces or self.ended)

    def response(self):
        self._pump(lambda: self.ended)
        self.result.body = b"".join(self.pieces)
        return self.result

    def abort(self):
        self.client.state.reset_stream(self.stream, h2.errors.ErrorCodes.CANCEL)
        self.client.flush()


class H2Client(Client):
    protocol = "h2"

    def __init__(self, address, port, server_name=None, authority=None):
        self.connection = connect(address, port)
        if server_name:
            self.connection = tls(self.connection, server_name, ["h2"], authority)
            assert self.connection.selected_alpn_protocol() == "h2"
        self.begin("https" if server_name else "http")

    def begin(self, scheme="http"):
        self.scheme = scheme
        self.state = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        self.calls = {}
        self.is_open = True
        self.going_away = None
        self.state.initiate_connection()
        # Large bodies need not wait for each other.
        self.state.increment_flow_control_window(16 << 20)
        self.flush()

    def flush(self):
        data = self.state.data_to_send()
        if data:
            self.connection.sendall(data)

    def open(self, method, target, host, headers=(), end=True, chunked=False):
        stream = self.state.get_next_available_stream_id()
        call = H2Call(self, stream)
        self.calls[stream] = call
        fields = [(":method", method), (":scheme", self.scheme), (":authority", host), (":path", target)]
        self.state.send_headers(
            stream, fields + [(name.lower(), value.encode("latin-1")) for name, value in headers], end_stream=end)
        self.flush()
        return call

    def send_headers(self, stream, fields, end):
        self.state.send_headers(stream, fields, end_stream=end)
        self.flush()

    def send_data(self, call, data, end):
        view = memoryview(data)
        while True:
            if call.closed or not self.is_open:
                raise call._broken()
            room = min(self.state.local_flow_control_window(call.stream), self.state.max_outbound_frame_size)
            if len(view) and room <= 0:
                self.pump()
                continue
            piece, view = view[:room], view[room:]
            self.state.send_data(call.stream, piece.tobytes(), end_stream=end and not len(view))
            self.flush()
            if not len(view):
                return

    def pump(self):
        """Reads once and handles what came."""
        data = self.connection.recv(1 << 18)
        if not data:
            self.is_open = False
            return
        for event in self.state.receive_data(data):
            self.handle(event)
        self.flush()

    def handle(self, event):
        if isinstance(event, h2.events.ConnectionTerminated):
            self.going_away = event.error_code
            return
        call = self.calls.get(getattr(event, "stream_id", None))
        if call is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            fields = list(event.headers)
            call.result.interims.append((int(dict(fields)[":status"]), fields[1:]))
        elif isinstance(event, h2.events.ResponseReceived):
            fields = list(event.headers)
            call.result.status = int(dict(fields)[":status"])
            call.result.headers = fields[1:]
        elif isinstance(event, h2.events.DataReceived):
            if event.data:
                call.pieces.append(event.data)
            self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            call.result.trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            call.ended = True
        elif isinstance(event, h2.events.StreamReset):
            call.closed = True
            if not call.ended:
                call.reset = int(event.error_code)

    def close(self):
        self.connection.close()
