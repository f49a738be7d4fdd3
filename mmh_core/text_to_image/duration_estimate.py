"""The expected duration of a forward pass, from how fast a device multiplies matrices."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

#: Of the speed of square matrices, what networks of Stable Diffusion reach: .9 was measured on two
#: cores for the architecture of 1.5, and less is usual on a GPU.
ACHIEVED = 0.6
#: 1e12 operations for each weight of the network and each place of the latent image: between
#: those of Stable Diffusion 1.5 (2.3e-13) and 2.1 (2.7e-13).
_PER_WEIGHT = 2.5e-13
_SIDES = {"cpu": 1024, "cuda": 4096}


def matrix_speed(
    device: torch.device | str, *, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return how many 1e12 operations per second a device makes in square matrix products.

    The median of seven, after one that is not counted; in float32 on a CPU, in bfloat16 on a GPU,
    as models are loaded. Takes a fraction of a second.
    """
    torch_device = torch.device(device)
    side = _SIDES.get(torch_device.type, 1024)
    dtype = torch.float32 if torch_device.type == "cpu" else torch.bfloat16
    values = torch.ones(side, side, device=torch_device, dtype=dtype)
    times = []
    for _ in range(8):
        started = clock()
        # Reading one number waits for the device.
        float((values @ values)[0, 0])
        times.append(clock() - started)
    return 2 * side**3 / statistics.median(times[1:]) / 1e12


def estimated_tflop(parameters: int, height: int, width: int) -> float:
    """Return about how many 1e12 operations a network like Stable Diffusion's takes.

    For one image of height x width pixels, of which a latent spans 8 x 8.
    """
    return _PER_WEIGHT * parameters * (height // 8) * (width // 8)


def estimated_forward_seconds(tflop: float, speed: float) -> float:
    """Return the seconds of one forward pass of `tflop` at a speed of `matrix_speed`.

    Good to a factor of two.
    """
    return tflop / (ACHIEVED * speed)
