"""What a client has sent beyond its share of a worker's turn waits for the next ones, and is read all the same
(`max-turn-microseconds`). Here no turn has time for more than one thing."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.backends import H1Backend
from harness.certificates import Certificate
from harness.clients import H1Call, H1Client, H2Client
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service
from harness.process import SluiceProcess
from harness.waiting import wait_until

HOST = "turns.sluice.test"


class Hurried:
    def __init__(self, sluice):
        self.sluice = sluice
        self.certificate = Certificate([HOST])
        self.backend = H1Backend(self.answer, sluice.address)
        sluice.apply(
            self.certificate.secret("edge-tls"), gateway("edge", [http_listener(), https_listener("edge-tls")]),
            *service("web", [(sluice.address, self.backend.port)]), http_route("web", [HOST], [forward("web")]))
        sluice.wait_programmed("Gateway", "edge")
        sluice.settle()

    @staticmethod
    def answer(exchange):
        """The path and the body; what does not ask for the body is answered before it has come."""
        if exchange.path.startswith("/early"):
            exchange.respond(418, [], b"early")
            exchange.read()
        else:
            exchange.respond(200, [], exchange.path.encode() + b" " + exchange.read())

    def client(self, kind, is_tls):
        name = HOST if is_tls else None
        return kind(self.sluice.address, self.sluice.port(443 if is_tls else 80), name, self.certificate.chain)

    def waits(self):
        return self.sluice.admin.metrics()['sluice_limit_hits_total{limit="max-turn-microseconds"}']


@pytest.fixture(scope="module")
def hurried():
    with SluiceProcess(["--limit", "max-turn-microseconds=1"], workers=1) as sluice:
        made = Hurried(sluice)
        yield made
        made.backend.close()


@pytest.fixture
def waited(hurried):
    """Something had to wait in the test."""
    before = hurried.waits()
    yield
    wait_until(lambda: hurried.waits() > before, "something that has to wait for its turn")


@pytest.mark.parametrize(
    "is_tls, ends", [(False, False), (False, True), (True, False)], ids=["clear", "half-closed", "tls"])
def test_pipelined_requests(hurried, waited, is_tls, ends):
    """Some with bodies; all are answered in order, though the client's end came with them."""
    count = 200
    text = "".join(
        f"POST /{number} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "1\r\nx\r\n" * (number % 40) + "0\r\n\r\n" for number in range(count))
    with hurried.client(H1Client, is_tls) as client:
        client.send_raw(text.encode())
        if ends:
            client.connection.shutdown(socket.SHUT_WR)
        for number in range(count):
            answer = H1Call(client, "POST", False).response()
            assert (answer.status, answer.body) == (200, b"/%d " % number + b"x" * (number % 40))
        if ends:
            assert client.is_closed()


@pytest.mark.parametrize("is_tls", [False, True], ids=["clear", "tls"])
def test_a_body_in_small_chunks(hurried, waited, is_tls):
    pieces = [b"%d " % number for number in range(5000)]
    with hurried.client(H1Client, is_tls) as client:
        for _ in range(2):
            head = f"POST /chunks HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            client.send_raw(head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
            answer = H1Call(client, "POST", False).response()
            assert (answer.status, answer.body) == (200, b"/chunks " + b"".join(pieces))


@pytest.mark.parametrize("is_tls", [False, True], ids=["clear", "tls"])
def test_requests_and_small_data_over_http2(hurried, waited, is_tls):
    """A hundred requests, each with three frames of DATA, in one write."""
    with hurried.client(H2Client, is_tls) as client:
        client.request("GET", "/first", HOST)
        calls, written = [], []
        flush, client.flush = client.flush, lambda: written.append(client.state.data_to_send())
        for number in range(100):
            call = client.open("POST", f"/{number}", HOST, end=False)
            for piece in (b"a", b"b", b""):
                client.state.send_data(call.stream, piece, end_stream=not piece)
            client.flush()
            calls.append(call)
        client.flush = flush
        client.connection.sendall(b"".join(written))
        for number, call in enumerate(calls):
            answer = call.response()
            assert (answer.status, answer.body) == (200, b"/%d ab" % number)


def test_handshakes_at_once(hurried, waited):
    def ask(number):
        with hurried.client(H2Client if number % 2 else H1Client, is_tls=True) as client:
            return client.request("GET", f"/{number}", HOST).body

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(64))) == [b"/%d " % number for number in range(64)]


def test_an_answer_before_the_request_is_whole(hurried):
    """Its connection ends, as it says, or goes on with the next request: nothing is mixed up."""
    for number in range(20):
        with hurried.client(H1Client, is_tls=False) as client:
            client.send_raw(
                f"POST /early HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                + b"1\r\nx\r\n" * 500 + b"0\r\n\r\n"
                + f"GET /{number} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            first = H1Call(client, "POST", False).response()
            assert (first.status, first.body) == (418, b"early")
            if first.header("connection") == "close":
                assert client.is_closed()
            else:
                assert H1Call(client, "GET", False).response().body == b"/%d " % number
