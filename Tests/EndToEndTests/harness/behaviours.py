"""What the common backends answer, by path."""

import hashlib
import json


def respond(exchange):
    name = exchange.path.strip("/").split("/")
    action = ACTIONS.get(name[0], inspect)
    action(exchange, *name[1:2])


def inspect(exchange, *_):
    """The request as the backend saw it, as JSON."""
    body = exchange.read()
    answer = json.dumps({
        "backend": getattr(exchange.backend, "name", ""), "protocol": exchange.protocol,
        "method": exchange.method, "target": exchange.target, "authority": exchange.authority,
        "headers": list(exchange.headers), "trailers": list(exchange.trailers), "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest()}).encode()
    exchange.respond(200, [("content-type", "application/json"), ("x-backend", exchange.protocol)], answer)


def echo(exchange, *_):
    """The body comes back while it is still coming."""
    exchange.start(200, [("content-type", "application/octet-stream")])
    for piece in exchange.body():
        exchange.write(piece)
    exchange.end()


def status(exchange, code):
    exchange.read()
    exchange.respond(int(code), [("x-status", code)], b"" if code in ("204", "304") else b"status\n")


def send(exchange, size):
    """A body of `size` bytes with its length told."""
    exchange.respond(200, [("content-type", "application/octet-stream")], pattern(int(size)))


def stream(exchange, size):
    """The same without its length."""
    exchange.start(200, [("content-type", "application/octet-stream")])
    data = pattern(int(size))
    for start in range(0, len(data), 50_000):
        exchange.write(data[start:start + 50_000])
    exchange.end()


def trailers(exchange, *_):
    exchange.read()
    exchange.respond(
        200, [("trailer", "x-checksum, x-done")], b"body before trailers",
        trailers=[("x-checksum", "abc"), ("x-done", "yes")])


def hints(exchange, *_):
    exchange.read()
    exchange.interim(103, [("link", "</style.css>; rel=preload")])
    exchange.interim(103, [("link", "</script.js>; rel=preload")])
    exchange.respond(200, [], b"after hints")


def large(exchange, *_):
    exchange.read()
    exchange.respond(200, [(f"x-large-{index}", "v" * 1000) for index in range(30)], b"large")


def early(exchange, *_):
    """Answers before the request body has come, and does not read it."""
    exchange.respond(413, [("x-early", "1")], b"too much")
    exchange.keep_alive = False
    exchange.body_is_read = True


def hang(exchange, *_):
    """Never answers; notes whether the request was given up."""
    exchange.backend.notes.put("started")
    exchange.backend.notes.put("gone" if exchange.wait_gone(20) else "stayed")
    exchange.keep_alive = False


def upload(exchange, *_):
    """Reads the body until its end and notes whether it broke off."""
    exchange.backend.notes.put("started")
    try:
        exchange.read()
        exchange.backend.notes.put("whole")
    except Exception:
        exchange.backend.notes.put("gone")
        raise
    exchange.respond(200, [], b"uploaded")


def cut(exchange, *_):
    """Breaks off in the middle of the response."""
    exchange.start(200, [("content-length", "1000")])
    exchange.write(b"x" * 100)
    exchange.abort()


def pattern(size):
    block = bytes(range(251))
    return (block * (size // len(block) + 1))[:size]


ACTIONS = {
    "echo": echo, "status": status, "send": send, "stream": stream, "trailers": trailers, "hints": hints,
    "large": large, "early": early, "hang": hang, "upload": upload, "cut": cut,
}
