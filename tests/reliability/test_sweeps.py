"""A sweep of many trials keeps its memory, in the process that conducts it and in its worker."""

import psutil
import pytest

from dynsim.progress import Progress
from dynsim.scenario import Scenario
from dynsim.sweep.conduct import sweep

TINY = {"system.layers": ["auto", 2, "auto"], "system.copies": 2, "run.steps": 4, "record.every": 4}
SETTLED = 5  # trials after which everything is loaded
MIB = 2**20


class Memory(Progress):
    """MiB of this process and of its children, trial by trial."""

    def __init__(self):
        super().__init__(quiet=True)
        self.here, self.there = [], []

    def update(self, step, total, numbers):
        me = psutil.Process()
        self.here.append(me.memory_info().rss / MIB)
        self.there.append(sum(child.memory_info().rss for child in me.children(recursive=True)) / MIB)


@pytest.mark.counts(20, 200)
def test_a_sweep_of_quick_trials_keeps_its_memory(count, tally, tmp_path):
    scenario = Scenario.load("xor").changed(**TINY | {"record.properties": []})
    memory = Memory()
    found = sweep(scenario, ["dynamics.eta=log:0.01:0.5"], tmp_path, trials=count, jobs=1, progress=memory)
    grown = [max(of[SETTLED:]) - of[SETTLED] for of in (memory.here, memory.there)]
    done = sum(t.state == "complete" for t in found.trials)
    tally("quick trials of a sweep end", done, count, f"{grown[0]:.0f} MiB more here, {grown[1]:.0f} in its worker")
    assert max(grown) < 10 + 0.1 * count
