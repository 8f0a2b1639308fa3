"""Which engine the data plane takes, and what it does where io_uring is refused."""

import subprocess

import pytest

from harness import behaviours, io_uring
from harness.backends import H1Backend
from harness.clients import H1Client
from harness.objects import forward, gateway, http_listener, http_route, service
from harness.process import binaries


def lines(sluice, text):
    return [line for line in sluice.log().splitlines() if text in line]


def serve(sluice):
    """One request through a route to a backend of this test."""
    backend = H1Backend(behaviours.respond, sluice.address)
    try:
        sluice.apply(
            gateway("edge", [http_listener()]), *service("web", [(sluice.address, backend.port)]),
            http_route("web", ["web.sluice.test"], [forward("web")]))
        sluice.wait_programmed("Gateway", "edge")
        sluice.settle()
        with H1Client(sluice.address, sluice.port(80)) as client:
            return client.request("GET", "/inspect", "web.sluice.test").status
    finally:
        backend.close()


def test_auto_falls_back_to_epoll_with_one_line(run_sluice):
    sluice = run_sluice(["--engine", "auto"], preexec=io_uring.refuse)
    assert serve(sluice) == 200
    assert len(lines(sluice, "io_uring is not to be had")) == 1
    assert "Operation not permitted" in lines(sluice, "io_uring is not to be had")[0]
    assert lines(sluice, "2 workers on epoll")


@pytest.mark.skipif(io_uring.refusal() != "", reason="the system refuses io_uring")
def test_auto_takes_io_uring(run_sluice):
    sluice = run_sluice(["--engine", "auto"])
    assert serve(sluice) == 200
    assert lines(sluice, "2 workers on io_uring")


def test_epoll_can_be_asked_for(run_sluice):
    sluice = run_sluice(["--engine", "epoll"])
    assert lines(sluice, "2 workers on epoll") and not lines(sluice, "io_uring")


def test_asking_for_io_uring_where_it_is_refused_is_an_error():
    done = subprocess.run(
        [binaries() / "sluice-dataplane", "--engine", "uring"], preexec_fn=io_uring.refuse,
        capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "io_uring_setup: Operation not permitted" in done.stderr
    assert "auto and epoll work without it" in done.stderr


def test_an_engine_that_does_not_exist():
    done = subprocess.run(
        [binaries() / "sluice-dataplane", "--engine", "kqueue"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "auto, uring, epoll" in done.stderr
