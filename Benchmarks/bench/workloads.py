"""What is measured: everything that is a load on running proxies, by processor time. See experiments.py for
what needs a procedure of its own."""

from dataclasses import dataclass, field

from .load import H2Bodies, H2load, Native, Wrk


@dataclass(frozen=True)
class Group:
    """Workloads that share a unit, a kind of table and a plot."""
    name: str
    title: str
    # What one unit is called, and a unit's processor time.
    unit: str
    units: str
    cost: str
    # Seconds become the figure that is shown by this factor.
    scale: float
    has_latency: bool = True


REQUESTS = Group("requests", "Requests", "request", "requests", "µs a request", 1e6)
MESSAGES = Group("messages", "Messages", "message", "messages", "µs a message and its echo", 1e6)
CONNECTIONS = Group("connections", "TLS connections", "connection", "connections", "µs a connection", 1e6)
BODIES = Group("bodies", "Bodies", "GB", "GB", "s a GB", 1, has_latency=False)
GROUPS = [REQUESTS, MESSAGES, CONNECTIONS, BODIES]


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    group: Group
    # The proxy's port, see peers.py.
    port: str
    tool: object
    # Peers that do not take part: name → why.
    without: dict = field(default_factory=dict)


NO_WEBSOCKET = {"nghttpx": "not among the peers of this line"}
TLS_CONNECTIONS = "32"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# Name, title, bytes, how many a round, connections, streams of each connection with HTTP/2.
BODY_SIZES = [
    ("64k", "64 KiB", 64 * KIB, 8000, 16, 1, 16),
    ("1m", "1 MiB", MIB, 500, 8, 1, 8),
    ("1g", "1 GiB", GIB, 1, 1, 1, 1),
]


def _bodies():
    for short, size_title, size, count, connections, h2_connections, streams in BODY_SIZES:
        for direction, is_upload in (("down", False), ("up", True)):
            title = f"{'upload' if is_upload else 'download'} of {size_title}"
            yield Workload(
                f"{direction}-{short}-h1", f"HTTP/1.1, {title}, {_many(connections, 'connection')}", BODIES, "http",
                Native("body_load", (direction, str(size), str(count), str(connections)), unit=size / 1e9))
            yield Workload(
                f"{direction}-{short}-h2", f"HTTP/2 to HTTP/1.1, {title}, {_many(streams, 'stream')}", BODIES, "h2c",
                H2Bodies(h2_connections, streams, size, is_upload, count))


def _many(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


WORKLOADS = [
    Workload("h1-8", "HTTP/1.1, 8 connections", REQUESTS, "http", Wrk(8)),
    Workload("h1-64", "HTTP/1.1, 64 connections", REQUESTS, "http", Wrk(64)),
    Workload("h1-512", "HTTP/1.1, 512 connections", REQUESTS, "http", Wrk(512)),
    Workload("h2", "HTTP/2 to HTTP/1.1, 8 × 32 streams", REQUESTS, "h2c", H2load(8, 32)),
    Workload("grpc", "gRPC unary, h2c to h2c, 8 × 32 streams", REQUESTS, "grpc", H2load(8, 32, is_grpc=True)),
    Workload("tls-h1", "TLS 1.3, HTTP/1.1, 64 connections", REQUESTS, "tls", Wrk(64, is_tls=True)),
    Workload("tls-h2", "TLS 1.3, HTTP/2 to HTTP/1.1, 8 × 32 streams", REQUESTS, "tls",
             H2load(8, 32, is_tls=True)),
    Workload("grpc-stream", "gRPC messages of 64 bytes, h2c to h2c, 8 × 32 bidirectional streams", MESSAGES,
             "grpc", Native("grpc_stream_load", ("8", "32", "64"))),
    Workload("websocket", "WebSocket messages of 125 bytes, 64 connections", MESSAGES, "ws",
             Native("ws_load", ("64", "125")), NO_WEBSOCKET),
    Workload("tls-full", "TLS 1.3 full handshake and one request", CONNECTIONS, "tls",
             Native("tls_load", (TLS_CONNECTIONS, "full", "FOLDER/http1-close.request"))),
    Workload("tls-resume", "TLS 1.3 resumption and one request", CONNECTIONS, "tls",
             Native("tls_load", (TLS_CONNECTIONS, "resume", "FOLDER/http1-close.request"))),
    *_bodies(),
]
