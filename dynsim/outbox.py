"""Messages over a pipe that nobody has to wait for."""

from __future__ import annotations

import queue
import threading
from multiprocessing.connection import Connection
from typing import Any


class Outbox:
    """Sends messages over a pipe from a thread of its own, so that a full pipe stops nobody."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Any) -> None:
        self._queue.put((message,))

    def close(self, seconds: float = 1.0) -> None:
        """Send what is left, for so long at most."""
        self._queue.put(None)
        self._thread.join(seconds)

    def _send_all(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._pipe.send(item[0])
            except (OSError, ValueError):  # the other side has gone, which its reader notices
                return
