"""The embedder that a person writes down: pixels, pocket, CLIP, DINOv2 or SSCD."""

from __future__ import annotations

from pathlib import Path

from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import Embedder, PixelEmbedder, pocket_embedder


def load_embedder(choice: str) -> Embedder:
    """Load an embedder by its written choice.

    `pixels`; `pocket` or `pocket:FOLDER`; `clip:PLACE` and `dinov2:PLACE`, where the place is a
    folder or a name on the Hub; `sscd:FILE`. Raises MMHError for any other words and as the
    loaders do.
    """
    family, _, location = choice.partition(":")
    if choice == "pixels":
        return PixelEmbedder()
    if family == "pocket" and (location or choice == "pocket"):
        return pocket_embedder(Path(location)) if location else pocket_embedder()
    if family in ("clip", "dinov2") and location:
        from mmh_core.retrieval.vision_models import clip_embedder, dinov2_embedder

        return clip_embedder(location) if family == "clip" else dinov2_embedder(location)
    if family == "sscd" and location:
        from mmh_core.retrieval.sscd import sscd_embedder

        return sscd_embedder(Path(location))
    raise MMHError(
        f"There is no embedder {choice!r}: write pixels, pocket, clip:FOLDER, dinov2:FOLDER or "
        "sscd:FILE."
    )
