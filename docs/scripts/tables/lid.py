"""Tables on LID and the shipped model."""

from __future__ import annotations

from pathlib import Path

from docs.scripts.figures import check_of_model, read, table
from mmh_core.cli.tables import check_table

_CASES = ("lollipop", "affine-10", "affine-100")
_DIGITS = (20, 50, 100, 200, 400, 800, 1700)


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
        for row in read(data / "closed-forms.json")["analytic"]
    ]
    return table(heads, rows)


def trained_networks(data: Path) -> str:
    """Return the error of each estimator on trained networks, over the seeds of each case."""
    cells: dict[str, list[str]] = {}
    for case in _CASES:
        runs = read(data / f"trained-{case}.json")["trained"]
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
    rows = read(data / "circle-seeds.json")
    keys = ("near", "near_wrong", "arc", "arc_wrong")
    cells = [[str(row["seed"]), *(f"{row[key]:,}" for key in keys)] for row in rows]
    sums = [sum(row[key] for row in rows) for key in keys]
    cells.append(["all", *(f"{total:,}" for total in sums)])
    heads = ("seed", "near isolated points", "of these LID .3 or more")
    return table((*heads, "on the arc", "of these not near 1"), cells)


def exact_copies(data: Path) -> str:
    """Return the mean LID of the main part and of the isolated points of the preset od-exact."""
    parts = read(data / "od-exact.json")["components"]
    rows = [
        [name, f"{part['points']:,}", f"{part['mean_lid']:.2f}"] for name, part in parts.items()
    ]
    return table(("part", "training points", "mean LID"), rows)


def digits(data: Path) -> str:
    """Return what the networks trained on so many digits generate."""
    rows = []
    for points in _DIGITS:
        run = read(data / f"digits-{points}.json")
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
    """Return what the shipped model must show, beside the bars."""
    return check_table(check_of_model(data))


def recolored(data: Path) -> str:
    """Return what the copy search says of images in other colors."""
    rows = []
    for row in read(data / "recolored.json"):
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
