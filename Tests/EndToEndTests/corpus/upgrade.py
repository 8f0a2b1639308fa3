"""RFC 9110, section 7.8, RFC 6455 and RFC 9113, section 3.2: Upgrade in a request."""

from . import HOST, accept, get, head, refuse, seen

H = f"Host: {HOST}"
GET = "GET / HTTP/1.1"
WS = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
ASKED = seen(GET, H, *WS, upgrade=True)


def ask(*lines, line=GET):
    return head(line, H, *lines)


def plain(name, section, *lines, kept=()):
    """The offer is not taken up and not passed on; the request is a request like others."""
    return accept(name, section, ask(*lines), get("/", *kept))


def bad(name, *lines, body=b"", section="9110-7.8"):
    return refuse(name, section, ask(*lines) + body)


CASES = [
    # The backend answers 200: no switch, and the connection goes on with HTTP.
    accept("websocket-not-taken-up", "6455-4.1", ask("Connection: Upgrade", "Upgrade: websocket", *WS), ASKED),
    accept("websocket-other-case", "6455-4.1",
           ask("connection: keep-alive, UPGRADE", "upgrade: WebSocket", *WS), ASKED),
    accept("websocket-then-bytes-are-a-request", "9110-7.8",
           ask("Connection: Upgrade", "Upgrade: websocket", *WS) + ask(line="GET /second HTTP/1.1"),
           ASKED + get("/second"), statuses=(200, 200)),
    refuse("websocket-then-bytes-are-no-request", "9110-7.8",
           ask("Connection: Upgrade", "Upgrade: websocket", *WS) + b"\x81\x05hello", 400, ASKED, statuses=(200,)),
    plain("without-connection", "9110-7.8", "Upgrade: websocket", *WS, kept=WS),
    plain("connection-without-upgrade", "9110-7.8", "Connection: upgrade", *WS, kept=WS),
    plain("other-protocol", "9110-7.8", "Connection: upgrade", "Upgrade: foo/2"),
    plain("tls", "2817-3.1", "Connection: upgrade", "Upgrade: TLS/1.0"),
    plain("empty", "9110-7.8", "Connection: upgrade", "Upgrade:"),
    plain("h2c", "9113-3.2", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
          "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    plain("h2c-without-listing", "9113-3.2", "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    plain("h2c-in-a-list", "9113-3.2", "Connection: Upgrade", "Upgrade: websocket, h2c", *WS, kept=WS),
    plain("h2c-in-two-lines", "9113-3.2", "Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c", *WS, kept=WS),
    plain("h2c-in-other-case", "9113-3.2", "Connection: Upgrade", "Upgrade: H2C", "http2-settings: x"),
    plain("h2-by-name", "9113-3.2", "Connection: Upgrade", "Upgrade: h2"),
    plain("settings-alone", "9113-3.2", "HTTP2-Settings: AAMAAABk"),
    accept("h2c-post", "9113-3.2",
           head("POST / HTTP/1.1", H, "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5") + b"hello",
           seen("POST / HTTP/1.1", H, "Content-Length: 5", body=b"hello")),
    accept("websocket-post", "6455-4.1", head("POST / HTTP/1.1", H, "Connection: Upgrade", "Upgrade: websocket"),
           seen("POST / HTTP/1.1", H)),
    accept("http10", "9110-7.8", head("GET / HTTP/1.0", H, "Connection: Upgrade", "Upgrade: websocket", *WS),
           seen(GET, H, *WS), lives=False),
    bad("websocket-with-length", "Connection: Upgrade", "Upgrade: websocket", *WS, "Content-Length: 5", body=b"hello"),
    bad("websocket-with-chunks", "Connection: Upgrade", "Upgrade: websocket", *WS, "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n"),
    bad("other-with-length", "Connection: Upgrade", "Upgrade: foo", "Content-Length: 37",
        body=b"GET /evil HTTP/1.1\r\nHost: h.test\r\n\r\nx"),
    accept("websocket-with-length-zero", "9110-7.8",
           ask("Connection: Upgrade", "Upgrade: websocket", *WS, "Content-Length: 0"),
           seen(GET, H, *WS, "Content-Length: 0", upgrade=True)),
    bad("connection-lists-host", "Connection: upgrade, host", "Upgrade: websocket", *WS, section="9110-7.6.1"),
]
