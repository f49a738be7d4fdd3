"""The search for copies in other colors, for an image without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmh_core.retrieval.embedders import embed_all
from mmh_core.retrieval.index import similarities, unit_rows
from mmh_core.retrieval.recolored import LIKELY, POSSIBLE, Recoloring, recolorings
from mmh_core.subject.copies import CopySearchResult, TrainingNeighbor

if TYPE_CHECKING:
    from torch import Tensor

    from mmh_core.retrieval.training_images import TrainingImages
    from mmh_core.subject.training_set import TrainingSet


def search_any_color(
    training_set: TrainingSet, images: Tensor, results: Sequence[CopySearchResult]
) -> list[CopySearchResult]:
    """Return results for images (B, 3, H, W) in [0, 1], each "none" searched again in any colors.

    Only where the training images are at hand; every other result stays as it is. *likely*: a
    training image fits it nearly perfectly, in other colors or another brightness; where several
    do, color is what told them apart, and the reason counts them. *unknown*: one fits well, as a
    recolored copy would and as another image of the same shapes would too; or its colors lie
    beyond those of all training images, for which the search was not calibrated.
    """
    training, searched = training_set.training, list(results)
    rows = [row for row, (copy, _) in enumerate(results) if copy.kind == "none"]
    if training is None or not rows:
        return searched
    for row, match in zip(rows, recolorings(images[rows], training), strict=True):
        searched[row] = _by_match(training_set, training, images[row], results[row], match)
    return searched


def _by_match(
    training_set: TrainingSet,
    training: TrainingImages,
    image: Tensor,
    result: CopySearchResult,
    match: Recoloring,
) -> CopySearchResult:
    """Return the result for an image by what fits it best in other colors."""
    copy, near = result
    named = int(training.index.ids[match.row])
    if match.correlation >= LIKELY:
        return _likely(training_set, image, result, match, named)
    if match.correlation >= POSSIBLE:
        reason = (
            f"In other colors or another brightness it fits training image {named} (correlation "
            f"{match.correlation:.3f}, threshold {POSSIBLE}): a recolored copy "
            "looks like this, and so does another image of the same shapes. Compare the two by "
            "eye."
        )
        return replace(copy, kind="unknown", reason=f"{copy.reason} {reason}"), near
    if match.outside:
        reason = (
            "Its brightness, contrast or colors lie beyond those of all training images, so the "
            "search could miss its training image: look for it in the usual colors."
        )
        return replace(copy, kind="unknown", reason=f"{copy.reason} {reason}"), near
    return result


def _likely(
    training_set: TrainingSet,
    image: Tensor,
    result: CopySearchResult,
    match: Recoloring,
    named: int,
) -> CopySearchResult:
    as_well = f" {match.ties:,} more fit as well, apart from color." if match.ties else ""
    reason = (
        f"Likely a copy of training image {named} in other colors or another brightness: "
        f"correlation {match.correlation:.4f} (threshold {LIKELY}).{as_well} Compare by eye."
    )
    return likely_copy(training_set, image, result, named, reason)


def likely_copy(
    training_set: TrainingSet, image: Tensor, result: CopySearchResult, named: int, reason: str
) -> CopySearchResult:
    """Return a likely copy of the training image with the id `named`, now among the nearest.

    For what no descriptor has proposed: its similarity to the image (3, H, W) is computed here.
    """
    copy, near = result
    index = training_set.index
    place = int(np.searchsorted(index.ids, named))
    unit = unit_rows(embed_all(training_set.embedder, image[None]).numpy(force=True))[0]
    similarity = float(similarities(index, unit.astype(np.float64), np.array([place]))[0])
    labels = index.labels.iloc[place]
    own = TrainingNeighbor(
        named,
        similarity,
        str(labels["caption"]),
        str(labels.get("kind", "")),
        int(index.multiplicity[place]),
        training_set.image(place),
    )
    others = tuple(one for one in near if one.id != named)
    likely = replace(
        copy,
        kind="likely",
        reason=reason,
        nearest=named,
        similarity=similarity,
        multiplicity=own.multiplicity,
        near_duplicates=copy.near_duplicates if named == copy.nearest else 0,
    )
    return likely, tuple(sorted((own, *others), key=lambda one: -one.similarity))
