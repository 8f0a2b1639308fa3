"""Starting, pinning, measuring and ending processes. Everything is ended by its own id."""

import ctypes
import os
import signal
import socket
import subprocess
import time

HZ = os.sysconf("SC_CLK_TCK")
PROXY_CORE = 0
LOAD_CORE = min(1, (os.cpu_count() or 1) - 1)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def can_use_realtime():
    """Whether processes may get a real-time priority, which keeps other work of the machine off the cores."""
    try:
        before = os.sched_getscheduler(0)
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        os.sched_setscheduler(0, before, os.sched_param(0))
        return True
    except OSError:
        return False


def pin(task, core, realtime):
    """Ties one thread (or, with 0, the calling process) to a core."""
    os.sched_setaffinity(task, {core})
    if realtime:
        os.sched_setscheduler(task, os.SCHED_RR, os.sched_param(1))


def pin_process(process, core, realtime):
    """Ties every thread that a process has now to a core; later ones inherit it."""
    for task in os.listdir(f"/proc/{process}/task"):
        pin(int(task), core, realtime)


def children(process):
    found = []
    for task in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{task}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def name_of(process):
    return os.path.basename(os.readlink(f"/proc/{process}/exe"))


def cpu_seconds(process):
    """User and system seconds of all threads of a process."""
    with open(f"/proc/{process}/stat") as file:
        words = file.read().rpartition(")")[2].split()
    return int(words[11]) / HZ, int(words[12]) / HZ


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Failed(Exception):
    """A program of the benchmark did not do what it is there for."""


class Processes:
    """What this run has started. `with` ends all of it, in reverse order, on success and on errors."""

    def __init__(self, folder, realtime):
        self.folder = folder
        self.realtime = realtime
        self._started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self._started):
            self.stop(process)

    def start(self, command, name, core=None, environment=None):
        """Output goes to NAME.log in the run's folder."""
        def prepare():
            # The harness may be killed: nothing that it started goes on.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if core is not None:
                pin(0, core, self.realtime)
        with open(self.log(name), "w") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=prepare,
                env={**os.environ, **(environment or {})})
        process.log_name = name
        self._started.append(process)
        return process

    def log(self, name):
        return os.path.join(self.folder, name + ".log")

    def last_lines(self, name, count=15):
        with open(self.log(name), errors="replace") as file:
            return "".join(file.readlines()[-count:])

    def check(self, process):
        if process.poll() is not None:
            raise Failed(
                f"{process.log_name} ended with {process.returncode}:\n{self.last_lines(process.log_name)}")

    def wait_for_port(self, process, port, seconds=20):
        self.wait_until(process, f"127.0.0.1:{port} does not answer", lambda: _connects(port), seconds)

    def wait_until(self, process, complaint, holds, seconds):
        end = time.monotonic() + seconds
        while not holds():
            self.check(process)
            if time.monotonic() > end:
                raise Failed(f"{process.log_name}: {complaint}\n{self.last_lines(process.log_name)}")
            time.sleep(0.05)

    def stop(self, process, seconds=5):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
        return True
    except OSError:
        return False
