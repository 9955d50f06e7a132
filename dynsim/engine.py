"""The near side of an engine: starts its process, sends commands, collects what it says. Never waits for it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from dynsim.commands import Answer, Ask, Open, Plan, Question, Report, Seen
from dynsim.outbox import Outbox

# What asking leads to: the value, or a message that says why there is none.
Callback = Callable[[Any, str], None]


def _serve(pipe: Connection) -> None:
    """Entry of the process; only there is anything numerical imported."""
    from dynsim.session import serve

    serve(pipe)


class Engine:
    """An engine in a process of its own.

    Parameters
    ----------
    plan : what to open first, if anything.

    Attributes
    ----------
    lost : whether its process has ended unasked.
    answer_seconds : that the engine took for the last answer.
    """

    def __init__(self, plan: Plan | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far,), name="dynsim engine", daemon=True)
        self._process.start()
        far.close()
        self._outbox = Outbox(self._pipe)
        self._waiting: dict[int, Callback] = {}
        self._asked = 0
        self.answer_seconds = 0.0
        self.lost = False
        if plan is not None:
            self.send(Open(plan))

    @property
    def pid(self) -> int | None:
        """Of its process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative where a signal ended it."""
        return self._process.exitcode

    def send(self, command: Any) -> None:
        """Queue a command; returns at once."""
        self._outbox.put(command)

    def ask(self, question: Question, answered: Callback) -> None:
        """Put a question; `answered(value, error)` is called from a later `poll`."""
        self._asked += 1
        self._waiting[self._asked] = answered
        self.send(Ask(self._asked, question))

    def poll(self) -> list[Any]:
        """What it has said since the last poll: Opened, Report, Refused, Failed. Answers go to who asked.

        Once its process has ended unasked, `lost` is True.
        """
        said = []
        try:
            while self._pipe.poll():
                message = self._pipe.recv()
                if isinstance(message, Answer):
                    self.answer_seconds = message.seconds
                    self._waiting.pop(message.id, _nobody)(message.value, message.error)
                    continue
                if isinstance(message, Report):
                    self.send(Seen())
                said.append(message)
        except (EOFError, OSError):
            self.lost = True
        return said

    def close(self, seconds: float = 5.0) -> None:
        """Ask it to save and end; after so many seconds end it. Safe to call twice."""
        self._outbox.close(0.2)
        self._pipe.close()  # the far side reads the end of the pipe as the command to leave
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _nobody(value: Any, error: str) -> None:
    """Whoever asked has gone."""
