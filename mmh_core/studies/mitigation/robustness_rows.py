"""What comes back under each mitigation: counts, intervals, and whether it is robust."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.statistics.intervals import Interval, mean_share_interval, share_interval
from mmh_core.studies.mitigation.run import MitigationRun, Robustness, Treatment

#: A mitigation is robust when at most this share of the images is a copy, each way of the three.
ROBUST = 0.1
NOT_RUN = "not run"
_ROUNDING = 1e-6


@dataclass(frozen=True)
class CopyCount:
    """How many of the images that can be judged are copies, over `captions` captions.

    `share` is the mean over captions with its interval over them; of one caption, the exact one
    over its images. NaN where nothing could be judged; `undecided` images could not.
    """

    copies: int
    images: int
    captions: int
    undecided: int
    share: Interval

    @property
    def stays_away(self) -> bool | None:
        """Return whether at most `ROBUST` of the images are copies, None where unknown."""
        return None if math.isnan(self.share.value) else self.share.value <= ROBUST + _ROUNDING


@dataclass(frozen=True)
class RobustnessRow:
    """The copies under one mitigation: of paraphrases, of other seeds, and after the attack.

    `treatment` is None for a model whose training is the mitigation. `control` is what the same
    attack makes of reference captions, of which nothing is memorized.
    """

    treatment: Treatment | None
    paraphrases: CopyCount
    seeds: CopyCount
    attack: CopyCount
    control: CopyCount

    @property
    def withstands(self) -> bool | None:
        """Return whether the attack gets no copies back that it does not make by itself.

        That is at most `ROBUST` of the images, or of them beyond the control's share. None where
        unknown: more are copies, and there is no control.
        """
        if self.attack.stays_away is not False:
            return self.attack.stays_away
        beyond = self.attack.share.value - self.control.share.value
        return None if math.isnan(beyond) else beyond <= ROBUST + _ROUNDING

    @property
    def robust(self) -> bool | None:
        """Return whether copies stay away in all three ways, None where one is unknown."""
        ways = (self.paraphrases.stays_away, self.seeds.stays_away, self.withstands)
        return False if False in ways else None if None in ways else True


def robustness_rows(
    records: Sequence[Robustness], control: Sequence[Robustness] = ()
) -> tuple[RobustnessRow, ...]:
    """Return a row for each mitigation whose robustness was tried, in the order of generation."""
    treatments = dict.fromkeys(t for record in records for t in record.treatments)
    return tuple(_row(records, control, treatment) for treatment in treatments)


def rows_of_run(run: MitigationRun) -> dict[Treatment | None, RobustnessRow]:
    """Return the rows of a comparison by mitigation, none where robustness was not tried."""
    rows = robustness_rows(run.robustness[:1], run.robustness[1:])
    return {row.treatment: row for row in rows}


def count_words(count: CopyCount, none: str = "nothing to judge") -> str:
    """Return copies, images and the interval of their share; `none` where there is no image."""
    if not count.images:
        return f"{count.undecided} cannot be judged" if count.undecided else none
    text = f"{count.copies} of {count.images} ({count.share.low:.2f} to {count.share.high:.2f})"
    return f"{text}, {count.undecided} cannot be judged" if count.undecided else text


def robustness_words(row: RobustnessRow | None) -> tuple[str, str, str, str]:
    """Return the counts of paraphrases, other seeds, the attack and its control in words."""
    if row is None:
        return (NOT_RUN,) * 4
    return (
        count_words(row.paraphrases, "no paraphrase known"),
        count_words(row.seeds),
        count_words(row.attack, "no copy to aim at"),
        count_words(row.control, NOT_RUN),
    )


def returning(row: RobustnessRow) -> tuple[str, ...]:
    """Return in words by which of the three ways copies come back."""
    parts = []
    if row.paraphrases.stays_away is False:
        parts.append(f"paraphrases {count_words(row.paraphrases)}")
    if row.seeds.stays_away is False:
        parts.append(f"other seeds {count_words(row.seeds)}")
    if row.withstands is False:
        parts.append(
            f"re-trigger attack {count_words(row.attack)}, on reference prompts "
            f"{count_words(row.control)}"
        )
    return tuple(parts)


def _row(
    records: Sequence[Robustness], control: Sequence[Robustness], treatment: Treatment
) -> RobustnessRow:
    pairs = [(record, row) for record in records if (row := record.row(treatment)) is not None]
    others = [(record, row) for record in control if (row := record.row(treatment)) is not None]
    return RobustnessRow(
        treatment,
        copy_count([record.by_paraphrase[row] for record, row in pairs]),
        copy_count([record.by_seed[row] for record, row in pairs]),
        copy_count([record.by_attack[row] for record, row in pairs if record.target >= 0]),
        copy_count([record.by_attack[row] for record, row in others if record.target >= 0]),
    )


def copy_count(images: Sequence[Tensor]) -> CopyCount:
    """Return the count over captions, each given as its images' 0, 1 and NaN."""
    decided = [kept for values in images if len(kept := values[~values.isnan()])]
    copies = sum(int(values.sum()) for values in decided)
    count = sum(len(values) for values in decided)
    share = (
        share_interval(copies, count)
        if len(decided) == 1
        else mean_share_interval(torch.tensor([float(values.mean()) for values in decided]))
    )
    undecided = sum(int(values.isnan().sum()) for values in images)
    return CopyCount(copies, count, len(decided), undecided, share)
