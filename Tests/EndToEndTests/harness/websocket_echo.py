"""WebSocket servers on a real library, over HTTP/1.1 and HTTP/2."""

import contextlib
import queue
import threading
from collections import namedtuple

from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.sync.server import serve

from .backends import H2Backend, PeerGone

Request = namedtuple("Request", "path headers")


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


class HTTP2WebSocketEcho(H2Backend):
    """The same behind extended CONNECT (RFC 8441): one library reads HTTP/2, the other WebSockets."""

    announces_connect = True

    def __init__(self, address):
        self.ended = queue.Queue()
        self.requests = queue.Queue()
        super().__init__(self.handle, address)

    def handle(self, exchange):
        assert exchange.method == "CONNECT" and exchange.pseudo[":protocol"] == "websocket"
        self.requests.put(Request(exchange.target, dict(exchange.headers)))
        exchange.start(200)
        protocol = ServerProtocol(state=State.OPEN, max_size=None)
        has_ended = False
        with contextlib.suppress(PeerGone):
            for piece in exchange.body():
                protocol.receive_data(piece)
                self.answer(protocol)
                for part in protocol.data_to_send():
                    # Nothing stands for the end.
                    has_ended = not part
                    exchange.write(part, end=has_ended)
            if not has_ended:
                exchange.end()
        closed = protocol.close_rcvd
        self.ended.put((closed.code, closed.reason) if closed else (1006, ""))

    @staticmethod
    def answer(protocol):
        for message in protocol.events_received():
            if message.opcode is Opcode.CLOSE:
                continue
            if message.data == b"close me":
                protocol.send_close(4002, "as you wish")
            elif message.opcode is Opcode.TEXT:
                protocol.send_text(message.data, message.fin)
            else:
                protocol.send_binary(message.data, message.fin)
