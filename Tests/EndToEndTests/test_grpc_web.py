"""gRPC-Web to gRPC, where the listener has the option: what the client sees byte for byte, and what the backend."""

import base64
import json

import pytest

from harness.backends import H2Backend
from harness.clients import Broken, H1Client, H2Client
from harness.interop import (
    SERVICE, InteropBackend, echo_status, frame, frames, output_request, payload_size, simple_request)
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service
from harness.waiting import wait_until

HOST, SEEN_HOST, DEAD_HOST = "web-grpc.sluice.test", "web-seen.sluice.test", "web-dead.sluice.test"
BINARY, TEXT = "application/grpc-web", "application/grpc-web-text"


def seen(exchange):
    """A gRPC backend that shows what it got, and does what the path says."""
    if exchange.path == "/s/html":
        return exchange.respond(503, [("content-type", "text/html")], b"<p>no")
    body = exchange.read()
    kind = exchange.header("content-type")
    if exchange.path == "/s/none":
        exchange.start(200, [("content-type", kind)])
        return exchange.end()
    answer = json.dumps({
        "content-type": kind, "te": exchange.header("te"), "length": exchange.header("content-length"),
        "x-grpc-web": exchange.header("x-grpc-web"), "timeout": exchange.header("grpc-timeout"),
        "protocol": exchange.protocol, "body": body.hex()}).encode()
    exchange.start(200, [("content-type", kind or "text/plain"), ("x-head", "h")])
    whole = frame(answer)
    if exchange.path == "/s/cut":
        exchange.write(whole[:-3])
        exchange.abort()
    if exchange.path == "/s/lost":
        exchange.write(whole)
        exchange.abort()
    for position in range(0, len(whole), 7):
        exchange.write(whole[position:position + 7])
    exchange.end([("grpc-status", "0"), ("x-trailing-bin", "AAE="), ("x-trailing", "t")])


@pytest.fixture(scope="module")
def web(edge):
    """The edge with another Gateway, whose listeners have the option."""
    with InteropBackend(edge.address) as backend, H2Backend(seen, edge.address) as shower:
        made = gateway("web", [http_listener(port=81), https_listener("edge-tls", port=8443)])
        made["metadata"]["annotations"] = {"sluice.dev/grpc-web": "true"}
        objects = [made]
        hosts = (("web", HOST, backend.port), ("web-seen", SEEN_HOST, shower.port), ("web-dead", DEAD_HOST, 9))
        for name, host, port in hosts:
            objects += service(name, [(edge.address, port)], app_protocol="kubernetes.io/h2c")
            route = http_route(name, [host], [forward(name)], gateway_name="web")
            route["spec"]["parentRefs"].append({"name": "edge"})
            objects.append(route)
        edge.sluice.apply(*objects)
        edge.sluice.wait_programmed("Gateway", "web")
        edge.sluice.settle()
        wait_until(lambda: edge.sluice.plain_status("nobody.test", port=81) == 404)
        yield edge
        edge.sluice.delete(*objects)


@pytest.fixture(params=["h1", "h1-tls", "h2c", "h2-tls"])
def client(web, request):
    kind = request.param
    make = H1Client if kind.startswith("h1") else H2Client
    if kind.endswith("-tls"):
        made = make(web.address, web.sluice.port(8443), "x.sluice.test", web.certificate.chain)
    else:
        made = make(web.address, web.sluice.port(81))
    with made:
        yield made


@pytest.fixture(params=[BINARY, TEXT])
def kind(request):
    return request.param


def untext(text):
    """Base64 with padding anywhere."""
    assert len(text) % 4 == 0, text
    out, start = [], 0
    while start < len(text):
        padding = text.find(b"=", start)
        end = len(text) if padding < 0 else padding // 4 * 4 + 4
        out.append(base64.b64decode(text[start:end], validate=True))
        start = end
    return b"".join(out)


def split(response, kind):
    """(messages, trailers) of a body."""
    body = untext(response.body) if kind.startswith(TEXT) else response.body
    found = frames(body)
    assert response.status == 200 and response.header("content-type").startswith(kind), response
    assert found and found[-1][0] == 0x80 and all(flags == 0 for flags, _ in found[:-1]), response
    assert not response.trailers and response.header("grpc-status") is None, response
    lines = found[-1][1].decode().split("\r\n")
    assert lines.pop() == ""
    return [message for _, message in found[:-1]], dict(line.split(": ", 1) for line in lines)


def call(client, kind, method, *messages, host=HOST, headers=(), path=None, chunked=False, size=None):
    pieces = [frame(message) for message in messages]
    if kind.startswith(TEXT):
        pieces = [base64.b64encode(piece) for piece in pieces]
    body = b"".join(pieces)
    headers = [("content-type", kind), ("x-grpc-web", "1"), *headers]
    target = path or f"/{SERVICE}/{method}"
    if chunked:
        size = size or max(1, len(body) // 3)
        chunks = [body[start:start + size] for start in range(0, len(body), size)]
        return client.request("POST", target, host, headers, chunks=chunks)
    return client.request("POST", target, host, headers, body=body)


def test_unary(client, kind):
    response = call(client, kind, "UnaryCall", simple_request(314159, 271828))
    [message], trailers = split(response, kind)
    assert payload_size(message) == 314159 and trailers["grpc-status"] == "0"
    # The connection goes on.
    messages, _ = split(call(client, kind, "Echo", b""), kind)
    assert messages == [b""]


def test_server_streaming(client, kind):
    sizes = [0, 1, 2, 3, 4, 31415, 9, 65536, 100]
    messages, trailers = split(call(client, kind, "StreamingOutputCall", output_request(sizes)), kind)
    assert [payload_size(message) for message in messages] == sizes and trailers["grpc-status"] == "0"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_client_streaming_in_pieces(client, kind, size):
    """Padding in the middle of the text, and pieces that end anywhere."""
    sent = [b"%d" % number * (number % 5) for number in range(100)]
    response = call(client, kind, "Each", *sent, chunked=True, size=size)
    assert split(response, kind)[0] == sent


def test_messages_come_as_they_are_made(client, kind):
    """A message's last byte does not wait for the next message."""
    one = client.open("POST", f"/{SERVICE}/Each", HOST, [("content-type", kind)], end=False, chunked=True)
    text = kind.startswith(TEXT)
    body = None
    for message in (b"a", b"bb", b"ccc"):
        whole = frame(message)
        one.send(base64.b64encode(whole) if text else whole)
        body = body or one.body()
        if one.result.status is None:
            one.head()
        got = b""
        while len(untext(got) if text and len(got) % 4 == 0 else got) < len(whole) or text and len(got) % 4:
            got += next(body)
        assert (untext(got) if text else got) == whole
    one.finish()
    rest = b"".join(body)
    assert frames(untext(rest) if text else rest)[0][0] == 0x80


def test_what_the_backend_gets(client, kind):
    for suffix, wanted in (("", ""), ("+proto", "+proto"), ("+json; charset=utf-8", "+json")):
        response = call(
            client, kind + suffix, "", b"hello", host=SEEN_HOST, path="/s/m", headers=[("grpc-timeout", "9S")])
        [message], trailers = split(response, kind)
        assert response.header("content-type") == kind + wanted and response.header("x-head") == "h"
        got = json.loads(message)
        assert got["content-type"] == "application/grpc" + wanted and got["te"] == "trailers"
        assert (got["x-grpc-web"], got["timeout"], got["protocol"]) == ("1", "9S", "h2")
        assert bytes.fromhex(got["body"]) == frame(b"hello")
        assert got["length"] == (None if kind == TEXT else str(len(frame(b"hello"))))
        assert trailers == {"grpc-status": "0", "x-trailing-bin": "AAE=", "x-trailing": "t"}


def test_accept_decides_what_the_answer_is(client):
    for sent, wanted in ((BINARY, TEXT), (TEXT, BINARY)):
        response = call(client, sent, "Echo", b"x", headers=[("accept", wanted)])
        assert split(response, wanted)[0] == [b"x"] and response.header("content-type") == wanted


def test_trailers_only_answers(client, kind):
    response = call(client, kind, "UnaryCall", simple_request(status=echo_status(5, "100% \u00fc")))
    messages, trailers = split(response, kind)
    assert messages == [] and trailers["grpc-status"] == "5" and trailers["grpc-message"] == "100%25 %C3%BC"


def test_unimplemented(client, kind):
    assert split(call(client, kind, "None"), kind)[1]["grpc-status"] == "12"


@pytest.mark.parametrize("host, status", [(DEAD_HOST, "14"), ("x.sluice.test", "12")], ids=["dead", "unknown"])
def test_answers_of_the_proxy(client, kind, host, status):
    messages, trailers = split(call(client, kind, "Echo", b"x", host=host), kind)
    assert messages == [] and trailers["grpc-status"] == status and trailers["grpc-message"]


@pytest.mark.parametrize("body", [b"AAAA*AAA", b"AAAAA", b"AAAAAQ=", b"AA=A"])
def test_text_that_is_none(client, body):
    response = client.request("POST", f"/{SERVICE}/Echo", HOST, [("content-type", TEXT)], body=body)
    assert split(response, TEXT)[1] == {"grpc-status": "13", "grpc-message": "the request body is not base64"}


def test_backend_that_is_no_grpc(client, kind):
    response = call(client, kind, "", b"x", host=SEEN_HOST, path="/s/html")
    assert (response.status, response.header("content-type"), response.body) == (503, "text/html", b"<p>no")


def test_backend_without_a_status(client, kind):
    """It has failed."""
    assert split(call(client, kind, "", b"x", host=SEEN_HOST, path="/s/none"), kind)[1]["grpc-status"] == "2"


def test_backend_that_breaks_off(client, kind):
    messages, trailers = split(call(client, kind, "", b"x", host=SEEN_HOST, path="/s/lost"), kind)
    assert len(messages) == 1 and trailers["grpc-status"] == "14"
    # Within a message there is no place for a status.
    with pytest.raises(Broken):
        call(client, kind, "", b"x", host=SEEN_HOST, path="/s/cut")


def test_large_messages(client, kind):
    message = bytes(range(256)) * 4096 * 4
    response = call(client, kind, "Echo", message, chunked=True, size=100_001)
    assert split(response, kind)[0] == [message]


def test_http_10(web, kind):
    with H1Client(web.address, web.sluice.port(81)) as client:
        body = frame(b"x") if kind == BINARY else base64.b64encode(frame(b"x"))
        client.send_raw(
            f"POST /{SERVICE}/Echo HTTP/1.0\r\nHost: {HOST}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head, _, got = client.reader.read().partition(b"\r\n\r\n")
        assert b"chunked" not in head
        got = untext(got) if kind == TEXT else got
        assert frames(got)[0] == (0, b"x") and frames(got)[1][0] == 0x80


def test_other_requests_are_left_alone(web, client):
    """gRPC itself, other types, other methods."""
    if client.protocol == "h2":
        own = [("content-type", "application/grpc")]
        response = client.request("POST", f"/{SERVICE}/Echo", HOST, own, body=frame(b"x"))
        assert frames(response.body) == [(0, b"x")] and response.trailer("grpc-status") == "0"
    for method, kind in (("OPTIONS", None), ("PUT", BINARY), ("POST", "application/json")):
        response = client.request(
            method, "/s/m", SEEN_HOST, [("content-type", kind)] if kind else [], body=b"{}" if kind else None)
        assert response.header("content-type") == (kind or "text/plain")
        assert json.loads(frames(response.body)[0][1])["te"] is None


def test_without_the_option(web, kind):
    """The request and its answer pass as they are, trailers as trailers."""
    with H2Client(web.address, web.sluice.port(80)) as client:
        response = call(client, kind, "", b"x", host=SEEN_HOST, path="/s/m")
        got = json.loads(frames(response.body)[0][1])
        assert got["content-type"] == kind and got["te"] is None and response.trailer("grpc-status") == "0"
        sent = frame(b"x")
        assert bytes.fromhex(got["body"]) == (sent if kind == BINARY else base64.b64encode(sent))


def test_they_are_counted(web):
    before = web.sluice.admin.metric("sluice_grpc_web_requests_total")
    with H1Client(web.address, web.sluice.port(81)) as client:
        call(client, BINARY, "Echo", b"x")
    assert web.sluice.admin.metric("sluice_grpc_web_requests_total") == before + 1
