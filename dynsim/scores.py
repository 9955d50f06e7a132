"""By which number a run is judged, and of which numbers more is better."""

from __future__ import annotations

# The first of them that a run has.
JUDGED = ("test_accuracy", "relative_error", "r2_test", "r2_train", "test_loss", "train_loss")
# Parts of names; steps_per_s has one of both.
MORE = ("accuracy", "r2", "steps_per_s")
LESS = ("loss", "error", "bytes", "macs", "parameters", "steps", "wall_s", "stress", "dead")


def more_is_better(name: str) -> bool | None:
    """Whether more of a number is better, by its name; None where that does not tell."""
    if any(part in name for part in MORE):
        return True
    return False if any(part in name for part in LESS) else None
