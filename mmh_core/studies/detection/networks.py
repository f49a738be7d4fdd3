"""Benchmarks of several networks as one table: mean and spread of every figure over networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmh_core.formats.untrusted import parse_json, typed_value
from mmh_core.records import MMHError
from mmh_core.statistics import Interval, mean_interval, mean_share_interval

#: A file of one run that is larger is none.
_MAX_BYTES = 2**28


@dataclass(frozen=True)
class NetworkFigures:
    """Figures of one network by detector, as `benchmark --json` wrote them.

    `prompts` and `setting` are what networks must share to be compared. NaN where a figure is
    missing, such as the truth by fact without a training set.
    """

    file: str
    sha256: str
    prompts: tuple[str, ...]
    setting: str
    labels: Mapping[str, str]
    figures: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class NetworkRow:
    """One detector over N networks: means with 95 % intervals over networks.

    `spread` is the standard deviation of the area, `lowest` and `highest` its ends. `true` and
    `false` are realized rates at the threshold of 1 %, `within` the area by fact within memorized
    captions.
    """

    name: str
    label: str
    networks: int
    auc: Interval
    spread: float
    lowest: float
    highest: float
    true: Interval
    false: Interval
    within: Interval


def read_network(path: Path) -> NetworkFigures:
    """Return the figures of a file that `benchmark --json` wrote. Errors: MMHError naming it."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too large")
        tree = typed_value(parse_json(path.read_text(encoding="utf-8")), dict[str, Any])
        rows = list(tree["detectors"]) + list(tree.get("text") or [])
        if tree.get("combined") is not None:
            rows.append(tree["combined"]["row"])
        extra = {row["name"]: row for row in tree["figures"]}
        return NetworkFigures(
            path.name,
            typed_value(tree["sha256"], str),
            tuple(typed_value(row["prompt"], str) for row in tree["prompts"]),
            f"{tree['sampling']}, seeds {tree['seeds']}",
            {row["name"]: typed_value(row["label"], str) for row in rows},
            {row["name"]: _figures(row, extra[row["name"]]) for row in rows},
        )
    except FileNotFoundError:
        raise MMHError(f"There is no file {path}: name one that benchmark --json wrote.") from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise MMHError(
            f"{path.name} holds no benchmark of this version: run benchmark --json again and name "
            "the file that it writes."
        ) from error


def _figures(row: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, float]:
    strict = next(rates for rates in extra["realized"] if rates["share"] == 0.01)
    within = extra["within_memorized"]
    return {
        "auc": _number(row["all"]["auc"]),
        "true": _rate(strict["true"]),
        "false": _rate(strict["false"]),
        "within": math.nan if within is None else _number(within["area"]["value"]),
    }


def _rate(rate: Mapping[str, Any]) -> float:
    return _number(rate["count"]) / rate["among"] if rate["among"] else math.nan


def _number(value: Any) -> float:
    """Return a number of JSON, in which NaN is null. Errors: TypeError for anything else."""
    return math.nan if value is None else float(value)


def over_networks(
    networks: Sequence[NetworkFigures],
) -> tuple[tuple[NetworkRow, ...], tuple[str, ...]]:
    """Return a row for each detector that all networks have, and in sentences what is left out.

    The best mean comes first. Errors: MMHError for fewer than two networks, for one that is there
    twice, and for other prompts or settings, since nothing is then repeated.
    """
    if len(networks) < 2:
        raise MMHError(
            "A spread over networks needs the files of two networks or more: name them."
        )
    first, seen = networks[0], dict[str, str]()
    for network in networks:
        if network.sha256 in seen:
            raise MMHError(
                f"{seen[network.sha256]} and {network.file} are of the same network: name one."
            )
        seen[network.sha256] = network.file
        if (network.prompts, network.setting) != (first.prompts, first.setting):
            raise MMHError(
                f"{network.file} has other prompts, seeds or settings than {first.file}: run both "
                "on the same list with the same options."
            )
    rows, missing = [], []
    for name in dict.fromkeys(name for network in networks for name in network.labels):
        having = [network for network in networks if name in network.figures]
        if len(having) < len(networks):
            lacking = ", ".join(n.file for n in networks if name not in n.figures)
            missing.append(f"{having[0].labels[name]} is left out: {lacking} has no row of it.")
            continue
        values = {
            key: torch.tensor([network.figures[name][key] for network in having])
            for key in ("auc", "true", "false", "within")
        }
        auc = values["auc"].double()
        rows.append(
            NetworkRow(
                name,
                having[0].labels[name],
                len(having),
                _mean(values["auc"]),
                float(auc.std()),
                float(auc.min()),
                float(auc.max()),
                *(_mean(values[key]) for key in ("true", "false", "within")),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.auc.value)), tuple(missing)


def _mean(values: torch.Tensor) -> Interval:
    """Return the mean of a share over networks; equal ones leave no degenerate interval."""
    interval = mean_interval(values)
    if interval.low == interval.high:
        return mean_share_interval(values)
    return Interval(interval.value, max(interval.low, 0.0), min(interval.high, 1.0))
