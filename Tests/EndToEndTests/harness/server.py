"""The accept loop that the backends on sockets share."""

import queue
import socket
import threading


class Server:
    """Listens, and runs `serve(connection)` on a thread of its own for each connection, which is closed behind it."""

    # Seconds that a connection may be silent; None for as long as it likes.
    timeout = 20
    # What `serve` raises when a connection comes to its ordinary end.
    endings = (OSError,)

    def __init__(self, address="127.0.0.1", port=0):
        # Tests leave notes here.
        self.notes = queue.Queue()
        self.connections = set()
        self.connection_count = 0
        self.lock = threading.Lock()
        self.closed = False
        self.listener = socket.create_server((address, port), backlog=512)
        self.address, self.port = self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def serve(self, connection):
        raise NotImplementedError

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(self.timeout)
            with self.lock:
                if self.closed:
                    connection.close()
                    return
                self.connections.add(connection)
                self.connection_count += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        try:
            self.serve(connection)
        except self.endings:
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()

    def drop_connections(self):
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        with self.lock:
            self.closed = True
        # accept() in the other thread returns only then.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.drop_connections()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
