"""Training-time mitigation: small denoisers of the world with and without duplicates.

No prompt and no guidance takes part in these mitigations, so they cannot be tried on a finished
model: the shipped world is learned anew by a narrower network, twice, all else equal, and looked
at on the way. Its autoencoder, text encoder, descriptor and CLIP are those of the shipped model.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mmh_core.mitigations.interface import reporting
from mmh_core.pocket.assets import read_prompts, read_world
from mmh_core.pocket.autoencoder import encode
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.clip import captioned
from mmh_core.pocket.denoiser import DenoiserConfig, LatentSet, contexts, train_denoiser
from mmh_core.pocket.fit import Fitted, Fitting
from mmh_core.pocket.tokenizer import token_ids
from mmh_core.pocket.trials import generate_trials, lid_at
from mmh_core.records import MMHError, Progress
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.studies.images.examples import memorized_kinds
from mmh_core.studies.images.generation import pixels_of
from mmh_core.studies.mitigation.captions import LEFT_OUT, listed_paraphrases
from mmh_core.studies.mitigation.kept_snapshots import KeptArm
from mmh_core.studies.mitigation.training_robustness import Returned, network_robustness
from mmh_core.studies.mitigation.training_run import (
    ARMS,
    REFERENCE,
    TrainingMitigationConfig,
    TrainingMitigationRun,
    TrainingMitigationSnapshot,
    early_stop,
)
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage, latent_net

_DRAWING_SEED = 70_000
#: The share of an arm's progress that is kept for the copies that come back.
_RETURNING = 0.1


def checked(config: TrainingMitigationConfig) -> TrainingMitigationConfig:
    """Return the config, or refuse it. Errors: MMHError."""
    if config.steps < 1:
        raise MMHError(f"{config.steps} steps train nothing: ask for at least one.")
    if (
        not config.snapshot_steps
        or not 0 < min(config.snapshot_steps) <= max(config.snapshot_steps) <= config.steps
    ):
        raise MMHError(
            f"The steps of snapshots must be from 1 to {config.steps}: choose other ones."
        )
    if config.captions < 1 or config.seeds < 1:
        raise MMHError("There is nothing to draw: ask for at least one caption and one seed.")
    return replace(config, snapshot_steps=tuple(sorted(set(config.snapshot_steps))))


def training_mitigation(
    config: TrainingMitigationConfig, folder: Path, subject: Subject, kept: Path | None = None
) -> Iterator[Progress[TrainingMitigationRun]]:
    """Train both arms of `ARMS` with a snapshot at each of the steps asked for.

    `folder` is that of the shipped model, `subject` what was opened from it. Training and finished
    snapshots are kept in the folder `kept`, where it is given, and used again. Errors: MMHError
    for a config that cannot be run or a folder without its world.
    """
    config, model, training_set = checked(config), subject.model, subject.training_set
    if training_set is None:
        raise MMHError(f"{folder} has no training set to train on: name the shipped model.")
    started = time.monotonic()
    run = TrainingMitigationRun(config, model.sha256, "training", (), (), 0.0)
    yield Progress(0.0, "Encoding the world", run)
    data, captions = _materials(config, folder, model)
    run = replace(
        run,
        captions=tuple(zip(captions.caption, captions.group, strict=True)),
        group_names=tuple(dict.fromkeys(captions.group)),
    )
    paraphrases = listed_paraphrases(folder)
    total = len(ARMS) * config.steps
    for number, arm in enumerate(ARMS):
        arm_data = replace(data, copies=torch.ones_like(data.copies)) if arm.single else data
        finished = KeptArm(kept, (model.sha256, config, arm))
        network = DenoiserConfig(
            Fitting(config.steps, config.batch, 1e-3, max(1, config.steps // 16)),
            channels=config.channels,
            groups=config.groups,
        )
        networks: dict[int, TextToImage] = {}
        for fitted in _trained(arm_data, network, finished, config, model.device):
            # The end of an arm's share is kept for the copies that come back.
            share = (number * config.steps + (1 - _RETURNING) * fitted.step) / total
            due = [s for s in config.snapshot_steps if s <= fitted.step and s not in networks]
            for step in due:
                pair = finished.snapshot(step, fitted.model)
                if pair is None:
                    trained = _with_network(model, fitted.model)
                    snapshot = _snapshot(
                        config, arm.name, step, fitted.loss, trained, training_set, captions
                    )
                    finished.keep(snapshot, fitted.model)
                    pair = snapshot, copy.deepcopy(fitted.model)
                networks[step] = _with_network(model, pair[1])
                run = replace(run, snapshots=(*run.snapshots, pair[0]))
            run = replace(run, seconds=time.monotonic() - started)
            message = f"Training {arm.label}, step {fitted.step:,} of {config.steps:,}"
            yield Progress(0.999 * share, message, run)
        last, stopped = run.arm(arm.name)[-1], early_stop(run.arm(arm.name))
        for snapshot in (last, *([] if stopped is None else [stopped])):
            at = 0.999 * (number + 1 - _RETURNING / 2) * config.steps / total
            work = network_robustness(
                *(config, networks[snapshot.step], data.latents, captions),
                *(training_set, paraphrases),
                kept=partial(finished.returned, snapshot.step),
            )
            waiting = Progress(at, f"Bringing copies back, {arm.label}", run)
            returned = yield from reporting(work, waiting)
            snapshots = tuple(
                _with_returned(each, returned) if each is snapshot else each
                for each in run.snapshots
            )
            run = replace(run, snapshots=snapshots, seconds=time.monotonic() - started)
    yield Progress(1.0, "Finished", replace(run, state="complete"))


def _trained(
    data: LatentSet,
    network: DenoiserConfig,
    finished: KeptArm,
    config: TrainingMitigationConfig,
    device: torch.device,
) -> Iterator[Fitted]:
    """Train an arm from where it stopped, or anew where a snapshot before that is not finished."""
    for fitted in train_denoiser(
        data, network, finished.place(device, config.seed), config.precision
    ):
        passed = [step for step in config.snapshot_steps if step < fitted.step]
        if fitted.taken <= 1 and any(finished.snapshot(s, fitted.model) is None for s in passed):
            break
        yield fitted
    else:
        return
    finished.forget()
    yield from train_denoiser(data, network, finished.place(device, config.seed), config.precision)


def _materials(
    config: TrainingMitigationConfig, folder: Path, model: TextToImage
) -> tuple[LatentSet, pd.DataFrame]:
    """Return the training set as the builder prepares it, and the captions of the snapshots."""
    world = read_world(folder)
    groups = groups_of(folder, world.labels)
    left_out = undecided_captions(folder)
    chosen = _chosen(world.labels, config, groups, left_out)
    labels = world.labels.loc[chosen].reset_index(drop=True)
    texts = captioned(
        list(labels["captions"]),
        list(labels["content"]),
        lambda captions: token_ids(model.tokenizer, captions),
    )
    data = LatentSet(
        encode(model.autoencoder, as_tensor(world.images[chosen])),
        torch.tensor(labels["copies"].to_numpy(copy=True)),
        texts,
        contexts(model.text_encoder, texts.ids).half(),
        model.unconditional.cpu().half(),
    )
    return data, _snapshot_captions(labels, config.captions, groups, left_out)


def _with_returned(
    snapshot: TrainingMitigationSnapshot, returned: Returned
) -> TrainingMitigationSnapshot:
    """Return a snapshot that knows what comes back of its copies."""
    return replace(
        snapshot,
        retriggered=returned.retriggered,
        rephrased=returned.rephrased,
        reseeded=returned.reseeded,
        control=returned.control,
    )


def groups_of(folder: Path, labels: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the kinds of captions in each group by the world's own tables, references last.

    Each kind that the world was built to have copied is a group, all other kinds are `REFERENCE`.
    """
    kinds = [str(kind) for kind in dict.fromkeys(labels.kind) if kind not in LEFT_OUT]
    memorized = [kind for kind in memorized_kinds(folder) if kind in kinds]
    groups = {kind: (kind,) for kind in memorized}
    return groups | {REFERENCE: tuple(kind for kind in kinds if kind not in memorized)}


def undecided_captions(folder: Path) -> frozenset[str]:
    """Return the captions whose dose lies between memorized and not, where a world has such."""
    table = read_prompts(folder)
    if "repeated" not in table.columns:
        return frozenset()
    return frozenset(str(text) for text in table[table.repeated == "between"].caption)


def _chosen(
    labels: pd.DataFrame,
    config: TrainingMitigationConfig,
    groups: Mapping[str, tuple[str, ...]],
    left_out: frozenset[str] = frozenset(),
) -> list[int]:
    """Return the training rows: those of the captions copied most, and a share of the references.

    Of each memorized group as many captions as snapshots sample, so that a short training meets
    each of them often enough; none of those that are `left_out`.
    """
    chosen = []
    for group, kinds in groups.items():
        for kind in kinds:
            part = labels[labels.kind == kind]
            if group != REFERENCE:
                subjects = _most_copied(_without(part, left_out), config.captions)
                chosen += part.index[part.subject.isin(subjects)].tolist()
                continue
            rows = part.index.tolist()
            count = max(1, round(config.wide * len(rows)))
            chosen += [rows[i * len(rows) // count] for i in range(count)]
    return sorted(chosen)


def _most_copied(labels: pd.DataFrame, count: int) -> list[str]:
    """Return the subjects with the most copies of an image, or with the most versions of one.

    Of equally many the fewest distinct images, so that each is met most often.
    """
    subjects = labels.groupby("subject", sort=False).copies.agg(["max", "size"])
    versions = subjects["size"].where(subjects["max"] == 1, -subjects["size"])
    order = subjects.assign(versions=versions).sort_values(
        ["max", "versions"], ascending=False, kind="stable"
    )
    return [str(subject) for subject in order.index[:count]]


def _without(labels: pd.DataFrame, left_out: frozenset[str]) -> pd.DataFrame:
    """Return the rows whose caption is none of those left out."""
    return labels[[str(texts[0]) not in left_out for texts in labels.captions]]


def _snapshot_captions(
    labels: pd.DataFrame,
    count: int,
    groups: Mapping[str, tuple[str, ...]],
    left_out: frozenset[str] = frozenset(),
) -> pd.DataFrame:
    """Return `count` captions of each group, evenly over its subjects, kinds in turn.

    None of those that are `left_out`.
    """
    rows = []
    kept = _without(labels, left_out)
    for group, kinds in groups.items():
        lists = []
        for kind in kinds:
            of_kind = kept[kept.kind == kind]
            distinct = of_kind.drop_duplicates("subject")
            lists.append(distinct if len(distinct) >= count else of_kind)
        for i in range(count):
            table = lists[i % len(lists)]
            place = i * len(table) // count
            row, number = table.iloc[place], table.index.tolist()[place]
            rows.append((str(row.captions[0]), group, str(row.subject), number))
    return pd.DataFrame(rows, columns=["caption", "group", "subject", "row"])


def _with_network(model: TextToImage, unet: torch.nn.Module) -> TextToImage:
    """Return the model with another network in the middle."""
    net = latent_net(unet, model.schedule, model.unconditional)
    return replace(model, unet=unet, score_model=replace(model.score_model, net=net))


@torch.no_grad()
def _snapshot(
    config: TrainingMitigationConfig,
    arm: str,
    step: int,
    loss: float,
    model: TextToImage,
    training_set: TrainingSet,
    captions: pd.DataFrame,
) -> TrainingMitigationSnapshot:
    """Generate every caption with every seed; return copies, alignment and LID of each group."""
    trials = generate_trials(
        model,
        captions.rename(columns={"group": "kind"}),
        tuple(_DRAWING_SEED + i for i in range(config.seeds)),
        guidance=model.guidance,
        steps=config.sampling_steps,
    )
    if training_set.log_delta is None or training_set.alignment is None:
        raise MMHError("This model has no calibrated scale: choose the shipped model.")
    pixels = torch.cat([pixels_of(model, part) for part in torch.split(trials.latents, 8)])
    images = pixels.float() / 255
    evidence = [row for row, _ in find_copies(training_set, images)]
    texts = [str(text) for text in trials.table.caption]
    lid = lid_at(model, trials.latents, training_set.log_delta, prompts=texts, images=pixels)
    fits = training_set.alignment(images, texts).diagonal()
    groups = tuple(dict.fromkeys(captions.group))
    group = torch.tensor([groups.index(name) for name in trials.table.kind])

    def by_group(values: Tensor) -> Tensor:
        return torch.stack([values[group == i] for i in range(len(groups))])

    return TrainingMitigationSnapshot(
        arm,
        step,
        loss,
        by_group(torch.tensor([float(is_copy(row.kind)) for row in evidence])),
        by_group(torch.tensor([row.similarity for row in evidence])),
        by_group(fits),
        by_group(lid.float()),
        by_group(pixels)[:, : config.kept],
        group_names=groups,
    )
