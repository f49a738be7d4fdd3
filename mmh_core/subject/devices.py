"""The device to compute on, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmh_core.records import MMHError

if TYPE_CHECKING:
    import torch


def device_of(name: str | torch.device) -> torch.device:
    """Return the device of a name; auto takes a GPU where there is one."""
    import torch

    if isinstance(name, torch.device):
        return name
    there = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be cpu, cuda or auto, got {name!r}.")
    if name == "cuda" and not there:
        raise MMHError("There is no CUDA device here: choose --device cpu.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")
