"""Say what a benchmark of mitigations found: Markdown for people, JSON types for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mmh_core.cli.tables import plain
from mmh_core.counting import agreeing, plural
from mmh_core.formats.markdown import markdown_table
from mmh_core.mitigations.catalogue import mitigation_words

if TYPE_CHECKING:
    from mmh_core.statistics.intervals import Interval
    from mmh_core.studies.mitigation.benchmark_rows import BenchmarkRow, ReferenceCaptionsRow
    from mmh_core.studies.mitigation.benchmark_run import (
        Caption,
        CaptionRecord,
        MitigationBenchmark,
    )
    from mmh_core.studies.mitigation.run import Treatment

_MAIN = (
    "mitigation",
    "strength",
    "copies before",
    "copies after",
    "not solved",
    "solved",
    "reference captions",
    "alignment before",
    "alignment after",
    "LID before",
    "LID after",
    "seconds",
    "NFE",
    "copies of paraphrases",
    "of other seeds",
    "after the attack",
    "after the attack on reference captions",
)


#: Effects on reference captions, as the criterion of a mitigation calls them.
_EFFECTS = {"unchanged": "unharmed", "harmed": "harmed", "not checked": "not checked"}


def benchmark_tables(result: MitigationBenchmark) -> str:
    """Return the tables of a benchmark as Markdown, each with a sentence on what is counted."""
    from mmh_core.mitigations.catalogue import mitigation
    from mmh_core.studies.mitigation.benchmark_rows import (
        IMAGE_SPACE,
        attribution_rows,
        benchmark_rows,
        correlation,
        judged,
        meets,
        reference_caption_rows,
        robustness_of,
    )
    from mmh_core.studies.mitigation.robustness_rows import robustness_words

    rows = benchmark_rows(result)
    references = {row.treatment: row for row in reference_caption_rows(result)}
    robust = {row.treatment: row for row in robustness_of(result)}
    judgements = judged(result)
    good = [
        mitigation_words(row.treatment.mitigation, row.treatment.strength)
        for row in rows
        if meets(row, judgements.get(row.treatment))
    ]
    link, by_prompt = correlation(result.test), correlation(result.test, ("none", *IMAGE_SPACE))
    image_space = " and ".join(mitigation(name).label for name in IMAGE_SPACE)
    kinds = _kinds(result.captions.test)
    blocks = [
        markdown_table(
            _MAIN,
            [
                [
                    *_main_cells(row, references.get(row.treatment)),
                    *robustness_words(robust.get(row.treatment)),
                ]
                for row in rows
            ],
        ),
        f"{plural(len(result.test), 'memorized caption')} of the test half ({kinds}), "
        f"{plural(len(result.seeds), 'seed')} each, {plural(result.sampling.steps, 'step')}, "
        f"guidance {result.sampling.guidance:g}; 95 % "
        "intervals over captions. Each strength is the smallest that left at most "
        f"10 % of the images a copy or not solved on "
        f"{plural(len(result.captions.calibration), 'caption')} of the other half, else the "
        "strongest. Solved: no copy by the search, LID risen beyond its error, alignment at "
        "least nine tenths of that of the unmitigated image of the seed, the subject of the "
        "prompt kept. Strengths, rewrites and the chain are chosen on other seeds than those "
        "reported. Not solved: below the copy threshold, LID unchanged. Costs are per image.",
        f"At least 90 % copies before, at least 90 % solved, reference captions unharmed: "
        f"{', '.join(good) if good else 'none'} ({len(good)}).",
        *_robustness_sentences(result),
        *_criteria_sentences(result, {row.treatment: row.label for row in rows}),
        *_left_out(result),
        f"Rank correlation over {plural(link.cells, 'cell')} between the rise of LID and the fall "
        f"of the share of copies: {_interval(link.share)}; and the fall of similarity to the "
        f"nearest: {_interval(link.similarity)}. Over the {plural(by_prompt.cells, 'cell')} "
        f"without {image_space}, which change the image and not the prompt: "
        f"{_interval(by_prompt.share)} and {_interval(by_prompt.similarity)}.",
        markdown_table(
            (
                "reference captions",
                "alignment, change",
                "new copies",
                "seed-to-seed similarity, change",
                "images changed",
            ),
            [_reference_cells(row) for row in references.values()],
        ),
        f"{plural(len(result.reference), 'caption')} of the test half "
        f"({_kinds(result.captions.reference)}), which are not memorized. Brackets are 95 % "
        "intervals; ± is half the width of the unmitigated mean's, to compare a change with.",
    ]
    left = attribution_rows(result)
    blocks += [
        markdown_table(
            ("words dropped by", "copies left", "difference to random"),
            [
                [
                    row.by,
                    _interval(row.left),
                    "" if row.by == "random" else _interval(row.difference),
                ]
                for row in left
            ],
        ),
        f"Two words dropped from each of {sum(a.before > 0 for a in result.attributions)} "
        "captions that are copied; proper names may be among them.",
    ]
    return "\n\n".join(blocks)


def benchmark_summary(result: MitigationBenchmark) -> dict[str, Any]:
    """Return all numbers of a benchmark as records and plain values."""
    from mmh_core.studies.mitigation.benchmark_rows import (
        IMAGE_SPACE,
        attribution_rows,
        benchmark_rows,
        correlation,
        effect_of,
        judged,
        meets,
        reference_caption_rows,
        robustness_of,
    )

    rows = benchmark_rows(result)
    references = {row.treatment: row for row in reference_caption_rows(result)}
    judgements = judged(result)
    return {
        "model": result.model,
        "model_sha256": result.sha256,
        "seeds": list(result.seeds),
        "selection_seeds": list(result.selection_seeds),
        "rank_bound": result.rank_bound,
        "steps": result.sampling.steps,
        "guidance": result.sampling.guidance,
        "captions": plain(result.captions),
        "chosen": [asdict(treatment) for treatment in result.chosen],
        "code": result.code,
        "records_left_out": result.left_out,
        "rows": [
            plain(row) | {"meets": meets(row, judgements.get(row.treatment))} for row in rows
        ],
        "criteria": [
            {"treatment": asdict(treatment)}
            | asdict(criteria)
            | {"unknown": list(criteria.unknown), "sentence": criteria.sentence}
            for treatment, criteria in judgements.items()
        ],
        "robustness": [asdict(row) | {"robust": row.robust} for row in robustness_of(result)],
        "robustness_captions": [
            {
                "caption": record.caption.text,
                "paraphrases": list(record.robustness.paraphrases),
                "target": record.robustness.target,
            }
            for record in result.robustness
        ],
        "control_captions": [
            {"caption": record.caption.text, "target": record.robustness.target}
            for record in result.control
        ],
        "correlation": asdict(correlation(result.test)),
        "correlation_without_image_space": asdict(
            correlation(result.test, ("none", *IMAGE_SPACE))
        ),
        "reference": [
            plain(row) | {"harmed": effect_of(row) == "harmed", "effect": effect_of(row)}
            for row in references.values()
        ],
        "attribution": [asdict(row) for row in attribution_rows(result)],
        "cells": [cell for record in result.test for cell in _cells(record)],
        "reference_cells": [cell for record in result.reference for cell in _cells(record)],
        "calibration_cells": [cell for record in result.calibration for cell in _cells(record)],
        "words": [
            {"caption": row.caption.text, "by": by, "dropped": list(words), "copied": copied}
            for row in result.attributions
            for by, words, copied in zip(row.by, row.words, row.copied.tolist(), strict=True)
        ],
        "seconds": result.seconds,
    }


def _cells(record: CaptionRecord) -> list[dict[str, Any]]:
    """Return one entry per treatment of a caption, with the means over its seeds."""
    return [
        {
            "caption": record.caption.text,
            "kind": record.caption.kind,
            "mitigation": treatment.mitigation,
            "strength": treatment.strength,
            "refused": record.refused[i],
            "used": record.used[i],
            "copied": float(record.copied[i].mean()),
            "outcomes": list(record.outcomes[i]) if record.outcomes else [],
            "similarity": float(record.similarity[i].mean()),
            "similarity_to_unmitigated": float(record.similarity_to_unmitigated[i].mean()),
            "alignment": float(record.alignment[i].mean()),
            "lid": float(record.lid[i].mean()),
            "seed_similarity": float(record.seed_similarity[i]),
            "seconds": float(record.seconds[i]),
            "nfe": float(record.nfe[i]),
        }
        for i, treatment in enumerate(record.treatments)
    ]


def _kinds(captions: Sequence[Caption]) -> str:
    """Return the kinds of captions, each once."""
    return ", ".join(sorted({caption.kind for caption in captions}))


def _robustness_sentences(result: MitigationBenchmark) -> list[str]:
    """Say how it was tried whether copies come back, or that it was not."""
    from mmh_core.mitigations.retrigger import STEPS
    from mmh_core.studies.mitigation.robustness import SEEDS
    from mmh_core.studies.mitigation.robustness_rows import ROBUST

    if not result.robustness:
        return [
            "Robustness is unknown: it was not tried whether copies come back. Try it by --robust "
            "with a number of captions."
        ]
    texts = sum(len(record.robustness.paraphrases) for record in result.robustness)
    aimed = sum(record.robustness.target >= 0 for record in result.robustness)
    control = sum(record.robustness.target >= 0 for record in result.control)
    return [
        f"Robustness over {len(result.robustness)} of the captions: the share of copies among "
        f"images of {plural(texts, 'paraphrase')} and of the captions themselves from {SEEDS} "
        f"other seeds, and after an attack of {STEPS} steps on the embedding that the mitigated "
        f"model is given, aimed at the training image ({plural(aimed, 'caption')} "
        f"{agreeing(aimed, 'has', 'have')} one; after Kowalczuk et al. 2026, arXiv 2507.16880). "
        "Each cell counts copies among images, with the interval of their share over captions. "
        "The last column is the control: the same attack on "
        f"{plural(control, 'reference caption')} of which nothing is copied, aimed at the "
        f"training image nearest to theirs. Robust: at most {ROBUST:.0%} copies in each way, "
        "after the attack beyond those of the control."
    ]


def _criteria_sentences(result: MitigationBenchmark, labels: Mapping[Treatment, str]) -> list[str]:
    """Say which mitigations pass all criteria, and which criterion defeats each other one."""
    from mmh_core.studies.mitigation.benchmark_rows import judged

    judgements = judged(result)
    names = {t: mitigation_words(t.mitigation, t.strength) for t in judgements}
    whole = [names[t] for t, criteria in judgements.items() if criteria.passes_all]
    lines = [
        f"No copy, LID risen, subject kept, reference prompts unharmed and robust: "
        f"{', '.join(whole) if whole else 'none'} ({len(whole)})."
    ]
    for treatment, criteria in judgements.items():
        lines.append(f"- {names[treatment]}: {criteria.sentence}.")
    return ["\n".join(lines)]


def _left_out(result: MitigationBenchmark) -> list[str]:
    """Say how many kept records were not used, where there are any."""
    if not result.left_out:
        return []
    verb = agreeing(result.left_out, "is", "are")
    return [
        f"{plural(result.left_out, 'record')} of another version of the code or another model "
        f"{verb} left out."
    ]


def _main_cells(row: BenchmarkRow, reference: ReferenceCaptionsRow | None) -> list[str]:
    from mmh_core.studies.mitigation.benchmark_rows import effect_of

    base = row.treatment.mitigation == "none"
    effect = "not checked" if reference is None else _EFFECTS[effect_of(reference)]
    name = f"{row.label} ({row.refused} refused)" if row.refused else row.label
    return [
        name,
        f"{row.treatment.strength:g}",
        _interval(row.before),
        _interval(row.copied),
        "" if base else _interval(row.not_solved),
        "" if base else _interval(row.solved),
        "" if base else effect,
        _interval(row.alignment_before),
        _interval(row.alignment),
        _interval(row.lid_before, 1),
        _interval(row.lid, 1),
        _interval(row.seconds),
        _interval(row.nfe, 0),
    ]


def _reference_cells(row: ReferenceCaptionsRow) -> list[str]:
    return [
        f"{row.treatment.mitigation} {row.treatment.strength:g}",
        f"{_interval(row.alignment, 3)}, ± {_number(row.alignment_half_width, 3)}",
        str(row.new_copies),
        f"{_interval(row.seed_similarity, 3)}, ± {_number(row.seed_similarity_half_width, 3)}",
        f"{100 * row.changed_share:.0f} %",
    ]


def _interval(value: Interval, digits: int = 2) -> str:
    text = _number(value.value, digits)
    if math.isnan(value.low) or math.isnan(value.high):
        return text
    return f"{text} ({_number(value.low, digits)} to {_number(value.high, digits)})"


def _number(value: float, digits: int) -> str:
    # + 0.0 turns -0.0, a rounded small negative number, into 0.
    return "unknown" if math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"
