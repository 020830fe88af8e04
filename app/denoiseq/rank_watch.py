"""Notices within a minute that another rank is gone, whatever this one is doing.

Rank 0 keeps a connection to every other rank. The kernel closes it when a process dies, and breaks
it when a host no longer answers; a rank that is busy, stopped or swapped out keeps it. So a stage
may take any time. A rank that ends tells the others before: that it is done, or what stopped it,
and then rank 0 reports for both.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

from denoiseq import errors
from denoiseq.errors import LostRank
from denoiseq.interrupt import end_with, how_to_go_on

# How long ranks wait for each other at the start: their hosts may load libraries from a slow disk.
MEETING = timedelta(minutes=5)
# A host that has not answered the kernel for so long is lost.
IDLE_S, INTERVAL_S, ATTEMPTS = 10, 4, 5
# The main thread has so long to report a loss; then this module does.
REPORT_S = 10
# A collective that has not noticed the loss after so much longer never will.
STUCK_S = 10
HEARD_S = 10
# An error that another rank reports may be one that all meet, which is then rank 0's own as well.
OWN_S = 1
DONE, HEARD = {"done": True}, {"heard": True}


class RankWatch:
    """The connections of this rank, each followed by a thread until `leave`.

    A loss raises `LostRank` in the main thread, as a signal would, and is kept in `lost`.
    in_collective : set by the main thread while it waits for other ranks
    """

    def __init__(self, store: Any, rank: int, world: int):
        self.rank = rank
        self.lost: LostRank | None = None
        self.noticed = threading.Event()
        self.in_collective = False
        self._leaving, self._heard = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._peers = _connections(store, rank, world)
        for number, peer in self._peers.items():
            threading.Thread(target=self._follow, args=(number, peer), daemon=True).start()

    def leave(self, error: BaseException | None = None) -> None:
        """End the watch, and tell the other ranks that this one is done, or what stopped it.

        `errors.mark_reported` marks an error that rank 0 reports.
        """
        with self._lock:
            self._leaving.set()
        if error is None:
            self._tell(DONE)
        else:
            told = self._tell({"stopped": errors.sentence(error)})
            waits = self.rank and told and not errors.is_reported(error)
            if waits and self._heard.wait(HEARD_S) and not errors.is_bug(error):
                errors.mark_reported(error)
        for peer in self._peers.values():
            with suppress(OSError):  # already broken
                peer.shutdown(socket.SHUT_RDWR)

    def _tell(self, message: dict[str, Any]) -> bool:
        """Send a message to every peer; whether all got it."""
        return all([_send(peer, message) for peer in self._peers.values()])

    def _follow(self, number: int, peer: socket.socket) -> None:
        """Read what rank `number` tells until it ends."""
        message = {}
        with suppress(OSError, ValueError):  # out of reach; or closed by `leave`
            for line in peer.makefile(encoding="utf-8"):
                message = json.loads(line)
                self._heard.set()  # also a rank 0 that stops reports
                if message != HEARD:
                    break
        if "stopped" in message:
            if self.rank == 0:
                _send(peer, HEARD)
                self._leaving.wait(OWN_S)
            self._notice(f"process {number} stopped ({message['stopped']})", self.rank > 0)
        elif message != DONE:
            self._notice(f"process {number} died or is out of reach", False)

    def _notice(self, what: str, reported: bool) -> None:
        """End the main thread with the loss, and the process if that cannot be reached."""
        with self._lock:
            if self._leaving.is_set() or self.lost is not None:
                return
            self.lost = LostRank(what)
            if reported:
                errors.mark_reported(self.lost)
            self.noticed.set()
            end_with(self.lost)
        if not self._leaving.wait(REPORT_S) and not reported:
            print(f"error: {what}: {how_to_go_on()}.", file=sys.stderr, flush=True)
        stuck_s = 0
        while not self._leaving.wait(1):
            stuck_s = stuck_s + 1 if self.in_collective else 0
            if stuck_s == STUCK_S:
                os._exit(2)


def _connections(store: Any, rank: int, world: int) -> dict[int, socket.socket]:
    """Rank 0's connections to all others, or another rank's to rank 0, by the peer's rank."""
    if rank:
        address, port, secret = json.loads(store.get("rank_watch"))
        peer = socket.create_connection((address, port), MEETING.total_seconds())
        _send(peer, {"secret": secret, "rank": rank})
        return {0: _kept_alive(peer)}
    address, family = _own_address()
    secret, peers = secrets.token_hex(16), dict[int, socket.socket]()
    with socket.create_server((address, 0), family=family, backlog=world) as server:
        server.settimeout(MEETING.total_seconds())
        store.set("rank_watch", json.dumps([address, server.getsockname()[1], secret]))
        while len(peers) < world - 1:
            peer, _ = server.accept()
            if (number := _introduced(peer, secret)) is None:
                peer.close()
            else:
                peers[number] = _kept_alive(peer)
    return peers


def _own_address() -> tuple[str, int]:
    """The address by which this host reaches that of the launcher's store, and its family."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)  # of datagrams: chooses a route, and sends nothing
        return probe.getsockname()[0], family


def _introduced(peer: socket.socket, secret: str) -> int | None:
    """The rank that connects; None for a stranger."""
    peer.settimeout(HEARD_S)
    try:
        hello = b""
        while not hello.endswith(b"\n"):
            byte = peer.recv(1)
            if not byte or len(hello) > 100:
                return None
            hello += byte
        message = json.loads(hello)
        return message["rank"] if message["secret"] == secret else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kept_alive(peer: socket.socket) -> socket.socket:
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, INTERVAL_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ATTEMPTS)
    return peer


def _send(peer: socket.socket, message: dict[str, Any]) -> bool:
    try:
        peer.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return False
    return True
