"""A stand-in for hoop: HTTP/1.1 with /api/healthz, and gRPC with protobuf.Transport.

Takes other ports when the wanted ones are taken, and says which it took:

    ready http=127.0.0.1:8009 grpc=127.0.0.1:8010
"""

import argparse
import json
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import transport

PAGE = b"<!doctype html><title>hoop (demo)</title><p>This page stands for hoop's web interface.\n"


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    grpc_address: tuple[str, int] = ("127.0.0.1", 0)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/":
            self.answer(200, PAGE, "text/html; charset=utf-8")
        elif path == "/api/healthz":
            # As hoop does: healthy only while its own gRPC port takes connections.
            alive = self.grpc_is_alive()
            self.answer_json(200 if alive else 400, {"liveness": "OK" if alive else "ERR"})
        elif path == "/api/echo":
            self.echo(0)
        else:
            self.answer_json(404, {"message": f"no page {path}"})

    def do_POST(self):
        received = 0
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                received += len(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            left = int(self.headers.get("content-length", 0))
            while left:
                piece = self.rfile.read(min(left, 65536))
                if not piece:
                    return
                left -= len(piece)
                received += len(piece)
        self.echo(received)

    def echo(self, received: int):
        """What arrived, so that one sees what the proxy made of the request."""
        self.answer_json(
            200,
            {
                "request": self.requestline,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "bodyBytes": received,
            },
        )

    def grpc_is_alive(self) -> bool:
        try:
            socket.create_connection(self.grpc_address, timeout=1).close()
        except OSError:
            return False
        return True

    def answer_json(self, status: int, value: dict):
        self.answer(status, json.dumps(value).encode() + b"\n", "application/json")

    def answer(self, status: int, body: bytes, kind: str):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def connect(requests, call):
    """Answers every packet with one of its own, for as long as the client talks."""
    metadata = dict(call.invocation_metadata())
    yield transport.packet("ConnectOK", metadata.get("origin", "").encode())
    for request in requests:
        kind = transport.kind_of(request)
        if kind == "KeepAlive":
            continue
        yield transport.packet(f"{kind}:answer", transport.payload_of(request))


def health_check(request, call):
    return transport.encode({1: b"SERVING"})


def serve_grpc(host: str, port: int) -> tuple[grpc.Server, int]:
    handlers = {
        "Connect": grpc.stream_stream_rpc_method_handler(connect),
        "HealthCheck": grpc.unary_unary_rpc_method_handler(health_check),
    }
    options = [("grpc.so_reuseport", 0), *transport.CHANNEL_OPTIONS]
    server = grpc.server(ThreadPoolExecutor(max_workers=64), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(transport.SERVICE, handlers),))
    port = server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server, port


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, default=8009)
    parser.add_argument("--grpc-port", type=int, default=8010)
    wanted = parser.parse_args()

    grpc_port = wanted.grpc_port if is_free(wanted.host, wanted.grpc_port) else 0
    grpc_server, grpc_port = serve_grpc(wanted.host, grpc_port)
    Web.grpc_address = (wanted.host, grpc_port)
    http_port = wanted.http_port if is_free(wanted.host, wanted.http_port) else 0
    web = Server((wanted.host, http_port), Web)
    threading.Thread(target=web.serve_forever, daemon=True).start()

    print(f"ready http={wanted.host}:{web.server_address[1]} grpc={wanted.host}:{grpc_port}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    grpc_server.stop(grace=0.2).wait()
    web.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
