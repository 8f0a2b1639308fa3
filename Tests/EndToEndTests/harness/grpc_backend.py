"""A gRPC service whose messages are bytes: generic handlers, no generated code."""

import json
import queue
from concurrent import futures

import grpc

SERVICE = "protobuf.Transport"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GRPCBackend:
    def __init__(self, address, port=0, certificate=None):
        """`certificate`: a file with its key; without, in the clear."""
        self.notes = queue.Queue()
        self.server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=64), options=[*UNLIMITED, ("grpc.so_reuseport", 0)])
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        methods = {
            "HealthCheck": unary(lambda request, context: b"serving"),
            "Echo": unary(lambda request, context: request),
            "Metadata": unary(self.metadata),
            "Fail": unary(self.fail),
            "Hang": unary(self.hang),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Connect": stream(self.connect),
        }
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler(SERVICE, methods),
            grpc.method_handlers_generic_handler("other.Service", {"Echo": methods["Echo"]})))
        if certificate:
            pem = certificate.read_bytes()
            self.port = self.server.add_secure_port(f"{address}:{port}", grpc.ssl_server_credentials([(pem, pem)]))
        else:
            self.port = self.server.add_insecure_port(f"{address}:{port}")
        self.address = address
        self.server.start()

    def close(self):
        self.server.stop(0).wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def metadata(self, request, context):
        context.send_initial_metadata((("x-initial", "first"), ("x-initial-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-trailing", "last"), ("x-trailing-bin", b"\x01\xfe")))
        seen = [
            [key, value.hex() if isinstance(value, bytes) else value]
            for key, value in context.invocation_metadata()]
        return json.dumps({"metadata": seen, "peer": context.peer(), "remaining": context.time_remaining()}).encode()

    def fail(self, request, context):
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100% \u00fcber")

    def hang(self, request, context):
        self._watch(context)
        self.notes.put("started")
        gone = queue.Queue()
        context.add_callback(lambda: gone.put(True))
        gone.get(timeout=30)
        return b""

    def _watch(self, context):
        context.add_callback(lambda: self.notes.put("ended"))

    def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def sum(self, requests, context):
        return b"%d" % sum(int(number) for number in requests)

    def connect(self, requests, context):
        """Echoes each message at once, as hoop's transport does with its packets."""
        self._watch(context)
        self.notes.put("started")
        for request in requests:
            yield b"re:" + request


class GRPCClient:
    """Calls by name, with bytes for messages."""

    def __init__(self, address, port, authority, root=None):
        options = [*UNLIMITED, ("grpc.enable_retries", 0)]
        target = f"{address}:{port}"
        if root:
            self.channel = grpc.secure_channel(
                target, grpc.ssl_channel_credentials(root.encode()),
                [*options, ("grpc.ssl_target_name_override", authority), ("grpc.default_authority", authority)])
        else:
            self.channel = grpc.insecure_channel(target, [*options, ("grpc.default_authority", authority)])

    def unary(self, method, service=SERVICE):
        return self.channel.unary_unary(f"/{service}/{method}")

    def server_stream(self, method, service=SERVICE):
        return self.channel.unary_stream(f"/{service}/{method}")

    def client_stream(self, method, service=SERVICE):
        return self.channel.stream_unary(f"/{service}/{method}")

    def both(self, method, service=SERVICE):
        return self.channel.stream_stream(f"/{service}/{method}")

    def conversation(self, **more):
        return Conversation(self, **more)

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Conversation:
    """A bidirectional stream that one drives message by message."""

    def __init__(self, client, **more):
        self.outgoing = queue.Queue()
        self.call = client.both("Connect")(iter(self.outgoing.get, None), **more)

    def say(self, text):
        self.outgoing.put(text)
        return next(self.call)

    def end(self):
        self.outgoing.put(None)
        return list(self.call)
