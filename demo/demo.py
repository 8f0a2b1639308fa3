"""Runs Sluice in front of backends that stand for hoop, with the manifests of manifests/hoop/.

Needs no root rights, keeps its state in a temporary directory, takes other ports when the usual ones are taken,
and ends everything that it started.
"""

import argparse
import ctypes
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "hoop.yourdomain.org"
LOOPBACK = "127.0.0.1"
IS_TERMINAL = sys.stdout.isatty()


class Failed(Exception):
    """The demo cannot go on; the text says why."""


def say(text: str = ""):
    print(text, flush=True)


def strong(text: str) -> str:
    return f"\033[1m{text}\033[0m" if IS_TERMINAL else text


def shown(command: list[str]) -> str:
    """The command as one would type it at the top of the repository."""
    return shlex.join(word.removeprefix(f"{ROOT}/") for word in command)


def die_with_parent():
    """In the child, before its program starts: the demo's processes do not outlive the demo (prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_port(wanted: int, host: str = LOOPBACK) -> int:
    """The wanted port, or any free one if it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found = probe.getsockname()[1]
            if found != wanted:
                say(f"port {wanted} is taken; using {found}")
            return found
    raise Failed(f"no port is free on {host}")


class Demo:
    def __init__(self, programs: Path):
        self.sluice = str(programs / "sluice")
        # Short, because a unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-demo-"))
        self.children: list[tuple[str, subprocess.Popen]] = []
        self.right = self.asked = 0
        self.environment = {**os.environ, "SLUICE_KUBECONFIG": str(self.folder / "data/kubeconfig")}

    # Processes

    def start(self, name: str, command: list[str], **options) -> subprocess.Popen:
        """A process in a group of its own, so that Ctrl-C reaches the demo only, which ends them in order."""
        say(strong(f"$ {shown(command)} &"))
        log = open(self.folder / f"{name}.log", "wb")
        options.setdefault("stdout", log)
        child = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stderr=log,
            start_new_session=True, preexec_fn=die_with_parent, **options)
        log.close()
        self.children.append((name, child))
        return child

    def check_alive(self):
        for name, child in self.children:
            if child.poll() is not None:
                raise Failed(f"{name} ended with {child.returncode}:\n{self.log_of(name)}")

    def log_of(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-30:])

    def first_line(self, name: str, child: subprocess.Popen, seconds: float) -> str:
        """What the process says when it is ready."""
        os.set_blocking(child.stdout.fileno(), False)
        said = b""
        deadline = time.monotonic() + seconds
        while b"\n" not in said:
            self.check_alive()
            if time.monotonic() > deadline:
                raise Failed(f"{name} is not ready after {seconds:.0f} s:\n{self.log_of(name)}")
            said += child.stdout.read() or b""
            time.sleep(0.05)
        return said.decode().splitlines()[0]

    def end(self):
        """Ends what was started, the last first; waits for each."""
        ended = []
        for name, child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            ended.append(f"{name} ({child.pid})")
        shutil.rmtree(self.folder, ignore_errors=True)
        say(f"ended: {', '.join(ended)}; removed {self.folder}")

    # Steps

    def run(self, command: list[str], needs: list[str] = (), fails: bool = False) -> str:
        """Shows a command with its answer; counts whether everything in `needs` is in the answer."""
        say(strong(f"\n$ {shown(command)}"))
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=90)
        answer = done.stdout.decode(errors="replace").replace("\r\n", "\n").rstrip()
        for line in answer.splitlines():
            say(f"  {line}")
        missing = [text for text in needs if not re.search(text, answer)]
        if (done.returncode != 0) != fails:
            missing.append(f"exit status {done.returncode}")
        self.asked += 1
        self.right += not missing
        if missing:
            say(strong(f"  NOT AS EXPECTED: {'; '.join(missing)}"))
        return answer

    def start_backends(self) -> tuple[int, int]:
        backend = self.start(
            "backends", [sys.executable, f"{ROOT}/demo/hoop_backend.py"], stdout=subprocess.PIPE)
        line = self.first_line("backends", backend, 20)
        found = re.fullmatch(r"ready http=.*:(\d+) grpc=.*:(\d+)", line)
        if not found:
            raise Failed(f"the backends said: {line}")
        say(f"  {line}")
        return int(found[1]), int(found[2])

    def start_sluice(self, ports: tuple[int, int]) -> tuple[int, int]:
        listeners = (free_port(8080), free_port(8443))
        command = [
            self.sluice, "run", "--data-dir", f"{self.folder}/data", "--api", f"{LOOPBACK}:0", "--bind", LOOPBACK,
            "--port-map", f"80={listeners[0]},443={listeners[1]}"]
        if ports == (8009, 8010):
            command += ["--backend", f"hoopgateway={LOOPBACK}"]
        self.start("sluice", command)
        kubeconfig = Path(self.environment["SLUICE_KUBECONFIG"])
        deadline = time.monotonic() + 30
        while not kubeconfig.exists():
            self.check_alive()
            if time.monotonic() > deadline:
                raise Failed(f"the API is not there after 30 s:\n{self.log_of('sluice')}")
            time.sleep(0.05)
        say(f"  export SLUICE_KUBECONFIG={kubeconfig}")
        return listeners

    def service_file(self, ports: tuple[int, int]) -> str:
        """The Service hoopgateway as a cluster would have it, for backends on other ports than 8009 and 8010."""
        path = self.folder / "service.yaml"
        path.write_text(
            f"""\
apiVersion: v1
kind: Service
metadata:
  name: hoopgateway
spec:
  ports:
  - {{name: http, port: 8009, targetPort: {ports[0]}}}
  - {{name: grpc, port: 8010, targetPort: {ports[1]}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: hoopgateway-demo
  labels:
    kubernetes.io/service-name: hoopgateway
addressType: IPv4
ports:
- {{name: http, port: {ports[0]}}}
- {{name: grpc, port: {ports[1]}}}
endpoints:
- addresses: ["{LOOPBACK}"]
  conditions: {{ready: true}}
""")
        return str(path)

    def apply(self, ports: tuple[int, int]):
        if ports != (8009, 8010):
            self.run([self.sluice, "apply", "-f", self.service_file(ports)], ["hoopgateway created"])
        self.run(
            [self.sluice, "apply", "-f", "manifests/hoop/"],
            [r"httproute\S*/hoopgateway-route created", r"virtualservice\S*/hoopgateway created"])
        self.run(
            [self.sluice, "wait", "gateway/hoopgateway", "--for=condition=Programmed", "--timeout", "60s"],
            ["condition met"])
        if self.right != self.asked:
            self.run([self.sluice, "describe", "gateway/hoopgateway"])
            raise Failed(f"the gateway is not programmed; what sluice said:\n{self.log_of('sluice')}")
        self.run([self.sluice, "get", "gateways", "-A"], ["hoopgateway"])

    def forward(self) -> str:
        local = free_port(18080)
        child = self.start(
            "port-forward", [self.sluice, "port-forward", "gateway/hoopgateway", f"{local}:80"],
            stdout=subprocess.PIPE)
        say(f"  {self.first_line('port-forward', child, 20)}")
        return f"{LOOPBACK}:{local}"

    def requests(self, forwarded: str, direct: str):
        curl = ["curl", "-sS", "-i", "--noproxy", "*", "--max-time", "20", "-H", f"Host: {HOST}"]
        client = [sys.executable, f"{ROOT}/demo/hoop_client.py", forwarded]
        say(strong("\nHTTP/1.1, through the forwarded port"))
        self.run([*curl, f"http://{forwarded}/api/healthz"], [r"^HTTP/1\.1 200", '"liveness": "OK"'])
        say(strong("\nHTTP/2 with prior knowledge"))
        self.run([*curl, "--http2-prior-knowledge", f"http://{forwarded}/"], ["^HTTP/2 200", "hoop"])
        say(strong("\nWhat the backend sees of a request with a body, at the listener's own port"))
        self.run(
            [*curl, "-d", "twelve bytes", f"http://{direct}/api/echo"],
            ['"x-forwarded-for"', f'"host": "{HOST}"', '"bodyBytes": 12'])
        say(strong("\ngRPC, unary"))
        self.run([*client, "HealthCheck"], ["HealthCheck: SERVING"])
        say(strong("\ngRPC, a bidirectional stream"))
        self.run([*client, "Connect"], ["ConnectOK agent", "SessionOpen:answer packet 3", "ended with OK"])
        say(strong("\nA host that no listener names"))
        self.run(
            ["curl", "-sS", "-i", "--noproxy", "*", "--max-time", "20", "-H", "Host: other.example",
             f"http://{forwarded}/"],
            [r"^HTTP/1\.1 404"])
        say(strong("\nWhere a request would go, and why"))
        self.run(
            [self.sluice, "explain", f"http://{HOST}/protobuf.Transport/Connect"],
            ["default/hoopgateway", "8010|hoopgateway"])

    def stay(self, forwarded: str):
        say(
            f"""
It stays up until Ctrl-C. In another terminal, at the top of the repository:
  export SLUICE_KUBECONFIG={self.environment["SLUICE_KUBECONFIG"]}
  curl -H 'Host: {HOST}' http://{forwarded}/api/healthz
  {shown([self.sluice])} describe gateway/hoopgateway
Logs: {self.folder}/*.log""")
        while True:
            self.check_alive()
            time.sleep(0.5)


def interrupt(*_):
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="check the answers, then stop")
    parser.add_argument("--programs", type=Path, default=ROOT / ".build/release", help="the folder with sluice")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)

    demo = Demo(arguments.programs)
    status = 1
    try:
        ports = demo.start_backends()
        listeners = demo.start_sluice(ports)
        demo.apply(ports)
        forwarded = demo.forward()
        demo.requests(forwarded, f"{LOOPBACK}:{listeners[0]}")
        demo.check_alive()
        status = 0 if demo.right == demo.asked else 1
        say(strong(f"\n{demo.right} of {demo.asked} answers as expected"))
        if status:
            say(f"what sluice said:\n{demo.log_of('sluice')}")
        if not arguments.once:
            demo.stay(forwarded)
    except KeyboardInterrupt:
        say("\ninterrupted")
        status = status if not arguments.once else 1
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        status = 1
        say(strong(f"failed: {error}"))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        demo.end()
    return status


if __name__ == "__main__":
    sys.exit(main())
