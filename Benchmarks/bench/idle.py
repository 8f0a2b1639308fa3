"""Clients that send one request, read the answer to its end and stay connected."""

import socket
import ssl

from .load import PATH, http1_head
from .process import Failed

HOST = "bench.example.org"


def private_bytes(processes):
    """What the processes alone have in memory and have written to."""
    found = 0
    for process in processes:
        with open(f"/proc/{process}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Private_Dirty:"):
                    found += int(line.split()[1]) * 1024
    return found


def _http1(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    return _exchange(connection)


def _tls(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    return _exchange(_CONTEXT.wrap_socket(connection, server_hostname=HOST))


def _tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


_CONTEXT = _tls_context()


def _exchange(connection):
    connection.sendall(http1_head())
    answer = b""
    while True:
        part = connection.recv(4096)
        if not part:
            raise Failed("a connection was closed instead of answered")
        answer += part
        head, separator, body = answer.partition(b"\r\n\r\n")
        if separator and len(body) >= 200:
            if not head.startswith(b"HTTP/1.1 200 "):
                raise Failed(f"an idle connection's request was answered {head.splitlines()[0]}")
            return connection


# Frame types and flags of RFC 9113 section 6.
_DATA, _HEADERS, _RESET, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


def _frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _request():
    path, host = PATH.encode(), HOST.encode()
    # RFC 7541: GET and http by index, path and authority as literals that are not kept.
    fields = (b"\x82\x86" + bytes([0x04, len(path)]) + path + bytes([0x01, len(host)]) + host)
    return (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0) +
            _frame(_HEADERS, _END_STREAM | _END_HEADERS, 1, fields))


def _http2(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(_request())
    received = b""
    while True:
        while len(received) >= 9 and len(received) >= 9 + int.from_bytes(received[:3], "big"):
            length, kind, flags = int.from_bytes(received[:3], "big"), received[3], received[4]
            received = received[9 + length:]
            if kind == _SETTINGS and not flags & _ACK:
                connection.sendall(_frame(_SETTINGS, _ACK, 0))
            elif kind in (_RESET, _GOAWAY):
                raise Failed(f"an idle connection's request was refused by a frame of type {kind}")
            elif kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                return connection
        part = connection.recv(4096)
        if not part:
            raise Failed("a connection was closed instead of answered")
        received += part


CLIENTS = {"http1": _http1, "http2": _http2, "tls": _tls}
