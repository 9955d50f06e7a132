"""Layers of torch whose weights are path integrals, Eq. (5), through torch's own parametrisations.

convert(module)   every Linear, Conv1d, Conv2d and MultiheadAttention: its weights become particles
bake(module)      and back: plain weights again
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from dynsim.errors import DataError, DeviceError, OptionError, unknown
from dynsim.system.initialise import default_copies

try:
    import torch
    from torch import Tensor, nn
    from torch.nn.utils import parametrize
except ImportError:
    raise DeviceError("torch is not installed", hint="pip install dynsim[torch]") from None

from dynsim.backend.torch_integral import COORDINATES, METRICS, PathIntegral, matrix_of


@dataclass(frozen=True)
class ConvertedLayer:
    """What `convert` made of one weight.

    Attributes
    ----------
    name : path of the weight in the module, without "weight".
    shape : (M, N) of its path integrals.
    numbers : trained numbers now: coordinates, mu, gain and eps.
    relative_error : |phi - W|_F / |W|_F (dimensionless).
    """

    name: str
    shape: tuple[int, int]
    copies: int
    numbers: int
    relative_error: float


def convert(
    module: nn.Module,
    *,
    metric: str = "l2",
    copies: int | None = None,
    dim: int = 9,
    layers: str | Iterable[str] = "*",
    steps: int = 1000,
    seed: int = 0,
) -> tuple[ConvertedLayer, ...]:
    """Turn weights of a module into particles, in place: all of them or, on an error, none.

    Weights that were tied stay tied, what was frozen stays frozen; biases and all other layers remain as they are.
    Make the optimiser afterwards, since the parameters are new ones.

    Parameters
    ----------
    metric : one of `METRICS`.
    copies : H of every layer; None for that of Lemma C.2, which stores about as many numbers as the weight has.
    dim : d, of the coordinates' space.
    layers : pattern or patterns ("encoder.*") of the names to convert; attention has NAME.in_proj and NAME.out_proj.
    steps : of the fit, also of one that an assigned weight starts later; 0 for none, but seeded places with path
        integrals as wide as the weight: to learn from scratch, or before `load_state_dict`.

    Raises OptionError for settings that mean nothing, patterns that match no layer and layers converted before, and
    DataError for weights that cannot be converted.
    """
    _check_settings(metric, copies, dim, steps)
    chosen = _chosen(module, [layers] if isinstance(layers, str) else list(layers))
    _check_ties(module, chosen)
    fits: dict[int, tuple[PathIntegral, tuple[Tensor, ...]]] = {}
    for weight in chosen:
        if id(weight.tensor) not in fits:
            size = matrix_of(weight.tensor).shape
            number = default_copies([(size[0], size[1])], dim) if copies is None else copies
            made = PathIntegral(weight.tensor.shape, metric=metric, copies=number, dim=dim, steps=steps, seed=seed)
            fits[id(weight.tensor)] = made, made.fit(weight.tensor)
    return tuple(_register(chosen, fits))


def bake(module: nn.Module) -> nn.Module:
    """The module itself, its path integrals written out as plain weights; tied ones stay tied. Undoes `convert`."""
    plain: dict[int, nn.Parameter] = {}
    for weight in _converted(module):
        particles = weight.particles
        if id(particles) not in plain:
            trained = any(a.requires_grad for a in particles.parameters())
            plain[id(particles)] = nn.Parameter(particles().detach().clone(), requires_grad=trained)
        _own_class(weight.owner)
        parametrize.remove_parametrizations(weight.owner, weight.attribute)
        # What torch leaves here is a buffer where nothing was trained, and it is not tied.
        delattr(weight.owner, weight.attribute)
        weight.owner.register_parameter(weight.attribute, plain[id(particles)])
    return module


def particles_of(module: nn.Module) -> dict[str, tuple[PathIntegral, dict[str, nn.Parameter]]]:
    """Layer name -> its parametrisation and its coordinates by their names in `COORDINATES`; tied layers once."""
    found: dict[int, tuple[str, Any]] = {}
    for weight in _converted(module):
        found.setdefault(id(weight.particles), (weight.name, weight.particles))
    return {
        name: (
            particles[0],
            {c: getattr(particles, f"original{k}") for k, c in zip(range(particles.ntensors), COORDINATES)},
        )
        for name, particles in found.values()
    }


def _own_class(layer: nn.Module) -> None:
    """Give a parametrised layer its own copy of the class that torch made for it.

    Deep copies share that class, and with it a change of which weights are parametrised.
    """
    if parametrize.is_parametrized(layer):
        shared = type(layer)
        content = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
        layer.__class__ = type(shared.__name__, shared.__bases__, content)


@dataclass(frozen=True)
class _Weight:
    """Where a weight is: an attribute of a layer, under a name."""

    name: str
    owner: nn.Module
    attribute: str

    @property
    def tensor(self) -> Any:
        """The parameter, None where it is parametrised."""
        return self.owner._parameters.get(self.attribute)

    @property
    def parametrizations(self) -> Any:
        """torch's module of the parametrisations of all attributes of the layer."""
        return self.owner.parametrizations

    @property
    def particles(self) -> Any:
        """The parametrisation, which torch keeps in a list, and its coordinates."""
        return self.parametrizations[self.attribute]

    @property
    def converted(self) -> bool:
        return parametrize.is_parametrized(self.owner, self.attribute) and isinstance(self.particles[0], PathIntegral)


def _weights(module: nn.Module) -> Iterator[_Weight]:
    """All weights of kinds that can be converted, whether they are or not."""
    for path, layer in module.named_modules():
        attributes: tuple[str, ...] = ("weight",) if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)) else ()
        if isinstance(layer, nn.MultiheadAttention):
            attributes = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        for attribute in attributes:
            if getattr(layer, attribute) is not None:
                full = f"{path}.{attribute}" if path else attribute
                yield _Weight(full.removesuffix(".weight").removesuffix("_weight"), layer, attribute)


def _converted(module: nn.Module) -> list[_Weight]:
    return [w for w in _weights(module) if w.converted]


def _chosen(module: nn.Module, patterns: list[str]) -> list[_Weight]:
    weights = list(_weights(module))
    names = [w.name for w in weights]
    for pattern in patterns:
        if not any(fnmatchcase(n, pattern) for n in names):
            what = "no layer matches" if names else "no Linear, Conv1d, Conv2d or MultiheadAttention to convert"
            raise OptionError(what, where="layers", given=repr(pattern), allowed=", ".join(names) or None)
    chosen = [w for w in weights if any(fnmatchcase(w.name, p) for p in patterns)]
    for weight in chosen:
        _check_weight(weight)
    return chosen


def _check_settings(metric: str, copies: int | None, dim: int, steps: int) -> None:
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    for name, value, least in (("copies", copies, 1), ("dim", dim, 2), ("steps", steps, 0)):
        if value is not None and value < least:
            raise OptionError("too few", where=name, given=value, allowed=f"{least} or more")


def _check_weight(weight: _Weight) -> None:
    name, tensor = weight.name, weight.tensor
    if weight.converted:
        raise OptionError("converted already", where=name, hint="bake(module) first, or name the other layers")
    if tensor is None:
        raise DataError("the weight is made by another parametrisation", where=name, hint="remove that one first")
    if isinstance(tensor, nn.parameter.UninitializedParameter):
        raise DataError("the layer has no weight yet", where=name, hint="pass a batch through the module first")
    if tensor.dtype not in (torch.float32, torch.float64):
        raise DataError(
            "too few digits", where=name, given=tensor.dtype, allowed="float32, float64", hint="module.float()"
        )
    if not tensor.numel() or not torch.isfinite(tensor).all():
        raise DataError("a weight without numbers, or with some that are not finite", where=name, given=tensor.shape)


def _check_ties(module: nn.Module, chosen: list[_Weight]) -> None:
    """Raises DataError for a weight that is also somewhere where it would stay a weight."""
    tensors = {id(w.tensor): w.name for w in chosen}
    places = {(id(w.owner), w.attribute) for w in chosen}
    for path, layer in module.named_modules():
        for attribute, tensor in layer._parameters.items():
            if id(tensor) in tensors and (id(layer), attribute) not in places:
                raise DataError(
                    "the weight is tied to one that is not converted",
                    where=tensors[id(tensor)],
                    given=f"{path}.{attribute}",
                    hint="convert both, or neither: layers=...",
                )


def _register(
    chosen: list[_Weight], fits: dict[int, tuple[PathIntegral, tuple[Tensor, ...]]]
) -> Iterator[ConvertedLayer]:
    lists: dict[int, Any] = {}
    for weight in chosen:
        original = weight.tensor
        made, coordinates = fits[id(original)]
        made.fitted = coordinates
        _own_class(weight.owner)
        parametrize.register_parametrization(weight.owner, weight.attribute, made)
        weight.parametrizations[weight.attribute] = lists.setdefault(id(original), weight.particles)
        with torch.no_grad():
            exact, phi = original.double(), weight.particles().double()
            error = float((phi - exact).norm()) / (float(exact.norm()) or 1.0)
        rows, columns = matrix_of(original).shape
        numbers = sum(a.numel() for a in weight.particles.parameters())
        yield ConvertedLayer(weight.name, (rows, columns), made.copies, numbers, error)
