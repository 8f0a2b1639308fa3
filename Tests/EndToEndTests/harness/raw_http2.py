"""HTTP/2 by hand: frames made with struct, so that a test can send what no library would, and the raw HTTP/1.1
backend that remembers every byte."""

import socket
import ssl
import struct

import hpack

from .server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 1, 1, 4, 8, 32
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value, bits, first=0):
    """RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out = bytearray([first | most])
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value):
    value = value if isinstance(value, bytes) else value.encode("latin-1")
    return integer(len(value), 7) + value


def block(fields):
    """Literals without indexing and without Huffman coding (RFC 7541 section 6.2.2): nothing is checked."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def headers(fields, stream=1, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, fields if isinstance(fields, bytes) else block(fields))


def data(payload=b"", stream=1, flags=0):
    return frame(DATA, flags, stream, payload)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window_update(amount, stream=0):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", amount))


def reset(stream=1, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload
        self.fields = []

    @property
    def code(self):
        """Of RST_STREAM and GOAWAY."""
        return struct.unpack(">I", self.payload[4:8] if self.kind == GOAWAY else self.payload[:4])[0]

    @property
    def status(self):
        return int(dict(self.fields).get(":status", "0"))

    def has(self, flag):
        return bool(self.flags & flag)

    def __repr__(self):
        names = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY",
                 "WINDOW_UPDATE", "CONTINUATION"]
        name = names[self.kind] if self.kind < len(names) else self.kind
        return f"<{name} {self.flags:#x} on {self.stream}: {self.fields or self.payload[:80]}>"


class Peer:
    """One end of a connection that sends whatever it is told, and reads frames."""

    def __init__(self, connection):
        self.connection = connection
        self.decoder = hpack.Decoder()
        self.buffer = b""
        self.pieces = b""
        self.closed = False

    def send(self, *frames):
        self.connection.sendall(b"".join(frames))

    def _read(self, count):
        while len(self.buffer) < count:
            try:
                more = self.connection.recv(1 << 16)
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                self.closed = True
                return None
            self.buffer += more
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def next(self):
        """The next frame, None at the end. Settings and pings are answered by nobody; header blocks are decoded."""
        head = self._read(9)
        if head is None:
            return None
        length = int.from_bytes(head[:3], "big")
        payload = self._read(length)
        if payload is None:
            return None
        stream = int.from_bytes(head[5:], "big") & 0x7fffffff
        found = Frame(head[3], head[4], stream, payload)
        if found.kind in (HEADERS, CONTINUATION):
            part = payload
            if found.kind == HEADERS and found.has(PADDED):
                part = part[1:len(part) - part[0]]
            if found.kind == HEADERS and found.has(PRIORITISED):
                part = part[5:]
            self.pieces += part
            if found.has(END_HEADERS):
                fields = self.decoder.decode(self.pieces, raw=True)
                found.fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
                self.pieces = b""
        return found

    def until(self, condition):
        """Reads to the first frame that the condition holds for and returns it."""
        while True:
            found = self.next()
            assert found is not None, "the connection ended"
            if condition(found):
                return found

    def answer(self, stream):
        """(final head, body) of a stream, (RST_STREAM frame, body) or (GOAWAY frame, body)."""
        head, body = None, b""
        while True:
            found = self.next()
            assert found is not None, f"the connection ended; {head} {body}"
            if found.kind == GOAWAY and found.code != NO_ERROR:
                return found, body
            if found.stream != stream:
                continue
            if found.kind == RST_STREAM:
                if head is None or found.code != NO_ERROR:
                    return found, body
            elif found.kind == HEADERS and (head is None or head.status < 200):
                head = found
            elif found.kind == DATA:
                body += found.payload
            if found.kind in (HEADERS, DATA) and found.has(END_STREAM):
                return head, body

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class RawClient(Peer):
    """Preface and SETTINGS are sent with the first frames, so that a case costs one round trip."""

    def __init__(self, address, port, server_name=None, authority=None, first=(), preface=PREFACE,
                 timeout=20):
        connection = socket.create_connection((address, port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server_name:
            context = ssl.create_default_context(cadata=authority)
            context.set_alpn_protocols(["h2"])
            connection = context.wrap_socket(connection, server_hostname=server_name)
        super().__init__(connection)
        self.send(preface, settings(*first))


class RawServer(Server):
    """A backend with prior knowledge: `script(peer)` runs for each connection, the preface read."""

    endings = (OSError, AssertionError)

    def __init__(self, script, address, first=()):
        self.script = script
        self.first = first
        super().__init__(address)

    def serve(self, connection):
        peer = Peer(connection)
        peer.server = self
        peer.send(settings(*self.first))
        if peer._read(len(PREFACE)) == PREFACE:
            self.script(peer)


class Recorder(Server):
    """An HTTP/1.1 backend that keeps every byte, and apart from them the requests that were whole."""

    timeout = None

    def __init__(self, address):
        self.raw = b""
        self.whole = []
        super().__init__(address)

    def serve(self, connection):
        buffer = b""
        while more := connection.recv(1 << 16):
            with self.lock:
                self.raw += more
            buffer += more
            while (end := self._length(buffer)) is not None:
                with self.lock:
                    self.whole.append(buffer[:end])
                buffer = buffer[end:]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    @staticmethod
    def _length(buffer):
        """Of the first request, None while it is not whole."""
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        lines = buffer[:head].lower().split(b"\r\n")
        if any(line.startswith(b"transfer-encoding:") for line in lines):
            at = head + 4
            while (line := buffer.find(b"\r\n", at)) >= 0:
                size = int(buffer[at:line], 16)
                at = line + 2
                if size == 0:
                    while (line := buffer.find(b"\r\n", at)) >= 0:
                        if line == at:
                            return at + 2
                        at = line + 2
                    return None
                at += size + 2
            return None
        length = sum(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        return head + 4 + length if len(buffer) >= head + 4 + length else None
