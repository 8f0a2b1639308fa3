"""A stand-in for hoop's agent: calls protobuf.Transport through the proxy.

    hoop_client.py 127.0.0.1:8080 HealthCheck
    hoop_client.py 127.0.0.1:8080 Connect --packets 5
"""

import argparse
import queue
import sys

import grpc
import transport


def health_check(channel: grpc.Channel, timeout: float):
    call = channel.unary_unary(f"/{transport.SERVICE}/HealthCheck")
    answer = call(b"", timeout=timeout)
    print(f"HealthCheck: {transport.decode(answer).get(1, b'').decode()}")


def connect(channel: grpc.Channel, packets: int, timeout: float):
    """One bidirectional stream: each packet is sent after the answer to the one before has come."""
    outgoing: queue.Queue = queue.Queue()
    method = channel.stream_stream(f"/{transport.SERVICE}/Connect")
    call = method(iter(outgoing.get, None), timeout=timeout, metadata=(("origin", "agent"),))
    for number in range(packets + 1):
        answer = next(call)
        print(f"Connect: {transport.kind_of(answer)} {transport.payload_of(answer).decode()}")
        if number < packets:
            outgoing.put(transport.packet("KeepAlive"))
            outgoing.put(transport.packet("SessionOpen", f"packet {number + 1}".encode()))
    outgoing.put(None)
    for _ in call:
        raise SystemExit("an answer that nobody asked for")
    print(f"Connect: the stream ended with {call.code().name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="HOST:PORT of the proxy")
    parser.add_argument("method", choices=["HealthCheck", "Connect"])
    parser.add_argument("--authority", default="hoop.yourdomain.org", help="the name that the route is for")
    parser.add_argument("--packets", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=20, help="in seconds")
    arguments = parser.parse_args()

    options = [("grpc.default_authority", arguments.authority), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(arguments.address, options=options + transport.CHANNEL_OPTIONS) as channel:
        try:
            if arguments.method == "HealthCheck":
                health_check(channel, arguments.timeout)
            else:
                connect(channel, arguments.packets, arguments.timeout)
        except grpc.RpcError as error:
            sys.exit(f"{arguments.method}: {error.code().name}: {error.details()}")


if __name__ == "__main__":
    main()
