"""Records of the comparison of mitigations: its config, and a cell per prompt and strength."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.retrieval.copy_evidence import CopyKind, copied
from mmh_core.text_to_image.requests import Request, Sampling

if TYPE_CHECKING:
    import pandas as pd

MOST_CELLS = 400


#: The first of the seeds that are taken where a person chose none.
_FRESH = 5_000_011


def fresh_seeds(taken: Collection[int], count: int) -> tuple[int, ...]:
    """Return so many seeds that are none of those taken, the same ones every time."""
    free = (seed for seed in itertools.count(_FRESH) if seed not in taken)
    return tuple(itertools.islice(free, count))


@dataclass(frozen=True)
class Treatment:
    """A mitigation of `mitigations.catalogue` and its strength."""

    mitigation: str
    strength: float


@dataclass(frozen=True)
class MitigationConfig:
    """The config of a comparison: every prompt with every mitigation, on the same seeds and noise.

    The first prompt is the one in question; the others are reference prompts. Figures are those of
    `seeds`; what a mitigation searches with, such as the images by which it accepts a rewrite, is
    that of `selection_seeds`, or of `fresh_seeds` where those are empty. No seed is both.
    """

    model: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    treatments: tuple[Treatment, ...]
    sampling: Sampling
    selection_seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse seeds that would be judged and searched with."""
        both = sorted(set(self.seeds) & set(self.selection_seeds))
        if both:
            raise MMHError(
                f"The seeds {', '.join(map(str, both))} are judged and searched with, so a "
                "mitigation would be judged by the images that it was chosen on: give other seeds "
                "for one of the two."
            )

    @property
    def searched(self) -> tuple[int, ...]:
        """Return the seeds that mitigations search with, none of which is judged."""
        return self.selection_seeds or fresh_seeds(self.seeds, len(self.seeds))

    def request(self, prompt: str) -> Request:
        """Return the request for all images of one prompt. Errors: MMHError, ValueError."""
        return Request(prompt, self.seeds, self.sampling)


@dataclass(frozen=True)
class Cell:
    """One mitigation of one prompt, B seeds.

    `used` is the prompt in force and `explanation` what the mitigation did, in one sentence;
    `refused` is why it could not be applied, and nothing was generated then. `images` uint8
    (B, 3, H, W) and `latents` (B, C, h, w). All else is (B,): `similarity` to the nearest training
    image `nearest` (id, -1 without a reference), `similarity_to_unmitigated`, that to the image of
    the same seed without mitigation, `alignment` with the prompt as asked (cosine of CLIP), `lid`
    given what was in force with its standard error, `percentile` of the first-step guidance norm
    among reference prompts; NaN where unknown. `kinds` says which are copies. `seed_similarity` is
    the mean pairwise similarity of the images. `noise_sha256` is that of the starting noise. Costs
    are per image: `nfe` of one branch in all, `seconds`, and `peak_mb` of memory above the start.
    `contents` name the kind of image that each is (portrait, landscape, ...), by its nearest
    training images, and `content_asked` the kind that the prompt asks for; empty where unknown.
    `subject_rank` is for each image the share of other prompts that it fits better than its own,
    NaN where there are too few; empty where it was not computed.
    """

    prompt: int
    treatment: Treatment
    label: str
    used: str
    explanation: str
    refused: str
    images: Tensor
    latents: Tensor
    similarity: Tensor
    nearest: Tensor
    similarity_to_unmitigated: Tensor
    alignment: Tensor
    lid: Tensor
    lid_error: Tensor
    percentile: Tensor
    kinds: tuple[CopyKind, ...]
    seed_similarity: float
    noise_sha256: str
    nfe: float
    seconds: float
    peak_mb: float
    contents: tuple[str, ...] = ()
    content_asked: str = ""
    subject_rank: tuple[float, ...] = ()

    @property
    def copied(self) -> float:
        """Return the share of copies of any kind among the images that can be judged, or NaN."""
        copies = [value for i in range(len(self.kinds)) if (value := self.copy_of(i)) is not None]
        return sum(copies) / len(copies) if copies else math.nan

    def copy_of(self, seed: int) -> bool | None:
        """Return whether an image is a copy of any kind, None where that cannot be judged."""
        if math.isnan(float(self.similarity[seed])):
            return None
        value = copied(self.kinds[seed])
        return None if math.isnan(value) else value == 1


@dataclass(frozen=True)
class Robustness:
    """The copies of one caption that T mitigations do not keep away; the first is `none`.

    1 for a copy, 0 for none, NaN where nobody can tell or the mitigation was refused: of images of
    the `paraphrases` (T, P), of the caption from other seeds (T, S), and after the re-trigger
    attack (T, B), which is aimed at the training image with the id `target`: -1 where no image is
    a copy without mitigation, so that there is nothing to trigger. P counts images. Of a reference
    caption only the attack is there, aimed at the training image nearest to its images: the
    control, which says how many copies the attack makes where nothing was memorized.
    """

    treatments: tuple[Treatment, ...]
    paraphrases: tuple[str, ...]
    target: int
    by_paraphrase: Tensor
    by_seed: Tensor
    by_attack: Tensor

    def row(self, treatment: Treatment) -> int | None:
        """Return the place of a mitigation, None where it was not generated."""
        return self.treatments.index(treatment) if treatment in self.treatments else None


@dataclass(frozen=True)
class MitigationRun:
    """One comparison, finished or in progress; cells come prompt after prompt.

    `copy_threshold` is the similarity from which on a copy is proposed, NaN where it is unknown.
    `preview` uint8 (B, 3, H, W) are the unfinished images of the mitigation `preview_of`.
    `missing` says in sentences what could not be done of what was asked, such as a prompt that
    exceeds the text encoder; `notes` are the model's, on what was chosen while it was read.
    `searched` are the seeds that the mitigations searched with, none of those of the figures;
    empty in a run of an earlier version, which did not keep them apart. `training_images` is the
    number of training images that were searched for copies, 0 without a training set and None in
    a run of an earlier version, and `embedder` says by what. `robustness` is that of
    the prompt in question, and after it the control of each reference prompt; empty where it was
    not tried whether copies come back.
    """

    config: MitigationConfig
    state: Literal["drawing", "complete", "stopped"]
    model: str
    sha256: str
    device: str
    log_delta: float
    preview: Tensor
    cells: tuple[Cell, ...]
    nearest_images: tuple[tuple[int, Tensor], ...]
    seconds: float
    preview_of: str = ""
    copy_threshold: float = math.nan
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    searched: tuple[int, ...] = ()
    robustness: tuple[Robustness, ...] = ()
    training_images: int | None = None
    embedder: str = ""

    def cell(self, prompt: int, treatment: Treatment) -> Cell | None:
        """Return the cell of a prompt and mitigation, None where it was not generated."""
        for cell in self.cells:
            if cell.prompt == prompt and cell.treatment == treatment:
                return cell
        return None

    def frame(self) -> pd.DataFrame:
        """Return one row per image."""
        import pandas as pd

        rows = []
        for cell in self.cells:
            for i in range(len(cell.kinds)):
                rows.append(
                    {
                        "prompt": self.config.prompts[cell.prompt],
                        "mitigation": cell.treatment.mitigation,
                        "strength": cell.treatment.strength,
                        "seed": self.config.seeds[i],
                        "used_prompt": cell.used,
                        "copy": cell.kinds[i],
                        "nearest": int(cell.nearest[i]),
                        "similarity": float(cell.similarity[i]),
                        "similarity_to_unmitigated": float(cell.similarity_to_unmitigated[i]),
                        "alignment": float(cell.alignment[i]),
                        "lid": float(cell.lid[i]),
                        "lid_standard_error": float(cell.lid_error[i]),
                        "guidance_norm_percentile": float(cell.percentile[i]),
                        "nfe": cell.nfe,
                    }
                )
        return pd.DataFrame(rows)
