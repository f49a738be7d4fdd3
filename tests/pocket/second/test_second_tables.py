"""Captions and doses of the second world: balanced, independent, and nothing in the words."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from mmh_core.memorization.text_baseline import FEATURES, Features, text_baseline
from mmh_core.pocket.second.doses import COPIES, TRANSFORMS, one_sided, slots
from mmh_core.pocket.second.doses import Sizes as Counts
from mmh_core.pocket.second.drawing import CELLS, has_held_out_pair
from mmh_core.pocket.second.families import GRAMMARS, names, unseen_names
from mmh_core.pocket.second.tables import GROUPS, SMALL_COPIES, Tables, build_tables

SMALLER = Counts(exact=1, near=1, template=1, unique=6, fresh=6, small=12, held_out=2, other=3)


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Return the tables of the world that is trained on."""
    return build_tables(0)


@pytest.fixture(scope="module")
def trained(tables: Tables) -> pd.DataFrame:
    """Return its trained captions."""
    return tables.captions[tables.captions.group == "trained"]


def test_equal_seeds_make_equal_tables_and_others_do_not() -> None:
    one, two, other = (build_tables(seed, SMALLER) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one.captions, two.captions)
    pd.testing.assert_frame_equal(one.rows, two.rows)
    assert set(one.captions.text) != set(other.captions.text)


def test_doses_are_dealt_after_the_captions_and_by_a_generator_of_their_own() -> None:
    # Other doses, the same number of captions: the words stay.
    swapped = Counts(exact=1, near=1, template=1, unique=4, fresh=8, small=12, held_out=2, other=3)
    one, other = build_tables(0, SMALLER), build_tables(0, swapped)
    pd.testing.assert_series_equal(one.captions.text, other.captions.text)
    assert not one.captions.role.equals(other.captions.role)


def test_every_level_has_its_captions_in_every_cell(trained: pd.DataFrame) -> None:
    exact = trained[trained.role == "exact"]
    for copies in COPIES:
        level = exact[exact.copies == copies]
        assert len(level) == 40
        assert Counter(level.images) == {1: 20, 3: 12, 10: 6, 40: 2}
        assert set(level.groupby(["painter", "named"]).size()) == {4}
    near = trained[trained.role == "near"]
    assert {name: len(part) for name, part in near.groupby("transform")} == dict.fromkeys(
        sorted(TRANSFORMS), 20
    )


def test_named_captions_are_as_many_on_either_side(trained: pd.DataFrame) -> None:
    counts = trained.groupby(["repeated", "named"]).size()
    for side in ("yes", "no"):
        assert counts[side, True] == counts[side, False]
    assert counts["yes", True] / counts["no", True] == pytest.approx(1, abs=0.15)


def test_every_name_noun_and_phrase_stands_on_both_sides(
    tables: Tables, trained: pd.DataFrame
) -> None:
    for painter in GRAMMARS:
        sides: dict[str, Counter[str]] = {"yes": Counter(), "no": Counter()}
        for each in trained[trained.painter == painter].itertuples():
            caption = tables.grammar[int(each.id)]
            if caption is not None and each.repeated in sides:
                sides[str(each.repeated)].update(caption.parts)
        both = {part for part, times in (sides["yes"] + sides["no"]).items() if times > 1}
        assert both <= set(sides["yes"]) & set(sides["no"])
        assert set(names(painter)) <= set(sides["yes"]) & set(sides["no"])


def test_a_phrase_of_one_side_is_noticed(tables: Tables) -> None:
    captions = [caption for caption in tables.grammar[:80] if caption is not None]
    doses = slots(Counts(), np.random.default_rng(0))[0]
    many = next(dose for dose in doses if dose.copies == 128 and dose.role == "exact")
    once = next(dose for dose in doses if dose.role == "unique")
    word = captions[0].parts[0]
    one = [many if caption.parts[0] == word else once for caption in captions]
    assert word in one_sided(captions, one)


def test_no_text_occurs_twice_but_for_short_paraphrases(tables: Tables) -> None:
    table = tables.captions
    rest = table[table.group != "paraphrases"]
    assert rest.text.is_unique
    others = table[table.group == "paraphrases"]
    same = others.text.to_numpy() == table.text.to_numpy()[others.paraphrase_of]
    assert same.mean() < 0.02
    for each in others.itertuples():
        of = table.iloc[int(str(each.paraphrase_of))]
        assert sorted(of.fixed.split(";")) == sorted(str(each.fixed).split(";"))
        assert (each.painter, each.subject) == (of.painter, of.subject)


def test_groups_are_what_they_are_called(tables: Tables) -> None:
    table = tables.captions
    assert tuple(dict.fromkeys(table.group)) == GROUPS
    for number, caption in enumerate(tables.grammar):
        group = table.group[number]
        if caption is None:
            assert group == "outside"
            continue
        assert has_held_out_pair(caption, 0) == (group == "unseen combinations")
        if caption.named:
            known = caption.subject in names(caption.painter)
            assert known == (group != "unseen names")
            assert known or caption.subject in unseen_names(caption.painter)


def test_both_halves_have_half_of_every_dose(trained: pd.DataFrame) -> None:
    share = (trained.split == "test").groupby([trained.role, trained.copies]).mean()
    assert share.between(0.4, 0.6).all()


def test_small_sets_are_nested_and_a_quarter_of_the_third_cell_is_copied(tables: Tables) -> None:
    small = tables.captions[tables.captions.group == "small"]
    assert sorted(small.small_rank) == list(range(1_600))
    copied = small[small.small_copies == SMALL_COPIES]
    assert len(copied) == 100
    assert copied.small_rank.max() < 400
    assert set(small.small_copies) == {1, SMALL_COPIES}


def test_rows_count_every_copy(tables: Tables, trained: pd.DataFrame) -> None:
    rows = tables.rows.groupby("caption").copies.sum()
    for each in trained.itertuples():
        of = (int(str(each.copies)), int(str(each.images)))
        total = {"near": of[0], "fresh": 0}.get(str(each.role), of[0] * of[1])
        assert rows.get(int(str(each.id)), 0) == total


@pytest.mark.parametrize("features", list(FEATURES))
@pytest.mark.parametrize("cause", [False, True])
def test_words_tell_neither_what_is_duplicated_nor_the_cause(
    features: Features, cause: bool, tables: Tables, trained: pd.DataFrame
) -> None:
    yes = trained[trained.repeated == "yes"]
    no = trained[trained.repeated == "no"]
    if cause:
        small = tables.captions[tables.captions.group == "small"]
        no = small[small.small_rank < 400]
    labels = np.repeat([True, False], [len(yes), len(no)])
    found = text_baseline([*yes.text, *no.text], labels, features)
    assert found.auc <= 0.60
    assert found.high <= 0.65


@pytest.mark.parametrize("features", list(FEATURES))
def test_a_word_of_one_side_alone_is_found(features: Features, trained: pd.DataFrame) -> None:
    labels = (trained.repeated == "yes").to_numpy()
    texts = [f"{text} again" if yes else text for text, yes in zip(trained.text, labels,
                                                                   strict=True)]  # fmt: skip
    found = text_baseline(texts, labels, features)
    assert found.auc > 0.95
    assert found.low > 0.9


def test_shuffled_labels_give_the_spread_of_chance(trained: pd.DataFrame) -> None:
    part = trained.iloc[::3]
    found = text_baseline(
        list(part.text), (part.repeated == "yes").to_numpy(), "words", permutations=12
    )
    assert 0.35 < found.permuted[0] < 0.5 < found.permuted[1] < 0.65


def test_doses_of_all_cells_are_alike() -> None:
    of_cells = slots(Counts(), np.random.default_rng(1))
    assert len(of_cells) == len(CELLS)
    assert {len(doses) for doses in of_cells} == {Counts().in_cell}
    levels = [Counter((dose.role, dose.transform) for dose in doses) for doses in of_cells]
    assert all(level == levels[0] for level in levels)
