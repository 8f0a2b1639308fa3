"""Both ends as raw bytes: a backend that writes down every byte that it gets, and a client that reads what came
without understanding more of it than where a response ends."""

import re
import selectors
import socket
import struct
import threading

from .waiting import wait_until

# Steps of an answer besides bytes.
CLOSE = "close"
RESET = "reset"
# Goes on when the test says so.
PAUSE = "pause"


class RawConnection:
    def __init__(self, number, sock):
        self.number = number
        self.sock = sock
        self.unread = b""
        self.steps = []
        self.ended = False
        self.requests = 0


class RawBackend:
    """Writes down what comes on all its connections, in the order in which it came. Answers each whole request with
    its own method and target; under the target `/case` with the steps that the test has set, and under `/early`
    as soon as the head is there."""

    def __init__(self, address):
        self.lock = threading.RLock()
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server((address, 0), backlog=128)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.connections = []
        self.count = 0
        self.seen = b""
        self.case_connection = None
        self.answer = ()
        self.closed = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def begin(self, answer=()):
        """Forgets what was seen; `answer` are the steps for `/case`."""
        with self.lock:
            self.seen = b""
            self.answer = tuple(answer)
            self.case_connection = None

    def recorded(self):
        """All bytes so far, those that still lie in the kernel too."""
        with self.lock:
            for connection in list(self.connections):
                self._read(connection)
            return self.seen

    def proceed(self):
        """Takes up the answer behind its PAUSE."""
        with self.lock:
            self._step(self.case_connection)

    def is_dropped(self):
        """Whether the connection that carried `/case` was closed by the proxy."""
        with self.lock:
            self.recorded()
            return self.case_connection is not None and self.case_connection.ended

    def close(self):
        self.closed = True
        try:
            socket.create_connection(self.listener.getsockname(), 1).close()
        except OSError:
            pass
        self.thread.join(5)
        with self.lock:
            for connection in self.connections:
                connection.sock.close()
            self.listener.close()
            self.selector.close()

    # The thread

    def _run(self):
        while not self.closed:
            events = self.selector.select(1)
            with self.lock:
                for key, _ in events:
                    if key.data is None:
                        self._accept()
                    elif not key.data.ended:
                        self._read(key.data)

    def _accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.count += 1
        connection = RawConnection(self.count, sock)
        self.connections.append(connection)
        self.selector.register(sock, selectors.EVENT_READ, connection)

    def _read(self, connection):
        while not connection.ended:
            try:
                data = connection.sock.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end(connection)
                return
            self.seen += data
            connection.unread += data
            self._answer(connection)

    def _end(self, connection):
        if connection.ended:
            return
        connection.ended = True
        self.selector.unregister(connection.sock)
        connection.sock.close()
        self.connections.remove(connection)

    def _answer(self, connection):
        while not connection.ended and not connection.steps:
            head, end, rest = connection.unread.partition(b"\r\n\r\n")
            if not end:
                return
            line, _, fields = head.partition(b"\r\n")
            method, target, *_ = line.split(b" ") + [b""]
            is_early = target.startswith(b"/early")
            used = 0 if is_early else body_length(fields.lower(), rest)
            if used is None:
                return
            connection.unread = rest[used:]
            connection.requests += 1
            if target.startswith(b"/case"):
                self.case_connection = connection
                connection.steps = list(self.answer)
                self._step(connection)
            else:
                text = method + b" " + target
                body = b"" if method == b"HEAD" else text
                self._send(connection, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), body))

    def _step(self, connection):
        while connection.steps and not connection.ended:
            step = connection.steps.pop(0)
            if step == PAUSE:
                return
            if step == CLOSE:
                self._end(connection)
            elif step == RESET:
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._end(connection)
            else:
                self._send(connection, step)

    @staticmethod
    def _send(connection, data):
        try:
            connection.sock.sendall(data)
        except OSError:
            pass


def body_length(fields, rest):
    """Bytes of the body at the start of `rest` by the fields of its head, in lower case; None: not whole yet."""
    if b"transfer-encoding: chunked" in fields:
        position = 0
        while True:
            line = rest.find(b"\r\n", position)
            if line < 0:
                return None
            size = int(rest[position:line].split(b";")[0], 16)
            position = line + 2
            if size == 0:
                end = rest.find(b"\r\n\r\n", line)
                return None if end < 0 else end + 4
            if len(rest) < position + size + 2:
                return None
            position += size + 2
    length = re.search(rb"(?:^|\r\n)content-length: *(\d+)", fields)
    size = int(length.group(1)) if length else 0
    return size if len(rest) >= size else None


class RawClient:
    """One connection. What was read and not yet taken is in `buffer`."""

    def __init__(self, address, port, timeout=10):
        self.sock = socket.create_connection((address, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.was_reset = False

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            # What the proxy had to say is still there to be read.
            pass

    def _more(self):
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            self.was_reset = True
            data = b""
        self.buffer += data
        return bool(data)

    def response(self, is_head=False):
        """(status, head, body) of the next response, interim ones too; None at the end of the connection."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return None
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        fields = head.partition(b"\r\n")[2].lower()
        if is_head and status >= 200 or status < 200 or status in (204, 304):
            fields = b""
        while (length := body_length(fields, rest)) is None:
            if not self._more():
                return None
            rest = self.buffer.partition(b"\r\n\r\n")[2]
        self.buffer = rest[length:]
        return status, head, rest[:length]

    def take(self, count):
        """The next `count` bytes, fewer at the end of the connection."""
        while len(self.buffer) < count and self._more():
            pass
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def rest(self):
        """Everything up to the end of the connection."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def wait_dropped(backend, timeout=5):
    wait_until(backend.is_dropped, "the end of the backend connection", timeout)
