"""The corpus of raw bytes (`corpus/`) against the real program."""

import importlib
import pkgutil
import ssl
import time

import pytest

import corpus
from corpus import HOST, RequestCase, ResponseCase, get, head, normalized, path_policy
from harness.certificates import Certificate
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service
from harness.process import SluiceProcess, documents
from harness.raw import CLOSE, PAUSE, RawBackend, RawClient, wait_dropped

TABLES = [importlib.import_module(f"corpus.{module.name}") for module in pkgutil.iter_modules(corpus.__path__)]
CASES = [(f"{table.__name__.split('.')[1]}-{case.name}", case) for table in TABLES for case in table.CASES]


def parameters(kind):
    chosen = [(name, case) for name, case in CASES if isinstance(case, kind)]
    assert len({name for name, _ in chosen}) == len(chosen), "two cases of one name"
    return pytest.mark.parametrize("case", [case for _, case in chosen], ids=[name for name, _ in chosen])


class Bench:
    """One worker between one client and one backend, which gets every host and every path."""

    def __init__(self):
        self.certificate = Certificate([HOST])
        self.sluice = SluiceProcess(workers=1).start()
        self.backend = RawBackend(self.sluice.address)
        policies = {"reject": path_policy.REJECT, "decode": path_policy.DECODE, "merge": path_policy.MERGE,
                    "both": path_policy.BOTH}
        edge = gateway("edge", [
            http_listener(), https_listener("corpus-tls"),
            *(http_listener(name, hostname=host) for name, host in policies.items())])
        edge["metadata"]["annotations"] = {
            "sluice.dev/escaped-slashes": "reject=reject, decode=decode, both=decode",
            "sluice.dev/merge-slashes": "false, merge=true, both=true"}
        self.sluice.apply(
            self.certificate.secret("corpus-tls"), edge, *service("raw", [(self.sluice.address, self.backend.port)]),
            http_route("raw", [], [forward("raw")]))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    def client(self):
        return RawClient(self.sluice.address, self.sluice.port(80))

    def tls_client(self):
        context = ssl.create_default_context(cadata=self.certificate.chain)
        made = RawClient(self.sluice.address, self.sluice.port(443))
        made.sock = context.wrap_socket(made.sock, server_hostname=HOST, suppress_ragged_eofs=False)
        return made

    def ask(self, client, target):
        """A request that gets its own answer and nothing else."""
        client.send(head(f"GET {target} HTTP/1.1", f"Host: {HOST}"))
        status, _, body = client.response()
        assert (status, body) == (200, f"GET {target}".encode())
        assert client.buffer == b""

    def begin(self, answer=()):
        # A backend connection is at hand, so that what is passed on goes out at once.
        with self.client() as client:
            self.ask(client, "/before")
        self.backend.begin(answer)

    def recorded(self, client):
        return normalized(self.backend.recorded(), client.sock.getsockname()[0])

    def close(self):
        self.sluice.close()
        self.backend.close()


@pytest.fixture(scope="session")
def bench():
    made = Bench()
    yield made
    made.close()


@parameters(RequestCase)
def test_request(bench, case):
    bench.begin()
    wanted = case.backend
    with bench.client() as client:
        statuses = []
        last = b""

        def read_answer():
            nonlocal last
            response = client.response(case.is_head and len(statuses) == len(case.statuses) - 1)
            assert response is not None, f"the connection ended after {statuses}"
            statuses.append(response[0])
            last = response[1] + b"\r\n\r\n" + response[2]

        for number, data in enumerate(case.writes):
            if number > 0 and case.waits and not statuses:
                read_answer()
            elif number > 0:
                time.sleep(0.002)
            client.send(data)
        while len(statuses) < len(case.statuses):
            read_answer()
        assert tuple(statuses) == case.statuses, last
        assert case.contains in last
        if case.lives:
            bench.ask(client, "/alive")
            wanted += get("/alive")
        else:
            assert client.rest() == b""
            assert (b"\r\nconnection: close\r\n" in last) == case.says_close
        assert not client.was_reset
        with bench.client() as other:
            bench.ask(other, "/next")
        assert bench.recorded(client) == wanted + get("/next")


@parameters(ResponseCase)
def test_response(bench, case):
    bench.begin(case.answer)
    with bench.client() as client:
        client.send(case.request)
        goes_on = case.lives or PAUSE in case.answer
        data = client.take(len(case.client)) if goes_on else client.rest()
        assert data == case.client
        if PAUSE in case.answer:
            bench.backend.proceed()
        if case.dropped:
            wait_dropped(bench.backend)
        if case.lives:
            bench.ask(client, "/alive")
        else:
            assert client.rest() == b""
        assert client.was_reset == case.is_reset
        with bench.client() as other:
            bench.ask(other, "/next")
        assert bench.backend.is_dropped() == case.dropped


def test_header_rules_cannot_split(bench):
    """Response splitting by whoever writes routes: a value with a line end in it never becomes a line (RFC 9110
    section 5.5), on the way to the backend or back."""
    hosts = []
    for kind in ("requestHeaderModifier", "responseHeaderModifier"):
        for number, value in enumerate(["a\r\nevil: 1", "a\nevil: 1", "a\r\n\r\nevil: 1", "a\0evil: 1"]):
            name = f"split-{kind[:3]}-{number}"
            hosts.append(f"{name}.test")
            modifier = {"type": kind[0].upper() + kind[1:], kind: {"set": [{"name": "x-rule", "value": value}]}}
            route = http_route(name, hosts[-1:], [forward("raw", filters=[modifier])])
            bench.sluice.cli("apply", "-f", "-", stdin=documents([route]))
    bench.sluice.settle()
    bench.begin()
    for host in hosts:
        with bench.client() as client:
            client.send(head("GET / HTTP/1.1", f"Host: {host}"))
            _, lines, body = client.response()
            assert b"evil" not in lines + body + client.buffer
            assert b"evil" not in bench.recorded(client)


@pytest.mark.parametrize("scheme, status", [("https", 200), ("HTTPS", 200), ("http", 421), ("HTTP", 421)])
def test_scheme_of_the_target_over_tls(bench, scheme, status):
    """RFC 9110 section 7.4: a target of another scheme than the connection's is not for this connection."""
    bench.begin()
    with bench.tls_client() as client:
        client.send(head(f"GET {scheme}://{HOST}/x HTTP/1.1", f"Host: {HOST}"))
        assert client.response()[0] == status
        if status == 421:
            assert client.rest() == b""
            assert bench.recorded(client) == b""
        else:
            bench.ask(client, "/alive")
            assert b"x-forwarded-proto: https\r\n" in bench.recorded(client)


def test_broken_off_body_is_no_end_over_tls(bench):
    """RFC 9112 section 9.8: without close_notify nobody takes a body that ends with the connection for whole."""
    bench.begin([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", PAUSE, CLOSE])
    with bench.tls_client() as client:
        client.send(head("GET /case HTTP/1.0", f"Host: {HOST}"))
        wanted = head("HTTP/1.1 200 OK", "connection: close") + b"hello"
        assert client.take(len(wanted)) == wanted
        bench.backend.proceed()
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            client.sock.recv(1)


def test_whole_body_ends_with_close_notify(bench):
    """The counterpart: an orderly end is one."""
    bench.begin([b"HTTP/1.1 200 OK\r\n\r\nhello", CLOSE])
    with bench.tls_client() as client:
        client.send(head("GET /case HTTP/1.0", f"Host: {HOST}"))
        assert client.rest() == head("HTTP/1.1 200 OK", "connection: close") + b"hello"
