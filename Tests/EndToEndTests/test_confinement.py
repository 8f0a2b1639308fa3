"""What the data plane gave up before it serves: powers, files, system calls."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.process import binaries
from harness.waiting import wait_until


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def threads(pid):
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


@pytest.fixture
def alone():
    """Starts a data plane by itself: arguments → process."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
    os.chmod(folder, 0o777)
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [binaries() / "sluice-dataplane", "--workers", "2", "--state-dir", folder / "state",
             "--admin", folder / "admin.sock", *arguments],
            stderr=subprocess.PIPE, text=True)
        process.folder = folder
        started.append(process)
        wait_until(lambda: process.poll() is not None or (folder / "admin.sock").exists(), "the admin socket")
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait(20)
        process.stderr.close()
    shutil.rmtree(folder)


def test_every_thread_is_filtered_and_has_no_powers(alone):
    process = alone()
    wait_until(lambda: status(process.pid)["Seccomp"] == "2", "the filter")
    for thread in threads(process.pid):
        facts = status(thread)
        assert facts["NoNewPrivs"] == "1"
        assert facts["Seccomp"] == "2"
        # At most CAP_NET_BIND_SERVICE, number 10.
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(facts[kind], 16) & ~(1 << 10) == 0, kind


def test_a_sandbox_that_is_off_says_so(alone):
    process = alone("--sandbox", "off")
    assert status(process.pid)["Seccomp"] == "0"
    assert status(process.pid)["NoNewPrivs"] == "1"
    process.terminate()
    assert "--sandbox off" in process.stderr.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_becomes_another_user(alone):
    nobody = pwd.getpwnam("nobody")
    process = alone("--user", "nobody")
    facts = status(process.pid)
    assert set(facts["Uid"].split()) == {str(nobody.pw_uid)}
    assert set(facts["Gid"].split()) == {str(nobody.pw_gid)}
    assert facts["Groups"].split() in ([], [str(nobody.pw_gid)])
    assert (process.folder / "state").stat().st_uid == nobody.pw_uid


def test_a_user_that_does_not_exist_is_an_error():
    done = subprocess.run(
        [binaries() / "sluice-dataplane", "--user", "no-such-user"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "no-such-user" in done.stderr
