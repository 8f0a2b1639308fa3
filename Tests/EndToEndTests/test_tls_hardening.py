"""TLS at the listeners: what is refused, what tickets are good for, and certificates that change."""

import ssl
import subprocess
import threading

import pytest

from harness.backends import H1Backend
from harness.certificates import Certificate
from harness.clients import H1Client, H2Client, connect
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service
from harness.process import SluiceProcess
from harness.waiting import wait_until

NAMES = ["a.hard.test", "b.hard.test", "other.hard.test"]


class Hard:
    """Two listeners of one socket, one of another, each with a certificate of its own."""

    def __init__(self, sluice):
        self.sluice = sluice
        self.certificates = {name: Certificate([name], key="rsa:2048" if name == NAMES[1] else "ec") for name in NAMES}
        self.backend = H1Backend(
            lambda exchange: exchange.respond(200, [], exchange.authority.encode()), sluice.address)
        sluice.apply(
            *(certificate.secret(name) for name, certificate in self.certificates.items()),
            gateway("edge", [
                http_listener(), https_listener(NAMES[0], "a", hostname=NAMES[0]),
                https_listener(NAMES[1], "b", hostname=NAMES[1]), https_listener(NAMES[0], "c", 8443)]),
            *service("web", [(sluice.address, self.backend.port)]),
            http_route("web", NAMES, [forward("web")]))
        sluice.wait_programmed("Gateway", "edge")
        sluice.settle()

    def request(self, server_name, host, make=H1Client, port=443):
        with make(self.sluice.address, self.sluice.port(port), server_name) as client:
            return client.request("GET", "/", host)

    def handshake(self, server_name, port=443, **options):
        """The connection, whose handshake is done."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if "alpn" in options:
            context.set_alpn_protocols(options["alpn"])
        if "version" in options:
            context.minimum_version = context.maximum_version = options["version"]
        return context.wrap_socket(
            connect(self.sluice.address, self.sluice.port(port)), server_hostname=server_name,
            session=options.get("session"))

    def openssl(self, *arguments, port=443, text="Q\n"):
        """What openssl s_client says."""
        result = subprocess.run(
            ["openssl", "s_client", "-connect", f"{self.sluice.address}:{self.sluice.port(port)}", *map(str, arguments)],
            input=text, capture_output=True, text=True, timeout=30)
        return result.stdout + result.stderr

    def commands(self, tmp_path, *arguments, steps):
        """What openssl s_client says to commands, each given when the text before it has been said, until the server
        ends the connection."""
        told = tmp_path / "told"
        with open(told, "w") as output:
            process = subprocess.Popen(
                ["openssl", "s_client", "-connect", f"{self.sluice.address}:{self.sluice.port(443)}", *arguments],
                stdin=subprocess.PIPE, stdout=output, stderr=output, text=True)
        try:
            for awaited, command in steps:
                wait_until(lambda: awaited in told.read_text(), awaited)
                process.stdin.write(command)
                process.stdin.flush()
            process.wait(20)
        finally:
            process.kill()
            process.stdin.close()
            process.wait(10)
        return told.read_text()

    def take_session(self, path, version, server_name, port=443):
        # In TLS 1.3 tickets come after the handshake, so there has to be something to wait for.
        request = f"GET / HTTP/1.1\r\nHost: {server_name}\r\nConnection: close\r\n\r\n"
        said = self.openssl(version, "-ign_eof", "-servername", server_name, "-sess_out", path, port=port, text=request)
        assert "New, TLS" in said and "200 OK" in said, said
        return path

    def is_resumed(self, path, version, server_name, port=443):
        said = self.openssl(version, "-servername", server_name, "-sess_in", path, port=port)
        assert "New, TLS" in said or "Reused, TLS" in said, said
        return "Reused, TLS" in said


@pytest.fixture(scope="module")
def hard():
    with SluiceProcess() as sluice:
        made = Hard(sluice)
        yield made
        made.backend.close()


def test_renegotiation_ends_the_connection(hard, tmp_path):
    before = hard.sluice.admin.metric("sluice_tls_renegotiations_refused_total")
    said = hard.commands(tmp_path, "-tls1_2", "-servername", NAMES[0], steps=[("Verify return code", "R\n")])
    assert "RENEGOTIATING" in said and "no renegotiation" in said, said
    assert hard.sluice.admin.metric("sluice_tls_renegotiations_refused_total") == before + 1
    assert hard.request(NAMES[0], NAMES[0]).status == 200


def test_key_update_is_taken(hard, tmp_path):
    """A few are the protocol's due; the unit tests count to the limit."""
    request = f"GET / HTTP/1.1\r\nHost: {NAMES[0]}\r\nConnection: close\r\n\r\n"
    said = hard.commands(
        tmp_path, "-tls1_3", "-servername", NAMES[0], steps=[("Verify return code", "K\n"), ("KEYUPDATE", request)])
    assert "200 OK" in said, said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tickets_are_bound(hard, version, tmp_path):
    """To the server name and to the socket; every worker knows them."""
    session = hard.take_session(tmp_path / "session", version, NAMES[0])
    before = hard.sluice.admin.metric("sluice_tls_resumptions_total")
    for _ in range(4):
        assert hard.is_resumed(session, version, NAMES[0])
    assert hard.sluice.admin.metric("sluice_tls_resumptions_total") == before + 4
    assert not hard.is_resumed(session, version, NAMES[1])
    assert not hard.is_resumed(session, version, NAMES[0], port=8443)


def test_no_early_data(hard, tmp_path):
    session = hard.take_session(tmp_path / "session", "-tls1_3", NAMES[0])
    early = tmp_path / "early"
    early.write_text("GET / HTTP/1.1\r\n\r\n")
    said = hard.openssl("-tls1_3", "-servername", NAMES[0], "-sess_in", session, "-early_data", early)
    assert "Reused, TLS" in said and "Early data was not sent" in said, said


def test_unknown_application_protocols_are_refused(hard):
    with pytest.raises(ssl.SSLError, match="NO_APPLICATION_PROTOCOL|no application protocol"):
        hard.handshake(NAMES[0], alpn=["smtp", "http/1.0"])
    with hard.handshake(NAMES[0], alpn=["smtp", "http/1.1"]) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("server_name", [None, "nobody.test"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_names_without_a_listener(hard, server_name, version):
    """Refused where every listener has a name; the listener for all names takes them."""
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME|unrecognized name"):
        hard.handshake(server_name, version=version)
    with hard.handshake(server_name, port=8443, version=version) as connection:
        assert connection.version()


@pytest.mark.parametrize("name, kind", [(NAMES[0], "ECDSA"), (NAMES[1], "RSA")])
def test_own_order_of_suites(hard, name, kind):
    said = hard.openssl(
        "-tls1_2", "-servername", name, "-cipher",
        f"ECDHE-{kind}-AES256-GCM-SHA384:ECDHE-{kind}-CHACHA20-POLY1305:ECDHE-{kind}-AES128-GCM-SHA256")
    assert f"Cipher is ECDHE-{kind}-AES128-GCM-SHA256" in said, said


@pytest.mark.parametrize("cipher", ["ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_other_suites_are_refused(hard, cipher):
    said = hard.openssl("-tls1_2", "-servername", NAMES[1], "-cipher", f"{cipher}:@SECLEVEL=0")
    assert "handshake failure" in said and "BEGIN CERTIFICATE" not in said, said


@pytest.mark.parametrize("make", [H1Client, H2Client])
@pytest.mark.parametrize("server_name, host, port, status", [
    (NAMES[0], NAMES[0], 443, 200), (NAMES[0], NAMES[1], 443, 421), (NAMES[1], NAMES[0], 443, 421),
    (NAMES[0], NAMES[2], 443, 421), (NAMES[0], NAMES[1], 8443, 200), (NAMES[2], NAMES[0], 8443, 200)])
def test_coalescing(hard, make, server_name, host, port, status):
    """A connection carries the hosts of the listener that its server name chose, and no others."""
    assert hard.request(server_name, host, make, port).status == status


def test_certificates_change_during_handshakes(hard):
    """No handshake fails, whichever certificate it meets, and the last one is used in the end."""
    name = NAMES[0]
    made = [Certificate([name]) for _ in range(4)]
    known = {ssl.PEM_cert_to_DER_cert(item.chain) for item in [*made, hard.certificates[name]]}
    problems, stop, count = [], threading.Event(), [0] * 3

    def work(number):
        while not stop.is_set():
            try:
                with hard.handshake(name) as connection:
                    count[number] += 1
                    if connection.getpeercert(binary_form=True) not in known:
                        problems.append("an unknown certificate")
            except (OSError, ssl.SSLError) as error:
                problems.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(count))]
    for thread in threads:
        thread.start()
    last = ssl.PEM_cert_to_DER_cert(made[-1].chain)
    try:
        for item in made:
            hard.sluice.apply(item.secret(name))
        wait_until(lambda: hard.handshake(name).getpeercert(binary_form=True) == last)
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not problems and min(count) > 1, (problems[:3], count)
    hard.certificates[name] = made[-1]


def test_ticket_keys_rotate(run_sluice, tmp_path):
    sluice = run_sluice(["--limit", "tls-ticket-key-interval=1500ms"])
    hard = Hard(sluice)
    try:
        session = hard.take_session(tmp_path / "session", "-tls1_2", NAMES[0])
        wait_until(
            lambda: not hard.is_resumed(session, "-tls1_2", NAMES[0])
            and sluice.admin.limit_hits("tls-ticket-key-interval") >= 1, "old keys to be forgotten", interval=0.3)
        # The keys of today are good.
        wait_until(lambda: hard.is_resumed(
            hard.take_session(tmp_path / "next", "-tls1_2", NAMES[0]), "-tls1_2", NAMES[0]))
    finally:
        hard.backend.close()
