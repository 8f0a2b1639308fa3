"""Processes that are killed, and starts without the other one."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness.backends import H1Backend
from harness.grpc_backend import GRPCBackend, GRPCClient
from harness.objects import forward, gateway, http_listener, http_route, service
from harness.process import AdminSocket, binaries
from harness.waiting import wait_until

HOST = "crash.sluice.test"


class Site:
    """An instance with one backend behind it."""

    def __init__(self, sluice):
        self.sluice = sluice
        self.backend = H1Backend(lambda exchange: exchange.respond(200, [], exchange.read()), sluice.address)
        self.grpc = GRPCBackend(sluice.address)
        self.objects = [
            gateway("edge", [http_listener()]), *service("web", [(sluice.address, self.backend.port)]),
            *service("grpc", [(sluice.address, self.grpc.port)]),
            http_route("web", [HOST], [forward("web")]),
            http_route("grpc", [f"grpc-{HOST}"], [forward("grpc")])]
        sluice.apply(*self.objects)
        sluice.wait_programmed("Gateway", "edge")
        sluice.settle()

    def ok(self):
        return self.sluice.plain_status(HOST) == 200

    def close(self):
        self.backend.close()
        self.grpc.close()


@pytest.fixture
def site(run_sluice):
    made = Site(run_sluice())
    yield made
    made.close()


def test_kill_of_the_controller(site):
    """Traffic and open streams go on; the controller is back with all it knew."""
    sluice = site.sluice
    failures, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            try:
                if not site.ok():
                    failures.append("status")
            except OSError as error:
                failures.append(error)

    # A failure below must not leave it running.
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    with GRPCClient(sluice.address, sluice.port(80), f"grpc-{HOST}") as client:
        conversation = client.conversation(timeout=60)
        assert conversation.say(b"1") == b"re:1"
        data_plane = sluice.child("sluice-dataplane")
        for _ in range(2):
            old = sluice.child("sluice-controller")
            os.kill(old, signal.SIGKILL)
            assert conversation.say(b"2") == b"re:2"
            wait_until(lambda: sluice.children().get("sluice-controller") not in (None, old), "a new controller")
            sluice.wait_ready()
        assert sluice.get("HTTPRoute", "web")["spec"]["hostnames"] == [HOST]
        # It publishes again.
        sluice.settle()
        sluice.wait_programmed("Gateway", "edge")
        assert conversation.say(b"3") == b"re:3"
        conversation.end()
    stop.set()
    thread.join(20)
    assert not failures, failures[:3]
    assert sluice.child("sluice-dataplane") == data_plane


def test_kill_of_the_data_plane(site):
    sluice = site.sluice
    old = sluice.child("sluice-dataplane")
    controller = sluice.child("sluice-controller")
    os.kill(old, signal.SIGKILL)
    start = time.monotonic()
    wait_until(lambda: site.ok() and sluice.children().get("sluice-dataplane") not in (None, old), "traffic again")
    assert time.monotonic() - start < 10
    sluice.wait_programmed("Gateway", "edge")
    sluice.settle()
    assert sluice.child("sluice-controller") == controller
    assert "dataplane ended (signal 9)" in sluice.log()


def test_kill_of_both(site):
    for name in ("sluice-controller", "sluice-dataplane"):
        os.kill(site.sluice.child(name), signal.SIGKILL)
    wait_until(site.ok, "traffic again")
    site.sluice.wait_ready()
    site.sluice.settle()


def test_kill_of_the_supervisor_ends_its_children(site):
    children = list(site.sluice.children().values())
    assert len(children) == 2
    site.sluice.process.kill()
    site.sluice.process.wait(10)

    def gone():
        return not any(os.path.exists(f"/proc/{pid}") and state(pid) != "Z" for pid in children)
    wait_until(gone, "both children ended")


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_restart_keeps_everything(site):
    sluice = site.sluice
    assert sluice.stop() == 0
    sluice.start()
    wait_until(site.ok)
    sluice.wait_programmed("Gateway", "edge")
    assert "unchanged" in sluice.apply(site.objects[0]).out


class LoneDataPlane:
    def __init__(self, sluice, *arguments):
        self.admin = AdminSocket(sluice.directory / "lone.sock")
        self.log_path = sluice.directory / "lone.log"
        self.log_file = open(self.log_path, "wb")
        self.process = subprocess.Popen(
            [binaries() / "sluice-dataplane", "--state-dir", sluice.data / "dataplane", "--admin", self.admin.path,
             "--workers", "2", *arguments], stdout=self.log_file, stderr=self.log_file)

    def log(self):
        return self.log_path.read_text()

    def ready(self):
        return self.admin.get("/ready")[0] == 200

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self.log_file.close()


@pytest.fixture
def lone(site):
    started = []

    def start(*arguments):
        made = LoneDataPlane(site.sluice, *arguments)
        started.append(made)
        return made

    yield start
    for process in started:
        process.close()


@pytest.mark.parametrize("named", [False, True], ids=["no-socket", "dead-socket"])
def test_data_plane_starts_without_a_controller(site, lone, named):
    """From the last good snapshot on disk, with its endpoints."""
    assert site.sluice.stop() == 0
    data_plane = lone(*(["--control", str(site.sluice.data / "control.sock")] if named else []))
    wait_until(data_plane.ready)
    assert site.ok()
    config = data_plane.admin.config()
    assert config["source"] == "disk" and config["controller"]["connected"] is False
    assert data_plane.process.poll() is None


def test_endpoint_changes_survive_on_disk(site, lone):
    """An endpoint update after the snapshot counts when the data plane starts alone."""
    moved = H1Backend(lambda exchange: exchange.respond(200, [], b"moved"), site.sluice.address)
    try:
        before = site.sluice.admin.metric("sluice_endpoint_sequence")
        slices = service("web", [(site.sluice.address, moved.port)])[1]
        site.sluice.apply(slices)
        wait_until(lambda: site.sluice.admin.metric("sluice_endpoint_sequence") != before)
        assert site.sluice.stop() == 0
        site.backend.close()
        wait_until(lone().ready)
        assert site.ok()
        assert moved.connection_count >= 1
    finally:
        moved.close()


def test_damaged_snapshot_is_refused(site, lone):
    assert site.sluice.stop() == 0
    folder = site.sluice.data / "dataplane"
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 100]
    assert files, list(folder.rglob("*"))
    for path in files:
        data = bytearray(path.read_bytes())
        for offset in range(len(data) // 2, len(data), 7):
            data[offset] ^= 0x5A
        path.write_bytes(bytes(data))
    data_plane = lone()
    wait_until(lambda: data_plane.admin.get("/live")[0] == 200)
    assert data_plane.admin.get("/ready")[0] == 503
    assert data_plane.process.poll() is None
    assert any(word in data_plane.log() for word in ("error", "warning")), data_plane.log()


def test_rubbish_on_the_control_socket(site):
    """It is dropped, and everything goes on."""
    path = str(site.sluice.data / "control.sock")
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, bytes(64), (8).to_bytes(4, "little") + b"\1\0\x63\0" * 20):
        with socket.socket(socket.AF_UNIX) as rubbish:
            rubbish.connect(path)
            rubbish.sendall(data)
            rubbish.shutdown(socket.SHUT_WR)
            rubbish.settimeout(10)
            while rubbish.recv(4096):
                pass
    assert site.ok()
    site.sluice.settle()


def test_sockets_and_state_are_private(site):
    data = site.sluice.data
    for name in ("control.sock", "admin.sock", "kubeconfig"):
        assert (data / name).stat().st_mode & 0o077 == 0, name
    for path in data.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path


def test_second_run_on_the_same_data_is_refused(site):
    result = subprocess.run(site.sluice.arguments, capture_output=True, text=True, timeout=30)
    assert result.returncode != 0
    assert "in use" in result.stderr or "in use" in result.stdout, result
    assert site.ok()
