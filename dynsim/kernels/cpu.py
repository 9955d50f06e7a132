"""The kernels on CPU threads (Numba): the functions and contracts of `reference`."""

from __future__ import annotations

from .cells_cpu import histogram, occupied_cells, structural_entropy  # noqa: F401
from .convolution_cpu import convolve, convolve_back  # noqa: F401
from .forces_cpu import path_integral_forces  # noqa: F401
from .images_cpu import (  # noqa: F401
    norm_back,
    pool,
    pool_back,
    products,
    scaled,
    squares,
    sums,
)
from .limits_cpu import multiply_adds  # noqa: F401
from .medium_cpu import field_at, mean_field, mean_field_forces  # noqa: F401
from .particles_cpu import kick_drift  # noqa: F401
from .path_integral_cpu import path_integral  # noqa: F401
from .products_cpu import limit_blas_threads, matmul  # noqa: F401
from .reference import erf, expit, to_device, to_host, to_host_later  # noqa: F401
from .sharing import thread_count  # noqa: F401
from .view_cpu import project_points  # noqa: F401
