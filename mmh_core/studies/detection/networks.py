"""Benchmarks of several networks as one: mean and spread of every figure over networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.formats.plain_records import plain_record
from mmh_core.formats.untrusted import parse_json
from mmh_core.records import MMHError
from mmh_core.statistics.areas import ONE_PERCENT
from mmh_core.statistics.intervals import mean_rate_interval
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
from mmh_core.studies.detection.figures import image_label_figures, realized
from mmh_core.studies.detection.network_rows import NetworkRow, Networks

#: A file of one run that is larger is none.
_MAX_BYTES = 2**28


@dataclass(frozen=True)
class NetworkRun:
    """The benchmark of one network, and the name of its file."""

    file: str
    run: BenchmarkRun


def read_network(path: Path) -> NetworkRun:
    """Return the run in a file that `benchmark --json` wrote. Errors: MMHError naming it.

    What an older version did not measure is unknown in the run. Detectors have the labels
    of today.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too large")
        run = _labelled(plain_record(BenchmarkRun, parse_json(path.read_bytes())))
        _check_lengths(run)
        return NetworkRun(path.name, run)
    except FileNotFoundError:
        raise MMHError(f"There is no file {path}: name one that benchmark --json wrote.") from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise MMHError(
            f"{path.name} holds no benchmark of this version: run benchmark --json again and name "
            "the file that it writes."
        ) from error


def _labelled(run: BenchmarkRun) -> BenchmarkRun:
    """Return a run whose detectors have the labels of the catalogue, where they are in it."""
    rows = tuple(
        replace(row, label=DETECTORS[row.name].label) if row.name in DETECTORS else row
        for row in run.detectors
    )
    return replace(run, detectors=rows)


def _check_lengths(run: BenchmarkRun) -> None:
    """Raise ValueError for a list that is not of the run's prompts."""
    lists = [run.copied, run.lid, run.data_lid, *(row.scores for row in run.rows)]
    lists += [row.images for row in run.rows if row.images is not None]
    lists += [each for each in (run.copies, run.guidance_norm) if each is not None]
    if any(len(each) != len(run.prompts) for each in lists):
        raise ValueError("its lists are of different lengths")
    if not run.of_model or not run.seeds:
        raise ValueError("it has no detector or no seed")


def over_networks(networks: Sequence[NetworkRun]) -> BenchmarkRun:
    """Return the run of the first network with the figures over all of them.

    Detectors that a network lacks are named in `missing`. Errors: MMHError for fewer than two
    networks, for one that is there twice or holds several, and for other prompts or settings,
    since nothing is then repeated.
    """
    _check(networks)
    figures = [{row.name: _figures(each.run, row) for row in each.run.rows} for each in networks]
    labels = {row.name: row.label for each in reversed(networks) for row in each.run.rows}
    rows, missing = [], []
    for name in dict.fromkeys(row.name for each in networks for row in each.run.rows):
        lacking = [
            each.file for each, by_row in zip(networks, figures, strict=True) if name not in by_row
        ]
        if lacking:
            missing.append(
                f"{labels[name]} is left out of the figures over networks: "
                f"{', '.join(lacking)} has no row of it."
            )
        else:
            rows.append(_row(name, labels[name], [by_row[name] for by_row in figures]))
    first = networks[0].run
    over = Networks(
        tuple(each.file for each in networks),
        tuple(each.run.sha256 for each in networks),
        tuple(sorted(rows, key=lambda row: -row.auc.value)),
        tuple(each.run.doses for each in networks),
    )
    return replace(first, networks=over, missing=(*first.missing, *missing))


def _check(networks: Sequence[NetworkRun]) -> None:
    """Raise MMHError for files that are no repetition of one benchmark on several networks."""
    if len(networks) < 2:
        raise MMHError(
            "A spread over networks needs the files of two networks or more: name them."
        )
    first, files = networks[0], dict[str, str]()
    for each in networks:
        if each.run.networks is not None:
            raise MMHError(f"{each.file} holds several networks already: name their own files.")
        if each.run.sha256 in files:
            raise MMHError(
                f"{files[each.run.sha256]} and {each.file} are of the same network: name one."
            )
        files[each.run.sha256] = each.file
        if _setting(each.run) != _setting(first.run):
            raise MMHError(
                f"{each.file} has other prompts, seeds or settings than {first.file}: run both "
                "on the same list with the same options."
            )


def _setting(run: BenchmarkRun) -> tuple[object, ...]:
    return tuple(prompt.prompt for prompt in run.prompts), run.sampling, run.seeds


def _figures(run: BenchmarkRun, row: DetectorRow) -> dict[str, float]:
    """Return the figures of a row of which the mean is taken, NaN where one is unknown."""
    (rates,) = realized(run, row, (ONE_PERCENT,))
    within = image_label_figures(run, row, memorized_only=True)
    return {
        "auc": row.all.auc,
        "within": math.nan if within is None else within.area.value,
        "tpr": rates.tpr.share.value,
        "fpr": rates.fpr.share.value,
    }


def _row(name: str, label: str, figures: Sequence[Mapping[str, float]]) -> NetworkRow:
    values = {key: torch.tensor([row[key] for row in figures]).double() for key in figures[0]}
    auc = values["auc"]
    return NetworkRow(
        name,
        label,
        len(figures),
        mean_rate_interval(auc),
        float(auc.std()),
        float(auc.min()),
        float(auc.max()),
        *(mean_rate_interval(values[key]) for key in ("tpr", "fpr", "within")),
    )
