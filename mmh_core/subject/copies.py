"""The result of a copy search for one image: the evidence, and the nearest training images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.retrieval.image_names import named_training_image


@dataclass(frozen=True)
class TrainingNeighbor:
    """A training image among the nearest to an image, by descriptor; `image` is uint8 (3, H, W).

    `file` is its name below the folder that was indexed, "" where it has none or is unknown.
    """

    id: int
    similarity: float
    caption: str
    kind: str
    multiplicity: int
    image: Tensor
    file: str = ""

    @property
    def display_name(self) -> str:
        """Return the id, and the file where there is one."""
        return named_training_image(str(self.id), self.file)


@dataclass(frozen=True)
class ImageCopyEvidence:
    """What the search says of one image, copy or not, in terms of `retrieval.copy_evidence`.

    `kind` is the result, "none" among them, and `reason` says why. `nearest` is the id of the
    training image that the reason names, with its descriptor's `similarity`, its `multiplicity`
    (exact copies in the training set, itself included) and its number of `near_duplicates` there.
    In pixels: `calibrated_l2` (Carlini et al. 2023), `ratio` d1 / d2, `agreeing`, the share of
    pixels that agree with `nearest`, and `family`, how many training images share its layout. NaN
    stands for what the training set cannot give: distances in pixels need the images.
    `threshold` is the copy threshold, the similarity below which no copy is proposed, NaN where
    the embedder has no calibrated one (or the file is older than this field). `file` is the
    name of `nearest` below the folder that was indexed, "" where it has none or is unknown.
    """

    kind: CopyKind
    reason: str
    nearest: int
    similarity: float
    calibrated_l2: float
    ratio: float
    multiplicity: int
    near_duplicates: int
    agreeing: float
    family: int
    threshold: float = math.nan
    file: str = ""

    @property
    def display_name(self) -> str:
        """Return the id of `nearest`, and its file where there is one."""
        return named_training_image(str(self.nearest), self.file)


#: The evidence for one image, and its nearest training images, the most similar first.
CopySearchResult = tuple[ImageCopyEvidence, tuple[TrainingNeighbor, ...]]
