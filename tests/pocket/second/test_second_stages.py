"""Stages of the second build: in order, resumable, and the same as without interruption."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmh_core.pocket import fit
from mmh_core.pocket.second.plan import (
    ALL_MINUTES,
    NEEDS,
    STAGE_MINUTES,
    STAGES,
    TINY,
    TWO_CORES,
    SecondConfig,
    planned_minutes,
)
from mmh_core.pocket.second.sets import denoiser_entries, draw_entries, small_entries
from mmh_core.pocket.second.stages import StageReport, run_stage
from mmh_core.pocket.second.training import Workshop
from mmh_core.records import MMHError

CPU = torch.device("cpu")
TRAINED = tuple(name for name in STAGES if name not in ("world", "latents", "assembly"))
#: One of those that are trained by the same code.
EACH_KIND = tuple(name for name in TRAINED if not re.search(r"-(0|2|\d{3}|all)$", name))


def run(stage: str, work: Path, config: SecondConfig = TINY, minutes: float | None = None) -> bool:
    """Run a stage, and return whether it is finished."""
    last: StageReport | None = None
    fractions = []
    for progress in run_stage(config, stage, work, device=CPU, minutes=minutes):
        last = progress.partial
        fractions.append(progress.fraction)
    assert last is not None
    assert fractions == sorted(fractions)
    return last.finished


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny build, all stages run."""
    work = tmp_path_factory.mktemp("build") / "work"
    for stage in STAGES:
        assert run(stage, work)
    return work


def weights(work: Path, stage: str) -> torch.Tensor:
    """Return all weights of the averaged network of a stage."""
    model = Workshop(TINY, work, CPU).model(stage)
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def without(work: Path, stage: str, to: Path) -> Path:
    """Return a copy of a build in which a stage was not begun."""
    shutil.copytree(work, to)
    for left in (to / f"{stage}.finished", to / f"{stage}.pt"):
        left.unlink(missing_ok=True)
    return to


@pytest.mark.parametrize("stage", EACH_KIND)
def test_a_stage_killed_at_any_step_ends_at_the_same_weights(
    stage: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A checkpoint after every step instead of every few minutes.
    monkeypatch.setattr(fit, "SAVE_EVERY", -1.0)
    work = without(whole, stage, tmp_path / "work")
    steps = run_stage(TINY, stage, work, device=CPU)
    next(steps)
    steps.close()
    assert torch.load(work / f"{stage}.pt", weights_only=True)["step"] == 1
    assert not Workshop(TINY, work, CPU).finished(stage)
    assert run(stage, work)
    assert torch.equal(weights(work, stage), weights(whole, stage))


def test_time_that_is_up_stops_a_stage_which_resumes_later(whole: Path, tmp_path: Path) -> None:
    work = without(whole, "clip", tmp_path / "work")
    assert not run("clip", work, minutes=0.0)
    assert not Workshop(TINY, work, CPU).finished("clip")
    assert run("clip", work)
    assert torch.equal(weights(work, "clip"), weights(whole, "clip"))


def test_the_world_goes_on_with_the_captions_that_are_left(whole: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert not run("world", work, minutes=0.0)
    first = Workshop(TINY, work, CPU).truth()
    assert 0 < len(first) < len(Workshop(TINY, whole, CPU).truth())
    assert run("world", work)
    assert (work / "truth.jsonl").read_bytes() == (whole / "truth.jsonl").read_bytes()
    for name in ("captions.parquet", "rows.parquet", "tokenizer/vocab.json"):
        assert (work / name).read_bytes() == (whole / name).read_bytes()


def test_latents_are_encoded_part_by_part(whole: Path, tmp_path: Path) -> None:
    work = without(whole, "latents", tmp_path / "work")
    [folder] = work.glob("latents-*")
    for path in folder.iterdir():
        path.unlink()
    assert run("latents", work)
    [before] = whole.glob("latents-*")
    assert [path.name for path in folder.iterdir()] == [path.name for path in before.iterdir()]
    for path in before.iterdir():
        assert torch.equal(torch.load(folder / path.name), torch.load(path))


def test_a_finished_stage_trains_nothing(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.glob("*.pt")}
    for stage in TRAINED:
        assert run(stage, whole)
    assert {path: path.stat().st_mtime_ns for path in whole.glob("*.pt")} == before


@pytest.mark.parametrize("stage", [name for name in STAGES if NEEDS[name]])
def test_a_stage_asks_for_what_it_needs(stage: str, tmp_path: Path) -> None:
    with pytest.raises(MMHError, match=f"--stage {NEEDS[stage][0]} first"):
        run(stage, tmp_path / "work")


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage must be one of world, autoencoder"):
        run("denoiser", tmp_path)


def test_other_settings_make_a_stage_unfinished_with_what_depends_on_it(whole: Path) -> None:
    other = replace(TINY, clip=replace(TINY.clip, heads=4))
    shop = Workshop(other, whole, CPU)
    assert {name for name in STAGES if not shop.finished(name)} == set(STAGES) - {
        "world", "autoencoder", "descriptor",
    }  # fmt: skip
    assert not Workshop(replace(TINY, seed=1), whole, CPU).finished("world")


def test_networks_of_one_set_differ(whole: Path) -> None:
    one, two, three = (weights(whole, f"denoiser-{i}") for i in range(3))
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)


def test_small_sets_have_their_images_once_and_the_third_cell_copies() -> None:
    shop = Workshop(TINY, Path("nowhere"), CPU)
    entries = small_entries(shop.tables)
    assert len(entries) == 120
    for stage, count in (("small-100", 100), ("small-400", 120)):
        chosen, copies = entries.of(stage)
        assert (len(chosen), set(copies)) == (count, {1.0})
        assert sorted(entries.rank[chosen]) == list(range(count))
    _, copies = entries.of("small-duplicates")
    assert sorted(set(copies)) == [1.0, 32.0]
    assert (copies > 1).sum() == 30


def test_the_first_set_weighs_what_the_tables_say() -> None:
    config = replace(TINY, open=20, open_rows=50, refresh=2, most_fresh=8, rows=10_000)
    shop = Workshop(config, Path("nowhere"), CPU)
    entries = denoiser_entries(shop.tables, config)
    fresh = shop.tables.captions[shop.tables.captions.role == "fresh"]
    total = shop.tables.rows.copies.sum() + fresh.copies.sum() + 50
    assert entries.weight.sum() == pytest.approx(total)
    chosen, _ = entries.of("denoiser-1")
    assert len(chosen) == len(entries)
    rows = shop.tables.rows
    distinct, copies = entries.of("small-all")
    assert entries.number[distinct].tolist() == rows.index[rows["transform"] == ""].tolist()
    assert set(copies) == {1.0}


def test_a_shipped_stage_is_finished_and_its_network_is_that_of_the_build(
    whole: Path, tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for name in ("clip.pt", "clip.finished"):
        shutil.copy(whole / name, shipped / name)
    shop = Workshop(TINY, tmp_path / "work", CPU, shipped)
    assert [stage for stage in STAGES if shop.finished(stage)] == ["clip"]
    shutil.copytree(whole / "tokenizer", tmp_path / "work" / "tokenizer")
    built = Workshop(TINY, whole, CPU).model("clip").state_dict()
    for name, value in shop.model("clip").state_dict().items():
        assert torch.equal(value, built[name])
    shop.finish("clip")
    assert not (tmp_path / "work" / "clip.finished").exists()
    # Other settings make another stage.
    other = replace(TINY, vocabulary=TINY.vocabulary + 1)
    assert not Workshop(other, tmp_path / "work", CPU, shipped).finished("clip")


def test_entries_are_rendered_alike_in_parts() -> None:
    shop = Workshop(TINY, Path("nowhere"), CPU)
    entries = denoiser_entries(shop.tables, TINY)
    part = entries.part(len(entries) - 30, len(entries))
    together = draw_entries(shop.tables, part)
    alone = [draw_entries(shop.tables, part.part(i, i + 1))[0] for i in range(len(part))]
    assert all((one == other).all() for one, other in zip(together, alone, strict=True))


def test_the_plan_keeps_its_budgets() -> None:
    minutes = planned_minutes(SecondConfig())
    assert tuple(minutes) == STAGES
    assert max(minutes.values()) / TWO_CORES <= STAGE_MINUTES
    assert sum(minutes.values()) / 2 <= ALL_MINUTES
