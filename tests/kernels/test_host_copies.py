"""Frames leave a card while it goes on computing: the order of calls, on a card that is played by this file.

Streams are queues that run when something waits for them, in the worst order: the step's stream as far ahead
as it may, the copies last. Memory that nobody holds is given to the next array at once, as CuPy's pool does.
"""

import inspect

import numpy as np
import pytest

from dynsim.kernels.host_copies import Copier, there


class Event:
    def __init__(self, card):
        self.card, self.passed = card, False

    def record(self, stream):
        self.passed = False
        self.card.told.append(f"record on {stream.name}")
        stream.queue.append(self._pass)

    def _pass(self):
        self.passed = True
        return True

    def synchronize(self):
        self.card.told.append("wait on the host")
        while not self.passed:
            self.card.run_a_little()


class Stream:
    def __init__(self, card, name):
        self.card, self.name, self.queue = card, name, []

    def wait_event(self, event):
        self.card.told.append(f"{self.name} waits")
        self.queue.append(lambda: event.passed)

    def run(self):
        """As far as it gets: an entry that answers False is tried again later."""
        ran = 0
        while self.queue and self.queue[0]() is not False:
            self.queue.pop(0)
            ran += 1
        return ran


class Array:
    """An array of the card."""

    def __init__(self, card, values, contiguous=True):
        self.card, self.memory = card, card.memory(len(values))
        self.shape, self.dtype, self.size = (len(values),), np.dtype(np.float64), len(values)
        self.flags = type("flags", (), {"c_contiguous": contiguous})
        memory, values = self.memory, np.array(values, float)
        card.step.queue.append(lambda: memory.__setitem__(slice(None), values))

    def get(self, stream, out, blocking):
        assert not blocking
        assert id(out) in self.card.pinned
        memory = self.memory
        self.card.told.append(f"copy on {stream.name}")
        stream.queue.append(lambda: out.__setitem__(slice(None), memory))
        return out

    def copy(self, order):
        """What is not contiguous is made so by the step's stream."""
        whole, memory = Array(self.card, np.zeros(self.size)), self.memory
        self.card.step.queue[-1] = lambda: whole.memory.__setitem__(slice(None), memory)
        return whole

    def __del__(self):
        self.card.free.append(self.memory)


class Card:
    """CuPy's module of streams and events, and memory."""

    def __init__(self):
        self.told, self.free, self.pinned = [], [], {}
        self.step = Stream(self, "step")
        self.copies = None

    def Stream(self, non_blocking):
        assert non_blocking
        self.copies = Stream(self, "copies")
        return self.copies

    def Event(self, disable_timing):
        return Event(self)

    def get_current_stream(self):
        return self.step

    def memory(self, n):
        return self.free.pop() if self.free else np.full(n, np.nan)

    def empty_pinned(self, shape, dtype):
        out = np.full(shape, np.nan, dtype)
        self.pinned[id(out)] = out
        return out

    def run_a_little(self):
        """The step's stream first; the host that waits for neither would wait for ever."""
        assert self.step.run() + self.copies.run()


@pytest.fixture
def card():
    return Card()


@pytest.fixture
def copier(card):
    return Copier(card, card.empty_pinned)


def test_asking_waits_for_nothing(card, copier):
    copier.ask([Array(card, [1.0, 2.0]), Array(card, [3.0, 4.0])])
    assert card.told == ["record on step", "copies waits", "copy on copies", "copy on copies", "record on copies"]
    assert card.copies.queue


def test_numbers_are_those_of_the_step_at_which_they_were_asked_for(card, copier):
    state = Array(card, [1.0, 2.0])
    copies = copier.ask([state])
    for step in range(5):  # each gives up the state before it, as the engine does
        state = Array(card, [10.0 + step, 20.0])
    card.step.run()
    (found,) = copies.arrays()
    assert found.tolist() == [1.0, 2.0]
    assert card.told.count("wait on the host") == 1


def test_a_copy_does_not_begin_before_its_step_has_ended(card, copier):
    copies = copier.ask([Array(card, [1.0, 2.0])])
    card.copies.run()
    assert card.copies.queue
    card.step.run()
    card.copies.run()
    assert not card.copies.queue
    assert copies.arrays()[0].tolist() == [1.0, 2.0]


def test_two_frames_on_their_way_do_not_share_memory(card, copier):
    first, state = copier.ask([Array(card, [1.0, 2.0])]), Array(card, [3.0, 4.0])
    second = copier.ask([state])
    del state
    Array(card, [5.0, 6.0])
    assert second.arrays()[0].tolist() == [3.0, 4.0]
    assert first.arrays()[0].tolist() == [1.0, 2.0]


def test_memory_is_given_back_when_a_frame_has_arrived(card, copier):
    copies = copier.ask([Array(card, [1.0, 2.0])])
    assert not card.free
    copies.arrays()
    assert len(card.free) == 1
    assert copies.arrays()[0].tolist() == [1.0, 2.0]


def test_arrays_that_are_not_contiguous_are_made_so_by_the_step(card, copier):
    copies = copier.ask([Array(card, [1.0, 2.0], contiguous=False)])
    assert copies.arrays()[0].tolist() == [1.0, 2.0]


def test_empty_arrays_need_no_copy(card, copier):
    (found,) = copier.ask([Array(card, [])]).arrays()
    assert found.shape == (0,)
    assert "copy on copies" not in card.told


def test_arrays_of_the_host_are_there():
    a = np.arange(3.0)
    assert there(iter([a])).arrays()[0] is a


def test_calls_are_those_of_cuda_in_cupy():
    cupy, cupyx = pytest.importorskip("cupy"), pytest.importorskip("cupyx")
    assert {"non_blocking"} <= set(inspect.signature(cupy.cuda.Stream.__init__).parameters)
    assert {"record", "synchronize"} <= set(dir(cupy.cuda.Event))
    assert "disable_timing" in cupy.cuda.Event.__init__.__doc__
    assert "wait_event" in dir(cupy.cuda.Stream)
    assert "stream=None, order='C', out=None, blocking=True" in cupy.ndarray.get.__doc__
    assert list(inspect.signature(cupyx.empty_pinned).parameters)[:2] == ["shape", "dtype"]


@pytest.mark.gpu
def test_copies_of_a_card_have_the_bits_of_their_step():
    import cupy

    from dynsim.kernels.host_copies import to_host_later

    state, asked = cupy.arange(1_000_000, dtype=np.float32), []
    for _ in range(20):
        asked.append(to_host_later([state, state[::2]]))
        state = state * np.float32(1.01) + 1
    expected = np.arange(1_000_000, dtype=np.float32)
    for copies in asked:
        whole, half = copies.arrays()
        np.testing.assert_allclose(whole, expected, rtol=1e-5)
        assert np.array_equal(whole[::2], half)
        expected = expected * np.float32(1.01) + 1
