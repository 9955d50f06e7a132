"""Which devices of CUDA there are: what a driver says, what is missing, and what a run does then."""

import json
from types import SimpleNamespace

import pytest

from dynsim import Scenario, Simulation, build, run
from dynsim.errors import DeviceError, ResourceError
from dynsim.kernels import cards
from dynsim.kernels.load import available, chosen, free_memory, hardware, load

H100 = cards.Card("NVIDIA H100 80GB HBM3", (9, 0), 80 << 30)
KEPLER = cards.Card("Tesla K40", (3, 5), 12 << 30)


class Library:
    """The functions of libcuda and libnvidia-ml that are asked, for a machine with these cards."""

    def __init__(self, *found, cuda=13000, code=0):
        self.found, self.cuda, self.code = found, cuda, code

    def cuDriverGetVersion(self, out):
        out._obj.value = self.cuda
        return 0

    def cuInit(self, flags):
        return self.code

    def cuDeviceGetCount(self, out):
        out._obj.value = len(self.found)
        return 0

    def cuDeviceGet(self, out, number):
        out._obj.value = number
        return 0

    def cuDeviceGetName(self, name, size, handle):
        name.value = self.found[handle.value].name.encode()
        return 0

    def cuDeviceTotalMem_v2(self, out, handle):
        out._obj.value = self.found[handle.value].memory
        return 0

    def cuDeviceGetAttribute(self, out, which, handle):
        out._obj.value = self.found[handle.value].capability[which - 75]
        return 0

    def nvmlInit_v2(self):
        return 0

    def nvmlSystemGetDriverVersion(self, text, size):
        text.value = b"580.65.06"
        return 0

    def nvmlShutdown(self):
        return 0


@pytest.fixture
def machine(monkeypatch):
    """A machine with a driver's library (or none), and with packages of CUDA."""

    def put(library, installed=True, cupy="cupy-cuda13x"):
        monkeypatch.setattr(cards, "SIMULATED", False)
        monkeypatch.delenv(cards.PREFERRED, raising=False)
        monkeypatch.setattr(cards, "_library", lambda name: library)
        monkeypatch.setattr(cards.util, "find_spec", lambda name: installed or None)
        monkeypatch.setattr(cards, "version_of", lambda name: "14.2.0" if name == cupy else "not installed")
        cards.driver.cache_clear()

    yield put
    cards.driver.cache_clear()


def test_a_driver_is_asked_for_its_cards(machine):
    machine(Library(H100, KEPLER))
    found = cards.driver()
    assert found == cards.Driver("580.65.06", (13, 0), (H100, KEPLER))
    assert str(found.cards[0]) == "NVIDIA H100 80GB HBM3, compute capability 9.0, 80.0 GiB"


def test_auto_takes_a_card_that_can_be_used(machine):
    machine(Library(H100))
    assert cards.trouble() is None
    assert cards.why_not() == ""
    assert (chosen("auto"), chosen("reference")) == ("cuda", "reference")
    assert available()["cuda"] == "yes"


def test_auto_can_be_kept_from_a_card(machine, monkeypatch):
    machine(Library(H100))
    monkeypatch.setenv("DYNSIM_DEVICE", "cpu")
    assert (chosen("auto"), chosen("cuda")) == ("cpu", "cuda")
    assert cards.why_not() == "DYNSIM_DEVICE=cpu is set"
    assert available()["cuda"] == "yes"


@pytest.mark.parametrize(
    ("library", "settings", "told"),
    [
        (None, {}, ("no CUDA driver", "pip install 'dynsim[gpu]'")),
        (Library(), {}, ("no CUDA device", "none is there")),
        (Library(code=100), {}, ("no CUDA device",)),
        (Library(code=803), {}, ("does not start", "cuInit says 803", "nvidia-smi")),
        (
            Library(H100),
            {"installed": False},
            ("cupy and numba-cuda not installed", "pip install 'dynsim[gpu]'"),
        ),
        (Library(KEPLER), {}, ("the card is too old", "capability 3.5", "7.5 or higher")),
        (Library(KEPLER), {"cupy": "cupy-cuda12x"}, ("the card is too old", "5.0 or higher")),
        (Library(H100, cuda=12040), {}, ("the driver is too old", "CUDA 12.4", "one for CUDA 13")),
    ],
)
def test_what_is_in_the_way_is_told_with_the_way_out(machine, library, settings, told):
    machine(library, **settings)
    with pytest.raises(DeviceError) as error:
        load("cuda")
    assert all(part in str(error.value) for part in (*told, 'device = "cuda"', 'or device = "cpu"'))
    assert chosen("auto") == "cpu"
    assert told[0] in available()["cuda"]
    assert "device =" not in cards.why_not()


def test_an_older_cupy_still_serves_an_older_driver(machine):
    machine(Library(H100, cuda=12040), cupy="cupy-cuda12x")
    assert cards.trouble() is None


def test_hidden_cards_are_told_as_such(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine(Library())
    assert "CUDA_VISIBLE_DEVICES=" in cards.why_not()


def test_packages_that_fail_to_load_are_told_before_anything_has_begun():
    with pytest.raises(DeviceError, match=r"libnvrtc\.so") as error, cards.told():
        raise ImportError("libnvrtc.so.12: cannot open shared object file\nand more")
    assert "dynsim doctor" in error.value.hint
    assert "and more" not in str(error.value)


def test_a_run_remembers_its_device(machine):
    machine(Library(H100))
    kernels = SimpleNamespace(__name__="dynsim.kernels.cuda")
    assert hardware(kernels, "auto") == {
        "device": "cuda",
        "name": "NVIDIA H100 80GB HBM3",
        "capability": "9.0",
        "memory": "80.0 GiB",
        "driver": "580.65.06, CUDA 13.0",
        "cupy-cuda13x": "14.2.0",
    }


def test_a_run_on_the_cpu_says_why_it_is_not_on_a_card(machine):
    machine(None)
    found = hardware(load("cpu"), "auto")
    assert found["name"]
    assert "no CUDA driver" in found["not_cuda"]
    assert "not_cuda" not in hardware(load("cpu"), "cpu")
    assert json.loads(json.dumps(found)) == found


def test_too_little_memory_on_the_card_is_told_before_work_begins(machine, monkeypatch):
    machine(Library(H100))
    monkeypatch.setattr(cards, "free_memory", lambda: 1 << 20)
    scenario = Scenario.load("quickstart", ["run.device=cuda"])
    assert free_memory("cuda") == 1 << 20 != free_memory("cpu")
    with pytest.raises(ResourceError, match="memory of the card") as error:
        build.refuse_beyond(3 << 30, scenario)
    assert "3.0 GiB needed" in str(error.value)
    assert 'device = "cpu"' in error.value.hint
    build.refuse_beyond(1 << 20, scenario)


def test_this_machine_is_told_of_without_raising():
    found = cards.driver()
    assert found is None or isinstance(found.cards, tuple)


def test_memory_that_runs_out_on_the_way_is_told_with_the_way_out(tmp_path, monkeypatch):
    def full(self):
        raise MemoryError("Out of memory allocating 512 bytes")  # CuPy's is one of these

    monkeypatch.setattr(Simulation, "step", full)
    with pytest.raises(ResourceError, match="memory ran out") as error:
        run(Scenario.load("two_particles", ["run.steps=2"]), tmp_path / "run")
    assert "512 bytes" in str(error.value)
    assert f"dynsim resume {tmp_path / 'run'} --set run.device=cpu" in error.value.hint
    assert "out of memory" in (tmp_path / "run" / "log.txt").read_text()
