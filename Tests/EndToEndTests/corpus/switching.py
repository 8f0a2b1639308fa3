"""RFC 9110, sections 7.8 and 15.2.2: a backend that switches protocols. Nothing that it says after a switch that was
not asked for reaches a client."""

from . import HOST, MALFORMED, REFUSED_UPGRADE, head, passes, spoils

H = f"Host: {HOST}"
WS = head("GET /case HTTP/1.1", H, "Connection: Upgrade", "Upgrade: websocket",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
H2C = head("GET /case HTTP/1.1", H, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
LENGTH = "Content-Length: 5"


def switch(*lines, behind=b""):
    return head("HTTP/1.1 101 Switching Protocols", *lines) + behind


def unasked(name, *lines, client=REFUSED_UPGRADE, behind=b"", section="9110-15.2.2", **more):
    return spoils(name, section, switch(*lines, behind=behind), client, **more)


TO_WS = ("Upgrade: websocket", "Connection: Upgrade")

CASES = [
    unasked("unasked", *TO_WS),
    unasked("unasked-with-bytes-behind", *TO_WS, behind=b"\x81\x05hello"),
    unasked("unasked-with-a-response-behind", *TO_WS, behind=head("HTTP/1.1 200 OK", LENGTH) + b"hello"),
    unasked("unasked-h2c", "Upgrade: h2c", "Connection: Upgrade", client=MALFORMED),
    unasked("unasked-for-h2c-asked", "Upgrade: h2c", "Connection: Upgrade", client=MALFORMED, request=H2C,
            section="9113-3.2"),
    unasked("unasked-other", "Upgrade: TLS/1.3", "Connection: Upgrade"),
    unasked("other-than-asked", "Upgrade: h2c", "Connection: Upgrade", client=MALFORMED, request=WS),
    unasked("other-than-asked-foo", "Upgrade: foo", "Connection: Upgrade", request=WS),
    unasked("more-than-asked", "Upgrade: websocket, foo", "Connection: Upgrade", request=WS),
    unasked("without-upgrade", "Connection: Upgrade", client=MALFORMED, request=WS),
    unasked("without-connection", "Upgrade: websocket", client=MALFORMED, request=WS),
    unasked("without-both", client=MALFORMED, request=WS),
    unasked("with-chunks", *TO_WS, "Transfer-Encoding: chunked", client=MALFORMED, request=WS),
    passes("refused-426", "9110-15.5.22", head("HTTP/1.1 426 Upgrade Required", LENGTH) + b"hello", request=WS),
    passes("refused-200", "9110-7.8", head("HTTP/1.1 200 OK", *TO_WS, LENGTH) + b"hello",
           head("HTTP/1.1 200 OK", LENGTH) + b"hello", request=WS),
]
