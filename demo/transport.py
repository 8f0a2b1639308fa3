"""The few protobuf messages of hoop's `protobuf.Transport` that the demo speaks, written by hand.

A message is a dictionary from field number to bytes; only length-delimited fields (wire type 2) are used.
"""

SERVICE = "protobuf.Transport"
LARGEST_MESSAGE = 17 * 1024 * 1024

CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def encode(fields: dict[int, bytes]) -> bytes:
    return b"".join(_varint(number << 3 | 2) + _varint(len(value)) + value for number, value in fields.items())


def decode(data: bytes) -> dict[int, bytes]:
    fields, at = {}, 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key & 7 != 2:
            raise ValueError(f"field {key >> 3} has wire type {key & 7}")
        size, at = _read_varint(data, at)
        fields[key >> 3] = data[at : at + size]
        at += size
    return fields


def packet(kind: str, payload: bytes = b"") -> bytes:
    """A `Packet`: field 1 is its type, field 3 its payload."""
    return encode({1: kind.encode(), 3: payload})


def kind_of(message: bytes) -> str:
    return decode(message).get(1, b"").decode()


def payload_of(message: bytes) -> bytes:
    return decode(message).get(3, b"")
