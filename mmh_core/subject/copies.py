"""Records of a search of the training set for one image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.retrieval.image_names import in_words

_NAN = float("nan")


@dataclass(frozen=True)
class NeighborFound:
    """One training image near a generated one, by descriptor; `image` is uint8 (3, H, W).

    `file` is its name below the folder that was indexed, "" where it has none or is unknown.
    """

    id: int
    similarity: float
    caption: str
    kind: str
    copies: int
    image: Tensor
    file: str = ""

    @property
    def called(self) -> str:
        """Return the id, and the file where there is one."""
        return in_words(str(self.id), self.file)


@dataclass(frozen=True)
class CopyFound:
    """The evidence that an image is a copy, in the terms of `retrieval.copy_evidence`.

    `nearest`, with its similarity and copies, is the training image that the reason names.
    NaN stands for what the training set cannot give: distances in pixels need the images.
    `threshold` is the similarity from which on a copy is proposed, NaN where the embedder has no
    calibrated one (or the file is older than this field). `file` is the name of `nearest` below
    the folder that was indexed, "" where it has none or is unknown.
    """

    kind: CopyKind
    reason: str
    nearest: int
    similarity: float
    calibrated_l2: float
    ratio: float
    copies: int
    near_duplicates: int
    agreeing: float
    family: int
    threshold: float = math.nan
    file: str = ""

    @property
    def called(self) -> str:
        """Return the id of `nearest`, and its file where there is one."""
        return in_words(str(self.nearest), self.file)
