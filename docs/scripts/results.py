"""Fill the tables of `docs/results/` from the JSON that the benchmarks wrote.

    python docs/scripts/results.py

A table stands between `<!-- table NAME -->` and `<!-- end -->` and is made from one or more files
in `docs/results/data/`. Nothing else writes figures there. To renew a table, run the command that
the page names with `--json docs/results/data/FILE`, then this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
DATA = RESULTS / "data"
_BLOCK = re.compile(r"(<!-- table ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_CASES = ("lollipop", "affine-10", "affine-100")
_DIGITS = (20, 50, 100, 200, 400, 800, 1700)


def filled(text: str, data: Path = DATA) -> str:
    """Return a page with each of its tables made anew. Errors: KeyError for an unknown table."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]](data)}\n\n{block[3]}", text)


def tables_of(text: str) -> list[str]:
    """Return the names of the tables in a page."""
    return [block[1] for block in _BLOCK.findall(text)]


def closed_forms(data: Path) -> str:
    """Return how far each estimator lies from its formula on models whose LID is known."""
    heads = [
        *("model", "estimator", "true LID", "expected", "measured", "standard error"),
        *("deviation, standard errors", "between parameterisations"),
    ]
    rows = [
        [
            row["model"],
            row["estimator"],
            f"{row['true_lid']:.0f}",
            f"{row['expected']:.4f}",
            f"{row['measured']:.4f}",
            f"{row['standard_error']:.4f}",
            f"{row['deviation']:.1f}",
            f"{row['across_targets']:.1e}",
        ]
        for row in _read(data / "closed-forms.json")["analytic"]
    ]
    return table(heads, rows)


def trained_networks(data: Path) -> str:
    """Return the error of each estimator on trained networks, over the seeds of each case."""
    cells: dict[str, list[str]] = {}
    for case in _CASES:
        runs = _read(data / f"trained-{case}.json")["trained"]
        for rows in zip(*(run["rows"] for run in runs), strict=True):
            errors = [row["mean_abs_error"] for row in rows]
            concordance = sum(row["concordance"] for row in rows) / len(rows)
            cells.setdefault(f"{rows[0]['label']} ({rows[0]['side']})", []).append(
                f"{sum(errors) / len(errors):.3f}, {min(errors):.3f} to {max(errors):.3f} "
                f"({concordance:.2f})"
            )
    heads = ("estimator (of)", "lollipop", "U2+4+8 in R^10", "U10+30+90 in R^100")
    return table(heads, [[label, *parts] for label, parts in cells.items()])


def circle_seeds(data: Path) -> str:
    """Return how many samples of the circle have the LID that they should, seed by seed."""
    rows = _read(data / "circle-seeds.json")
    keys = ("near", "near_wrong", "arc", "arc_wrong")
    cells = [[str(row["seed"]), *(f"{row[key]:,}" for key in keys)] for row in rows]
    sums = [sum(row[key] for row in rows) for key in keys]
    cells.append(["all", *(f"{total:,}" for total in sums)])
    heads = ("seed", "near isolated points", "of these LID .3 or more")
    return table((*heads, "on the arc", "of these not near 1"), cells)


def exact_copies(data: Path) -> str:
    """Return the mean LID of the main part and of the isolated points of the preset od-exact."""
    parts = _read(data / "od-exact.json")["components"]
    rows = [
        [name, f"{part['points']:,}", f"{part['mean_lid']:.2f}"] for name, part in parts.items()
    ]
    return table(("part", "training points", "mean LID"), rows)


def digits(data: Path) -> str:
    """Return what the networks trained on so many digits generate."""
    rows = []
    for points in _DIGITS:
        run = _read(data / f"digits-{points}.json")
        last = run["snapshots"][-1]
        ess = next(row for row in run["estimators"] if row["name"] == "ess")
        rows.append(
            [
                f"{points:,}",
                f"{last['median_lid_generated']:.2f}",
                f"{last['fraction_memorized']:.0%}",
                f"{last['fraction_memorized_by_lid']:.0%}",
                f"{ess['median_lid']:.1f}",
            ]
        )
    heads = ("training images", "median LID of what is generated", "with d1 / d2 < 1/3")
    return table((*heads, "memorized by LID", "ESS of the training images, median"), rows)


def embedded_model(data: Path) -> str:
    """Return what the embedded model must show, beside the bars."""
    words = {"least": "at least ", "most": "at most "}
    rows = []
    for row in _read(data / "pocket-check.json")["figures"]:
        barred = row["bound"] in words
        short = row["value"] < row["bar"] if row["bound"] == "least" else row["value"] > row["bar"]
        interval = "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        rows.append(
            [
                row["figure"],
                f"{words[row['bound']]}{row['bar']:.3g}" if barred else "-",
                f"{row['value']:.3f}",
                interval,
                f"{row['count']:,}",
                "" if not barred else "SHORT" if short else "holds",
            ]
        )
    return table(("figure", "bar", "measured", "95 % interval", "counted on", ""), rows)


def recolored(data: Path) -> str:
    """Return what the copy search says of images in other colors."""
    rows = []
    for row in _read(data / "recolored.json"):
        mine, other = row["training"], row["held_out"]
        shares = [
            f"{share:.3f} ({low:.3f} to {high:.3f})"
            for share, low, high in (mine["found"], other["false"])
        ]
        rows.append(
            [
                *(row["change"], shares[0], str(mine["undecided"]), str(mine["missed"])),
                *(shares[1], str(other["undecided"]), str(other["none"])),
                f"{row['seconds']:.2f}",
            ]
        )
    heads = [
        *("change", "training images: found", "undecided", "missed"),
        *("held-out images: false", "undecided", "none", "seconds"),
    ]
    return table(heads, rows)


def detectors(data: Path) -> str:
    """Return one row per detector, the best first."""
    rows = _read(data / "benchmark.json")
    found = [*rows["detectors"], *([rows["combined"]["row"]] if "row" in rows["combined"] else [])]
    kinds = [kind for kind, _ in found[0]["kinds"]]
    cells = []
    for row in sorted(found, key=lambda row: (-row["all"]["auc"], -row["all"]["tpr"])):
        nfe = f"{row['nfe']:.1f}".removesuffix(".0")
        cells.append(
            [
                row["label"],
                f"{nfe} (+{row['generation']:.0f})" if row["generation"] else nfe,
                _bounds(row["all"], "auc"),
                _bounds(row["all"], "tpr"),
                *(f"{part['auc']:.3f}" for _, part in row["kinds"]),
            ]
        )
    heads = ("detector", "NFE", "AUC", "TPR at 1 % FPR")
    return table((*heads, *(f"AUC {kind}" for kind in kinds)), cells)


def cause(data: Path) -> str:
    """Return the confusion matrix of the cause."""
    found = _read(data / "benchmark.json")["cause"]
    answers = ("OD-Mem", "DD-Mem", "not identifiable")
    pairs = list(zip(found["true"], found["said"], strict=True))
    rows = [
        [true, *(str(pairs.count((true, answer))) for answer in answers)]
        for true in ("OD-Mem", "DD-Mem")
    ]
    accuracy = f"{found['accuracy']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    heads = ("true cause", *(f"answer {answer}" for answer in answers))
    return f"{table(heads, rows)}\n\nBalanced accuracy {accuracy}."


def mitigations(data: Path) -> str:
    """Return one row per mitigation at its chosen strength."""
    found = _read(data / "mitigation-benchmark.json")
    harmed = {row["treatment"]["mitigation"]: row["harmed"] for row in found["normal"]}
    rows = []
    for row in found["rows"]:
        name = row["treatment"]["mitigation"]
        base = name == "none"
        rows.append(
            [
                f"`{name}`",
                f"{row['treatment']['strength']:g}",
                _interval(row["before"]),
                _interval(row["copied"]),
                "" if base else _interval(row["unsolved"]),
                "" if base else _interval(row["solved"]),
                "" if base else "harmed" if harmed[name] else "unharmed",
                _interval(row["alignment_before"]),
                _interval(row["alignment"]),
                _interval(row["lid_before"], 1),
                _interval(row["lid"], 1),
                _interval(row["seconds"]),
                _interval(row["nfe"] if "nfe" in row else row["forwards"], 0),
            ]
        )
    heads = [
        *("mitigation", "strength", "copies before", "copies after", "not solved", "solved"),
        *("reference captions", "alignment before", "alignment after", "LID before", "LID after"),
        *("seconds", "NFE"),
    ]
    return table(heads, rows)


def reference_captions(data: Path) -> str:
    """Return what each mitigation does to captions that are not memorized."""
    rows = [
        [
            f"`{row['treatment']['mitigation']}` {row['treatment']['strength']:g}",
            f"{_interval(row['alignment'], 3)}, ± {row['alignment_spread']:.3f}",
            str(row["new_copies"]),
            f"{_interval(row['agreement'], 3)}, ± {row['agreement_spread']:.3f}",
            f"{row['changed']:.0%}",
        ]
        for row in _read(data / "mitigation-benchmark.json")["normal"]
    ]
    heads = ("mitigation", "alignment, change", "new copies")
    return table((*heads, "seed-to-seed similarity, change", "images changed"), rows)


def rank_correlation(data: Path) -> str:
    """Return how the rise of LID goes with the fall of copying over mitigations and captions."""
    found = _read(data / "mitigation-benchmark.json")
    rows = []
    for key, which in (
        ("correlation", "all mitigations"),
        ("correlation_of_what_is_asked", "without the two that move the image"),
    ):
        one = found[key]
        cells = [_interval(one["share"]), _interval(one["similarity"])]
        rows.append([which, str(one["cells"]), *cells])
    return table(("", "cells", "fall of the copy rate", "fall of similarity to the nearest"), rows)


def dropped_tokens(data: Path) -> str:
    """Return how many copies are left where two tokens are dropped by each attribution."""
    rows = [
        [
            row["by"].replace("_", " "),
            _interval(row["left"]),
            "" if row["by"] == "random" else _interval(row["difference"]),
        ]
        for row in _read(data / "mitigation-benchmark.json")["attribution"]
    ]
    return table(("tokens dropped by", "copies left", "difference to random"), rows)


def training_mitigation(data: Path) -> str:
    """Return copies and LID of each snapshot of the two trainings."""
    groups = ("duplicate", "overfit", "normal")
    rows = []
    for one in _read(data / "pocket-cure.json")["snapshots"]:
        cells = []
        for group in groups:
            part = one["groups"][group]
            cells += [f"{part['copied']:.2f}", f"{part['lid_median']:.1f}"]
        cells.append(f"{one['groups']['normal']['alignment']:.3f}")
        rows.append([one["training_set"], f"{one['step']:,}", *cells])
    shown = ("duplicate", "overfit", "reference")
    heads = [f"{group}: {what}" for group in shown for what in ("copies", "LID")]
    return table(("training set", "step", *heads, "reference: alignment"), rows)


def ten_windows(data: Path) -> str:
    """Return how the server answers ten browser windows at once."""
    rows = []
    for load in _read(data / "ten-windows.json"):
        asked = len(load["images"]) + load["without"]
        rows.append(
            [
                load["name"],
                f"{min(load['images']):.1f} to {max(load['images']):.1f}",
                f"{load['without']} of {asked}",
                "yes" if load["in_order"] else "no",
                f"{max(load['other_page']):.1f}",
                f"{max(load['health']):.1f}",
                ", ".join(f"{value:,.0f}" for value in load["memory"]),
            ]
        )
    heads = ("server", "images, s", "without one after 4 min", "in order", "slowest other page, s")
    return table((*heads, "slowest health check, s", "memory after each round, MiB"), rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "closed-forms": closed_forms,
    "trained-networks": trained_networks,
    "circle-seeds": circle_seeds,
    "exact-copies": exact_copies,
    "digits": digits,
    "embedded-model": embedded_model,
    "recolored": recolored,
    "detectors": detectors,
    "cause": cause,
    "mitigations": mitigations,
    "reference-captions": reference_captions,
    "rank-correlation": rank_correlation,
    "dropped-tokens": dropped_tokens,
    "training-mitigation": training_mitigation,
    "ten-windows": ten_windows,
}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [list(heads), ["---"] * len(heads), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _bounds(part: dict[str, float], name: str) -> str:
    return f"{part[name]:.3f} ({part[f'{name}_low']:.3f} to {part[f'{name}_high']:.3f})"


def _interval(value: dict[str, float | None], digits: int = 2) -> str:
    shown = {
        # + 0.0 turns -0.0, a rounded small negative number, into 0.
        key: None if number is None else f"{round(number, digits) + 0.0:.{digits}f}"
        for key, number in value.items()
    }
    if shown["value"] is None:
        return "unknown"
    if shown["low"] is None or shown["high"] is None:
        return str(shown["value"])
    return f"{shown['value']} ({shown['low']} to {shown['high']})"


def main() -> None:
    """Fill the tables of every page of results."""
    for page in sorted(RESULTS.glob("*.md")):
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
