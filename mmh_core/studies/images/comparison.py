"""Two runs of the image study side by side: their settings, their images by seed, the finding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch

from mmh_core.counting import agreeing, plural
from mmh_core.memorization.hypothesis import shown_lid, whole_percent
from mmh_core.records import Conclusion
from mmh_core.retrieval.copy_evidence import copied
from mmh_core.statistics.intervals import paired_share_interval
from mmh_core.studies.images.run import ImageResult, ImageRun

if TYPE_CHECKING:
    import pandas as pd

#: Columns of an image's row that stand once for each run in the table of a comparison.
_COLUMNS = (
    "verdict",
    "copy",
    "nearest",
    "similarity",
    "similarity_threshold",
    "lid",
    "lid_standard_error",
    "lid_percentile",
)


@dataclass(frozen=True)
class ComparedSetting:
    """One setting of two runs in words; `acts` is whether it changes what an image looks like."""

    name: str
    first: str
    second: str
    acts: bool

    @property
    def differs(self) -> bool:
        """Return whether the two runs differ in it."""
        return self.first != self.second


@dataclass(frozen=True, eq=False)
class SeedPair:
    """The images of two runs from one seed, None where a run has none of that seed.

    `prompts` are those of the two runs, "" where a run has no such prompt.
    """

    seed: int
    prompts: tuple[str, str]
    first: ImageResult | None
    second: ImageResult | None

    @property
    def is_equal(self) -> bool:
        """Return whether both images are there and equal pixel for pixel."""
        if self.first is None or self.second is None:
            return False
        return torch.equal(self.first.image, self.second.image)


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Two runs side by side.

    `settings` begin with those that differ; `pairs` with the seeds that both runs have.
    """

    first: ImageRun
    second: ImageRun
    settings: tuple[ComparedSetting, ...]
    pairs: tuple[SeedPair, ...]

    @property
    def differing(self) -> tuple[ComparedSetting, ...]:
        """Return the settings that differ."""
        return tuple(setting for setting in self.settings if setting.differs)

    @property
    def in_both(self) -> tuple[SeedPair, ...]:
        """Return the pairs of which both images are there."""
        return tuple(pair for pair in self.pairs if pair.first and pair.second)

    @property
    def lids_compare(self) -> bool:
        """Return whether LIDs compare as numbers: equal weights, sampling and noise scale."""
        first, second = self.first, self.second
        return (
            first.sha256 == second.sha256
            and first.config.sampling == second.config.sampling
            and math.isclose(first.log_delta, second.log_delta)
        )

    def frame(self) -> pd.DataFrame:
        """Return one row per seed: the figures of both images, None where there is no image."""
        import pandas as pd

        rows = []
        for pair in self.pairs:
            row: dict[str, object] = {"seed": pair.seed, "same_pixels": pair.is_equal}
            named = zip(("first", "second"), pair.prompts, (pair.first, pair.second), strict=True)
            for name, prompt, image in named:
                figures = {} if image is None else image.frame().iloc[0].to_dict()
                row[f"{name}_prompt"] = prompt
                row |= {f"{name}_{column}": figures.get(column) for column in _COLUMNS}
            rows.append(row)
        return pd.DataFrame(rows)

    def conclusion(self) -> Conclusion:
        """Return what the comparison amounts to, what to do next, and how sure that is."""
        return Conclusion(_finding(self), _advice(self), _certainty(self))


def compare_runs(first: ImageRun, second: ImageRun) -> RunComparison:
    """Return two runs side by side, of one model or of two."""
    ours, others = _settings(first), _settings(second)
    settings = [
        ComparedSetting(name, value, others[name][0], acts) for name, (value, acts) in ours.items()
    ]
    settings.sort(key=lambda setting: not setting.differs)
    pairs = sorted(_pairs(first, second), key=lambda pair: not (pair.first and pair.second))
    return RunComparison(first, second, tuple(settings), tuple(pairs))


def _settings(run: ImageRun) -> dict[str, tuple[str, bool]]:
    """Return the settings of a run by name, each with whether it changes its images."""
    config, sampling = run.config, run.config.sampling
    prompts = [prompt or "(empty)" for prompt in config.prompts]
    return {
        "Prompt": (" | ".join(prompts), True),
        "Negative prompt": (sampling.negative or "none", True),
        "Model": (run.model, True),
        "Model weights (SHA-256)": (run.sha256[:12], True),
        "Steps": (f"{sampling.steps:,}", True),
        "Guidance": (f"{sampling.guidance:g}", True),
        "Scheduler": (sampling.scheduler, True),
        "Height x width": (f"{sampling.height} x {sampling.width}", True),
        "Context windows": (f"{sampling.windows}", True),
        "Seeds": (", ".join(map(str, config.seeds)), False),
        "Images": (f"{len(run.images)}", False),
        "Training images searched": (f"{run.searched:,}" if run.searched else "none", False),
        "Descriptor of the search": (run.embedder if run.searched else "none", False),
        "Noise scale of LID (log δ)": (f"{run.log_delta:.2f}", False),
        "Device": (run.device, False),
    }


def _pairs(first: ImageRun, second: ImageRun) -> Iterator[SeedPair]:
    ours = {(image.prompt, image.seed): image for image in first.images}
    others = {(image.prompt, image.seed): image for image in second.images}
    for prompt, other in _paired_prompts(first.config.prompts, second.config.prompts):
        for seed in dict.fromkeys((*first.config.seeds, *second.config.seeds)):
            pair = SeedPair(
                seed, (prompt, other), ours.get((prompt, seed)), others.get((other, seed))
            )
            if pair.first or pair.second:
                yield pair


def _paired_prompts(first: Sequence[str], second: Sequence[str]) -> list[tuple[str, str]]:
    """Return the prompts of two runs in pairs: equal ones, then the others in their order."""
    both = [prompt for prompt in dict.fromkeys(first) if prompt in second]
    left = [prompt for prompt in dict.fromkeys(first) if prompt not in both]
    right = [prompt for prompt in dict.fromkeys(second) if prompt not in both]
    size = max(len(left), len(right))
    left += [""] * (size - len(left))
    right += [""] * (size - len(right))
    return [(prompt, prompt) for prompt in both] + list(zip(left, right, strict=True))


def _copied(image: ImageResult | None) -> float:
    """Return 1 for a copy, 0 for none, NaN where no search decides."""
    return math.nan if image is None or image.copy is None else copied(image.copy.kind)


def _finding(comparison: RunComparison) -> str:
    pairs = comparison.in_both
    if pairs and len(pairs) == len(comparison.pairs) and all(pair.is_equal for pair in pairs):
        same = f"Both runs show the same {plural(len(pairs), 'image')}, pixel for pixel"
        return f"{same}; each {_copies(comparison.first)}{_lid_words(comparison)}."
    return (
        f"The first run {_copies(comparison.first)}, the second {_copies(comparison.second)}"
        f"{_changes(pairs)}{_lid_words(comparison)}."
    )


def _copies(run: ImageRun) -> str:
    """Return how many images of a run are copies, after a subject in the singular."""
    decided = [value for value in map(_copied, run.images) if not math.isnan(value)]
    if not decided:
        return "has no image of which a search decides whether it is a copy"
    return f"copies training images in {sum(decided):.0f} of {plural(len(decided), 'image')}"


def _changes(pairs: Sequence[SeedPair]) -> str:
    """Return at how many seeds one run alone copies, "" where that cannot be counted."""
    if not pairs:
        return "; no seed is in both"
    states = [(_copied(pair.first), _copied(pair.second)) for pair in pairs]
    decided = [state for state in states if not any(map(math.isnan, state))]
    if not decided:
        return ""
    first, second = decided.count((1.0, 0.0)), decided.count((0.0, 1.0))
    return (
        f"; of {plural(len(decided), 'seed')} in both, {first} {agreeing(first, 'is', 'are')} "
        f"copied by the first alone and {second} by the second alone"
    )


def _lid_words(comparison: RunComparison) -> str:
    """Return the median LIDs, or their percentiles where LIDs are of other models or settings."""
    name, figure, text = (
        ("median LID", _conditional, lambda value: f"{shown_lid(value):.1f}")
        if comparison.lids_compare
        else ("median LID percentile", _percentile, whole_percent)
    )
    middles = [_median(run, figure) for run in (comparison.first, comparison.second)]
    if any(map(math.isnan, middles)):
        return ""
    return f"; the {name} is {text(middles[0])} in the first and {text(middles[1])} in the second"


def _conditional(image: ImageResult) -> float:
    return math.nan if image.lid is None else image.lid.conditional


def _percentile(image: ImageResult) -> float:
    return math.nan if image.lid is None else image.lid.percentile


def _median(run: ImageRun, figure: Callable[[ImageResult], float]) -> float:
    values = [value for value in map(figure, run.images) if not math.isnan(value)]
    return median(values) if values else math.nan


def _advice(comparison: RunComparison) -> str:
    names = [setting.name.lower() for setting in comparison.differing if setting.acts]
    # Weights differ with their model: one difference, not two.
    if "model" in names and "model weights (sha-256)" in names:
        names.remove("model weights (sha-256)")
    if not comparison.in_both:
        return "Generate both with the same seeds: then image stands beside image."
    if not names and all(pair.is_equal for pair in comparison.in_both):
        return "Change one setting and generate again: the comparison shows what it does."
    if not names:
        return (
            "No setting differs that changes an image, yet images do: repeat both on one device, "
            "since another processor rounds differently."
        )
    if len(names) == 1:
        return (
            f"Only the {names[0]} differs, so that what differs between two images of one seed "
            "comes from it: generate more seeds of both to see how often."
        )
    return (
        f"{len(names)} settings differ that change an image ({', '.join(names)}): change one at a "
        "time to see which of them acts."
    )


def _certainty(comparison: RunComparison) -> str:
    first, second = comparison.first, comparison.second
    states = [(_copied(pair.first), _copied(pair.second)) for pair in comparison.in_both]
    change = paired_share_interval(
        *(torch.tensor([state[at] for state in states]) for at in (1, 0))
    )
    parts = ["The copy rates cannot be compared: no seed is decided in both runs."]
    if not math.isnan(change.value):
        decided = sum(not any(map(math.isnan, state)) for state in states)
        parts = [
            f"Over {plural(decided, 'seed')} in both the copy rate changes by "
            f"{100 * change.value:+.0f} percentage points (95 % interval {100 * change.low:+.0f} "
            f"to {100 * change.high:+.0f})."
        ]
    if (first.searched, first.embedder) != (second.searched, second.embedder):
        parts.append("Copies were searched in different training sets.")
    if not comparison.lids_compare:
        parts.append(
            "LIDs of different models or samplings do not compare as numbers; their percentiles "
            "among reference prompts do."
        )
    sizes = {(run.config.sampling.height, run.config.sampling.width) for run in (first, second)}
    if len(sizes) > 1:
        parts.append("At different sizes the same seed starts from different noise.")
    return " ".join(parts)
