"""No state is forgotten: what a simulation holds after some steps is what a checkpoint brings back, or declared."""

import functools
import types
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from pydantic import BaseModel

from dynsim import Scenario, Simulation, checkpoint

# Together they have every kind of thing that moves, remembers or is drawn.
SCENARIOS = {
    "moons": ["field.batch=16", "field.validation=0.2"],
    "gas": [],
    "trained_eta": ["field.samples=60", "field.batch=16", "recipe.name=direct"],
    "feedback": ["field.samples=60", "field.batch=16"],
    "merge_avalanche": ["field.samples=60", "field.batch=16", "merge.every=4", "merge.window=2", "merge.radius=3.0"],
    "sine_bank": ["field.batch=2"],
    "orbit": [],
    "lorenz": ["sequence.length=64", "sequence.ticks=16"],
    "vectors": ["field.samples=40", "field.batch=10"],
    "lenet": ["field.samples=40", "field.batch=10", "recipe.epochs=1", "recipe.fit_steps=2", "field.augment=1"],
    "spirals": ["dynamics.integrator=adam", "field.batch=16"],
    "xor": ["dynamics.plain_rate=0.01", "recipe.name=alternate", "recipe.fit_steps=2"],
    "medium": ["field.samples=60", "field.batch=16"],
}
PLAIN = (str, bytes, type(None), type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
NUMBERS = (int, float, np.number)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_field_is_saved_or_declared_as_derived(tmp_path, name):
    run = Scenario.load(name, ["run.device=reference", "run.steps=12", *SCENARIOS[name]])
    there, here, fresh = Simulation(run), Simulation(run), Simulation(run)
    handled(there, 3)
    for _ in range(4):
        there.step()
    checkpoint.save(tmp_path / "c", there, 0.0)
    checkpoint.load(tmp_path / "c", here)
    lost = set(differing(there, here))
    assert "system.step" in set(differing(there, fresh)), "the walk sees what moves"
    assert not lost - checkpoint.DERIVED.keys()
    if name == "moons":
        assert lost == checkpoint.DERIVED.keys(), "nothing is declared that need not be"


def test_a_new_field_is_noticed():
    there, here = (Simulation(Scenario.load("two_particles", ["run.device=reference"])) for _ in range(2))
    assert not list(differing(there, here))
    there.field.carried = np.zeros(3)
    here.field.carried = np.ones(3)
    there.law_of_its_own = 3
    assert set(differing(there, here)) == {"field.carried", "law_of_its_own"}


def handled(simulation, steps):
    """Some steps, with all that a window can do."""
    for _ in range(steps):
        simulation.step()
    if simulation.scenario.dynamics.integrator != "eq2":
        simulation.kick(0.1)
        simulation.set_parameter("dynamics.eta", 0.07)
        simulation.move(1, [0.1] * simulation.graph.dim)
    simulation.frame()
    simulation.extend(3)


def differing(there, here, path="", seen=None):
    """The attributes, by dotted path, in which two simulations are not the same; recursively through all of ours."""
    seen = set() if seen is None else seen
    if there is here or (isinstance(there, NUMBERS) and there == here):
        return
    if isinstance(there, NUMBERS) and isinstance(here, NUMBERS):
        if there == there or here == here:  # not both are NaN
            yield path
    elif type(there) is not type(here):
        yield path
    elif isinstance(there, np.ndarray):
        if there.dtype != here.dtype or not np.array_equal(there, here, equal_nan=there.dtype.kind in "fc"):
            yield path
    elif isinstance(there, np.random.Generator):
        if there.bit_generator.state != here.bit_generator.state:
            yield path
    elif isinstance(there, types.MethodType):
        if there.__func__ is not here.__func__:  # whose object is walked by itself
            yield path
    elif isinstance(there, functools.partial):
        yield from parts(path, seen, [(a, b) for a, b in zip(arguments(there), arguments(here))])
    elif isinstance(there, dict):
        if list(there) != list(here):  # sums over groups go in their order
            yield path
        yield from parts(path, seen, [(there[k], here[k]) for k in there if k in here])
    elif isinstance(there, list | tuple | set | frozenset):
        if len(there) != len(here):
            yield path
        yield from parts(path, seen, [(a, b) for a, b in zip(there, here)])
    elif isinstance(there, BaseModel):
        if there.model_dump() != here.model_dump():
            yield path
    elif isinstance(there, PLAIN):
        if there != here:
            yield path
    elif type(there).__module__.startswith("dynsim"):
        if id(there) not in seen:
            seen.add(id(there))
            yield from attributes(there, here, path, seen)
    else:
        raise TypeError(f"{path} holds a {type(there)}: say in this test how two of them are compared")


def attributes(there, here, path, seen):
    names = dict.fromkeys([*vars(there), *vars(here)]) if hasattr(there, "__dict__") else {}
    if is_dataclass(there):
        names |= dict.fromkeys(f.name for f in fields(there))
    for name in names:
        if isinstance(getattr(type(there), name, None), functools.cached_property):
            continue  # what it is made of is walked
        own = f"{path}.{name}" if path else name
        missing = object()
        yield from differing(getattr(there, name, missing), getattr(here, name, missing), own, seen)


def arguments(call):
    return (call.func, *call.args, *call.keywords.values())


def parts(path, seen, pairs):
    yield from dict.fromkeys(own for a, b in pairs for own in differing(a, b, path, seen))
