"""The real programs: `sluice run`, the command line, and a data plane by itself."""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

import yaml

from .loopback import LoopbackAddress
from .waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
PORT_MAP = {80: 8080, 443: 8443, 8443: 9443, 81: 8081}


def binaries():
    """The folder that holds the three programs."""
    named = os.environ.get("SLUICE_BIN_DIR")
    candidates = [Path(named)] if named else [ROOT / ".build/release", ROOT / ".build/debug"]
    for folder in candidates:
        if (folder / "sluice").exists():
            return folder.resolve()
    raise RuntimeError(f"no sluice program in {candidates}; build it or set SLUICE_BIN_DIR")


def documents(objects):
    """Objects (dictionaries or YAML texts) as one YAML stream."""
    texts = [item if isinstance(item, str) else yaml.safe_dump(item, sort_keys=False) for item in objects]
    return "\n---\n".join(texts)


class Result:
    def __init__(self, completed):
        self.code = completed.returncode
        self.out = completed.stdout
        self.err = completed.stderr

    def __repr__(self):
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


def run_cli(arguments, stdin=None, environment=None, timeout=60):
    completed = subprocess.run(
        [str(binaries() / "sluice"), *map(str, arguments)], input=stdin, text=True, capture_output=True,
        timeout=timeout, env={**os.environ, **(environment or {})})
    return Result(completed)


class Command:
    """A command that goes on, with what it has said so far."""

    def __init__(self, arguments, environment=None):
        self.text = ""
        self.process = subprocess.Popen(
            list(map(str, arguments)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **(environment or {})})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.text += line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        self.reader.join(5)
        self.process.stdout.close()


class AdminSocket:
    """The data plane's admin socket: plain HTTP/1.1, one request a connection."""

    def __init__(self, path):
        self.path = str(path)

    def get(self, target):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(self.path)
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: admin\r\n\r\n".encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.read().decode()

    def metrics(self):
        """{'name{labels}': value}"""
        status, text = self.get("/metrics")
        assert status == 200, text
        values = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def metric(self, name, **labels):
        inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return self.metrics()[name + (f"{{{inner}}}" if inner else "")]

    def limit_hits(self, name):
        return self.metric("sluice_limit_hits_total", limit=name)

    def config(self):
        return json.loads(self.get("/config")[1])


def engine():
    """What the data planes of this run do their I/O with; see the Makefile."""
    return os.environ.get("SLUICE_ENGINE", "auto")


class SluiceProcess:
    """`sluice run` on a loopback address of its own, where its backends may listen too."""

    def __init__(self, arguments=(), workers=2, port_map=None, environment=None, backends=("hoopgateway",),
                 preexec=None):
        self.loopback = LoopbackAddress()
        self.address = str(self.loopback)
        # A unix socket's path is short, and pytest's folders are not.
        self.directory = Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
        self.data = self.directory / "data"
        self.port_map = PORT_MAP if port_map is None else port_map
        self.environment = environment or {}
        self.preexec = preexec
        self.arguments = [
            str(binaries() / "sluice"), "run", "--data-dir", str(self.data), "--api", f"{self.address}:6180",
            "--bind", self.address, "--workers", str(workers), "--drain-timeout", "5s", "--engine", engine(),
            # A system call that is missing in the data plane's list shows. Sanitizers make calls of their own.
            "--sandbox", os.environ.get("SLUICE_SANDBOX", "kill")]
        if self.port_map:
            self.arguments += ["--port-map", ",".join(f"{a}={b}" for a, b in self.port_map.items())]
        for name in backends:
            self.arguments += ["--backend", name if "=" in name else f"{name}={self.address}"]
        self.arguments += [str(argument) for argument in arguments]
        self.log_path = self.directory / "log"
        self.process = None
        self._api_lock = threading.Lock()
        self._settled = 0

    # Life

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment}, start_new_session=True, preexec_fn=self.preexec)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=30):
        def answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"sluice run ended with {self.process.returncode}:\n{self.log()}")
            return self.api("GET", "/version")[0] == 200
        wait_until(answers, "the API", timeout)

    def stop(self, timeout=20):
        """SIGTERM; returns the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                for child in (*self.children().values(), self.process.pid):
                    try:
                        os.kill(child, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.process.wait(10)
        return self.process.returncode

    def close(self):
        self.stop()
        self.loopback.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def children(self):
        """{'sluice-dataplane': pid, …}: the kernel keeps 15 characters of a name."""
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                arguments = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                found[os.path.basename(arguments[0].decode())] = int(child)
        return found

    def child(self, name):
        return wait_until(lambda: self.children().get(name), name)

    @property
    def kubeconfig(self):
        return self.data / "kubeconfig"

    @property
    def admin(self):
        return AdminSocket(self.data / "admin.sock")

    def port(self, listener):
        """The port that a listener is bound to."""
        return self.port_map.get(listener, listener)

    # The command line

    def cli(self, *arguments, stdin=None, timeout=60):
        return run_cli(arguments, stdin, {"SLUICE_KUBECONFIG": str(self.kubeconfig)}, timeout)

    def apply(self, *objects):
        """Applies objects; fails the test when they are refused."""
        result = self.cli("apply", "-f", "-", stdin=documents(objects))
        assert result.code == 0, result
        return result

    def apply_path(self, path):
        result = self.cli("apply", "-f", path)
        assert result.code == 0, result
        return result

    def delete(self, *objects):
        result = self.cli("delete", "--ignore-not-found", "-f", "-", stdin=documents(objects))
        assert result.code == 0, result

    # The API

    def api(self, method, path, body=None, content_type="application/json"):
        """(status, decoded answer)"""
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        token = config["users"][0]["user"]["token"]
        import base64
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        trust = ssl.create_default_context(cadata=authority)
        host, port = cluster["server"].removeprefix("https://").rsplit(":", 1)
        connection = http.client.HTTPSConnection(host, int(port), context=trust, timeout=20)
        try:
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
            if body is not None:
                headers["Content-Type"] = content_type
                body = body if isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
            return response.status, (json.loads(text) if text.startswith(("{", "[")) else text)
        finally:
            connection.close()

    PLURALS = {
        "Gateway": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/gateways",
        "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
        "BackendTLSPolicy": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/backendtlspolicies",
        "GRPCRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/grpcroutes",
        "TLSRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/tlsroutes",
        "TCPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/tcproutes",
        "UDPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/udproutes",
        "IstioGateway": "/apis/networking.istio.io/v1/namespaces/{}/gateways",
        "VirtualService": "/apis/networking.istio.io/v1/namespaces/{}/virtualservices",
        "DestinationRule": "/apis/networking.istio.io/v1/namespaces/{}/destinationrules",
        "Service": "/api/v1/namespaces/{}/services",
        "Secret": "/api/v1/namespaces/{}/secrets",
    }

    def get(self, kind, name, namespace="default"):
        status, answer = self.api("GET", f"{self.PLURALS[kind].format(namespace)}/{name}")
        return answer if status == 200 else None

    # Waiting

    def wait_condition(self, kind, name, condition, status="True", namespace="default", timeout=20):
        """Waits for a condition that speaks of the newest generation and returns it."""
        def check():
            found = self.get(kind, name, namespace)
            assert found, f"{kind} {name} does not exist"
            places = [found.get("status", {})] + found.get("status", {}).get("parents", [])
            for place in places:
                for entry in place.get("conditions", []):
                    current = entry.get("observedGeneration", 0) >= found["metadata"]["generation"]
                    if entry["type"] == condition and entry["status"] == status and current:
                        return entry
            raise AssertionError(json.dumps(found.get("status", {})))
        return wait_until(check, f"{kind} {name} {condition}={status}", timeout)

    def wait_programmed(self, kind, name, namespace="default", timeout=20):
        return self.wait_condition(kind, name, "Programmed", namespace=namespace, timeout=timeout)

    def listener(self, kind, name, listener, namespace="default"):
        """Status of one listener."""
        found = self.get(kind, name, namespace)
        for entry in found["status"]["listeners"]:
            if entry["name"] == listener:
                return {**entry, "conditions": {item["type"]: item for item in entry["conditions"]}}
        raise LookupError(listener)

    def settle(self, gateway="edge", timeout=20):
        """Returns when everything applied so far is in use: applies one more change and waits until it is
        seen on every worker."""
        self._settled += 1
        name = f"settled-{os.getpid()}-{self._settled}.sentinel"
        self.apply({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "sentinel", "namespace": "default"},
            "spec": {
                "parentRefs": [{"name": gateway}], "hostnames": [name],
                "rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}]}]}})
        seen = 0

        def answered():
            nonlocal seen
            seen = seen + 1 if self.plain_status(name) == 302 else 0
            return seen >= 6
        wait_until(answered, "the sentinel route", timeout)

    def plain_status(self, host, path="/", port=80):
        """Status of one request on a new connection."""
        connection = http.client.HTTPConnection(self.address, self.port(port), timeout=10)
        try:
            connection.request("GET", path, headers={"Host": host})
            return connection.getresponse().status
        finally:
            connection.close()


def resident_bytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)
