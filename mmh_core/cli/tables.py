"""What the commands print about a study: summaries as JSON types, tables as Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mmh_core.formats.markdown import markdown_table

if TYPE_CHECKING:
    from mmh_core.pocket.figures import Check, Row
    from mmh_core.studies.manifolds.closed_forms import AnalyticRow
    from mmh_core.studies.manifolds.lid_benchmark import LidBenchmark
    from mmh_core.studies.manifolds.run import EstimatorRow, ManifoldRun


def manifold_summary(run: ManifoldRun) -> dict[str, Any]:
    """Return what the command prints: config, one row per snapshot, verdicts and estimators.

    Measured seconds are left out, so that the same command prints the same bytes on one machine.
    """
    from dataclasses import asdict

    from mmh_core.memorization.hypothesis import VERDICTS

    last = run.snapshots[-1]
    counted = {
        kind: {
            label: int((estimates.verdict == code).sum()) for code, label in enumerate(VERDICTS)
        }
        for kind, estimates in (("trained", last.trained), ("generated", last.generated))
    }
    return {
        "config": asdict(run.config),
        "steps": run.config.steps,
        "state": run.state,
        "lid_estimator": run.lid_estimator,
        "typical_lid": run.typical_lid,
        "chance_memorized": run.chance_memorized,
        "snapshots": _records(run.frame()),
        "verdicts": counted,
        "components": {
            name: {
                "points": int((run.train.component[run.shown] == i).sum()),
                "mean_lid": float(last.trained.lid[run.train.component[run.shown] == i].mean()),
            }
            for i, name in enumerate(run.train.component_names)
        },
        "estimators": [_estimator(row) for row in run.estimators],
    }


def benchmark_tables(benchmark: LidBenchmark) -> str:
    """Return the tables of the benchmark as Markdown."""
    from mmh_core.studies.manifolds.lid_benchmark import MODEL_FREE

    blocks = [
        _table("Closed forms", _ANALYTIC, [_analytic_cells(row) for row in benchmark.analytic])
    ]
    for result in benchmark.trained:
        title = (
            f"{result.manifold}, seed {result.seed}: {result.points:,} points, width "
            f"{result.width}, {result.steps:,} steps, {result.queries} held-out queries"
        )
        beside = MODEL_FREE[result.manifold]
        cells = [[*_trained_cells(row), _number(beside.get(row.label))] for row in result.rows]
        blocks.append(_table(title, _TRAINED, cells))
    ranks = [
        [
            row.manifold,
            f"{row.latent_dim}",
            f"{row.noise:.3f}",
            f"{row.mean_abs_error_count:.3f}",
            f"{row.mean_abs_error_soft:.3f}",
        ]
        for row in benchmark.generators
    ]
    blocks.append(_table("Jacobian rank of a small VAE", _RANKS, ranks))
    return "\n\n".join(blocks)


_ANALYTIC = ("model", "estimator", "true LID", "expected", "measured", "deviation", "targets")
_TRAINED = (
    "estimator",
    "side",
    "mean abs. error",
    "concordance",
    "NFE a point",
    "seconds",
    "error measured by others",
)
_RANKS = ("manifold", "latent", "decoder noise", "error, count", "error, soft")


def _table(title: str, heads: tuple[str, ...], rows: list[list[str]]) -> str:
    return f"## {title}\n\n{markdown_table(heads, rows)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _analytic_cells(row: AnalyticRow) -> list[str]:
    return [
        row.model,
        row.estimator,
        f"{row.true_lid:.0f}",
        f"{row.expected:.4f}",
        f"{row.measured:.4f} +- {row.standard_error:.4f}",
        f"{row.deviation:.1f} se",
        f"{row.across_targets:.1e}",
    ]


def _trained_cells(row: EstimatorRow) -> list[str]:
    return [
        row.label,
        row.side,
        f"{row.mean_abs_error:.3f}",
        f"{row.concordance:.3f}",
        f"{row.nfe:,.0f}",
        f"{row.seconds:.1f}",
    ]


def _estimator(row: EstimatorRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "side": row.side,
        "median_lid": float(row.lid.median()),
        "mean_abs_error": row.mean_abs_error,
        "concordance": row.concordance,
        "standard_error": row.standard_error,
        "nfe": row.nfe,
    }


def _records(table: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_dict("records")
    return rows


def plain(value: Any) -> Any:
    """Return a record as JSON types: tensors become lists, records dictionaries."""
    from dataclasses import fields, is_dataclass

    from torch import Tensor

    from mmh_core.formats.plain_records import JSON_NAMES

    if isinstance(value, Tensor):
        return plain(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        names = JSON_NAMES.get(type(value).__name__, {})
        return {names.get(f.name, f.name): plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_table(result: Check, form: str = ".3f") -> str:
    """Return the measurements as a Markdown table; what is not measured is "not built"."""
    heads = ("figure", "bar", "measured", "95 % interval", "counted on", "")
    return markdown_table(heads, [_check_cells(row, form) for row in result.rows])


def _check_cells(row: Row, form: str) -> list[str]:
    bar = {"least": "at least ", "most": "at most ", "none": ""}[row.bound]
    interval = f"{row.low:.3f} to {row.high:.3f}" if row.low == row.low else "-"
    return [
        row.figure,
        "-" if row.bound == "none" else f"{bar}{row.bar:.3g}",
        "not built" if math.isnan(row.value) else format(row.value, form),
        interval,
        f"{row.count:,}",
        "" if row.bound == "none" else "SHORT" if row.short else "holds",
    ]
