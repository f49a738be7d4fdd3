"""A comparison that is killed goes on with the cells and attacks that it has finished."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.mitigation.kept_cells import AttackResult
from mmh_core.studies.mitigation.robustness import robust_study
from mmh_core.studies.mitigation.run import Cell, MitigationRun
from mmh_core.studies.mitigation.study import mitigation_study
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage
from tests.studies.mitigation.test_study import CONFIG, model, planted, run
from tests.text_to_image.conftest import folder_of, model_of

__all__ = ["folder_of", "model", "model_of", "planted", "run"]


def marked(folder: Path) -> int:
    """Mark the cells that are kept, and return how many there are."""
    paths = sorted(folder.glob("*.safetensors"))
    for path in paths:
        save_record(path, replace(load_record(path, Cell), seconds=-1.0))
    return len(paths)


@pytest.mark.parametrize("finished", [1, 4])
def test_finished_cells_are_used_again_and_others_made(
    model: TextToImage, planted: TrainingSet, run: MitigationRun, tmp_path: Path, finished: int
) -> None:
    subject = Subject(model, planted)
    steps = mitigation_study(CONFIG, subject, kept=tmp_path)
    while len(list(tmp_path.glob("*.safetensors"))) < finished:
        next(steps)
    steps.close()
    assert marked(tmp_path) == finished
    *_, last = mitigation_study(CONFIG, subject, kept=tmp_path)
    again = last.partial
    assert [cell.seconds == -1.0 for cell in again.cells] == [i < finished for i in range(6)]
    assert len(list(tmp_path.glob("*.safetensors"))) == 6
    for one, other in zip(run.cells, again.cells, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.similarity, other.similarity)
        assert torch.equal(one.lid, other.lid)
        assert (one.used, one.kinds) == (other.used, other.kinds)
    assert again.nearest_images[0][0] == run.nearest_images[0][0]
    # Without a folder nothing of it is used.
    *_, other_run = mitigation_study(CONFIG, subject)
    assert all(cell.seconds >= 0 for cell in other_run.partial.cells)


def test_other_settings_find_no_cell(
    model: TextToImage, planted: TrainingSet, tmp_path: Path
) -> None:
    subject = Subject(model, planted)
    single = replace(CONFIG, prompts=CONFIG.prompts[:1], treatments=())
    for config in (single, replace(single, seeds=(5, 6)), replace(single, prompts=("a dog",))):
        list(mitigation_study(config, subject, kept=tmp_path))
    list(mitigation_study(single, subject, log_delta=0.1, kept=tmp_path))
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


def test_finished_attacks_and_paraphrases_are_used_again(
    model: TextToImage, planted: TrainingSet, run: MitigationRun, tmp_path: Path
) -> None:
    subject = Subject(model, planted)
    *_, first = robust_study(run, subject, ("a cat",), kept=tmp_path)
    attacks = 0
    for path in tmp_path.glob("*.safetensors"):
        if b"AttackResult" in path.read_bytes()[:2_000]:
            copies = load_record(path, AttackResult).copies
            save_record(path, AttackResult(torch.full_like(copies, 0.25)))
            attacks += 1
    # Each of three mitigations on the prompt, and on its control where that is one.
    attacked = [one.target >= 0 for one in first.partial.robustness]
    assert attacked[0] and attacks == 3 * sum(attacked)
    *_, second = robust_study(run, subject, ("a cat",), kept=tmp_path)
    hard, control = second.partial.robustness
    assert bool((hard.by_attack == 0.25).all())
    assert bool((control.by_attack == 0.25).all()) == attacked[1]
    before = first.partial.robustness[0]
    for one, other in (
        (hard.by_seed, before.by_seed),
        (hard.by_paraphrase, before.by_paraphrase),
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert hard.target == before.target == 7
