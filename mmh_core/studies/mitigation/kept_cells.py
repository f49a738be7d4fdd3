"""Cells and attacks of a comparison, kept one by one so that one that is killed resumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from mmh_core.mitigations.interface import Work
from mmh_core.store.kept import kept_path, load_kept, save_kept
from mmh_core.studies.mitigation.cells import Step, generate_cell
from mmh_core.studies.mitigation.context import Comparison
from mmh_core.studies.mitigation.run import Cell, Treatment


@dataclass(frozen=True)
class AttackResult:
    """Which images (B,) are copies after an attack on one mitigation: 1, 0 or NaN."""

    copies: Tensor


def kept_cell(
    comparison: Comparison,
    number: int,
    treatment: Treatment,
    base: Cell | None,
    folder: Path | None,
) -> Iterator[Step]:
    """Generate a cell as `generate_cell` does, or load it where it is kept in `folder`.

    The folder has to change with what the comparison reads: reference prompts and training set.
    """
    path = _path(folder, "cell", comparison, number, treatment)
    kept = load_kept(path, Cell)
    if kept is not None:
        yield 1.0, None, kept
        return
    cell, prompt = None, comparison.config.prompts[number]
    for share, preview, ready in generate_cell(comparison, number, prompt, treatment, base):
        cell = cell if ready is None else ready
        yield share, preview, ready
    if cell is not None:
        save_kept(path, cell)


def kept_attack(
    comparison: Comparison,
    treatment: Treatment,
    target: int,
    work: Work[Tensor],
    folder: Path | None,
) -> Work[Tensor]:
    """Return the result of an attack on the first prompt, or load it where it is kept."""
    path = _path(folder, f"attack {target}", comparison, 0, treatment)
    kept = load_kept(path, AttackResult)
    if kept is None:
        kept = AttackResult((yield from work))
        save_kept(path, kept)
    return kept.copies


def _path(
    folder: Path | None, what: str, comparison: Comparison, number: int, treatment: Treatment
) -> Path | None:
    """Return where something of one prompt and mitigation is kept.

    By everything that it depends on; other mitigations are no part of it.
    """
    config = replace(comparison.config, treatments=(treatment,))
    model = comparison.subject.model
    return kept_path(folder, (what, model.sha256, comparison.log_delta, config, number))
