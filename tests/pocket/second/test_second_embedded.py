"""A tiny second world from its build to a model that the product opens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from mmh_core.cli.furnish_second import (
    MODEL_STAGE,
    as_recommended,
    furnish_second,
    run_second,
)
from mmh_core.cli.furnishing import POCKET, Furnishing
from mmh_core.pocket.assets import (
    has_to_draw,
    read_prompts,
    read_training_image,
    read_world,
    world_number,
)
from mmh_core.pocket.second.embedded import (
    REFERENCES,
    caption_table,
    second_example,
    second_labelled,
    second_references,
)
from mmh_core.pocket.second.generated import ImageCounts
from mmh_core.pocket.second.images import row_images
from mmh_core.pocket.second.inspection import Inspection
from mmh_core.pocket.second.plan import GUIDANCE, STEPS, TINY, SecondConfig
from mmh_core.pocket.second.training import Workshop
from mmh_core.records import MMHError
from mmh_core.retrieval.copy_evidence import copy_evidence
from mmh_core.retrieval.umap_layout import Positions
from mmh_core.studies.detection.labelled_prompts import pocket_labelled, pocket_reference_captions
from mmh_core.studies.images.examples import pocket_examples
from mmh_core.studies.images.run import ImageConfig
from mmh_core.studies.mitigation.run import MitigationConfig
from mmh_core.subject.subject import open_subject
from mmh_core.text_to_image.requests import Sampling
from tests.pocket.second.tiny_build import tiny_inspection

CPU = torch.device("cpu")
CONFIG = replace(TINY, measured=0, rows=300)
COUNTS = ImageCounts(negatives=2, recognized=4, scale_captions=4)
BUILT = ("world", "autoencoder", "clip", "descriptor", "latents", "denoiser-0")


@pytest.fixture(scope="module")
def inspection(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """Return the inspection of a tiny build with one denoiser, LID* the free parameters."""
    work = tmp_path_factory.mktemp("build") / "second"
    return tiny_inspection(CONFIG, COUNTS, BUILT, work)


def in_two(vectors: NDArray[np.float32]) -> Iterator[Positions | None]:
    """Yield the first two numbers of descriptors in place of a map, which takes half a minute."""
    yield vectors[:, :2]


@pytest.fixture(scope="module")
def furnished(inspection: Inspection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the tiny model with its index and its calibration on images."""
    root = tmp_path_factory.mktemp("assets")
    at = Furnishing(root, root / "work", "cpu", "tiny")
    run_second(at, inspection, [MODEL_STAGE, "calibration"], layout=in_two)
    return root / "tiny"


def test_the_product_opens_the_folder_and_searches_its_training_set(
    furnished: Path, inspection: Inspection
) -> None:
    subject = open_subject(str(furnished), "cpu")
    training_set = subject.training_set
    assert training_set is not None
    assert training_set.training is not None
    assert training_set.thresholds == subject.calibration.copy_thresholds
    assert subject.calibration.copy_thresholds == inspection.thresholds
    assert subject.calibration.lid_noise_scale is not None
    assert subject.calibration.sha256 == subject.model.sha256
    assert (subject.model.guidance, subject.model.steps) == (GUIDANCE, STEPS)
    # The index has the rows of the training table, near-duplicates and copies counted.
    tables = inspection.shop.tables
    rows = tables.rows.iloc[: CONFIG.rows]
    assert training_set.index.multiplicity.tolist() == rows.copies.tolist()
    assert len(training_set.index) == 300
    chosen = [0, 120, 299]
    images = row_images(tables, chosen)
    for row, image in zip(chosen, images, strict=True):
        np.testing.assert_array_equal(training_set.image(row).permute(1, 2, 0).numpy(), image)
    assert training_set.thresholds is not None
    evidence = copy_evidence(
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255,
        training_set.embedder,
        training_set.training,
        training_set.thresholds,
    )
    assert evidence.distance.tolist() == [0, 0, 0]


def test_the_truth_of_captions_is_that_of_the_tables(
    furnished: Path, inspection: Inspection
) -> None:
    training_set = open_subject(str(furnished), "cpu").training_set
    assert training_set is not None
    assert training_set.truth is not None
    tables = inspection.shop.tables
    captions = tables.captions
    inside = tables.rows.iloc[: CONFIG.rows].caption.value_counts()
    chosen = (captions.role == "exact") & (captions.copies > 1) & captions.id.isin(inside.index)
    number = int(captions[chosen].id.iloc[0])
    truth = training_set.truth(captions.text[number])
    assert truth is not None
    assert (truth.kind, truth.trained, truth.lid) == ("duplicate", True, captions.free[number])
    assert truth.images == inside[number]
    assert truth.multiplicity == captions.copies[number] * inside[number]
    paraphrase = captions[captions.paraphrase_of == number]
    other = training_set.truth(paraphrase.text.iloc[0])
    if paraphrase.text.iloc[0] != captions.text[number]:
        assert other == replace(truth, trained=False)
    assert training_set.truth("an astronaut riding a horse") is None


def test_the_folder_holds_the_world_with_held_out_images(
    furnished: Path, inspection: Inspection, tmp_path: Path
) -> None:
    assert world_number(furnished) == 2
    # No image is shipped: they are drawn.
    assert not list(furnished.rglob("*.webp"))
    world = read_world(furnished, tmp_path)
    np.testing.assert_array_equal(world.images, row_images(inspection.shop.tables, range(300)))
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    np.testing.assert_array_equal(read_training_image(furnished, 299, tmp_path), world.images[299])
    assert not has_to_draw(furnished, tmp_path)
    captions = inspection.shop.tables.captions
    groups = captions.group.isin(("trained", "held-out"))
    assert len(world.held_out) == groups.sum() + 200
    assert (world.held_out_labels.kind == "open").sum() == 200
    assert (world.held_out_labels.copies == 0).all()
    both = np.concatenate([world.images, world.held_out])
    distinct = len(np.unique(world.held_out.reshape(len(world.held_out), -1), axis=0))
    assert both.shape[1:] == (64, 64, 3)
    # Captions that leave nothing free have one image, held out or not.
    assert distinct > 0.9 * len(world.held_out)


def test_labels_describe_the_data_and_halves_share_no_prompt(furnished: Path) -> None:
    labelled = pocket_labelled(furnished)
    assert labelled == second_labelled(furnished)
    assert len({row.prompt for row in labelled}) == len(labelled)
    table = read_prompts(furnished).drop_duplicates("caption").set_index("caption")
    for row in labelled:
        dose = table.loc[row.prompt]
        assert row.memorized == (dose.repeated in ("yes", "between"))
        assert bool(row.exclusion) == (dose.repeated == "between")
        # Nothing is fitted on captions that neither label fits.
        assert not row.exclusion or row.split == "test"
        doses = {"exact": dose.copies, "near": dose.copies, "unique": 1}
        if dose.group == "trained":
            assert row.multiplicity == doses.get(dose.role)
            assert row.near == (dose["transform"] if dose.role == "near" else "")
    by_kind = pd.DataFrame([vars(row) for row in labelled]).groupby("kind").memorized.mean()
    assert set(by_kind[by_kind == 1].index) >= {"near-duplicate", "template", "paraphrase"}
    assert set(by_kind[by_kind == 0].index) >= {"unique", "fresh", "held-out", "outside"}
    groups = {row.group for row in labelled if row.kind == "duplicate" and row.counted}
    assert groups == {f"{copies} exact copies" for copies in (8, 16, 32, 64, 128)}
    # Figures of a dose are of captions as they were trained.
    others = [row for row in labelled if row.kind in ("template", "paraphrase", "unique")]
    assert {row.group for row in others} == {"", "1 exact copy"}
    # Two or four copies are neither; 8 or more are.
    assert by_kind["duplicate"] == 1
    assert {row.split for row in labelled if row.kind == "paraphrase"} == {"test"}


def test_reference_prompts_are_of_the_calibration_half_and_of_all_reference_kinds(
    furnished: Path,
) -> None:
    references = second_references(furnished, 9)
    table = read_prompts(furnished).set_index("caption")
    kinds = [table.kind[text] for text in references]
    assert sorted(kinds) == sorted([*REFERENCES] * 3)
    assert {table.split[text] for text in references} == {"calibration"}
    normal = pocket_reference_captions(furnished)
    tested = {row.prompt for row in pocket_labelled(furnished) if row.split == "test"}
    assert not set(normal) & tested
    assert len(normal) == len(set(normal)) >= 60
    examples = pocket_examples(furnished)
    assert {example.kind for example in examples if example.trained} >= {"duplicate", "fresh"}
    assert not {example.kind for example in examples} & {"outside", "held-out"}


def test_the_example_of_a_kind_is_the_one_copied_most(furnished: Path) -> None:
    table = read_prompts(furnished)
    text = second_example(furnished, "duplicate")
    dose = table[(table.caption == text) & table.trained]
    half = table[(table.split == "calibration") & table.trained & (table.kind == "duplicate")]
    most = half[half.copies == half.copies.max()]
    assert dose.copies.iloc[0] == half.copies.max()
    assert dose.images.iloc[0] == most.images.min()
    alike = most[most.images == most.images.min()]
    assert (dose.family.iloc[0] == "portrait") == (alike.family == "portrait").any()
    near = second_example(furnished, "near-duplicate")
    assert table[table.caption == near]["transform"].iloc[0] in ("color", "noise", "JPEG")
    with pytest.raises(MMHError, match="no caption of the kind varied"):
        second_example(furnished, "varied")


def test_examples_are_sampled_as_the_card_recommends_whatever_the_old_ones_were(
    furnished: Path,
) -> None:
    at = Furnishing(furnished.parent, furnished.parent / "work", "cpu", "tiny")
    old = Sampling(12, 7.5, 64, 64, "euler")
    images = as_recommended(ImageConfig("pocket-sd", ("a",), (0,), old), at, ("b",))
    compared = as_recommended(MitigationConfig("pocket-sd", ("a",), (0,), (), old), at, ("b", "c"))
    assert images.sampling == compared.sampling == at.model.sampling != old
    assert (images.prompts, compared.prompts) == (("b",), ("b", "c"))
    assert at.model.sampling.guidance == GUIDANCE


def test_finished_parts_lie_elsewhere_for_another_calibration(tmp_path: Path) -> None:
    at = Furnishing(tmp_path, tmp_path / "work", "cpu", "tiny")
    places = [at.parts("images"), at.parts("review")]
    at.folder.mkdir()
    for content in (b"one calibration", b"another one"):
        (at.folder / "calibration.safetensors").write_bytes(content)
        places.append(at.parts("images"))
    assert len(set(places)) == 4
    assert {place.parent for place in places} == {at.work / "parts"}
    # Commands open the folder, and figures go to the documentation for the shipped model alone.
    assert at.model_name == str(at.folder)
    assert at.figures("benchmark") == at.work / "benchmark.json"
    assert Furnishing(POCKET.parent, tmp_path, "cpu").model_name == "pocket-sd"


def test_stages_go_on_where_they_stopped_and_are_refused_out_of_order(
    furnished: Path, inspection: Inspection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = Furnishing(furnished.parent, furnished.parent / "work", "cpu", "tiny")
    run_second(at, inspection, [MODEL_STAGE, "calibration"])
    output = capsys.readouterr().out
    assert "folder: finished before." in output
    assert "calibration: finished before." in output
    elsewhere = Furnishing(tmp_path, tmp_path / "work", "cpu", "none")
    with pytest.raises(MMHError, match="run the stage folder first"):
        run_second(elsewhere, inspection, ["calibration"])
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "world.json").write_text('{"seed": 0, "pictures": {}}\n')
    with pytest.raises(MMHError, match="holds the first world"):
        run_second(elsewhere, inspection, ["calibration"])


@pytest.mark.parametrize(
    ("stages", "out", "sentence"),
    [
        ("photos", Path("x"), "no stage 'photos': choose from folder, calibration"),
        ("", None, "Name the folder of the model by --out"),
        ("folder", Path("x"), "The stage world is not finished: run pocket build --world 2"),
    ],
)
def test_wrong_calls_are_refused_before_any_work(
    stages: str, out: Path | None, sentence: str, tmp_path: Path
) -> None:
    to = None if out is None else tmp_path / out
    with pytest.raises(MMHError, match=sentence):
        furnish_second(stages, False, tmp_path / "work", "cpu", tmp_path / "build", to)


def test_every_caption_has_its_dose_and_paraphrases_have_that_of_theirs() -> None:
    shop = Workshop(SecondConfig(), Path("nowhere"), CPU)
    table, captions = caption_table(shop), shop.tables.captions
    assert len(table) == (captions.group != "small").sum()
    trained = table[table.trained].set_index("subject")
    paraphrases = table[table.group == "paraphrases"].set_index("subject")
    assert len(paraphrases) == len(trained)
    for name in ("kind", "role", "copies", "images", "split"):
        assert (paraphrases[name] == trained[name].loc[paraphrases.index]).all()
    assert trained.kind.value_counts().to_dict() == {
        "duplicate": 280, "unique": 200, "near-duplicate": 120, "fresh": 160, "template": 40,
    }  # fmt: skip
