"""What comes back under each mitigation, and which criteria each passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.statistics import Interval, mean_share_interval, share_interval
from mmh_core.studies.mitigation.benchmark_rows import SOLVED, harms, normal_rows
from mmh_core.studies.mitigation.benchmark_run import MitigationBenchmark
from mmh_core.studies.mitigation.outcome import CriteriaJudgement, judgement
from mmh_core.studies.mitigation.robustness import Robustness
from mmh_core.studies.mitigation.run import Treatment

#: A mitigation is robust when at most this share of the images is a copy, each way of the three.
ROBUST = 0.1
_ROUNDING = 1e-6


@dataclass(frozen=True)
class RobustnessRow:
    """The shares of copies under one mitigation, over `captions` captions.

    Of images of paraphrases, of other seeds, and after the re-trigger attack, of which
    `returned` of `attacked` images are copies. Intervals are over captions; of one caption, the
    exact one over its images. NaN where nothing could be judged.
    """

    treatment: Treatment
    captions: int
    paraphrases: Interval
    seeds: Interval
    attack: Interval
    returned: int
    attacked: int

    @property
    def robust(self) -> bool | None:
        """Return whether copies stay away in all three ways, None where one is unknown."""
        shares = [part.value for part in (self.paraphrases, self.seeds, self.attack)]
        if any(share > ROBUST + _ROUNDING for share in shares):
            return False
        return None if any(math.isnan(share) for share in shares) else True


def robustness_rows(result: MitigationBenchmark) -> tuple[RobustnessRow, ...]:
    """Return a row for each mitigation whose robustness was tried, in the order of generation."""
    records = [record.robustness for record in result.robustness]
    treatments = dict.fromkeys(t for record in records for t in record.treatments)
    return tuple(_row(records, treatment) for treatment in treatments)


def _row(records: list[Robustness], treatment: Treatment) -> RobustnessRow:
    pairs = [(record, row) for record in records if (row := record.row(treatment)) is not None]
    attacked = torch.cat([record.by_attack[row] for record, row in pairs])
    attacked = attacked[~attacked.isnan()]
    return RobustnessRow(
        treatment,
        len(pairs),
        _share([record.by_paraphrase[row] for record, row in pairs]),
        _share([record.by_seed[row] for record, row in pairs]),
        _share([record.by_attack[row] for record, row in pairs]),
        int(attacked.sum()),
        len(attacked),
    )


def _share(images: list[Tensor]) -> Interval:
    """Return the mean share of copies over captions, each given as its images' 0, 1 and NaN."""
    decided = [values[~values.isnan()] for values in images]
    decided = [values for values in decided if len(values)]
    if len(decided) == 1:
        return share_interval(int(decided[0].sum()), len(decided[0]))
    return mean_share_interval(torch.tensor([float(values.mean()) for values in decided]))


def judged(result: MitigationBenchmark) -> dict[Treatment, CriteriaJudgement]:
    """Return by mitigation which criteria it passes over the test captions.

    A caption that refuses a mitigation counts as copied in all its images.
    """
    if not result.test:
        return {}
    normal = {row.treatment: row for row in normal_rows(result)}
    robust = {row.treatment: row.robust for row in robustness_rows(result)}
    judgements = {}
    for treatment in result.test[0].treatments[1:]:
        outcomes: list[str] = []
        for record in result.test:
            row = record.treatments.index(treatment)
            refused = bool(record.refused[row])
            kinds = record.outcomes[row] if record.outcomes else ("unknown",)
            outcomes += ["copy"] * record.copied.shape[1] if refused else kinds
        other = normal.get(treatment)
        judgements[treatment] = judgement(
            outcomes,
            allowed=1 - SOLVED,
            unharmed=None if other is None else not harms(other),
            robust=robust.get(treatment),
        )
    return judgements
