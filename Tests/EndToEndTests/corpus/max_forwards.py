"""RFC 9110, section 7.6.2: Max-Forwards."""

from . import HOST, accept, accept_get, head, seen

H = f"Host: {HOST}"


def passed(name, value, left, method="OPTIONS", section="9110-7.6.2"):
    line = f"{method} / HTTP/1.1"
    return accept(name, section, head(line, H, f"Max-Forwards: {value}", "X: y"),
                  seen(line, H, f"Max-Forwards: {left}", "X: y"))


def answered(name, status, *lines, method="OPTIONS"):
    """Nobody passes it on; the connection lives."""
    return accept(name, "9110-7.6.2", head(f"{method} / HTTP/1.1", H, *lines), b"", statuses=(status,))


CASES = [
    passed("one", "1", "0"),
    passed("ten", "10", "9"),
    passed("trace", "3", "2", method="TRACE"),
    passed("zeros-in-front", "0007", "6"),
    # The greatest number that is told.
    passed("huge", "9" * 40, "999999999"),
    answered("options-zero", 200, "Max-Forwards: 0"),
    answered("options-zeros", 200, "Max-Forwards: 00"),
    answered("trace-zero", 501, "Max-Forwards: 0", method="TRACE"),
    answered("letters", 400, "Max-Forwards: x"),
    answered("negative", 400, "Max-Forwards: -1"),
    answered("point", 400, "Max-Forwards: 1.5"),
    answered("list", 400, "Max-Forwards: 1, 2"),
    answered("empty", 400, "Max-Forwards:"),
    answered("twice", 400, "Max-Forwards: 1", "Max-Forwards: 1"),
    # It may be ignored with other methods.
    accept_get("get", "9110-7.6.2", "Max-Forwards: 0", passed=["Max-Forwards: 0"]),
    # Without it both methods are passed on.
    accept("options", "9110-9.3.7", head("OPTIONS / HTTP/1.1", H), seen("OPTIONS / HTTP/1.1", H)),
]
