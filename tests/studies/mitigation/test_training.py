"""Cures in training, of the shipped world: what differs between the arms, what is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from mmh_core.cli.app import main
from mmh_core.cli.training import training_summary, training_table
from mmh_core.plots.training_mitigation import training_curves
from mmh_core.pocket.assets import read_world
from mmh_core.pocket.denoiser import LatentSet
from mmh_core.records import MMHError, Progress
from mmh_core.retrieval.embedders import PixelEmbedder, embed_all
from mmh_core.retrieval.index import build_index
from mmh_core.retrieval.training_images import training_images
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.mitigation import training as study
from mmh_core.studies.mitigation.training import (
    checked,
    groups_of,
    training_mitigation,
    undecided_captions,
)
from mmh_core.studies.mitigation.training_run import (
    GROUPS,
    TrainingMitigationConfig,
    TrainingMitigationRun,
    TrainingMitigationSnapshot,
    early_stop,
)
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.stable_diffusion import load
from tests.retrieval.drawings import THRESHOLDS, drawings, labels
from tests.training_mitigation_runs import training_mitigation_run

ASSETS = Path(__file__).parents[3] / "assets"
POCKET = ASSETS / "pocket-sd"
#: Runs the study with what is kept in a folder.
Studied = Callable[[Path | None], Iterator[Progress[TrainingMitigationRun]]]
SHIPPED = ASSETS / "mitigation" / "training" / "pocket-sd.safetensors"
CONFIG = TrainingMitigationConfig(
    *(4, 8, (8, 16), 8, (2, 4)), captions=2, seeds=1, sampling_steps=2, kept=1, precision="float32"
)


@pytest.fixture(scope="module")
def seen() -> list[LatentSet]:
    """Return a list that holds what each arm was trained on, once it was."""
    return []


@pytest.fixture(scope="module")
def studied(seen: list[LatentSet]) -> Iterator[Studied]:
    """Return the study of both arms, four steps on a few images of every kind of the world."""
    world = read_world(POCKET)
    few = world.labels.groupby("kind").head(4)
    small = replace(world, images=world.images[few.index], labels=few.reset_index(drop=True))
    images, embedder = drawings(40, size=64), PixelEmbedder()
    index = build_index(embed_all(embedder, images), labels(40), embedder)
    training_set = TrainingSet(
        "drawings",
        index,
        embedder,
        lambda row: images[row],
        training_images(images, index),
        THRESHOLDS,
        log_delta=-1.0,
        alignment=lambda shown, texts: torch.tensor([[float(len(text)) for text in texts]]).expand(
            len(shown), -1
        ),
    )
    train = study.train_denoiser

    def watched(data: LatentSet, *rest: Any) -> Any:
        seen.append(data)
        return train(data, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "read_world", lambda folder: small)
        patch.setattr(study, "train_denoiser", watched)
        subject = Subject(load(POCKET), training_set)
        yield lambda kept: training_mitigation(CONFIG, POCKET, subject, kept)


@pytest.fixture(scope="module")
def run(studied: Studied) -> TrainingMitigationRun:
    """Return the finished run."""
    found, fractions = None, []
    for progress in studied(None):
        found = progress.partial
        fractions.append(progress.fraction)
    assert found is not None
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    return found


@pytest.mark.parametrize("lost", [False, True])
def test_a_killed_training_goes_on_from_its_snapshots(
    studied: Studied, run: TrainingMitigationRun, tmp_path: Path, lost: bool
) -> None:
    """At the first snapshot of the second arm, whose own snapshot may be `lost`."""
    steps = studied(tmp_path)
    while len(next(steps).partial.snapshots) < 3:
        pass
    next(steps)
    steps.close()
    [*kept] = tmp_path.glob("*.safetensors")
    if lost:
        for path in kept:
            with suppress(MMHError):
                if load_record(path, TrainingMitigationSnapshot).arm == "deduplicated":
                    path.unlink()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert len(times) >= 3 - lost
    *_, last = studied(tmp_path)
    # Nothing that was finished is made again.
    assert times.items() <= {p: p.stat().st_mtime_ns for p in tmp_path.glob("*")}.items()
    again = last.partial
    assert [(one.arm, one.step) for one in again.snapshots] == [
        (one.arm, one.step) for one in run.snapshots
    ]
    for one, other in zip(again.snapshots, run.snapshots, strict=True):
        torch.testing.assert_close(one.lid, other.lid, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(one.copied, other.copied)
        assert (one.retriggered, one.reseeded) == (other.retriggered, other.reseeded)
        assert (one.rephrased, one.control) == (other.rephrased, other.control)


def test_the_arms_differ_in_how_often_a_image_stands_there_alone(
    run: TrainingMitigationRun, seen: list[LatentSet]
) -> None:
    plain, single = seen[:2]
    assert bool((single.copies == 1).all()) and int(plain.copies.max()) > 20
    assert torch.equal(plain.latents, single.latents)
    assert plain.texts is single.texts and torch.equal(plain.contexts, single.contexts)
    # As the builder does: unit spread, or the schedule would not fit.
    assert 0.8 < float(plain.latents.std()) < 1.25
    assert [(one.arm, one.step) for one in run.snapshots] == [
        (arm, step) for arm in ("as it is", "deduplicated") for step in (2, 4)
    ]
    assert run.state == "complete"


def test_the_captions_copied_most_are_trained_on_and_a_share_of_the_reference_ones() -> None:
    kinds = ["duplicate"] * 4 + ["template"] * 4 + ["open"] * 10 + ["overfit"] * 5 + ["varied"] * 5
    subjects = list("abbc") + ["t"] * 4 + ["o"] * 10 + list("ddeee") + ["v"] * 5
    copies = [9, 40, 40, 40, *[1] * 4, *[1] * 10, *[1] * 5, *[1] * 5]
    labels = pd.DataFrame({"kind": kinds, "subject": subjects, "copies": copies})
    labels["captions"] = [(subject,) for subject in subjects]
    groups = groups_of(POCKET, labels)
    config = replace(CONFIG, captions=1, wide=0.4)
    rows = study._chosen(labels, config, groups)
    # As many copies of one image rather than of two; of versions the most.
    assert [subjects[row] for row in rows] == ["c", *"oooo", *"eee", *"vv"]
    # Evenly: 10 rows from the ninth on, four of them.
    assert rows[1:5] == [8, 10, 13, 15]
    without = study._chosen(labels, config, groups, frozenset("ce"))
    assert [subjects[row] for row in without] == ["b", "b", *"oooo", *"dd", *"vv"]
    every = study._chosen(labels, replace(config, captions=9), groups)
    assert set(range(len(labels))) - set(every) >= set(range(4, 8))
    assert {subjects[row] for row in every} == set("abcodev")


def test_figures_belong_to_the_group_of_their_caption(run: TrainingMitigationRun) -> None:
    """The alignment of this test is the length of the caption."""
    for one in run.snapshots:
        for i, group in enumerate(GROUPS):
            lengths = [float(len(text)) for text, of in run.captions if of == group]
            assert sorted(one.alignment[i].tolist()) == sorted(lengths)
    assert {of for _, of in run.captions} == set(GROUPS)
    first = run.snapshots[0]
    assert first.images.shape == (3, 1, 3, 64, 64) and first.lid.shape == (3, 2)
    # Networks that have learned next to nothing cannot have narrowed anything.
    assert bool((first.lid > 50).all())


def test_both_arms_start_from_the_same_network_and_part(run: TrainingMitigationRun) -> None:
    plain, single = run.arm("as it is"), run.arm("deduplicated")
    assert plain[0].loss != single[0].loss
    # After two steps from equal weights the losses are those of nearly equal networks.
    assert plain[0].loss == pytest.approx(single[0].loss, rel=0.3)
    assert not torch.equal(plain[-1].lid, single[-1].lid)


def test_a_run_survives_the_disk(run: TrainingMitigationRun, tmp_path: Path) -> None:
    save_record(tmp_path / "training.safetensors", run)
    again = load_record(tmp_path / "training.safetensors", TrainingMitigationRun)
    assert again.config == run.config and again.captions == run.captions
    assert torch.equal(again.snapshots[-1].images, run.snapshots[-1].images)


def test_stopping_early_takes_the_last_of_the_best_that_fit() -> None:
    run = training_mitigation_run()
    stopped = early_stop(run.arm("as it is"))
    # Step 100 copies nothing and does not fit; step 200 fits and copies less than the last.
    assert stopped is not None and stopped.step == 200
    assert early_stop(run.arm("deduplicated")) is None
    assert early_stop(()) is None


def test_the_curves_are_the_figures_and_the_stop_is_marked() -> None:
    run = training_mitigation_run()
    stopped = early_stop(run.arm("as it is"))
    figure = training_curves(run, "duplicate", ("as it is", "deduplicated"), stopped)
    lines = {(t.name, t.yaxis): list(t.y) for t in figure.data}
    assert lines["with duplicates", "y"] == [0.0, 0.5, 1.0]
    assert lines["with duplicates", "y2"] == [30.0, 12.0, 2.0]
    assert lines["without duplicates", "y2"] == [30.0, 25.0, 20.0]
    assert lines["reference captions", "y2"] == [32.0, 26.0, 24.0]
    assert figure.layout.shapes[-1].x0 == 200
    assert len(training_curves(run, "normal", ("as it is",)).data) == 2


def test_the_tables_say_what_was_seen() -> None:
    table = training_table(training_mitigation_run())
    assert "| as it is | 400 | 1.00 | 2.0 | 1.00 | 4.0 | 0.00 | 24.0 | 0.600 |" in table
    assert "Early stopping, as it is: step 200 is better." in table
    assert "Early stopping, deduplicated: the last step is the best." in table
    found: Any = training_summary(training_mitigation_run())
    assert found["snapshots"][1]["groups"]["duplicate"]["copied"] == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"snapshot_steps": ()},
        {"snapshot_steps": (5,)},
        {"snapshot_steps": (0, 4)},
        {"captions": 0},
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MMHError):
        checked(replace(CONFIG, **changes))
    assert checked(replace(CONFIG, snapshot_steps=(4, 2, 4))).snapshot_steps == (2, 4)


def test_alignment_of_a_group_is_its_own() -> None:
    run = training_mitigation_run()
    changed = replace(run.snapshots[0], alignment=torch.tensor([[1.0, 3.0], [5.0, 5.0], [7, 9]]))
    assert [changed.mean("alignment", group) for group in GROUPS] == [2.0, 5.0, 8.0]
    lid: Tensor = torch.tensor([[1.0, 2.0, 30.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    assert [replace(changed, lid=lid).median_lid(group) for group in GROUPS] == [2.0, 5.0, 8.0]


def test_the_command_refuses_what_cannot_be_trained_before_it_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> object:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("mmh_core.text_to_image.stable_diffusion.load", load)
    with pytest.raises(SystemExit) as ended:
        main(["pocket", "cure", "--out", str(tmp_path / "run"), "--steps", "0"])
    assert ended.value.code == 2
    assert "0 steps train nothing: ask for at least one" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_shipped_training_shows_what_each_training_set_does() -> None:
    """Held to the direction alone: it is one seed of a short training."""
    run = load_record(SHIPPED, TrainingMitigationRun)
    assert run.state == "complete" and run.config == TrainingMitigationConfig()
    plain, single = run.arm("as it is"), run.arm("deduplicated")
    assert plain[-1].memorized > 0.2 and single[-1].memorized == 0
    for group in ("duplicate", "overfit"):
        assert single[-1].median_lid(group) > 3 * plain[-1].median_lid(group)
    stopped = early_stop(plain)
    assert stopped is not None and stopped.memorized < plain[-1].memorized
    assert stopped.median_lid("duplicate") > plain[-1].median_lid("duplicate")
    # At every look of both arms and in every group: what is copied has the fewest dimensions.
    measured = [
        (one.copied[i].mean(), one.lid[i].median())
        for one in run.snapshots
        for i in range(len(GROUPS))
    ]
    copied, lid = torch.tensor(measured).T
    assert float(lid[copied > 0].max()) < float(lid[copied == 0].min())


def test_the_end_of_each_arm_is_attacked_for_every_memorized_caption(
    run: TrainingMitigationRun,
) -> None:
    memorized = [text for text, group in run.captions if group != "normal"]
    reference = [text for text, group in run.captions if group == "normal"]
    for snapshot in run.snapshots:
        ended = snapshot.step == 4 or early_stop(run.arm(snapshot.arm)) is snapshot
        attacked = [caption for caption, _, _ in snapshot.retriggered]
        assert attacked == (memorized if ended else [])
        assert all(images == 1 >= copies >= 0 for _, images, copies in snapshot.retriggered)
        # Paraphrases that were not trained with, two other seeds, and the control.
        assert [caption for caption, _, _ in snapshot.reseeded] == attacked
        assert {images for _, images, _ in snapshot.reseeded} <= {2}
        assert [caption for caption, _, _ in snapshot.rephrased] == attacked
        assert {images for _, images, _ in snapshot.rephrased} <= {2, 4, 6}
        assert [caption for caption, _, _ in snapshot.control] == (reference if ended else [])
        assert (snapshot.robustness is not None) == ended


@pytest.mark.parametrize(
    ("results", "value", "low", "high"),
    [
        # Clopper & Pearson: of 0 of 10 the upper end is 1 - .025^(1/10).
        ((("a", 10, 0),), 0.0, 0.0, 0.3085),
        ((("a", 10, 10),), 1.0, 0.6915, 1.0),
    ],
)
def test_what_comes_back_has_an_exact_interval(
    run: TrainingMitigationRun,
    results: tuple[tuple[str, int, int], ...],
    value: float,
    low: float,
    high: float,
) -> None:
    row = replace(run.snapshots[-1], retriggered=results, control=results).robustness
    assert row is not None and row.withstands and row.control == row.attack
    share = row.attack.share
    assert (share.value, share.low, share.high) == pytest.approx((value, low, high), abs=1e-4)
    several = replace(run.snapshots[-1], retriggered=(*results, ("b", 4, 2))).robustness
    assert several is not None
    assert several.attack.share.value == pytest.approx((value + 0.5) / 2)
    assert (several.attack.captions, several.attack.images) == (2, 14)


def test_groups_are_those_of_the_worlds_own_table(tmp_path: Path) -> None:
    """Of the first world, and of one with doses: the kinds that are copied, then all others."""
    labels = pd.DataFrame({"kind": ["duplicate", "template", "open", "overfit", "varied"]})
    assert groups_of(POCKET, labels) == {
        "duplicate": ("duplicate",),
        "overfit": ("overfit",),
        "normal": ("open", "varied"),
    }
    (tmp_path / "world.json").write_text('{"seed": 0, "world": 2}')
    kinds = ["near-duplicate", "duplicate", "duplicate", "unique", "fresh"]
    pd.DataFrame(
        {
            "caption": list("abcde"),
            "kind": kinds,
            "trained": [True] * 5,
            "repeated": ["yes", "yes", "between", "no", "no"],
        }
    ).to_parquet(tmp_path / "prompts.parquet")
    assert groups_of(tmp_path, pd.DataFrame({"kind": kinds})) == {
        "near-duplicate": ("near-duplicate",),
        "duplicate": ("duplicate",),
        "normal": ("unique", "fresh"),
    }
    assert undecided_captions(tmp_path) == {"c"} and undecided_captions(POCKET) == frozenset()


def test_figures_of_other_groups_are_drawn_tabled_and_named() -> None:
    """A world with kinds of its own has them on the chart and in the table."""
    groups = ("near-duplicate", "emblem", "normal")
    run = training_mitigation_run()
    run = replace(
        run,
        group_names=groups,
        snapshots=tuple(replace(each, group_names=groups) for each in run.snapshots),
    )
    figure = training_curves(run, "emblem", ("as it is",))
    assert [line.name for line in figure.data][:2] == ["with duplicates", "reference captions"]
    assert "| near-duplicate: copy rate |" in training_table(run)
    found: Any = training_summary(run)
    assert list(found["snapshots"][0]["groups"]) == list(groups)


def test_an_older_run_says_that_its_robustness_is_unknown() -> None:
    shipped = load_record(SHIPPED, TrainingMitigationRun)
    assert "robustness unknown" in training_table(shipped)
