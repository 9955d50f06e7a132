"""Scenarios: every problem at once, with its key path and a way out; what is written can be read again."""

import tomllib

import jsonschema
import pytest

from dynsim import Scenario
from dynsim.dynamics.damping import LAWS
from dynsim.errors import ScenarioError
from dynsim.scenario import find
from dynsim.shipped import shipped_scenarios
from dynsim.system.metric import METRICS

GOOD = """# A title.
# A second line.
[system]
layers = ["auto", 8, "auto"]
[field]
dataset = "moons"
[run]
steps = 5
"""

BAD = """
[system]
layers = ["auto", 16, "auto"]
metrc = "l2"
metric = "l3"
[field]
dataset = "moons"
batch = -4
[dynamics]
law = "fricton"
[run]
steps = 3
eta = 0.3
"""


def test_every_problem_is_reported_at_once_with_its_key():
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_text(BAD)
    where = {p.where for p in caught.value.problems}
    assert where == {"system.metrc", "system.metric", "field.batch", "dynamics.law", "run.eta"}


@pytest.mark.parametrize(
    "fragment",
    [
        "did you mean 'metric'?",
        "did you mean 'friction'?",
        "did you mean dynamics.eta?",
        "l1, l2, lp, squared, reciprocal, plummer, dot",
    ],
)
def test_problems_say_what_to_try(fragment):
    with pytest.raises(ScenarioError, match=fragment.replace("?", r"\?")):
        Scenario.from_text(BAD)


def test_what_a_key_means_is_not_called_something_to_try():
    with pytest.raises(ScenarioError, match=r"\n {4}means: {3}eta: Eq\. \(10\)") as caught:
        Scenario.from_text(GOOD, ["dynamics.eta=-1"])
    assert "try:" not in str(caught.value)
    with pytest.raises(ScenarioError, match=r"\n {4}try: {5}did you mean 'cuda'"):
        Scenario.from_text(GOOD, ["run.device=gpu"])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["run.epochs=0"], "run.epochs"),
        (["dynamics.dt=nan"], "dynamics.dt"),
        (["dynamics.dt=-1"], "dynamics.dt"),
        (["system.layers=[4]"], "system.layers"),
        (["system.layers=[4,'auto',2]"], "system.layers"),
        (["system.links=[[0,7]]"], "system.links"),
        (["system.metric=reciprocal", "system.eps=0.0"], "system.eps"),
        (["field.kind=target", "field.dataset="], "field.target"),
        (["field.kind=target", "field.target=normal"], "field.dataset"),
        (["field.dataset=mnits"], "field.dataset"),
        (["system.links=[[0,1],[1,0],[1,2]]"], "system.links"),
        (["dynamics.law=lagrangian", "dynamics.friction=0.9"], "dynamics.friction"),
        (["run.stop.accuracy=0.9"], "field.validation"),
        (["name=../x"], "name"),
        (["field.dataset="], "field.dataset"),
        (["field.validation=1.0"], "field.validation"),
        (["run.device=gpu"], "run.device"),
        (["sequence.signals=3"], "sequence.signals"),
        (["system.links=[[0,1],[1,1],[1,2]]"], "system.links"),
        (["record.observables=['entropie']"], "record.observables.0"),
        (["record.properties=['loss']"], "record.properties.0"),
    ],
)
def test_bad_values_name_their_key(settings, key):
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_text(GOOD, settings)
    assert key in {p.where for p in caught.value.problems}


def test_epochs_and_steps_exclude_each_other_but_a_setting_replaces():
    with pytest.raises(ScenarioError, match="either epochs or steps"):
        Scenario.from_text(GOOD.replace("steps = 5", "steps = 5\nepochs = 2"))
    changed = Scenario.from_text(GOOD, ["run.epochs=7"])
    assert (changed.run.epochs, changed.run.steps) == (7, None)


@pytest.mark.parametrize("setting", ["dynamics.dt", "=3", ""])
def test_a_setting_is_key_and_value(setting):
    with pytest.raises(ScenarioError, match="key=value"):
        Scenario.from_text(GOOD, [setting])


def test_bad_toml_is_named(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[system\n")
    with pytest.raises(ScenarioError, match=r"broken.toml.*not valid TOML"):
        Scenario.load(path)


def test_round_trip_keeps_everything_but_adds_the_defaults():
    first = Scenario.from_text(GOOD, ["dynamics.eta=0.07"])
    second = Scenario.from_text(first.to_toml())
    assert first == second
    assert second.about == "A title.\nA second line."
    assert "warmup" in first.to_toml()


def test_unknown_name_suggests_the_closest():
    with pytest.raises(ScenarioError, match="did you mean 'quickstart'"):
        Scenario.load("quikstart")


@pytest.mark.parametrize("name", [n for n, _ in shipped_scenarios()])
def test_shipped_scenarios_say_source_watch_and_expected(name):
    about = Scenario.load(name).about
    for word in ("Source:", "Watch:", "Expected:"):
        assert word in about


SCHEMA = Scenario.model_json_schema()


def test_the_schema_is_a_schema_and_says_what_is_allowed():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    dynamics, system = (SCHEMA["$defs"][f"{name}Section"]["properties"] for name in ("Dynamics", "System"))
    assert dynamics["law"]["enum"] == list(LAWS)
    assert "weights" in METRICS
    assert "weights" not in system["metric"]["enum"]  # only the twin's, so not on offer
    assert dynamics["dt"]["exclusiveMinimum"] == 0
    assert system["dim"] | {"type": "integer", "maximum": 4096, "default": 9} == system["dim"]
    items = SCHEMA["$defs"]["RecordSection"]["properties"]["observables"]["items"]
    assert {"loss", "entropy"} <= set(items["enum"])


@pytest.mark.parametrize("name", [n for n, _ in shipped_scenarios()])
def test_shipped_scenarios_obey_the_schema_until_a_name_is_wrong(name):
    validator = jsonschema.Draft202012Validator(SCHEMA)
    raw = tomllib.loads(find(name).read_text(encoding="utf-8"))
    assert list(validator.iter_errors(raw)) == []
    for wrong in ({"law": "fricton"}, {"dt": 0}, {"dtt": 1.0}, {"limit": "yes"}):
        bad = raw | {"dynamics": raw.get("dynamics", {}) | wrong}
        assert len(list(validator.iter_errors(bad))) == 1, wrong
    assert list(validator.iter_errors(raw | {"run": {"epochs": 1, "steps": 1}}))


def test_every_field_of_the_schema_is_described():
    properties = [
        (f"{table}.{key}", item) for table, d in SCHEMA["$defs"].items() for key, item in d["properties"].items()
    ]
    assert [key for key, item in properties if "$ref" not in item and not item.get("description")] == []
