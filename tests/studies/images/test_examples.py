"""The examples that pages start from, by the table of prompts beside a model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from mmh_core.plots import theme
from mmh_core.pocket.second.embedded import caption_table
from mmh_core.pocket.second.plan import SecondConfig
from mmh_core.pocket.second.training import Workshop
from mmh_core.pocket.world import prompts
from mmh_core.studies.images.examples import (
    PromptExample,
    comparison_prompts,
    memorized_kinds,
    pocket_examples,
)
from views.images.settings import about_kind, in_page_order

POCKET = Path(__file__).parents[3] / "assets" / "pocket-sd"


@pytest.fixture
def doses(tmp_path: Path) -> Path:
    """Return a folder with the table of a world whose captions have doses."""
    rows = [
        ("a", "unique", "trained", 1, "no"),
        ("b", "duplicate", "trained", 16, "yes"),
        ("b again", "duplicate", "paraphrases", 16, "yes"),
        ("c", "duplicate", "trained", 128, "yes"),
        ("d", "fresh", "trained", 1, "no"),
        ("e", "near-duplicate", "trained", 64, "yes"),
        ("f", "held-out", "held-out", 0, "no"),
    ]
    table = pd.DataFrame(rows, columns=["caption", "kind", "group", "copies", "repeated"])
    table["subject"] = [f"caption/{caption[0]}" for caption in table.caption]
    table["trained"] = table.group == "trained"
    table["split"] = "calibration"
    table.to_parquet(tmp_path / "prompts.parquet")
    (tmp_path / "world.json").write_text('{"seed": 0, "world": 2}')
    return tmp_path


def test_kinds_and_doses_are_those_of_the_models_own_table(doses: Path) -> None:
    assert memorized_kinds(doses) == ("duplicate", "near-duplicate")
    examples = pocket_examples(doses)
    assert {each.caption: each.multiplicity for each in examples if each.memorized} == {
        "b": 16,
        "b again": 16,
        "c": 128,
        "e": 64,
    }
    # The caption with the most copies, and the first of two kinds that are not memorized.
    assert comparison_prompts(examples) == ("c", "a", "d")
    assert comparison_prompts(examples, references=1) == ("c", "a")


def test_the_shipped_world_starts_with_a_duplicate_and_two_kinds_of_references() -> None:
    examples = pocket_examples(POCKET)
    compared = comparison_prompts(examples)
    chosen = {each.caption: each for each in reversed(examples)}
    first, *others = (chosen[prompt] for prompt in compared)
    assert (first.kind, first.memorized) == ("duplicate", True)
    assert [each.memorized for each in others] == [False, False]
    assert len({each.kind for each in others}) == 2


def test_without_a_memorized_caption_there_is_nothing_to_compare_on() -> None:
    assert comparison_prompts([PromptExample("a", "plain", "a", True)]) == ()
    assert comparison_prompts([]) == ()


def test_kinds_that_nobody_describes_come_last_under_their_own_name() -> None:
    assert in_page_order(["emblem", "unique", "duplicate", "unique"]) == (
        "duplicate",
        "unique",
        "emblem",
    )
    assert about_kind("emblem") == ("Emblem", "") and about_kind("unique")[1].startswith("every")


def kinds_of_world(number: int) -> set[str]:
    """Return the kinds that the label table of a world has, by the world itself."""
    if number == 1:
        return set(prompts(0).kind) | {"open"}
    table = caption_table(Workshop(SecondConfig(), Path("nowhere"), torch.device("cpu")))
    return set(table[table.group.isin(("trained", "paraphrases"))].kind)


@pytest.mark.parametrize("number", [1, 2])
def test_every_kind_of_both_worlds_is_described_and_has_a_look_of_its_own(number: int) -> None:
    kinds = kinds_of_world(number)
    assert "duplicate" in kinds and len(kinds) == 5
    ordered = in_page_order(sorted(kinds))
    assert ordered[0] == "duplicate" and set(ordered) == kinds
    names = [about_kind(kind)[0] for kind in ordered]
    assert len(set(names)) == 5 and all(about_kind(kind)[1] for kind in ordered)
    styles = theme.styles(ordered)
    assert len({styles[kind].color for kind in ordered}) == 5
    assert len({styles[kind].symbol for kind in ordered}) == 5
