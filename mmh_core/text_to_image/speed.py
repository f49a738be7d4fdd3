"""How fast a device multiplies matrices, from which the time of a large network is guessed."""

from __future__ import annotations

import statistics
import time

import torch

#: Of the speed of square matrices, what networks of Stable Diffusion reach.
ACHIEVED = 0.6
_SIDES = {"cpu": 1024, "cuda": 4096}


def matrix_speed(device: torch.device | str) -> float:
    """Return how many 1e12 operations per second a device makes in square matrix products.

    The median of seven, after one that is not counted; in float32 on a CPU, in bfloat16 on a GPU,
    as models are loaded. Takes a fraction of a second.
    """
    place = torch.device(device)
    side = _SIDES.get(place.type, 1024)
    dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
    values = torch.ones(side, side, device=place, dtype=dtype)
    times = []
    for _ in range(8):
        started = time.perf_counter()
        # Reading one number waits for the device.
        float((values @ values)[0, 0])
        times.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(times[1:]) / 1e12


def guessed_forward(tflop: float, speed: float) -> float:
    """Return the seconds of one forward pass of `tflop` at a speed of `matrix_speed`.

    Good to a factor of two.
    """
    return tflop / (ACHIEVED * speed)
