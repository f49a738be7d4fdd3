"""Published figures of detectors on Stable Diffusion 1.4, to stand beside those of a run."""

from __future__ import annotations

from dataclasses import dataclass

#: What the figures were measured on, as their authors report it.
SETTING = "Stable Diffusion 1.4, 500 memorized (Webster 2023) and 500 reference prompts"


@dataclass(frozen=True)
class PublishedFigure:
    """An area and a true-positive rate at 1 % FPR as published; the rate is None where none is.

    `detector` is the name of the detector here, `label` the row's name, `seeds` how many images of
    a prompt were used. The rate's threshold was set on the reference prompts that it was counted
    on, as that of our column "TPR at 1 % FPR" is.
    """

    detector: str
    label: str
    auc: float
    tpr: float | None
    seeds: int
    source: str


_WEN, _JEON = "Wen et al. 2024, arXiv 2407.21720", "Jeon et al. 2025, arXiv 2412.04140"
PUBLISHED = (
    PublishedFigure("guidance_norm", "Guidance norm, 1 step", 0.976, 0.896, 1, _WEN),
    PublishedFigure("guidance_norm_all", "Guidance norm, 50 steps", 0.983, 0.948, 1, _WEN),
    PublishedFigure(
        "early_scan",
        "Anisotropy (norm and angle)",
        0.994,
        0.935,
        1,
        "Asthana & Belagiannis 2026, arXiv 2601.20642",
    ),
    PublishedFigure("sharpness", "Sharpness", 0.987, 0.908, 1, _JEON),
    PublishedFigure(
        "stability", "Stability", 0.9995, None, 1, "Huang et al. 2026, arXiv 2605.22050"
    ),
    PublishedFigure("attention_entropy", "Attention entropy", 0.846, 0.116, 1, "Ren et al. 2024"),
    PublishedFigure(
        "guidance_norm", "Guidance norm, four seeds", 0.996, 0.982, 4, "as compared by later work"
    ),
    PublishedFigure(
        "sharpness", "Sharpness, four seeds", 0.998, 0.982, 4, "as compared by later work"
    ),
)
