"""Every pair of protocols (client HTTP/1.1, HTTP/2 with prior knowledge, both over TLS; backend HTTP/1.1, h2c)
carries the same requests."""

import hashlib
import json
import threading

import pytest

from harness.behaviours import pattern
from harness.clients import Broken

CLIENTS = ["h1", "h1-tls", "h2c", "h2-tls"]
BACKENDS = ["h1", "h2c"]
MEBIBYTE = 1 << 20


class Pair:
    def __init__(self, edge, client_kind, backend_kind):
        self.edge = edge
        self.kind = client_kind
        self.backend_kind = backend_kind
        self.host = f"{backend_kind}.sluice.test"
        self.backend = edge.h1 if backend_kind == "h1" else edge.h2c
        self.client = edge.client(client_kind, self.host)

    def request(self, method, target, *arguments, **more):
        return self.client.request(method, target, self.host, *arguments, **more)

    def open(self, method, target, *arguments, **more):
        return self.client.open(method, target, self.host, *arguments, **more)

    def note(self):
        return self.backend.notes.get(timeout=20)


@pytest.fixture(params=[(c, b) for c in CLIENTS for b in BACKENDS], ids=lambda pair: f"{pair[0]}-to-{pair[1]}")
def pair(edge, request):
    made = Pair(edge, *request.param)
    while not made.backend.notes.empty():
        made.backend.notes.get()
    yield made
    made.client.close()
    # Whatever happened on this connection, others are still served.
    with edge.client(made.kind, made.host) as other:
        assert other.request("GET", "/inspect", made.host).status == 200


def test_get(pair):
    response = pair.request("GET", "/inspect")
    seen = json.loads(response.body)
    assert response.status == 200
    assert response.header("content-type") == "application/json"
    assert response.header("x-backend") == {"h1": "http/1.1", "h2c": "h2"}[pair.backend_kind]
    assert (seen["method"], seen["target"], seen["authority"]) == ("GET", "/inspect", pair.host)
    assert seen["length"] == 0
    names = [name for name, _ in seen["headers"]]
    assert "transfer-encoding" not in names and "content-length" not in names


def test_head(pair):
    response = pair.request("HEAD", "/send/5000")
    assert response.status == 200
    assert response.header("content-length") == "5000"
    assert response.body == b""
    # Nothing of a body is left over on the connection.
    assert pair.request("GET", "/inspect").status == 200


def test_query_string_goes_through_untouched(pair):
    target = "/inspect?a=1&b=%2Fx%20y&c=&d&e=a+b&q=%C3%A9&f=a/b?c"
    assert json.loads(pair.request("GET", target).body)["target"] == target


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_body_with_length(pair, method):
    body = pattern(10_000)
    seen = json.loads(pair.request(method, "/inspect", body=body).body)
    assert (seen["method"], seen["length"]) == (method, 10_000)
    assert seen["sha256"] == hashlib.sha256(body).hexdigest()
    assert ["content-length", "10000"] in seen["headers"]


def test_body_without_length(pair):
    pieces = [pattern(100), pattern(30_000), b"x", pattern(7)]
    seen = json.loads(pair.request("POST", "/inspect", chunks=pieces).body)
    assert seen["length"] == 30_108
    assert seen["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert not any(name == "content-length" for name, _ in seen["headers"])


def test_empty_body_with_length(pair):
    seen = json.loads(pair.request("POST", "/inspect", body=b"").body)
    assert seen["length"] == 0
    assert ["content-length", "0"] in seen["headers"]


def test_empty_body_without_length(pair):
    seen = json.loads(pair.request("POST", "/inspect", chunks=[]).body)
    assert seen["length"] == 0


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body(pair, status):
    response = pair.request("GET", f"/status/{status}")
    assert (response.status, response.body) == (status, b"")
    assert response.header("x-status") == str(status)
    assert response.header("transfer-encoding") is None
    assert response.header("content-length") in (None, "0") if status == 304 else True
    # The connection is in step.
    assert pair.request("GET", "/inspect").status == 200


@pytest.mark.parametrize("status", [200, 201, 400, 404, 429, 500, 503, 599])
def test_status_goes_through(pair, status):
    response = pair.request("GET", f"/status/{status}")
    assert (response.status, response.body) == (status, b"status\n")


def test_empty_response(pair):
    response = pair.request("GET", "/send/0")
    assert (response.status, response.body) == (200, b"")
    assert pair.request("GET", "/inspect").status == 200


@pytest.mark.parametrize("action", ["send", "stream"])
def test_response_of_a_mebibyte(pair, action):
    response = pair.request("GET", f"/{action}/{MEBIBYTE}")
    assert response.status == 200
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(pattern(MEBIBYTE)).digest()
    assert response.header("content-length") == (str(MEBIBYTE) if action == "send" else None)


def test_request_of_a_mebibyte(pair):
    body = pattern(MEBIBYTE)
    seen = json.loads(pair.request("POST", "/inspect", body=body).body)
    assert seen["sha256"] == hashlib.sha256(body).hexdigest()


def test_both_ways_at_once(pair):
    """The response begins before the request has ended."""
    call = pair.open("POST", "/echo", end=False, chunked=True)
    call.send(b"first")
    assert call.head().status == 200
    received = call.body()
    assert next(received) == b"first"
    for number in range(20):
        piece = b"piece %d" % number
        call.send(piece)
        assert next(received) == piece
    call.finish()
    assert b"".join(received) == b""


def test_response_trailers(pair):
    response = pair.request("GET", "/trailers", [("te", "trailers")])
    assert response.body == b"body before trailers"
    assert dict(response.trailers) == {"x-checksum": "abc", "x-done": "yes"}
    assert pair.request("GET", "/inspect").status == 200


def test_request_trailers(pair):
    response = pair.request(
        "POST", "/inspect", chunks=[b"some body"], trailers=[("x-sum", "123"), ("x-more", "yes")])
    seen = json.loads(response.body)
    assert seen["length"] == 9
    assert seen["trailers"] == [["x-sum", "123"], ["x-more", "yes"]]


def test_early_hints(pair):
    response = pair.request("GET", "/hints")
    assert [status for status, _ in response.interims] == [103, 103]
    assert dict(response.interims[0][1])["link"] == "</style.css>; rel=preload"
    assert (response.status, response.body) == (200, b"after hints")


def test_expect_continue(pair):
    """Whoever waits for 100 before the body gets it, from the backend or from the proxy."""
    call = pair.open(
        "POST", "/inspect", [("expect", "100-continue"), ("content-length", "5")], end=False)
    assert call.interim()[0] == 100
    call.send(b"hello")
    call.finish()
    seen = json.loads(call.response().body)
    assert seen["length"] == 5


def test_large_request_headers(pair):
    headers = [(f"x-large-{index}", "v" * 1000) for index in range(40)]
    seen = json.loads(pair.request("GET", "/inspect", headers).body)
    assert len([1 for name, value in seen["headers"] if name.startswith("x-large-") and len(value) == 1000]) == 40


def test_large_response_headers(pair):
    response = pair.request("GET", "/large")
    assert response.body == b"large"
    large = [value for name, value in response.headers if name.startswith("x-large-")]
    assert large == ["v" * 1000] * 30


def test_repeated_and_odd_header_fields(pair):
    headers = [("accept", "a"), ("accept", "b"), ("x_under_score", "1"), ("x-empty", ""), ("x-latin", "caf\xe9")]
    seen = json.loads(pair.request("GET", "/inspect", headers).body)["headers"]
    assert [value for name, value in seen if name == "accept"] == ["a", "b"]
    assert ["x_under_score", "1"] in seen
    assert ["x-empty", ""] in seen
    assert ["x-latin", "caf\xe9"] in seen


def test_cookies(pair):
    """HTTP/2 may cut them in crumbs; HTTP/1.1 must see one field (RFC 9113 section 8.2.3)."""
    headers = [("cookie", "a=1; b=2; c=3")]
    if pair.kind.startswith("h2"):
        headers = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]
    seen = json.loads(pair.request("GET", "/inspect", headers).body)["headers"]
    cookies = [value for name, value in seen if name == "cookie"]
    assert "; ".join(cookies) == "a=1; b=2; c=3"
    if pair.backend_kind == "h1":
        assert len(cookies) == 1


def test_forwarded_headers(pair):
    spoofed = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "ftp"), ("x-forwarded-host", "evil.test")]
    seen = json.loads(pair.request("GET", "/inspect", spoofed).body)["headers"]
    names = {}
    for name, value in seen:
        names.setdefault(name, []).append(value)
    assert names["x-forwarded-proto"] == ["https" if pair.kind.endswith("tls") else "http"]
    assert names["x-forwarded-host"] == [pair.host]
    assert len(names["x-forwarded-for"]) == 1 and "6.6.6.6" not in names["x-forwarded-for"][0]
    assert names["x-forwarded-for"][0].startswith("127.")
    assert names["x-request-id"][0]


def test_hop_by_hop_fields_stay_behind(pair):
    headers = [("te", "trailers")]
    if pair.kind.startswith("h1"):
        headers = [("connection", "keep-alive, x-private"), ("x-private", "1"), ("keep-alive", "timeout=5"),
                   ("te", "trailers, deflate"), ("proxy-connection", "keep-alive")]
    seen = json.loads(pair.request("GET", "/inspect", headers).body)["headers"]
    names = {name for name, _ in seen}
    assert not names & {"x-private", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
    assert [value for name, value in seen if name == "te"] in ([], ["trailers"])


def test_early_response(pair):
    """The backend answers and does not read the body."""
    call = pair.open("POST", "/early", [("content-length", str(8 * MEBIBYTE))], end=False)
    try:
        for _ in range(128):
            call.send(pattern(65_536))
    except (Broken, OSError):
        pass
    response = call.response()
    assert (response.status, response.body) == (413, b"too much")


def test_client_goes_while_it_waits(pair):
    call = pair.open("GET", "/hang")
    assert pair.note() == "started"
    call.abort()
    assert pair.note() == "gone"


def test_client_goes_in_the_middle_of_its_body(pair):
    call = pair.open("POST", "/upload", [("content-length", "100000")], end=False)
    call.send(b"x" * 1000)
    assert pair.note() == "started"
    call.abort()
    assert pair.note() == "gone"


def test_backend_breaks_off(pair):
    """Half a response must not look like a whole one."""
    with pytest.raises((Broken, OSError)) as broken:
        pair.request("GET", "/cut")
    if isinstance(broken.value, Broken) and broken.value.response.status is not None:
        assert broken.value.response.status in (200, 502)
        assert len(broken.value.response.body) <= 100


def test_many_requests_on_one_connection(pair):
    for number in range(100):
        seen = json.loads(pair.request("POST", f"/inspect/{number}", body=b"y" * number).body)
        assert (seen["target"], seen["length"]) == (f"/inspect/{number}", number)


def test_requests_at_once(pair):
    """Several clients at once, each with bodies both ways."""
    failures = []

    def work(number):
        try:
            with pair.edge.client(pair.kind, pair.host) as client:
                for round_number in range(5):
                    body = bytes([number]) * (1000 * round_number + 1)
                    answer = client.request("POST", "/echo", pair.host, body=body)
                    assert answer.body == body
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_streams_of_one_connection_do_not_wait_for_each_other(pair):
    if pair.kind.startswith("h1"):
        pytest.skip("HTTP/1.1 has one exchange at a time")
    slow = pair.open("POST", "/echo", end=False)
    slow.send(b"a")
    assert slow.head().status == 200
    calls = [pair.open("GET", f"/inspect/{number}") for number in range(50)]
    for number, call in enumerate(calls):
        assert json.loads(call.response().body)["target"] == f"/inspect/{number}"
    slow.finish()
    assert slow.response().body == b"a"


def test_pipelined_requests(pair):
    if pair.kind.startswith("h2"):
        pytest.skip("HTTP/2 has no pipelining")
    text = "".join(
        f"POST /inspect/{number} HTTP/1.1\r\nHost: {pair.host}\r\nContent-Length: 3\r\n\r\nabc" for number in range(20))
    pair.client.send_raw(text.encode())
    from harness.clients import H1Call
    for number in range(20):
        seen = json.loads(H1Call(pair.client, "POST", False).response().body)
        assert (seen["target"], seen["length"]) == (f"/inspect/{number}", 3)
