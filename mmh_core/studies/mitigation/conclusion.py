"""What a comparison of mitigations shows, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmh_core.counting import plural
from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.mitigations.catalogue import mitigation_words
from mmh_core.records import Conclusion
from mmh_core.studies.mitigation.outcome import GOOD
from mmh_core.studies.mitigation.run import Treatment
from mmh_core.studies.mitigation.verdict import TreatmentResult, best, nothing_to_solve


def conclusion(judged: Sequence[TreatmentResult]) -> Conclusion:
    """Return which mitigation to take, of the verdicts of a comparison (`verdicts`).

    Errors: ValueError for no verdict.
    """
    if not judged:
        raise ValueError("A comparison without images has no conclusion.")
    base, chosen = judged[0].row, best(judged)
    before = f"Without mitigation {base.copies} of {base.images} images are copies"
    seeds = f"{plural(base.images, 'seed')} of one prompt"
    if nothing_to_solve(judged):
        return Conclusion(
            f"No image is a copy without mitigation ({base.images} images): there is nothing to "
            "solve.",
            "Choose a prompt or seeds whose images are copies, on the images page.",
            f"It holds for {seeds}.",
        )
    tried = [verdict for verdict in judged if verdict.treatment.mitigation != "none"]
    if chosen is None:
        return Conclusion(
            f"{before}, and none of {plural(len(tried), 'mitigation')} passes{_nearest(tried)}.",
            "Do not rely on a mitigation here: remove the copies from the training set and train "
            "again, or do not serve this prompt.",
            f"Tried on {seeds}; the table says which criteria each mitigation fails.",
        )
    return Conclusion(
        f"{before}; with {_name(chosen.treatment)} none is{_changes(judged[0], chosen)}.",
        _next(chosen),
        f"Chosen on {seeds}, so expect less on others.",
    )


def _nearest(tried: Sequence[TreatmentResult]) -> str:
    """Return the mitigation with most good images, "" where none has any."""
    shares = [(verdict.row.share(*GOOD), verdict) for verdict in tried if verdict.row.outcomes]
    share, most = max(shares, key=lambda pair: pair[0], default=(0.0, None))
    if most is None or share <= 0:
        return ""
    good = round(share * most.row.images)
    return f"; {_name(most.treatment)} comes nearest, with {good} of {most.row.images} solved"


def _changes(base: TreatmentResult, chosen: TreatmentResult) -> str:
    """Return how LID, alignment and reference prompts change."""
    parts = []
    lids = [shown_lid(of.row.lid.mean.value) for of in (base, chosen)]
    if not any(map(math.isnan, lids)):
        parts.append(f"LID goes from {lids[0]:.1f} to {lids[1]:.1f}")
    fits = [of.row.alignment.mean.value for of in (base, chosen)]
    if not any(map(math.isnan, fits)):
        parts.append(f"alignment from {fits[0]:.2f} to {fits[1]:.2f}")
    effect = chosen.references.effect
    parts.append(f"reference prompts: {'no harm shown' if effect == 'unchanged' else effect}")
    return f": {', '.join(parts)}"


def _next(chosen: TreatmentResult) -> str:
    name = _name(chosen.treatment)
    if chosen.references.effect == "not checked":
        return f"Before you use {name}, check its side effects on reference prompts, at left."
    if chosen.robustness is None:
        return (
            f"Before you use {name}, try whether copies come back, under “Do the copies come "
            "back?”."
        )
    return f"Use {name} for this prompt, and watch new seeds on the review page."


def _name(treatment: Treatment) -> str:
    return mitigation_words(treatment.mitigation, treatment.strength)
