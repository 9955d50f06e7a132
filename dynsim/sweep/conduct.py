"""A sweep from its beginning, or from where it was broken off, to its end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path

from dynsim.errors import DynsimError, OptionError, ResourceError, RunFolderError, unknown
from dynsim.files import unwritable
from dynsim.lock import NAME, Lock
from dynsim.progress import Progress
from dynsim.scenario import Scenario
from dynsim.stopping import Interrupted, Stop
from dynsim.sweep.journal import JOURNAL, Journal
from dynsim.sweep.parameters import parsed, rehearsed
from dynsim.sweep.plan import asked_for
from dynsim.sweep.record import TRIALS, Outcome, Sweep
from dynsim.sweep.trial import Task, rehearse, work_out
from dynsim.wanted import PREFIX, wanted
from dynsim.workers import Workers, workers

LOG = logging.getLogger("dynsim")
PERIOD = 0.2  # s between two looks for a signal


def sweep(
    scenario: Scenario,
    parameters: Iterable[str],
    out: str | Path,
    *,
    trials: int = 20,
    grid: bool = False,
    objective: str | None = None,
    minimise: bool | None = None,
    prune: bool = False,
    seed: int = 0,
    jobs: int | None = None,
    dask: str | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Run a scenario many times with other settings, and find the best; a folder in which it was stopped goes on.

    The folder gets `sweep.json` (`record.read_sweep`), `journal.log` of optuna, and trials/NUMBER, a run folder each.
    A trial that fails is recorded with its reason, and the sweep goes on. Processes are spawned: a script needs the
    usual `if __name__ == "__main__":`.

    Parameters
    ----------
    parameters : as the command line takes them (`parameters.FORMS`).
    trials : to be done in all, those that were done before included. grid : all combinations instead.
    objective : dotted key of a run's summary; by default the validation accuracy, or else the test accuracy.
    minimise : whether less is better; None where the name says so.
    prune : break trials off whose validation accuracy is below the median of the others at that time.
    seed : of the search. jobs, dask : see `dynsim.workers`.

    Raises
    ------
    OptionError, ScenarioError : parameters, objective or options that cannot be; another sweep in the folder.
    RunFolderError : a folder that holds something else, that another process sweeps, or that workers do not see.
    DeviceError : optuna or distributed is not installed.
    Interrupted : a signal; the same call goes on.
    """
    from dynsim.preparing import portable

    varied = parsed(parameters)
    if trials < 1:
        raise OptionError("not a number of trials", where="--trials", given=trials, allowed="1 or more")
    example = rehearsed(scenario, varied)
    plan = asked_for(portable(scenario), varied, objective, minimise, grid=grid, prune=prune, seed=seed)
    folder, progress = _folder(Path(out)), progress or Progress(quiet=True)
    with Lock(folder / NAME, create=True, what="this sweep"), Stop() as stop:
        try:
            journal = Journal(folder, plan, trials)
        except OptionError as error:
            error.where = str(out)
            raise
        if journal.begun and not (known := journal.record()).left:
            known.save()
            return known
        with _told_where(folder), wanted(folder) as session, workers(jobs, dask, folder) as pool:
            if not journal.begun:
                progress.phase("trying it out")
                _refuse_unknown(plan.objective, _soon(pool.submit(rehearse, portable(example), folder), stop))
                journal.begin()
            return _Conductor(journal, pool, session, stop).run(progress)


@contextmanager
def _told_where(folder: Path) -> Iterator[None]:
    """What stops a sweep says how it goes on."""
    hint = "the same command again goes on where this one was"
    try:
        yield
    except Interrupted as error:
        error.where, error.hint = str(folder), hint
        raise
    except OSError as error:
        if not isinstance(error, DynsimError):
            error = unwritable(Path(error.filename or folder), error)
        error.hint = f"{error.hint}, then: {hint}" if error.hint else hint
        raise error from None


def _folder(out: Path) -> Path:
    """The folder, made; raises RunFolderError where something else is in it or it cannot be made."""
    path = out.resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = [entry.name for entry in path.iterdir()]
        if JOURNAL not in names and any(n not in (NAME, TRIALS) and not n.startswith(PREFIX) for n in names):
            raise RunFolderError("holds something else", where=str(out), hint="another --out")
        (path / TRIALS).mkdir(exist_ok=True)
    except FileExistsError:
        raise RunFolderError("is no folder", where=str(out), hint="another --out") from None
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError("cannot be written", where=str(out), given=error.strerror, hint="another --out") from None
    return path


def _soon(future: Future, stop: Stop):
    """The result of a future, unless a signal comes before; raises Interrupted."""
    while not wait([future], PERIOD).done:
        stop.check()
    return future.result()


def _refuse_unknown(objective: str, known: dict[str, float | None] | None) -> None:
    """Raises OptionError where no run will have that number; a number that is None may come later, but in `final`."""
    if known is None:
        return
    if objective not in known or (known[objective] is None and objective.startswith("final.")):
        listed = tuple(name for name, value in known.items() if value is not None)
        raise unknown("number of a run's summary", objective, listed, "--objective")


class _Conductor:
    """Keeps the workers busy."""

    def __init__(self, journal: Journal, pool: Workers, session: Path, stop: Stop) -> None:
        self._journal, self._pool, self._session, self._stop = journal, pool, session, stop
        self._running: dict[Future, int] = {}

    def run(self, progress: Progress) -> Sweep:
        """Every trial that is left; what became of all. Raises Interrupted."""
        record = self._filled()
        progress.phase("sweeping", record.asked, record.asked - record.left, unit="trials")
        while self._running:
            for future in wait(self._running, PERIOD, FIRST_COMPLETED).done:
                self._tell(self._running.pop(future), _outcome(future), progress)
                record = self._filled()
                best = {} if record.best is None else {"best": record.best.value or 0.0}
                progress.update(record.asked - record.left, record.asked, best)
            self._stop.check()
        return record

    def _tell(self, number: int, outcome: Outcome, progress: Progress) -> None:
        self._journal.tell(number, outcome)
        LOG.info("trial %d: %s", number, outcome.state)
        if outcome.state == "failed":
            progress.note(f"trial {number} failed: {(outcome.reason or '').partition(chr(10))[0]}")

    def _filled(self) -> Sweep:
        """What is known once as many trials are begun as there is room for, also in sweep.json."""
        self._fill()
        record = self._journal.record()
        record.save()
        return record

    def _fill(self) -> None:
        while not self._stop.asked and len(self._running) < self._pool.slots:
            found = self._journal.next()
            if found is None:
                return
            from dynsim.preparing import absolute  # with all numerics, as `portable` in `sweep`

            number, plan = found[0], self._journal.plan
            settings = absolute(plan.scenario, found[1])
            task = Task(
                number, plan.scenario, settings, self._journal.folder, plan.objective, self._session, plan.prune
            )
            self._running[self._pool.submit(work_out, task)] = number


def _outcome(future: Future) -> Outcome:
    """What a worker told of a trial, or that it was killed."""
    try:
        return future.result()
    except ResourceError as error:
        return Outcome("failed", reason=str(error))
