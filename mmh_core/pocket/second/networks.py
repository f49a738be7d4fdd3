"""The denoisers of the second world as models that generate, with their shared other parts."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from mmh_core.files import write_text
from mmh_core.pocket.second.plan import GUIDANCE, STEPS
from mmh_core.pocket.second.training import Workshop
from mmh_core.text_to_image.components import write_pipeline
from mmh_core.text_to_image.folder import CARD
from mmh_core.text_to_image.model import TextToImage


def network_folder(shop: Workshop, stage: str) -> Path:
    """Return the folder of the pipeline with a finished denoiser, written where it is missing.

    Beside the build, one for each denoiser; its card is written last. Errors: MMHError for a stage
    that is not finished.
    """
    folder = shop.work / "networks" / f"{stage}-{shop.stamp(stage)[:12]}-{GUIDANCE:g}"
    if (folder / CARD).is_file():
        return folder
    unet: nn.Module = shop.model(stage)
    vae, clip = shop.scaled_autoencoder(), shop.model("clip")
    tokenizer = shop.work / "tokenizer"
    write_pipeline(folder, unet=unet, vae=vae, text_encoder=clip.text_model, tokenizer=tokenizer)
    card = {"name": stage, "guidance": GUIDANCE, "steps": STEPS}
    write_text(folder / CARD, json.dumps(card, indent=1) + "\n")
    return folder


def open_network(shop: Workshop, stage: str) -> TextToImage:
    """Return a finished denoiser as a model. Errors: MMHError."""
    from mmh_core.text_to_image.stable_diffusion import load

    folder = network_folder(shop, stage)
    # Float32 on a GPU as well: eigenvalues are counted.
    return load(folder, device=shop.device, dtype=torch.float32)
