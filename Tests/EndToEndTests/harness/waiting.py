"""Waiting on conditions instead of sleeping."""

import time


def wait_until(condition, what="the condition", timeout=20.0, interval=0.02):
    """Calls `condition` until it returns something true and returns that.

    An exception counts as "not yet"; the last one is shown when the time is over."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (AssertionError, OSError, LookupError, ValueError) as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what}: not within {timeout} s; last: {last!r}")
        time.sleep(interval)
