"""Raw bytes and what becomes of them, as tables: one file a theme, one row a case. Each row names the section that it
rests on; `9112-6.3` is RFC 9112, section 6.3.

Requests: what the client writes, the statuses that it reads, whether its connection lives on, and the exact bytes that
the backend got. Responses: what the backend writes, the exact bytes that the client gets, whether its connection lives
on, and whether the backend's connection is dropped. After each case a request on the same connection, where it lives,
and one on a new connection get their own answers, or the case has failed: see `test_corpus.py`."""

import re
from dataclasses import dataclass

HOST = "h.test"
# Stands for the client's address and for the 32 random digits.
CLIENT = "CLIENT"
RANDOM = "RANDOM"


@dataclass(frozen=True)
class RequestCase:
    name: str
    section: str
    writes: tuple
    statuses: tuple
    lives: bool
    backend: bytes
    # The last response is to be read as one to HEAD.
    is_head: bool = False
    # What of the answer is checked besides its status.
    contains: bytes = b""
    # Whether an ending is announced (RFC 9112 section 9.6).
    says_close: bool = True
    # What follows the first write is sent when the first answer has come.
    waits: bool = False


@dataclass(frozen=True)
class ResponseCase:
    name: str
    section: str
    # What the client asks.
    request: bytes
    # The backend's steps: bytes, or one of those in harness/raw.py.
    answer: tuple
    client: bytes
    lives: bool
    dropped: bool
    # The client's connection ends in a reset.
    is_reset: bool = False


def seen(line, *fields, body=b"", host=HOST, chunked=False, request_id=True, upgrade=False):
    """A request as the backend sees it: the client's lines, then those that Sluice adds, then the body."""
    lines = [line, *fields, f"x-forwarded-for: {CLIENT}", "x-forwarded-proto: http"]
    if host:
        lines.append(f"x-forwarded-host: {host}")
    if request_id:
        lines.append(f"x-request-id: {RANDOM}")
    if chunked:
        lines.append("transfer-encoding: chunked")
    if upgrade:
        lines += ["connection: upgrade", "upgrade: websocket"]
    return "".join(text + "\r\n" for text in [*lines, ""]).encode("latin-1") + body


def get(target="/", *fields):
    """How the backend sees a GET with the usual Host."""
    return seen(f"GET {target} HTTP/1.1", f"Host: {HOST}", *fields)


def normalized(recorded, client):
    """Recorded bytes with the client's address and the random identity replaced."""
    text = recorded.replace(b"x-forwarded-for: " + client.encode(), b"x-forwarded-for: " + CLIENT.encode())
    return re.sub(rb"x-request-id: [0-9a-f]{32}\r\n", f"x-request-id: {RANDOM}\r\n".encode(), text)


def raw(*parts):
    """Texts, in latin-1, and bytes as one run."""
    return b"".join(part if isinstance(part, bytes) else part.encode("latin-1") for part in parts)


def head(*lines):
    """A whole head of these lines."""
    return raw(*(text if isinstance(text, bytes) else text + "\r\n" for text in lines), "\r\n")


def _writes(data):
    return tuple(data) if isinstance(data, (list, tuple)) else (data,)


def accept(name, section, data, backend, statuses=(200,), lives=True, **more):
    """Passed on; the backend gets `backend`."""
    return RequestCase(name, section, _writes(data), tuple(statuses), lives, backend, **more)


def refuse(name, section, data, status=400, before=b"", statuses=(), **more):
    """Refused with `status` and the end of the connection; the backend got `before`, which is nothing in the usual
    case, and the client `statuses` first."""
    return RequestCase(name, section, _writes(data), (*statuses, status), False, before, **more)


def refuse_get(name, section, *lines, status=400):
    """A GET with these lines besides Host is refused."""
    return refuse(name, section, head("GET / HTTP/1.1", f"Host: {HOST}", *lines), status)


def accept_get(name, section, *lines, passed=()):
    """A GET with these lines besides Host is passed on, with those in `passed` for them."""
    return accept(name, section, head("GET / HTTP/1.1", f"Host: {HOST}", *lines), get("/", *passed))


def ours(status, reason, text, *fields):
    """A response that Sluice makes."""
    return head(
        f"HTTP/1.1 {status} {reason}", "content-type: text/plain; charset=utf-8",
        f"content-length: {len(text) + 1}", *fields) + text.encode() + b"\n"


MALFORMED = ours(502, "Bad Gateway", "the backend sent a malformed response")
REFUSED_UPGRADE = ours(502, "Bad Gateway", "the backend switched to a protocol that was not asked for")
BROKEN_OFF = ours(502, "Bad Gateway", "the backend closed the connection before it answered")
FLOOD = ours(502, "Bad Gateway", "the backend sent too many interim responses")

ASK = head("GET /case HTTP/1.1", f"Host: {HOST}")


def passes(name, section, answer, client=None, request=ASK, dropped=False, lives=True, **more):
    """The client gets the response; as the backend sent it where nothing else is said."""
    steps = _writes(answer)
    wanted = steps[0] if client is None else client
    return ResponseCase(name, section, request, steps, wanted, lives, dropped, **more)


def spoils(name, section, answer, client=MALFORMED, request=ASK, lives=True, **more):
    """The client gets a 502 of Sluice's own (or `client`), and the backend's connection is dropped."""
    return ResponseCase(name, section, request, _writes(answer), client, lives, True, **more)
