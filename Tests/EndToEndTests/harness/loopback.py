"""Loopback addresses of one's own: 127.0.0.0/8 is large enough for every test to have one, so that
ports need not be searched for and parallel runs do not meet."""

import random
import socket


class LoopbackAddress:
    """An address that no other live test holds. The kernel takes the claim back when the process ends."""

    def __init__(self):
        while True:
            text = f"127.{random.randint(16, 250)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0sluice-e2e-{text}")
            except OSError:
                claim.close()
                continue
            self.text = text
            self._claim = claim
            return

    def __str__(self):
        return self.text

    def close(self):
        self._claim.close()
