"""Starting, pinning, measuring and ending processes. Everything is ended by its own id."""

import contextlib
import ctypes
import os
import resource
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


def raise_descriptor_limit():
    """As many descriptors as the machine allows; what is started from now on inherits it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin(task, core, realtime):
    """Ties one thread (or, with 0, the calling process) to a core; None: any core."""
    if core is not None:
        os.sched_setaffinity(task, {core})
    if realtime:
        os.sched_setscheduler(task, os.SCHED_RR, os.sched_param(1))


def pin_workers(process, core, realtime):
    """Ties every thread that a process has now to a core, but for the first, which has its number; later ones
    inherit it."""
    for task in os.listdir(f"/proc/{process}/task"):
        if int(task) != process:
            pin(int(task), core, realtime)


@contextlib.contextmanager
def harness_on(core):
    """Keeps this thread, and what it starts without asking for a core, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def children(process):
    found = []
    for task in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{task}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def name_of(process):
    return os.path.basename(os.readlink(f"/proc/{process}/exe"))


def cpu_seconds(processes):
    """User and system seconds of all threads of some processes. The sum comes from the scheduler, which counts
    nanoseconds; /proc/PID/stat, which counts ticks of 10 ms, only says how it is split."""
    user = system = exact = 0
    for process in processes:
        with open(f"/proc/{process}/stat") as file:
            words = file.read().rpartition(")")[2].split()
        user, system = user + int(words[11]) / HZ, system + int(words[12]) / HZ
        for task in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{task}/schedstat") as file:
                exact += int(file.read().split()[0])
    return user, system, exact / 1e9


def cpu_between(before, after):
    """User and system seconds from one answer of cpu_seconds to a later one."""
    user, system, exact = (late - early for early, late in zip(before, after))
    # A thread that ended takes its nanoseconds along; the ticks stay.
    whole = exact if exact > 0 else user + system
    share = user / (user + system) if user + system > 0 else 0.5
    return whole * share, whole * (1 - share)


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

    def start(self, command, name, core=None, environment=None, realtime=None):
        """Output goes to NAME.log in the run's folder. Real-time priority goes with a core, unless `realtime`
        says otherwise."""
        if realtime is None:
            realtime = self.realtime and core is not None

        def prepare():
            # The harness may be killed: nothing that it started goes on.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            pin(0, core, realtime)
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
