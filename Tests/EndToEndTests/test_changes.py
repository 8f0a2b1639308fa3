"""Changes under traffic: nothing that is open notices them."""

import ssl
import socket
import threading

from harness.certificates import Certificate
from harness.clients import Broken, H1Client
from harness.grpc_backend import GRPCBackend, GRPCClient
from harness.objects import forward, gateway, grpc_route, http_route, https_listener, prefix, service, to
from harness.waiting import wait_until


def test_conversation_through_a_hundred_changes(edge, route, host):
    """A bidirectional stream talks on while routes, its own too, change a hundred times."""
    name = host.split(".")[0]
    with GRPCBackend(edge.address) as backend:
        route([forward(name)], kind=grpc_route, extra=service(name, [(edge.address, backend.port)]))
        client = GRPCClient(edge.address, edge.sluice.port(80), host)
        conversation = client.conversation(timeout=110)
        stop, said, failures = threading.Event(), [], []

        def talk():
            try:
                while not stop.is_set():
                    text = b"%d" % len(said)
                    assert conversation.say(text) == b"re:" + text
                    said.append(text)
            except Exception as error:  # noqa: BLE001 - shown below
                failures.append(error)

        thread = threading.Thread(target=talk)
        thread.start()
        first = edge.sluice.admin.metric("sluice_configuration_revision")
        try:
            for number in range(100):
                changed = grpc_route(name, [host, f"v{number}.{host}"], [forward(to(name, weight=number + 1))])
                edge.sluice.apply(changed)
                assert not failures, failures
            edge.sluice.settle()
            before = len(said)
            wait_until(lambda: len(said) > before + 10 or failures)
        finally:
            stop.set()
            thread.join(20)
        assert not failures, failures
        # They were not all one change.
        assert edge.sluice.admin.metric("sluice_configuration_revision") - first >= 50
        # Even without its route an open stream goes on.
        edge.sluice.delete(grpc_route(name, [host], [forward(name)]))
        edge.sluice.settle()
        assert conversation.say(b"still") == b"re:still"
        assert conversation.end() == []
        client.close()


def test_requests_through_a_hundred_changes(edge, route, host):
    """No request fails while the rule that serves it is edited and reordered."""
    name = host.split(".")[0]
    route([forward("h1")])
    stop, failures, done = threading.Event(), [], []

    def load():
        with edge.client() as client:
            while not stop.is_set():
                try:
                    response = client.request("GET", "/inspect/x", host)
                    if response.status != 200:
                        failures.append(response)
                    done.append(1)
                except (Broken, OSError) as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(100):
            rules = [forward("h1", matches=[prefix(f"/inspect/{index}")]) for index in range(number % 5)]
            rules.insert(number % (len(rules) + 1), forward("h1"))
            edge.sluice.apply(http_route(name, [host], rules))
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not failures, failures[:3]
    assert len(done) > 500


def peer_certificate(address, port, server_name):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), 20) as raw:
        with context.wrap_socket(raw, server_hostname=server_name) as connection:
            return connection.getpeercert(binary_form=True)


def test_certificate_rotation_without_a_restart(run_sluice):
    sluice = run_sluice()
    first, second = Certificate(["rotate.sluice.test"]), Certificate(["rotate.sluice.test"])
    sluice.apply(
        first.secret("tls"), gateway("edge", [https_listener("tls")]),
        http_route("r", ["rotate.sluice.test"], [{"filters": [
            {"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}]}]))
    sluice.wait_programmed("Gateway", "edge")
    pid = sluice.child("sluice-dataplane")
    port = sluice.port(443)

    def served(certificate):
        der = ssl.PEM_cert_to_DER_cert(certificate.chain)
        return peer_certificate(sluice.address, port, "rotate.sluice.test") == der

    wait_until(lambda: served(first))
    with H1Client(sluice.address, port, "rotate.sluice.test", first.chain) as client:
        assert client.request("GET", "/", "rotate.sluice.test").status == 302
        sluice.apply(second.secret("tls"))
        wait_until(lambda: served(second), "the new certificate")
        # A connection under the old certificate goes on.
        assert client.request("GET", "/", "rotate.sluice.test").status == 302
    assert sluice.child("sluice-dataplane") == pid


def test_removed_listener_closes_and_others_stay(run_sluice):
    from harness.objects import http_listener
    sluice = run_sluice()
    both = [http_listener(), http_listener("second", 81)]
    redirect = http_route("r", ["a.test"], [{"filters": [
        {"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}]}])
    sluice.apply(gateway("edge", both), redirect)
    sluice.wait_programmed("Gateway", "edge")
    wait_until(lambda: sluice.plain_status("a.test", port=81) == 302)
    with H1Client(sluice.address, sluice.port(80)) as client:
        assert client.request("GET", "/", "a.test").status == 302
        sluice.apply(gateway("edge", both[:1]))

        def refused():
            try:
                sluice.plain_status("a.test", port=81)
            except ConnectionRefusedError:
                return True
        wait_until(refused, "the removed listener's port is closed")
        assert client.request("GET", "/", "a.test").status == 302
        sluice.apply(gateway("edge", both))
        wait_until(lambda: sluice.plain_status("a.test", port=81) == 302)
