"""The particles of a converted torch module under dynsim's integrators, laws and the Eq. (10) limit.

    motion = TorchMotion(module, BatchLoss(module, cross_entropy, x, y), steps=500)
    losses = [motion.step() for _ in range(500)]

Every layer has its own pair of subsystems, "NAME.in" and "NAME.out".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dynsim.backend.torch_layer import particles_of
from dynsim.dynamics.damping import DampingLaw, Friction, friction_rate
from dynsim.dynamics.divergence import check_finite
from dynsim.dynamics.integrators import Motion, integrator
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import OptionError, ShapeError
from dynsim.fields.torch_module import TorchField
from dynsim.forces import Response, forces
from dynsim.kernels.load import load, load_host
from dynsim.signals import all_weights
from dynsim.system.graph import Graph, Groups, Link, Subsystem, System
from dynsim.system.initialise import masses

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

ETA = 0.02  # longest move of a particle that was fitted before
KEPT = 0.9  # velocity that is left after a step of the default friction, as in a scenario


def torch_system(module: nn.Module) -> System:
    """The particles of a module at rest; positions are copies.

    Raises OptionError for a module without particles, ShapeError for layers in spaces of different dimensions.
    """
    layers = particles_of(module)
    if not layers:
        raise OptionError("the module has no particles", hint="convert(module) first")
    subsystems, links = [], []
    x: Groups = {}
    for name, (layer, coordinates) in layers.items():
        link = Link(f"{name}.in", f"{name}.out", layer.metric)
        x |= _groups(link, coordinates)
        sizes = coordinates["q_in"].shape[1], coordinates["q_out"].shape[1]
        subsystems += [Subsystem(n, s, copies=layer.copies) for n, s in zip((link.source, link.target), sizes)]
        links.append(link)
    dims = sorted({a.shape[-1] for k, a in x.items() if k.startswith("q:")})
    if len(dims) > 1:
        raise ShapeError("the layers' coordinates are of different dimensions", given=dims, allowed="one d for all")
    graph = Graph(tuple(subsystems), tuple(links), max(s.copies or 0 for s in subsystems), dims[0])
    mass = masses(graph, load("reference"), x)
    return System(graph, x, {k: np.zeros_like(a) for k, a in x.items()}, {}, mass)


def _groups(link: Link, coordinates: dict[str, nn.Parameter]) -> Groups:
    """Copies of a layer's coordinates as the groups of its link."""
    shapes = {"mu": (-1, 1), "gain": (1, 1), "eps": (1, 1)}
    groups = {}
    for name, parameter in coordinates.items():
        a = parameter.detach().cpu().numpy().copy()
        groups[_key(link, name)] = a.reshape(shapes.get(name, a.shape))
    return groups


def _key(link: Link, coordinate: str) -> str:
    ends = {"q_in": f"q:{link.source}", "q_out": f"q:{link.target}"}
    return ends.get(coordinate, f"{coordinate}:{link.name}")


class TorchMotion:
    """A converted module whose particles move; after every step the module has their positions.

    Parameters
    ----------
    loss : step -> the loss of that step's batch, computed with the module.
    steps : over which the Eq. (10) limit is annealed to 1 %.
    integrator_name, law, limit, dt : as in a scenario, with dt and eta for particles that were fitted; friction that
        keeps 0.9 of the velocity unless said.
    trained : kinds of groups that move; those of frozen parameters never do.
    optimiser : of biases and whatever else is to be trained; steps beside the particles.
    seed : of torch's random numbers in the loss, and of the law's.
    device : of dynsim's kernels.

    Raises OptionError and ShapeError as `torch_system`; `step` raises DivergenceError.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[int], Tensor],
        *,
        steps: int,
        integrator_name: str = "kick-drift",
        law: DampingLaw | None = None,
        limit: SpeedLimit | None = None,
        dt: float = 0.25,
        trained: tuple[str, ...] = ("q", "mu", "gain", "eps"),
        optimiser: Optimizer | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        system = torch_system(module)
        self.parameters = _parameters(module)
        v = {k: a for k, a in system.v.items() if k.split(":")[0] in trained and self.parameters[k].requires_grad}
        law = law or Friction(rate=friction_rate(KEPT, 1.0, dt))
        self.kernels, self.integrator = load_host(device), integrator(integrator_name)
        self.motion = Motion(self.kernels, self.push, law, limit or SpeedLimit(eta=ETA), dt)
        layers = {f"{n}.in>{n}.out": layer for n, (layer, _) in particles_of(module).items()}
        where = next(iter(self.parameters.values())).device
        self.field = TorchField(loss, layers, where, optimiser, seed)
        self.system = system.replace(v=v, event_span=steps, memory=law.start(system.replace(v=v), seed))

    def push(self, system: System, step: int) -> tuple[Groups, Response]:
        """Force on every moving group, and the field's response, for the batch of a step."""
        response = self.field.respond(system, all_weights(self.kernels, system), step)
        force = forces(self.kernels, system, response)
        return {k: force[k] for k in system.v}, response

    def step(self) -> float:
        """One step of the integrator; the loss that it started from. On a blow-up the state before it is kept."""
        with np.errstate(over="ignore", invalid="ignore"):
            system, response = self.integrator.step(self.system, self.motion)
        check_finite(system, response)
        if self.field.optimiser is not None:
            self.field.optimiser.step()
        self.system = system
        for key, parameter in self.parameters.items():
            parameter.detach().copy_(parameter.new_tensor(system.x[key]).view_as(parameter))
        return response.loss


def _parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Group -> the parameter of the module that holds it."""
    links = {n: (Link(f"{n}.in", f"{n}.out"), coordinates) for n, (_, coordinates) in particles_of(module).items()}
    return {_key(link, c): p for link, coordinates in links.values() for c, p in coordinates.items()}
