"""Results of the Python API, and how a notebook shows them: the one home of `_repr_html_`.

The HTML stands alone: styles of its own class, images as data URIs, no scripts, every text escaped
by the template engine. Text has the color of the page around it, so light and dark both serve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from markupsafe import Markup
from torch import Tensor

from mmh_core.counting import plural
from mmh_core.memorization.hypothesis import VERDICTS, shown_lid
from mmh_core.memorization.verdict import IMAGE_ROWS, POINT_ROWS
from mmh_core.mitigations.catalogue import mitigation_words
from mmh_core.records import LidEstimate
from mmh_core.report.page import (
    SMALL,
    data_url,
    number_text,
    percentile_words,
    render,
    similarity_words,
)
from mmh_core.retrieval.folder import FolderIndex, summary
from mmh_core.studies.detection.scores import DetectorScores
from mmh_core.studies.images.run import ImageResult, ImageRun
from mmh_core.studies.manifolds.run import ManifoldRun, Snapshot
from mmh_core.studies.mitigation.run import MitigationRun
from mmh_core.studies.mitigation.verdict import treatment_results
from mmh_core.studies.review.scan import ScanState
from mmh_core.subject.image_lid import ImageLid

if TYPE_CHECKING:
    import pandas as pd

#: Cards, rows and images of a row that are shown; what is beyond is counted in a sentence.
MOST_CARDS, MOST_ROWS, MOST_IMAGES = 12, 20, 4
#: Longest side of an image in a card, and in a row.
_SIDE, _THUMB = 192, 64


class Framed(Protocol):
    """A record whose numbers are a table."""

    def frame(self) -> pd.DataFrame:
        """Return the numbers, one row per thing measured."""
        ...


Record = TypeVar("Record", bound=Framed, covariant=True)


@dataclass(frozen=True, eq=False, repr=False)
class Result(Generic[Record]):
    """What a function of the API returns: the `record` of the study, shown as HTML in a notebook.

    `record` holds everything that was measured, tensors included; `frame()` its numbers.
    """

    record: Record

    def frame(self) -> pd.DataFrame:
        """Return the numbers as a pandas table; each record says what its rows are."""
        return self.record.frame()

    def __repr__(self) -> str:
        """Return the kind of the record, with its table."""
        return f"{type(self.record).__name__}\n{self.frame()}"

    def _repr_html_(self) -> str:
        return html(self.record)


@dataclass(frozen=True)
class Card:
    """One image beside its nearest training image, with its verdict and numbers."""

    verdict: str
    sign: str
    color: str
    sentence: str
    reason: str
    alt: str
    image: str
    small: bool
    nearest: str
    nearest_image: str
    nearest_small: bool
    figures: tuple[tuple[str, str], ...]


#: A cell is a text, or a tuple of data URIs.
Row = tuple[str | tuple[str, ...], ...]


@dataclass(frozen=True)
class View:
    """What a notebook shows of a result, from top to bottom."""

    head: str
    notes: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    figure: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    after: tuple[str, ...] = ()


def html(record: object) -> str:
    """Return a record as an HTML element. Errors: TypeError for a kind that has no view."""
    return render("notebook.html", view=view(record))


def view(record: object) -> View:
    """Return what is shown of a record. Errors: TypeError for a kind that has no view."""
    match record:
        case ImageRun():
            return _images(record)
        case ImageResult():
            return View("One image", cards=(_card(record, record.prompt or "no caption"),))
        case MitigationRun():
            return _mitigations(record)
        case DetectorScores():
            return _scores(record)
        case ScanState():
            return _scan(record)
        case ManifoldRun():
            return _manifold(record)
        case FolderIndex():
            rows = tuple((entry.file, entry.kind, entry.reason) for entry in record.left_out)
            return _table(summary(record), ("file", "what it is", "why it is not indexed"), rows)
        case LidEstimate():
            return _estimate(record)
    raise TypeError(f"A {type(record).__name__} has no view for a notebook.")


def interval_words(lid: ImageLid) -> str:
    """Return a LID with its 95 % interval, or with the standard error where no interval is known.

    The interval is that of the estimator's own randomness, by Student's t.
    """
    value, (low, high) = number_text(shown_lid(lid.conditional)), lid.interval
    if not math.isnan(low):
        ends = " to ".join(number_text(shown_lid(end)) for end in (low, high))
        return f"{value} (95 % interval {ends})"
    if math.isnan(lid.conditional_error):
        return value
    return f"{value} (standard error {number_text(lid.conditional_error)})"


def _images(run: ImageRun) -> View:
    several = len(run.config.prompts) > 1
    cards = tuple(
        _card(image, f"{image.prompt}, seed {image.seed}" if several else f"seed {image.seed}")
        for image in run.images[:MOST_CARDS]
    )
    images = plural(len(run.images), "image")
    searched = f"{run.searched:,} training images searched" if run.searched else "nothing searched"
    prompt = "" if several else f"“{run.config.prompts[0]}”: "
    return View(
        f"{prompt}{images} by {run.model}, {searched}",
        (*run.missing, *(unread for unread in run.unread() if unread)),
        cards,
        after=_further(len(run.images), MOST_CARDS, "images"),
    )


def _card(image: ImageResult, alt: str) -> Card:
    row, nearest = IMAGE_ROWS[image.verdict], image.evidence_neighbor
    figures = []
    if image.lid is not None:
        figures.append(("LID", interval_words(image.lid)))
        if not math.isnan(image.lid.percentile):
            figures.append(("LID percentile", percentile_words(image.lid.percentile)))
    if image.copy is not None:
        figures.append(("similarity", similarity_words(image.copy)))
    if image.truth is not None:
        figures.append(("true LID", number_text(image.truth.lid)))
    return Card(
        image.verdict,
        row.sign,
        row.color,
        row.sentence,
        image.reason,
        alt,
        data_url(image.image, _SIDE),
        max(image.image.shape[1:]) <= SMALL,
        "" if nearest is None else f"{nearest.display_name}: {nearest.caption}",
        "" if nearest is None else data_url(nearest.image, _SIDE),
        nearest is not None and max(nearest.image.shape[1:]) <= SMALL,
        tuple(figures),
    )


def _mitigations(run: MitigationRun) -> View:
    rows: list[Row] = []
    for verdict in treatment_results(run):
        row, base = verdict.row, verdict.treatment.mitigation == "none"
        cell = run.cell(0, verdict.treatment)
        images = () if cell is None else tuple(cell.images[:MOST_IMAGES])
        passes = f"passes; {verdict.sentence}" if verdict.passes else verdict.sentence
        rows.append(
            (
                row.label
                if base
                else mitigation_words(row.treatment.mitigation, row.treatment.strength),
                tuple(data_url(image, _THUMB) for image in images),
                number_text(row.copied.mean.value, 2),
                number_text(row.alignment.mean.value, 2),
                number_text(shown_lid(row.lid.mean.value)),
                row.refused or ("" if base else passes),
            )
        )
    columns = ("mitigation", "images", "copy rate", "alignment", "LID", "verdict")
    head = f"“{run.config.prompts[0]}” with and without mitigations, from the same noise"
    shown_seeds = ", ".join(str(seed) for seed in run.config.seeds[:MOST_IMAGES])
    table = _table(head, columns, rows, notes=run.missing)
    seeds = f"Images of seeds {shown_seeds}; numbers of all {len(run.config.seeds)} seeds."
    return View(table.head, table.notes, columns=columns, rows=table.rows, after=(seeds,))


def _scores(scores: DetectorScores) -> View:
    rows: list[Row] = [
        (
            "" if k else prompt,
            label,
            number_text(float(scores.score[i, k]), 3),
            percentile_words(share) if math.isfinite(share) else "unknown",
            number_text(float(scores.threshold[k]), 3),
            "flagged" if scores.flagged[i, k] else "",
        )
        for i, prompt in enumerate(scores.prompts)
        for k, label in enumerate(scores.labels)
        for share in (float(scores.percentile[i, k]),)
    ]
    columns = ("prompt", "detector", "score", "among reference prompts", "threshold", "")
    head = f"Scores by {scores.model}; higher is more memorized"
    notes = (
        *(reading.words() for reading in scores.readings if not reading.whole),
        *scores.left_out,
        scores.detection_rate,
    )
    return _table(head, columns, rows, notes=tuple(note for note in notes if note))


def _scan(state: ScanState) -> View:
    import pandas as pd

    frame = state.frame()
    flagged = frame[frame.flagged.astype(bool)].sort_values("score", ascending=False)
    rows: list[Row] = [
        (str(prompt), number_text(score, 2), "" if pd.isna(verdict) else str(verdict))
        for prompt, score, verdict in zip(
            flagged.prompt, flagged.score.astype(float), flagged.verdict, strict=True
        )
    ]
    head = (
        f"{state.done:,} prompts scanned, {state.flagged:,} flagged above "
        f"{number_text(state.threshold, 2)}"
    )
    notes = (
        *state.truncations(),
        *(message for _, message in state.problems[:MOST_ROWS]),
    )
    left_out = (f"{state.problem_count:,} rows left out",) if state.problem_count else ()
    return _table(head, ("prompt", "score", "verdict"), rows, notes=(*left_out, *notes))


def _estimate(estimate: LidEstimate) -> View:
    pairs = zip(estimate.lid.tolist(), estimate.standard_error.tolist(), strict=True)
    rows: list[Row] = [
        (f"{i}", number_text(lid, 2), number_text(error, 2))
        for i, (lid, error) in enumerate(pairs)
    ]
    head = f"LID of {len(rows):,} points, {estimate.nfe:.0f} NFE each"
    return _table(head, ("point", "LID", "standard error"), rows)


def _manifold(run: ManifoldRun) -> View:
    config = run.config
    head = f"{config.manifold}: {config.points:,} training points, {config.steps:,} steps"
    if not run.snapshots:
        return View(head, ("No snapshot was taken yet.",))
    last = run.snapshots[-1]
    rows: list[Row] = []
    for name, at in (("training points", last.trained), ("generated samples", last.generated)):
        counts = at.verdict.bincount(minlength=len(VERDICTS)).tolist()
        among = ", ".join(f"{n:,} {v}" for v, n in zip(VERDICTS, counts, strict=True) if n)
        lids = [at.data_lid.nanmedian(), at.lid.nanmedian()]
        rows.append((name, *(number_text(float(lid), 2) for lid in lids), among))
    notes = () if last.fits else ("The model does not fit its data: its LID says nothing yet.",)
    chart = scatter(run, last) if run.train.ambient_dim == 2 else ""
    columns = ("at", "median data LID", "median model LID", "verdicts")
    return View(head, notes, (), chart, columns, tuple(rows))


def scatter(run: ManifoldRun, last: Snapshot) -> str:
    """Return generated samples in the color of their verdict and training points as crosses, SVG.

    The frame is that of the training points; samples outside it are counted in the title.
    """
    trained, side = run.train.points[run.shown], 320.0
    center = (trained.amin(0) + trained.amax(0)) / 2
    half = float((trained.amax(0) - trained.amin(0)).max()) * 0.6 or 1.0

    def place(points: Tensor) -> list[list[float]]:
        at: list[list[float]] = ((points - center) / half).tolist()
        return [[side / 2 * (1 + x), side / 2 * (1 - y)] for x, y in at]

    dots, outside = [], 0
    codes = last.generated.verdict.tolist()
    for (x, y), code in zip(place(last.generated.points), codes, strict=True):
        if not (0 <= x <= side and 0 <= y <= side):
            outside += 1
            continue
        color = POINT_ROWS[VERDICTS[code]].color
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>')
    crosses = [
        f'<path class="trained" d="M{x - 3:.1f} {y:.1f}h6m-3-3v6"/>' for x, y in place(trained)
    ]
    alt = f"{len(dots)} generated samples by verdict, {len(crosses)} training points as crosses"
    alt += f"; {outside} samples lie outside the frame" if outside else ""
    return Markup(
        f'<svg viewBox="0 0 {side:g} {side:g}" role="img" aria-label="{alt}"><title>{alt}</title>'
        f'<rect class="frame" width="{side:g}" height="{side:g}"/>{"".join(dots + crosses)}</svg>'
    )


def _table(
    head: str, columns: tuple[str, ...], rows: Sequence[Row], *, notes: tuple[str, ...] = ()
) -> View:
    after = _further(len(rows), MOST_ROWS, "rows")
    return View(head, notes, columns=columns, rows=tuple(rows[:MOST_ROWS]), after=after)


def _further(count: int, most: int, noun: str) -> tuple[str, ...]:
    """Return a sentence that counts what is not shown, nothing where all is."""
    return (f"{count - most:,} more {noun}: see .frame().",) if count > most else ()
