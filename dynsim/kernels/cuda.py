"""The kernels on an NVIDIA GPU: numba.cuda on CuPy arrays, the functions and contracts of `reference`.

Arrays live on the device and stay there. On numba's simulator (NUMBA_ENABLE_CUDASIM=1) the same code runs on NumPy
arrays.
"""

from . import cpu as host  # noqa: F401
from .cells_cuda import histogram, occupied_cells, structural_entropy  # noqa: F401
from .device import erf, expit, to_device, to_host, xp  # noqa: F401
from .forces_cuda import path_integral_forces  # noqa: F401
from .host_copies import to_host_later  # noqa: F401
from .images_cuda import convolve, convolve_back, pool, pool_back  # noqa: F401
from .limits_cuda import matmul, multiply_adds, thread_count  # noqa: F401
from .medium_cuda import field_at, mean_field, mean_field_forces  # noqa: F401
from .norms_cuda import norm_back, products, scaled, squares, sums  # noqa: F401
from .particles_cuda import kick_drift  # noqa: F401
from .path_integral_cuda import path_integral  # noqa: F401
from .view_cuda import project_points  # noqa: F401
