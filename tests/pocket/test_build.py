"""A tiny build from end to end: what plain diffusers reads, and what a second build repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmh_core.pocket import world as worlds
from mmh_core.pocket.build import STAGES, TINY, Built, _shares, build
from mmh_core.pocket.world import World, build_world
from mmh_core.records import Progress

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """Hold where a build was written and everything that it yielded."""

    out: Path
    work: Path
    yielded: tuple[Progress[Built], ...]

    @property
    def messages(self) -> dict[str, list[str]]:
        """Return what was said of each stage."""
        found: dict[str, list[str]] = {stage: [] for stage in STAGES}
        for each in self.yielded:
            if each.partial.stage in found:
                found[each.partial.stage].append(each.message)
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Return a world of a few subjects of every kind."""
    everyone = worlds.subjects(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "subjects", lambda _: everyone[::12] + everyone[-1:])
        found = build_world(0, share=TINY.share)
    yield replace(found, labels=found.labels.copy())


def built(world: World, root: Path, work: Path, config: Any = TINY) -> Run:
    """Build into a folder, on one thread."""
    return Run(root, work, tuple(build(config, root, work, device=CPU, world=world)))


@pytest.fixture(scope="module")
def first(world: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a first build."""
    root = tmp_path_factory.mktemp("first")
    return built(world, root / "out", root / "work")


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_progress_rises_through_the_stages_to_one(first: Run) -> None:
    fractions = [each.fraction for each in first.yielded]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    stages = list(dict.fromkeys(each.partial.stage for each in first.yielded))
    assert stages == ["world", *STAGES, "assembly", "done"]
    last = first.yielded[-1].partial
    assert set(last.losses) == set(STAGES)
    assert all(np.isfinite(loss) for loss in last.losses.values())
    assert [len(first.messages[stage]) for stage in STAGES] == [3, 3, 3, 4]


def test_stages_share_the_progress_by_their_time() -> None:
    shares = _shares(TINY)
    ends = [begin + length for begin, length in shares.values()]
    assert ends[-1] == pytest.approx(0.98)
    assert [begin for begin, _ in shares.values()] == pytest.approx([0.0, *ends[:-1]])


def test_plain_diffusers_loads_the_folder_and_generates(first: Run) -> None:
    from diffusers import StableDiffusionPipeline

    kind: Any = StableDiffusionPipeline
    pipeline = kind.from_pretrained(str(first.out), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert {p.dtype for p in pipeline.unet.parameters()} == {torch.float32}
    assert {p.dtype for p in pipeline.text_encoder.parameters()} == {torch.float32}

    def image(prompt: str) -> Any:
        return pipeline(
            prompt,
            num_inference_steps=3,
            guidance_scale=2.0,
            output_type="np",
            generator=torch.Generator().manual_seed(0),
        ).images

    one = image("a red circle")
    assert one.shape == (1, 64, 64, 3)
    assert one.std() > 0
    np.testing.assert_array_equal(one, image("a red circle"))


def test_latents_of_the_written_autoencoder_have_unit_spread(first: Run, world: World) -> None:
    from diffusers import AutoencoderKL

    from mmh_core.pocket.autoencoder import encode
    from mmh_core.pocket.batches import as_tensor

    kind: Any = AutoencoderKL
    vae = kind.from_pretrained(str(first.out), subfolder="vae", local_files_only=True)
    # Weights were rounded to half precision, 1 part in 2,000, after the scale was set.
    assert float(encode(vae, as_tensor(world.images)).std()) == pytest.approx(1, abs=5e-3)


def test_a_second_build_trains_nothing_and_writes_the_same_bytes(
    first: Run, world: World, tmp_path: Path
) -> None:
    again = built(world, tmp_path / "out", first.work)
    for stage in STAGES:
        assert [m.split(",")[0] for m in again.messages[stage]] == [f"{stage}: done"]
    assert contents(again.out) == contents(first.out)
    assert not (first.work / "assembled").exists()


def test_a_build_elsewhere_writes_the_same_bytes(first: Run, world: World, tmp_path: Path) -> None:
    other = built(world, tmp_path / "out", tmp_path / "work")
    assert [len(other.messages[stage]) for stage in STAGES] == [3, 3, 3, 4]
    assert contents(other.out) == contents(first.out)


def test_a_changed_stage_starts_anew_with_what_depends_on_it_alone(
    first: Run, world: World, tmp_path: Path
) -> None:
    import shutil

    work = shutil.copytree(first.work, tmp_path / "work")
    config = replace(TINY, clip=replace(TINY.clip, heads=4))
    other = built(world, tmp_path / "out", work, config)
    assert [len(other.messages[stage]) for stage in STAGES] == [1, 3, 1, 4]


def test_another_seed_trains_everything_anew(first: Run, world: World, tmp_path: Path) -> None:
    import shutil

    work = shutil.copytree(first.work, tmp_path / "work")
    other = built(world, tmp_path / "out", work, replace(TINY, seed=1))
    assert [len(other.messages[stage]) for stage in STAGES] == [3, 3, 3, 4]
    one, two = contents(first.out), contents(other.out)
    assert set(one) == set(two)
    for name in one:
        if name.endswith(".safetensors"):
            assert one[name] != two[name]
