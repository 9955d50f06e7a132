"""What a person reads of how far a run is."""

import io
from contextlib import redirect_stderr

from dynsim import progress


def test_the_first_step_which_may_compile_is_left_out_of_the_rate(monkeypatch):
    said, now = io.StringIO(), [5.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with redirect_stderr(said), progress.Progress(interval=1.0) as told:
        told.phase("simulating", 111)
        for step, at in ((1, 105.0), (2, 105.1), (11, 106.0), (111, 116.0)):
            now[0] = at
            told.update(step, 111, {"loss": 0.5})
    assert said.getvalue().splitlines() == [
        "simulating: 111 steps",
        "simulating 11/111    10.0 steps/s  ETA 00:10  loss 0.5",
        "simulating 111/111    10.0 steps/s  ETA 00:00  loss 0.5",
    ]


def test_a_run_of_one_step_is_told():
    said = io.StringIO()
    with redirect_stderr(said), progress.Progress() as told:
        told.phase("simulating", 1)
        told.update(1, 1, {})
    assert "1/1" in said.getvalue()
