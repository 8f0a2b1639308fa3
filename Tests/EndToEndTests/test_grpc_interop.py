"""gRPC's interoperability tests, and heavy use, by grpcio on both sides; what they cannot see is looked at on the
wire. SLUICE_HEAVY=1 does more of everything."""

import gzip
import json
import os
import queue
import threading
import time

import grpc
import pytest

from harness.backends import H2Backend
from harness.grpc_backend import Conversation
from harness.interop import (
    CODES, ECHO_INITIAL, ECHO_TRAILING, SERVICE, InteropBackend, WireClient, connect, decode, echo_status, encode,
    first, frame, frames, input_request, output_request, payload, payload_size, simple_request)
from harness.objects import forward, http_route, service

HEAVY = 10 if os.environ.get("SLUICE_HEAVY") else 1
HOST, WIRE_HOST = "interop-grpc.sluice.test", "wire-grpc.sluice.test"
SIZES, BODIES = (31415, 9, 2653, 58979), (27182, 8, 1828, 45904)


def compression_expected(exchange):
    """The server features CompressedRequest of UnaryCall and StreamingInputCall: messages' flags are seen here."""
    unary = exchange.path.endswith("/UnaryCall")
    total, refused = 0, False
    for compressed, message in frames(exchange.read()):
        message = message if not compressed else gzip.decompress(message)
        fields = decode(message)
        expected = first(decode(first(fields, 8 if unary else 2, b"")), 1, 0)
        refused = refused or expected != compressed
        total += len(first(decode(first(fields, 3 if unary else 1, b"")), 2, b""))
        size = first(fields, 2, 0)
    if refused:
        exchange.start(200, [("content-type", "application/grpc"), ("grpc-status", "3")], end=True)
        return
    exchange.start(200, [("content-type", "application/grpc")])
    exchange.write(frame(encode((1, payload(size)) if unary else (1, total))))
    exchange.end([("grpc-status", "0")])


@pytest.fixture(scope="module")
def backend(edge):
    with InteropBackend(edge.address) as made, H2Backend(compression_expected, edge.address) as wire:
        objects = [
            *service("interop", [(edge.address, made.port)], app_protocol="kubernetes.io/h2c"),
            *service("interop-wire", [(edge.address, wire.port)], app_protocol="kubernetes.io/h2c"),
            http_route("interop", [HOST], [forward("interop")]),
            http_route("interop-wire", [WIRE_HOST], [forward("interop-wire")])]
        edge.sluice.apply(*objects)
        edge.sluice.settle()
        yield made
        edge.sluice.delete(*objects)


class Via:
    """A channel to the backend, clear or over TLS."""

    def __init__(self, edge, backend, secure):
        self.edge, self.backend, self.secure = edge, backend, secure
        self.made = []
        self.channel = self.connect()

    def connect(self, host=HOST, **more):
        root = self.edge.certificate.chain if self.secure else None
        channel = connect(self.edge.address, self.edge.sluice.port(443 if self.secure else 80), host, root, **more)
        self.made.append(channel)
        return channel

    def wire(self):
        if self.secure:
            return WireClient(self.edge.address, self.edge.sluice.port(443), HOST, self.edge.certificate.chain)
        return WireClient(self.edge.address, self.edge.sluice.port(80))

    def unary(self, method, channel=None, service=SERVICE):
        return (channel or self.channel).unary_unary(f"/{service}/{method}")

    def duplex(self, messages, channel=None, **more):
        return (channel or self.channel).stream_stream(f"/{SERVICE}/FullDuplexCall")(messages, timeout=30, **more)

    def conversation(self, method="Each", channel=None, **more):
        channel = channel or self.channel

        class Client:
            def both(self, _):
                return channel.stream_stream(f"/{SERVICE}/{method}")
        return Conversation(Client(), **{"timeout": 60, **more})

    def note(self, wanted):
        """What became of the call; those of other tests may still be ending."""
        while True:
            call, note = self.backend.notes.get(timeout=20)
            if call == wanted:
                return note


@pytest.fixture(params=[False, True], ids=["h2c", "tls"])
def via(edge, backend, request):
    made = Via(edge, backend, request.param)
    yield made
    for channel in made.made:
        channel.close()


def status(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


# The interoperability tests, by their names


def test_empty_unary(via):
    assert via.unary("EmptyCall")(b"", timeout=20) == b""


def test_cacheable_unary(via):
    """No client library sends GET any more, and nothing is cached here: what the two say to caches goes through."""
    answers = set()
    for _ in range(2):
        answer, call = via.unary("CacheableUnaryCall").with_call(
            simple_request(body=8), timeout=20, metadata=(("x-user-ip", "1.2.3.4"),))
        assert dict(call.initial_metadata())["cache-control"] == "max-age=60, public"
        answers.add(answer)
    assert len(answers) == 2


def test_large_unary(via):
    assert payload_size(via.unary("UnaryCall")(simple_request(314159, 271828), timeout=20)) == 314159


def test_client_compressed_unary(via):
    call = via.unary("UnaryCall", via.connect(WIRE_HOST))
    probe = simple_request(314159, 271828, expect=True)
    assert status(lambda: call(probe, timeout=20))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert payload_size(call(probe, timeout=20, compression=grpc.Compression.Gzip)) == 314159
    assert payload_size(call(simple_request(314159, 271828, expect=False), timeout=20)) == 314159


def test_server_compressed_unary(via):
    with via.wire() as client:
        for compressed in (True, False):
            _, response = client.call(
                HOST, "UnaryCall", frame(simple_request(314159, 271828, compressed=compressed)),
                metadata=[("grpc-accept-encoding", "identity,gzip")])
            assert response.header("grpc-encoding") == ("gzip" if compressed else None) or not compressed
            [(flags, message)] = frames(response.body)
            assert flags == compressed
            message = gzip.decompress(message) if compressed else message
            assert payload_size(message) == 314159


def test_client_streaming(via):
    call = via.channel.stream_unary(f"/{SERVICE}/StreamingInputCall")
    answer = call((input_request(size) for size in BODIES), timeout=20)
    assert first(decode(answer), 1) == 74922


def test_client_compressed_streaming(via):
    with via.wire() as client:
        encoding = [("grpc-encoding", "gzip")]
        _, response = client.call(
            WIRE_HOST, "StreamingInputCall", frame(input_request(27182, expect=True)), metadata=encoding)
        assert response.header("grpc-status") == "3"
        _, response = client.call(
            WIRE_HOST, "StreamingInputCall", frame(input_request(27182, expect=True), compressed=True),
            frame(input_request(45904, expect=False)), metadata=encoding)
        assert response.trailer("grpc-status") == "0"
        assert first(decode(frames(response.body)[0][1]), 1) == 73086


def test_server_streaming(via):
    call = via.channel.unary_stream(f"/{SERVICE}/StreamingOutputCall")
    assert [payload_size(answer) for answer in call(output_request(SIZES), timeout=20)] == list(SIZES)


def test_server_compressed_streaming(via):
    with via.wire() as client:
        _, response = client.call(
            HOST, "StreamingOutputCall", frame(output_request((31415, 92653), compressed=(True, False))),
            metadata=[("grpc-accept-encoding", "identity,gzip")])
        (flags, packed), (other_flags, plain) = frames(response.body)
        assert (flags, other_flags) == (1, 0)
        assert payload_size(gzip.decompress(packed)) == 31415 and payload_size(plain) == 92653


def test_ping_pong(via):
    conversation = via.conversation("FullDuplexCall")
    for size, body in zip(SIZES, BODIES):
        assert payload_size(conversation.say(output_request((size,), body))) == size
    assert conversation.end() == [] and conversation.call.code() is grpc.StatusCode.OK


def test_empty_stream(via):
    call = via.duplex(iter(()))
    assert list(call) == [] and call.code() is grpc.StatusCode.OK


def test_custom_metadata(via):
    sent = ((ECHO_INITIAL, "test_initial_metadata_value"), (ECHO_TRAILING, b"\xab\xab\xab"))
    _, call = via.unary("UnaryCall").with_call(simple_request(314159, 271828), timeout=20, metadata=sent)
    stream = via.duplex(iter([output_request((314159,), 271828)]), metadata=sent)
    assert [payload_size(answer) for answer in stream] == [314159]
    for answered in (call, stream):
        assert dict(answered.initial_metadata())[ECHO_INITIAL] == "test_initial_metadata_value"
        assert dict(answered.trailing_metadata())[ECHO_TRAILING] == b"\xab\xab\xab"


@pytest.mark.parametrize("text", [
    "test status message",
    # special_status_message
    "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"],
    ids=["status_code_and_message", "special_status_message"])
def test_status_code_and_message(via, text):
    said = echo_status(2, text)
    wanted = (grpc.StatusCode.UNKNOWN, text)
    assert status(lambda: via.unary("UnaryCall")(simple_request(status=said), timeout=20)) == wanted
    assert status(lambda: list(via.duplex(iter([output_request(status=said)])))) == wanted


def test_unimplemented_method(via):
    assert status(lambda: via.unary("UnimplementedCall")(b"", timeout=20))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_unimplemented_service(via):
    call = via.unary("UnimplementedCall", service="grpc.testing.UnimplementedService")
    assert status(lambda: call(b"", timeout=20))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_cancel_after_begin(via):
    never = queue.Queue()
    future = via.channel.stream_unary(f"/{SERVICE}/StreamingInputCall").future(iter(never.get, None), timeout=30)
    future.cancel()
    assert future.code() is grpc.StatusCode.CANCELLED
    never.put(None)


def test_cancel_after_first_response(via, host):
    conversation = via.conversation("FullDuplexCall", metadata=(("x-call", host),))
    assert payload_size(conversation.say(output_request((31415,), 27182))) == 31415
    assert via.note(host) == "started"
    conversation.call.cancel()
    assert conversation.call.code() is grpc.StatusCode.CANCELLED
    assert via.note(host) == "ended"


def test_timeout_on_sleeping_server(via):
    with pytest.raises(grpc.RpcError) as error:
        via.conversation("FullDuplexCall", timeout=0.001).say(output_request(body=27182))
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_rpc_soak(via):
    for _ in range(20 * HEAVY):
        assert payload_size(via.unary("UnaryCall")(simple_request(314159, 271828), timeout=20)) == 314159


# Heavy use


def test_messages_of_32_mebibytes(via):
    message = bytes(range(256)) * (32 * 4096)
    for _ in range(HEAVY):
        assert via.unary("Echo")(message, timeout=60) == message
    assert payload_size(via.unary("UnaryCall")(simple_request(32 << 20), timeout=60)) == 32 << 20


def test_streams_of_5000_messages(via):
    count = 5000 * HEAVY
    call = via.channel.stream_unary(f"/{SERVICE}/StreamingInputCall")
    assert first(decode(call((input_request(3) for _ in range(count)), timeout=100)), 1) == 3 * count
    answers = via.channel.unary_stream(f"/{SERVICE}/StreamingOutputCall")(output_request((7,) * count), timeout=100)
    assert sum(payload_size(answer) for answer in answers) == 7 * count
    both = via.channel.stream_stream(f"/{SERVICE}/Each")((b"%d" % number for number in range(count)), timeout=100)
    assert [int(answer) for answer in both] == list(range(count))


def test_100_streams_at_once(via):
    """On one connection, and as many on ten."""
    for channels in ([via.channel], [via.connect() for _ in range(10)]):
        streams = [via.conversation(channel=channels[number % len(channels)]) for number in range(100)]
        for turn in range(3 * HEAVY):
            for number, stream in enumerate(streams):
                assert stream.say(b"%d %d" % (turn, number)) == b"%d %d" % (turn, number)
        for stream in streams:
            assert stream.end() == [] and stream.call.code() is grpc.StatusCode.OK


def test_binary_metadata(via):
    values = [bytes(range(256)), b"", b"\0", b"\xff\xff", b",", b"a, b", bytes(range(255, -1, -1)) * 4]
    sent = tuple(("x-many-bin", value) for value in values) + (("x-one-bin", bytes(range(256))),)
    answer, call = via.unary("Metadata").with_call(b"", timeout=20, metadata=sent)
    seen = [tuple(entry) for entry in json.loads(answer)["metadata"]]
    assert [entry for entry in seen if entry[0].endswith("-bin")] == [(key, value.hex()) for key, value in sent]
    for came in (call.initial_metadata(), call.trailing_metadata()):
        assert [(key, value) for key, value in came if key.startswith("x-")] == list(sent)


@pytest.mark.parametrize("timeout", [5, 300, 86400 * 30])
def test_deadlines_reach_the_server(via, timeout):
    remaining = json.loads(via.unary("Metadata")(b"", timeout=timeout))["remaining"]
    # Clients round grpc-timeout up, by less than a hundredth where numbers are long.
    assert timeout - 4 < remaining < timeout * 1.01 + 1


def test_a_deadline_ends_the_call_on_the_server(via, host):
    conversation = via.conversation("FullDuplexCall", timeout=0.4, metadata=(("x-call", host),))
    with pytest.raises(grpc.RpcError) as error:
        conversation.say(output_request())
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [via.note(host), via.note(host)] == ["started", "ended"]


@pytest.mark.parametrize("text", ["", "plain", "100% \u00fc\u6f22\U0001f608\n\x7f"], ids=["none", "ascii", "other"])
def test_every_status_code(via, text):
    for number, code in CODES.items():
        said = echo_status(number, text)
        if number == 0:
            assert via.unary("UnaryCall")(simple_request(status=said), timeout=20) == b""
            continue
        assert status(lambda: via.unary("UnaryCall")(simple_request(status=said), timeout=20)) == (code, text)
        assert status(lambda: list(via.duplex(iter([output_request(status=said)])))) == (code, text)
    assert len(CODES) == 17


# On the wire


def test_trailers_only_stays_trailers_only(via, edge):
    """One HEADERS frame with END_STREAM, be it of the backend or of our own."""
    text = "100% \u00fc"
    with via.wire() as client:
        request = frame(simple_request(status=echo_status(5, text)))
        for method, host, code in (("UnaryCall", HOST, "5"), ("No", HOST, "12"), ("No", "nobody.elsewhere.test", "12")):
            if via.secure and host != HOST:
                # Another host than the handshake's is another matter.
                continue
            call, response = client.call(host, method, request)
            assert response.status == 200 and response.header("grpc-status") == code, response
            assert response.header("content-type") == "application/grpc"
            assert call.stream in client.ended_by_head and not response.trailers and not response.body
            if code == "5":
                assert response.header("grpc-message") == "100%25 %C3%BC"


def test_trailers_stay_trailers(via):
    with via.wire() as client:
        call, response = client.call(HOST, "UnaryCall", frame(simple_request(8)))
        assert response.header("grpc-status") is None and response.trailer("grpc-status") == "0"
        assert call.stream not in client.ended_by_head and payload_size(frames(response.body)[0][1]) == 8


def test_early_answer(via):
    """The server answers while the client is still sending: the answer counts, the connection lives."""
    with via.wire() as client:
        call = client.start(HOST, "FirstOnly")
        call.send(frame(b"first"))
        response = call.response()
        assert frames(response.body) == [(0, b"first")] and response.trailer("grpc-status") == "0"
        _, response = client.call(HOST, "EmptyCall", frame(b""))
        assert response.trailer("grpc-status") == "0"
    stop = threading.Event()

    def messages():
        while not stop.is_set():
            yield bytes(10_000)
    assert via.channel.stream_unary(f"/{SERVICE}/FirstOnly")(messages(), timeout=30) == bytes(10_000)
    stop.set()


def test_server_that_goes_away(edge, via, route, host):
    """A stream goes on after the server's GOAWAY; calls that begin later find the next server."""
    name = host.split(".")[0]
    old = InteropBackend(edge.address, workers=8)
    route([forward(name)], extra=service(name, [(edge.address, old.port)], app_protocol="kubernetes.io/h2c"))
    channel = via.connect(host)
    conversation = via.conversation(channel=channel)
    assert conversation.say(b"before") == b"before"
    stopping = old.server.stop(60)
    assert conversation.say(b"after") == b"after"
    with InteropBackend(edge.address, old.port, workers=8):
        assert via.unary("Echo", channel)(b"x", timeout=20) == b"x"
        assert conversation.say(b"still") == b"still"
        assert conversation.end() == [] and conversation.call.code() is grpc.StatusCode.OK
        assert stopping.wait(20)


def test_keepalive_pings_are_answered(via):
    channel = via.connect(options=[
        ("grpc.keepalive_time_ms", 100), ("grpc.keepalive_timeout_ms", 1000), ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1)])
    conversation = via.conversation(channel=channel)
    assert conversation.say(b"a") == b"a"
    # More than the time-out of a ping that nobody answers.
    time.sleep(1.5)
    assert conversation.say(b"b") == b"b"
    assert conversation.end() == []
