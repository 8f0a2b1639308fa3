"""The service of gRPC's interoperability tests (grpc/grpc, doc/interop-test-descriptions.md), over messages encoded
by hand, and a client that shows what is on the wire."""

import gzip
import json
import queue
import time
from concurrent import futures

import grpc

from .clients import Broken, H2Client

SERVICE = "grpc.testing.TestService"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
ECHO_INITIAL, ECHO_TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}


# Protocol buffers: a message is a list of (field number, value), integers as varints, all else as bytes.


def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(*fields):
    out = bytearray()
    for number, value in fields:
        if value is None:
            continue
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return bytes(out)


def decode(data):
    """{field number: [values]}"""
    fields, position = {}, 0

    def number():
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            value, position = data[position:position + value], position + value
        fields.setdefault(key >> 3, []).append(value)
    return fields


def first(fields, number, default=None):
    return fields.get(number, [default])[0]


def flag(value):
    """google.protobuf.BoolValue; None is left out."""
    return None if value is None else encode((1, int(value)) if value else (1, None))


def payload(size):
    return encode((2, bytes(size)))


def echo_status(code, message):
    return encode((1, code), (2, message))


def simple_request(size=None, body=None, compressed=None, status=None, expect=None):
    return encode((2, size), (3, None if body is None else payload(body)), (6, flag(compressed)), (7, status),
                  (8, flag(expect)))


def input_request(body, expect=None):
    return encode((1, payload(body)), (2, flag(expect)))


def output_request(sizes=(), body=None, status=None, compressed=None):
    """`compressed`: a truth for each size."""
    parameters = [
        (2, encode((1, size), (3, flag(compressed[index]) if compressed else None)))
        for index, size in enumerate(sizes)]
    return encode(*parameters, (3, None if body is None else payload(body)), (7, status))


def payload_size(response):
    """Of a SimpleResponse or StreamingOutputCallResponse, whose payload must be zeros."""
    body = first(decode(first(decode(response), 1, b"")), 2, b"")
    assert not body.strip(b"\0")
    return len(body)


class InteropBackend:
    """The server on grpcio. `notes` tells what became of calls that carry the metadata `x-call`."""

    def __init__(self, address, port=0, workers=300):
        self.notes = queue.Queue()
        self.server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=workers), options=[*UNLIMITED, ("grpc.so_reuseport", 0)])
        unary, both = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
            "EmptyCall": unary(lambda request, context: b""),
            "UnaryCall": unary(self.unary_call),
            "CacheableUnaryCall": unary(self.cacheable_call),
            "StreamingInputCall": grpc.stream_unary_rpc_method_handler(self.input_call),
            "StreamingOutputCall": grpc.unary_stream_rpc_method_handler(self.output_call),
            "FullDuplexCall": both(self.duplex_call),
            # Beyond the interoperability tests.
            "Echo": unary(lambda request, context: request),
            "Each": both(lambda requests, context: requests),
            "Metadata": unary(self.metadata),
            "FirstOnly": grpc.stream_unary_rpc_method_handler(lambda requests, context: next(requests)),
        }),))
        self.port = self.server.add_insecure_port(f"{address}:{port}")
        self.server.start()

    def close(self):
        self.server.stop(0).wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def begin(self, context):
        sent = dict(context.invocation_metadata())
        if "x-call" in sent:
            context.add_callback(lambda: self.notes.put((sent["x-call"], "ended")))
            self.notes.put((sent["x-call"], "started"))
        if ECHO_INITIAL in sent:
            context.send_initial_metadata(((ECHO_INITIAL, sent[ECHO_INITIAL]),))
        if ECHO_TRAILING in sent:
            context.set_trailing_metadata(((ECHO_TRAILING, sent[ECHO_TRAILING]),))

    def end(self, context, status):
        fields = decode(status)
        context.set_code(CODES[first(fields, 1, 0)])
        context.set_details(first(fields, 2, b"").decode())

    def unary_call(self, request, context):
        fields = decode(request)
        self.begin(context)
        if 7 in fields:
            said = decode(fields[7][0])
            if first(said, 1, 0):
                # Before anything was sent: a trailers-only answer.
                context.abort(CODES[first(said, 1)], first(said, 2, b"").decode())
            return b""
        if 6 in fields and first(decode(fields[6][0]), 1):
            context.set_compression(grpc.Compression.Gzip)
        return encode((1, payload(first(fields, 2, 0))))

    def cacheable_call(self, request, context):
        context.send_initial_metadata((("cache-control", "max-age=60, public"),))
        return encode((1, encode((2, str(time.time_ns())))))

    def input_call(self, requests, context):
        self.begin(context)
        total = 0
        for request in requests:
            total += len(first(decode(first(decode(request), 1, b"")), 2, b""))
        return encode((1, total))

    def output_call(self, request, context):
        context.set_compression(grpc.Compression.Gzip)
        yield from self.outputs(decode(request), context)

    def outputs(self, fields, context):
        for parameters in map(decode, fields.get(2, [])):
            if not first(decode(first(parameters, 3, b"")), 1):
                context.disable_next_message_compression()
            yield encode((1, payload(first(parameters, 1, 0))))

    def duplex_call(self, requests, context):
        self.begin(context)
        for request in requests:
            fields = decode(request)
            if 7 in fields:
                self.end(context, fields[7][0])
                return
            yield from self.outputs(fields, context)

    def metadata(self, request, context):
        """What came, as JSON; all of `x-…-bin` comes back as initial and as trailing metadata."""
        came = list(context.invocation_metadata())
        back = tuple((key, value) for key, value in came if key.startswith("x-") and key.endswith("-bin"))
        context.send_initial_metadata(back)
        context.set_trailing_metadata(back)
        return json.dumps({
            "metadata": [[key, value.hex() if isinstance(value, bytes) else value] for key, value in came],
            "remaining": context.time_remaining()}).encode()


def connect(address, port, authority, root=None, options=()):
    """A channel of its own: no connection is shared with another one."""
    options = [*UNLIMITED, ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1),
               ("grpc.default_authority", authority), *options]
    if root is None:
        return grpc.insecure_channel(f"{address}:{port}", options)
    return grpc.secure_channel(
        f"{address}:{port}", grpc.ssl_channel_credentials(root.encode()),
        [*options, ("grpc.ssl_target_name_override", authority)])


# What is on the wire


def frame(message, compressed=False):
    data = gzip.compress(message) if compressed else message
    return bytes([compressed]) + len(data).to_bytes(4, "big") + data


def frames(body):
    """[(flags, message as it is on the wire)]"""
    found, position = [], 0
    while position < len(body):
        size = int.from_bytes(body[position + 1:position + 5], "big")
        found.append((body[position], body[position + 5:position + 5 + size]))
        assert len(found[-1][1]) == size, "the body ends within a message"
        position += 5 + size
    return found


class WireClient(H2Client):
    """gRPC by hand over HTTP/2."""

    def __init__(self, *arguments, **more):
        self.ended_by_head = set()
        super().__init__(*arguments, **more)

    def handle(self, event):
        if type(event).__name__ == "ResponseReceived" and event.stream_ended is not None:
            self.ended_by_head.add(event.stream_id)
        super().handle(event)

    def start(self, host, method, metadata=(), service=SERVICE):
        return self.open("POST", f"/{service}/{method}", host,
                         [("content-type", "application/grpc"), ("te", "trailers"), *metadata], end=False)

    def call(self, host, method, *messages, metadata=(), service=SERVICE):
        call = self.start(host, method, metadata, service)
        try:
            for message in messages:
                call.send(message)
            call.finish()
        except Broken:
            # The answer was there before all was sent.
            if not call.ended:
                raise
        return call, call.response()
