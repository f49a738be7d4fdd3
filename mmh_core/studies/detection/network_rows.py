"""Records of a benchmark over several networks."""

from __future__ import annotations

from dataclasses import dataclass

from mmh_core.statistics.intervals import Interval
from mmh_core.studies.detection.doses import DoseCurve


@dataclass(frozen=True)
class NetworkRow:
    """One detector over N networks: means with 95 % intervals over networks.

    `deviation` is the standard deviation of the area, `lowest` and `highest` its range. `tpr` and
    `fpr` are realized rates at the threshold set for an FPR of 1 %, `within` is the area over
    images (copies against others) within memorized captions.
    """

    name: str
    label: str
    networks: int
    auc: Interval
    deviation: float
    lowest: float
    highest: float
    tpr: Interval
    fpr: Interval
    within: Interval


@dataclass(frozen=True)
class Networks:
    """What several networks give on the same prompts and seeds.

    `files` and `sha256` name them, the first being the network of the run that holds this; `rows`
    are of the detectors that all have, the best mean first; `doses` are the curves of each.
    """

    files: tuple[str, ...]
    sha256: tuple[str, ...]
    rows: tuple[NetworkRow, ...]
    doses: tuple[tuple[DoseCurve, ...], ...]
