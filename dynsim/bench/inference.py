"""Products with the weights of a link: sorted L1 (Eq. 8-9), factors (Eq. 37), dense W, and the choice among them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import threadpoolctl

from dynsim.backend.choice import Factored, Shape, seconds
from dynsim.backend.machine import machine
from dynsim.backend.sorted import SortedLink
from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.kernels import sorted_l1
from dynsim.kernels.sharing import limited_to
from dynsim.signals import Weights

Product = Callable[[np.ndarray], np.ndarray]
HEADLINE, QUERIES = Shape(32768, 36864, 3), 8
SIDES, PER_AXIS, BATCH = (720, 1440, 2880), 45, 256  # square links, H d = N / 45
LOW_RANK = (128, Shape(784, 128, 74)), (256, Shape(784, 1200, 182)), (256, Shape(2304, 768, 258))
GRID = (512, 2048), (1, 32, 256)  # N, batch
PER_AXIS_OF = {"sorted": (128, 48, 16), "factored": (8, 2, 1)}  # N / (H d), on both sides of where they are equal
SLOWER = 1.1  # than the best form, at most
ROUND = 200_000_000  # multiply-adds of W in a round of the grid, so that it takes milliseconds


@dataclass(frozen=True)
class Forms:
    """The forms of a link of random particles, and a batch for them."""

    context: Context
    shape: Shape
    batch: int

    @cached_property
    def emitted(self) -> np.ndarray:
        """(batch, M)."""
        return np.random.default_rng(0).standard_normal((self.batch, self.shape.rows), np.float32)

    @cached_property
    def sorted(self) -> SortedLink:
        """Of metric l1."""
        a, b = self._drawn
        c = np.random.default_rng(2).standard_normal(self.shape.axes)
        return SortedLink(self.context.kernels.matmul, np.ascontiguousarray(a.T), np.ascontiguousarray(b.T), c)

    @cached_property
    def factors(self) -> Weights:
        """Of metric dot."""
        a, b = self._drawn
        return Weights(self.context.kernels.matmul, a=a, b=b, gain=0.1)

    @property
    def _drawn(self) -> tuple[np.ndarray, np.ndarray]:
        rng, axes = np.random.default_rng(1), self.shape.axes
        return rng.standard_normal((self.shape.rows, axes), "f4"), rng.standard_normal((self.shape.columns, axes), "f4")

    def matrix(self, other: str) -> np.ndarray:
        """W (M, N) of the link whose other form is sorted or factored."""
        if other == "factored":
            return self.factors.matrix()
        a, b, c = self.sorted.a[:, :, None], self.sorted.b[:, :, None], self.sorted.c.astype(np.float32)
        return self.context.kernels.path_integral("l1", a, b, c, 1.0, 0.0, 2.0)

    def product(self, form: str, other: str) -> Product:
        """How a form multiplies."""
        if form == "dense":
            return Weights(self.context.kernels.matmul, w=self.matrix(other)).receive
        return self.sorted.receive if form == "sorted" else Factored(self.factors).receive

    def quickest(self, other: str) -> str:
        """What the cost model takes."""
        on = machine("cpu")
        return min(("dense", other), key=lambda form: seconds(on, form, self.shape, self.batch))

    def __str__(self) -> str:
        return f"{self.shape.rows} x {self.shape.columns}, H d {self.shape.axes}, batch {self.batch}"


@benchmark("sorted")
def sorted_products(context: Context) -> Iterator[Case]:
    """Queries one by one, of which the first finds the caches as a dense product leaves them; and batches."""
    forms = Forms(context, HEADLINE, QUERIES)
    rivals = (
        Rival("numpy, W materialised", lambda: _one_by_one(_by_blas(forms, "sorted"), forms), 1500.0),
        Rival("numpy, prefix sums", lambda: _one_by_one(_by_prefix_sums(forms.sorted), forms)),
    )
    ours = lambda: _one_by_one(forms.sorted.receive, forms)  # noqa: E731
    yield Case("sorted l1, one by one", str(forms), ours, rivals, most=3, tolerance=1e-4)
    for side in SIDES:
        yield _batch(Forms(context, Shape(side, side, side // PER_AXIS), BATCH))


def _batch(forms: Forms) -> Case:
    rival = Rival("numpy, W materialised", lambda: _repeated(_by_blas(forms, "sorted"), forms, 1), 1.0)
    ours = lambda: _repeated(forms.sorted.receive, forms, 1)  # noqa: E731
    return Case("sorted l1, a batch", str(forms), ours, (rival,), tolerance=1e-4)


@benchmark("factored")
def factored_products(context: Context) -> Iterator[Case]:
    """Batches through low-rank links, against one product of as many multiply-adds and against W."""
    for batch, shape in LOW_RANK:
        yield _factored(Forms(context, shape, batch))


def _factored(forms: Forms) -> Case:
    side = round((forms.shape.axes * (forms.shape.rows + forms.shape.columns)) ** 0.5)
    equal = np.ones((forms.batch, side), np.float32), np.ones((side, side), np.float32)
    rivals = (
        Rival("numpy, a square product of as many multiply-adds", lambda: lambda: equal[0] @ equal[1], 0.8),
        Rival("numpy, W materialised", lambda: _repeated(_by_blas(forms, "factored"), forms, 1)),
    )
    ours = lambda: _repeated(Factored(forms.factors).receive, forms, 1)  # noqa: E731
    return Case("factored", str(forms), ours, rivals)


@benchmark("forms")
def forms(context: Context) -> Iterator[Case]:
    """The form that the cost model takes, against each form that there is; several products a round.

    Where everything is timed, the cases in the middle of the grid, where forms are nearly equal.
    """
    sides, batches = GRID
    for other, per_axis in PER_AXIS_OF.items():
        grid = list(itertools.product(sides, per_axis, batches))
        chosen = list(itertools.product(sides[-1:], per_axis[1:2], batches)) if context.brief else grid
        part = f" ({len(chosen)} of {len(grid)} cases)" if context.brief else ""
        for side, each, batch in chosen:
            yield _choice(Forms(context, Shape(side, side, max(1, side // each)), batch), other, part)


def _choice(forms: Forms, other: str, part: str) -> Case:
    times = min(100, max(1, ROUND // (forms.batch * forms.shape.rows * forms.shape.columns)))

    def ours() -> Work:
        return _repeated(forms.product(forms.quickest(other), other), forms, times)

    rivals = tuple(Rival(form, _with_threads(forms, form, other, times), 1 / SLOWER) for form in ("dense", other))
    return Case(f"dense or {other}{part}", f"{forms}, {times} times", ours, rivals, most=15, tolerance=1e-3)


def _repeated(product: Product, forms: Forms, times: int) -> Work:
    emitted = forms.emitted
    return lambda: [product(emitted) for _ in range(times)][-1]


def _with_threads(forms: Forms, form: str, other: str, times: int) -> Callable[[], Work]:
    """A form of ours as a rival, with threads as ours has them."""

    def prepare() -> Work:
        work, libraries = _repeated(forms.product(form, other), forms, times), threadpoolctl.ThreadpoolController()

        def limited() -> Any:
            with limited_to(forms.context.threads), libraries.limit(limits=1, user_api="blas"):
                return work()

        return limited

    return prepare


def _one_by_one(product: Product, forms: Forms) -> Work:
    queries = np.split(forms.emitted, forms.batch)
    return lambda: np.concatenate([product(query) for query in queries])


def _by_blas(forms: Forms, other: str) -> Product:
    w = forms.matrix(other)
    return lambda emitted: emitted @ w


def _by_prefix_sums(link: SortedLink) -> Product:
    """Eq. (8)-(9) with NumPy, a query at a time, orders and ranks at hand; all in float64."""
    order, along, ranks = (of.astype(t) for of, t in zip(sorted_l1.prefix_order(link.a, link.b), (int, float, int)))
    b = link.b.astype(float)

    def product(emitted: np.ndarray) -> np.ndarray:
        received = np.zeros(b.shape[1])
        for k, c in enumerate(link.c):
            e = emitted[0].astype(float)[order[k]]
            below, moment = (np.concatenate([[0.0], np.cumsum(v)]) for v in (e, e * along[k]))
            s0, s1 = below[ranks[k]], moment[ranks[k]]
            received += c * (2 * (b[k] * s0 - s1) - (b[k] * below[-1] - moment[-1]))
        return received[None].astype(emitted.dtype)

    return product
