"""Representation spread: how unevenly the middle of the network is active at the image."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmh_core.detectors.grids import IMAGE_TIMES, Grid
from mmh_core.detectors.inputs import DetectorInputs, rows_at_once
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.dimension.scaled_points import check_network
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class RepresentationSpread(OneColumn):
    """The standard deviation of the middle block's output at the noised image, without a prompt.

    Zhang et al. 2026 (ICLR, arXiv 2512.20963): a network that stored an image answers it by few
    large activations ("spiky"), one that generalizes by many of like size ("balanced"). Variant:
    the layer is the middle block of the U-shaped network, all its activations count alike, and the
    image is noised to the time `t` by one noise from `seed` for all images. 1 NFE.
    """

    t: float = 0.1
    seed: int = 0
    name: ClassVar[str] = "representation_spread"
    label: ClassVar[str] = "Representation spread (variant)"
    summary: ClassVar[str] = (
        "The standard deviation of the middle block's activations at the noised image, no prompt."
    )
    citation: ClassVar[str] = "Zhang et al. 2026, arXiv 2512.20963"
    needs: ClassVar[Need] = "image"
    grid: ClassVar[Grid] = {"t": IMAGE_TIMES}

    def lacking(self, model: TextToImage, seeds: int) -> str:
        """Return why it cannot be computed of a model, "" for a network with a middle block."""
        return f"{model.name} has no middle block" if middle_block(model) is None else ""

    @torch.no_grad()
    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the standard deviations (B, 1). Raises MMHError without a middle block."""
        trace = inputs.generated()
        block = middle_block(model)
        if block is None:
            raise MMHError(f"{model.name} has no middle block: choose another detector.")
        at = torch.tensor(self.t, dtype=torch.float64)
        alpha, sigma = model.schedule.alpha(at).item(), model.schedule.sigma(at).item()
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(model.score_model.shape, generator=generator)
        outputs: list[Tensor] = []
        thread = threading.get_ident()

        def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            # Others may use the same weights meanwhile, in threads of their own.
            if threading.get_ident() == thread:
                outputs.append(output.float().flatten(1).std(1, keepdim=True).cpu())

        handle = block.register_forward_hook(record)
        try:
            for part in torch.split(trace.latents, rows_at_once(model)):
                model.score_model.eps((alpha * part + sigma * noise).to(model.device), self.t)
        finally:
            handle.remove()
        spread = torch.cat(outputs)
        check_network(spread, model.name)
        return Measurement(spread, 1.0, trace.nfe)


def middle_block(model: TextToImage) -> nn.Module | None:
    """Return the middle block of a U-shaped network, None for a network without one."""
    block = getattr(model.unet, "mid_block", None)
    return block if isinstance(block, nn.Module) else None
