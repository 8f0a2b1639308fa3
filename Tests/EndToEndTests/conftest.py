import itertools
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import behaviours  # noqa: E402
from harness.backends import H1Backend, H2Backend  # noqa: E402
from harness.certificates import Certificate  # noqa: E402
from harness.clients import H1Client, H2Client  # noqa: E402
from harness.io_uring import refusal  # noqa: E402
from harness.objects import (  # noqa: E402
    forward, gateway, grpc_route, http_listener, http_route, https_listener, service)
from harness.process import SluiceProcess, engine  # noqa: E402

_numbers = itertools.count(1)


def pytest_sessionstart(session):
    if engine() == "uring" and refusal() and not hasattr(session.config, "workerinput"):
        pytest.exit(f"the system refuses io_uring ({refusal()}); make test ENGINES=epoll leaves it out", returncode=1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the programs said."""
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    for name, value in getattr(item, "funcargs", {}).items():
        process = getattr(value, "sluice", value)
        if isinstance(process, SluiceProcess):
            report.sections.append((f"log of {name}", "\n".join(process.log().splitlines()[-60:])))
            break


@pytest.fixture
def run_sluice():
    """Starts instances of one's own; all are ended after the test."""
    started = []

    def start(*arguments, **options):
        process = SluiceProcess(*arguments, **options)
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.close()


class Edge:
    """One instance that most tests of a worker share: a Gateway `edge` with HTTP and HTTPS listeners, an
    HTTP/1.1 and an h2c backend, and a route to each of them by host. Tests add routes under hosts of their
    own."""

    certificate_names = ["*.sluice.test", "sluice.test"]

    def __init__(self):
        self.certificate = Certificate(self.certificate_names)
        self.sluice = SluiceProcess().start()
        self.address = self.sluice.address
        self.h1 = H1Backend(behaviours.respond, self.address)
        self.h2c = H2Backend(behaviours.respond, self.address)
        self.h1.name, self.h2c.name = "h1", "h2c"
        self.sluice.apply(
            self.certificate.secret("edge-tls"),
            gateway("edge", [http_listener(), https_listener("edge-tls")]),
            *service("h1", [(self.address, self.h1.port)]),
            *service("h2c", [(self.address, self.h2c.port)], app_protocol="kubernetes.io/h2c"),
            http_route("h1", ["h1.sluice.test"], [forward("h1")]),
            http_route("h2c", ["h2c.sluice.test"], [forward("h2c")]))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    def close(self):
        self.sluice.close()
        self.h1.close()
        self.h2c.close()

    def client(self, kind="h1", server_name="h1.sluice.test"):
        """kind: h1, h1-tls, h2c, h2-tls."""
        make = H1Client if kind.startswith("h1") else H2Client
        if kind.endswith("-tls"):
            return make(self.address, self.sluice.port(443), server_name, self.certificate.chain)
        return make(self.address, self.sluice.port(80))

    def inspect(self, target, host, method="GET", headers=(), kind="h1", **more):
        """One request to a backend that shows it; its answer decoded."""
        with self.client(kind) as client:
            response = client.request(method, target, host, headers, **more)
        assert response.status == 200, response
        return json.loads(response.body), response


@pytest.fixture(scope="session")
def edge():
    shared = Edge()
    yield shared
    shared.close()


@pytest.fixture
def host():
    """A host name of this test's own."""
    return f"t{next(_numbers)}-{os.getpid()}.sluice.test"


@pytest.fixture
def route(edge, host):
    """Applies an HTTPRoute (or GRPCRoute) for this test's host and waits until it is in use."""
    applied = []

    def apply(rules, kind=http_route, extra=(), hosts=None):
        made = kind(host.split(".")[0], hosts or [host], rules)
        applied.append(made)
        applied.extend(extra)
        edge.sluice.apply(*extra, made)
        edge.sluice.settle()
        return made

    yield apply
    if applied:
        edge.sluice.delete(*applied)


@pytest.fixture
def grpc(route):
    return lambda rules, **more: route(rules, kind=grpc_route, **more)
