"""A WebSocket server on a real library."""

import queue
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


class WebSocketEcho:
    """Sends back what comes; notes requests, and with which code and reason sockets ended."""

    def __init__(self, address, compression="deflate", subprotocol=None):
        self.ended = queue.Queue()
        self.requests = queue.Queue()
        self.server = serve(
            self.handle, address, 0, max_size=None, compression=compression,
            select_subprotocol=lambda _, offered: subprotocol if subprotocol in offered else None)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handle(self, connection):
        self.requests.put(connection.request)
        try:
            for message in connection:
                if message == "close me":
                    connection.close(4002, "as you wish")
                    break
                connection.send(message)
        except ConnectionClosed:
            pass
        self.ended.put((connection.close_code, connection.close_reason))

    def close(self):
        self.server.shutdown()
