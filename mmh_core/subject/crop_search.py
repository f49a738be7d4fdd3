"""The search for the training image that an image is a crop of, for an image without a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mmh_core.retrieval.crop_candidates import (
    STRETCHES,
    CropCandidate,
    crop_candidates,
    unstretched,
)
from mmh_core.retrieval.pixel_match import MOST_RESIDUAL, PixelMatch, pixel_match
from mmh_core.subject.color_search import likely_copy

if TYPE_CHECKING:
    from torch import Tensor

    from mmh_core.subject.copies import CopySearchResult
    from mmh_core.subject.training_set import TrainingSet

#: Proposals whose pixels are compared.
COMPARED = 12
#: A residual up to which nobody can tell a copy from another image of the same shapes.
UNDECIDED = 0.04


def search_crops(
    training_set: TrainingSet, image: Tensor, result: CopySearchResult
) -> CopySearchResult:
    """Return the result for an image (3, H, W) in [0, 1], a "none" compared as a part.

    As a part of every training image, in place of the few that a descriptor proposes: what was
    cropped, stretched to another shape or inverted is another image to a descriptor. Only where
    the training images are at hand; every other result stays as it is. It takes seconds for an
    image, so that only images from outside (an audit) are searched like this. *likely*: its pixels
    are a part of a training image; *unknown*: nearly so.
    """
    copy, near = result
    training = training_set.training
    if training is None or copy.kind != "none":
        return result
    matches = list[tuple[PixelMatch, CropCandidate]]()
    # One by one: the symmetries of one shape would crowd out each other and all else.
    for part in crop_candidates(image, training, COMPARED):
        ways: list[list[Tensor]] = [[] for _ in range(8)]
        ways[part.symmetry] = [training.pixels[part.row]]
        match = pixel_match(unstretched(image, part), ways, UNDECIDED)
        if match is not None:
            matches.append((match, part))
    if not matches:
        return result
    match, part = min(matches, key=lambda one: one[0].difference)
    named = int(training.index.ids[part.row])
    how = ", ".join(word for word in (_changed(part), match.words) if word)
    called = f"training image {named}{f', {how},' if how else ''}"
    if match.difference > MOST_RESIDUAL:
        reason = (
            f"It nearly fits {called} by its pixels: {match.figures}. A copy looks like this, and "
            "so does another image of the same shapes: compare the two by eye."
        )
        return replace(copy, kind="unknown", reason=f"{copy.reason} {reason}"), near
    reason = f"Likely a copy of {called} by its pixels: {match.figures}. Compare the two by eye."
    return likely_copy(training_set, image, result, named, reason)


def _changed(part: CropCandidate) -> str:
    """Return what was done to a part besides turning and cropping it, "" for nothing."""
    words = ["stretched to another shape"] if STRETCHES[part.stretch] != (1.0, 1.0) else []
    return " and ".join([*words, *(["inverted in its colors"] if part.inverted else [])])
