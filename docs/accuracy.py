"""The README's table over seeds: python docs/accuracy.py SCENARIO... [--seeds 3] [--twin] [--set k=v]"""

import argparse
import statistics
from math import isnan

from dynsim import Scenario, Simulation
from dynsim.backend.twin import dense_twin


def reached(name: str, seed: int, settings: list[str], twin: bool) -> tuple[float, float]:
    """(validation, test) accuracy in per cent at the last step, of the scenario or of its dense twin."""
    simulation = Simulation(Scenario.load(name, [*settings, f"run.seed={seed}", "record.observables=[]"]))
    if twin:
        simulation.system = simulation.system.replace(step=simulation.total_steps)  # the twin does as many
        simulation = dense_twin(simulation)
    while not simulation.done:
        simulation.step()
    return 100 * simulation.evaluate("validation").accuracy, 100 * simulation.evaluate("test").accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--twin", action="store_true", help="of the dense twin instead")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    for name in options.scenarios:
        runs = [reached(name, seed, options.set, options.twin) for seed in range(options.seeds)]
        parts = ["-" if isnan(c[0]) else f"{statistics.mean(c):.2f} +- {statistics.stdev(c):.2f}" for c in zip(*runs)]
        tests = ", ".join(f"{t:.2f}" for _, t in runs)
        print(f"| {name} {' '.join(options.set)} | {parts[0]} | {parts[1]} | {tests} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
