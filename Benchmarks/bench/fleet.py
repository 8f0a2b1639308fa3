"""The proxies of one run: started when they are first needed, started again when they have died."""

import os

from .backends import Relay
from .peers import PEERS
from .process import PROXY_CORE
from .sluice import TITLES as SLUICE_TITLES
from .sluice import Sluice

TITLES = {**SLUICE_TITLES, **{name: peer.title for name, peer in PEERS.items()}, Relay.name: Relay.title}


class Fleet:
    def __init__(self, processes, backends, certificate, programs, engines, peers):
        self.names = [*(f"sluice-{engine}" for engine in engines), *peers, Relay.name]
        self.sluices = [name for name in self.names if name in SLUICE_TITLES]
        self.processes = processes
        self.backends = backends
        self.programs = programs
        self._certificate = certificate
        self._running = {}
        self._started = 0

    def get(self, name):
        """The one that all workloads share, with one worker on the proxies' core."""
        proxy = self._running.get(name)
        if proxy is None or proxy.process.poll() is not None:
            proxy = self._running[name] = self.fresh(name)
        return proxy

    def fresh(self, name, workers=1, core=PROXY_CORE, manifests=None):
        """One of its own. Whoever asks for it stops it."""
        self.backends.revive()
        self._started += 1
        folder = os.path.join(self.processes.folder, f"{name}-{self._started}")
        os.mkdir(folder)
        if name in SLUICE_TITLES:
            return Sluice(self.processes, self.backends, self._certificate, self.programs,
                          name.removeprefix("sluice-"), folder, workers, core, manifests)
        if name == Relay.name:
            return Relay(self.processes, self.backends, self._certificate, folder, core)
        return PEERS[name](self.processes, self.backends, self._certificate, folder, workers, core)
