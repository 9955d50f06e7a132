"""Numba's CUDA simulator with a block's threads one at a time, from one barrier to the next.

As it comes, the simulator lets them run at once: what they get is then a matter of chance (two that ask for shared
memory at once get each their own), and most of the time goes into asking them whether they wait. In turns a barrier
that is missing shows every time, in one of the two orders: who comes first reads what nobody has written yet, or writes
over what others still read.
"""

from contextlib import contextmanager
from threading import Lock

import numpy as np
from numba.cuda.simulator.kernel import BlockManager, BlockThread

_order = 1


@contextmanager
def backwards():
    """The last thread of a block comes first."""
    global _order
    _order = -1
    try:
        yield
    finally:
        _order = 1


class Turn(BlockThread):
    """A thread that runs when it is told to, until a barrier or its end."""

    def __init__(self, *given):
        super().__init__(*given)
        self.waits, self._mine, self._theirs = True, Lock(), Lock()
        self._mine.acquire()
        self._theirs.acquire()

    def run(self):
        self._mine.acquire()
        super().run()
        self.waits = False
        self._theirs.release()

    def syncthreads(self):
        self._theirs.release()
        self._mine.acquire()
        if self.abort:
            raise RuntimeError("another thread has failed")

    def go_on(self):
        """To the next barrier; raises what the thread raises."""
        self._mine.release()
        self._theirs.acquire()
        if self.exception and not self.abort:
            raise self.exception[0].with_traceback(self.exception[1])


def run(self, block, *given):
    """All threads of a block, to the end."""
    points = [*np.ndindex(*self._block_dim)][::_order]
    threads = [Turn(lambda: self._f(*given), self, block, point, self._debug) for point in points]
    for thread in threads:
        thread.start()
    waiting = threads
    try:
        while waiting:
            for thread in waiting:
                thread.go_on()
            waiting = [thread for thread in waiting if thread.waits]
    finally:
        for thread in waiting:
            if thread.waits:
                thread.abort = True
                thread.go_on()


BlockManager.run = run
