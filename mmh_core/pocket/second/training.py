"""What the stages of the second world's build do, over the trainers of the first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from mmh_core.files import replacing, write_text
from mmh_core.installation import assets
from mmh_core.pocket.autoencoder import encode, set_scale, train_autoencoder
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.build import Models, assemble
from mmh_core.pocket.clip import captioned, train_clip
from mmh_core.pocket.denoiser import LatentSet, contexts, train_denoiser
from mmh_core.pocket.descriptor import train_descriptor
from mmh_core.pocket.fit import Fitted
from mmh_core.pocket.folder import Place
from mmh_core.pocket.paint import SIDE
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import open_images, trained_scene
from mmh_core.pocket.second.plan import DENOISERS, STAGES, SecondConfig
from mmh_core.pocket.second.sets import (
    Entries,
    denoiser_entries,
    draw_entries,
    small_entries,
)
from mmh_core.pocket.second.tables import Tables, build_tables
from mmh_core.pocket.second.truth import caption_truths
from mmh_core.pocket.tokenizer import LENGTH, load_tokenizer, token_ids, train_tokenizer
from mmh_core.records import MMHError

#: Networks of stages that somebody has finished.
SHIPPED = assets() / "second-world"
#: Captions of which the truth is kept at once, and images of one file of latents.
_TRUTHS, _PART = 10, 2_048
#: Open images from which the scale of the latents is taken, and that stand for the renderer.
_SCALED, _FINGERPRINTED = 2_000, 20
#: Open images of the pool have numbers from here, those of the denoisers from 0.
_POOL_START = 100_000_000

Step = Fitted | tuple[int, int]


class Workshop:
    """One build: its settings, its folder, and what its finished stages left there."""

    def __init__(
        self, config: SecondConfig, work: Path, device: torch.device, shipped: Path = SHIPPED
    ) -> None:
        """Start in a folder, which is made when something is written.

        Networks of finished stages may also lie in the folder `shipped`, where nothing is written.
        """
        self.config, self.work, self.device, self.shipped = config, work, device, shipped

    @cached_property
    def tables(self) -> Tables:
        """Return the tables of the world."""
        return build_tables(self.config.seed, self.config.sizes)

    def finished(self, stage: str) -> bool:
        """Return whether a stage with these settings was finished here, or is shipped finished."""
        return self._home(stage) is not None

    def finish(self, stage: str) -> None:
        """Mark a stage as finished."""
        if not self.finished(stage):
            write_text(self.work / f"{stage}.finished", self.stamp(stage))

    def _home(self, stage: str) -> Path | None:
        """Return the folder of a finished stage, None where it is not finished."""
        marks = [folder / f"{stage}.finished" for folder in (self.work, self.shipped)]
        stamp = self.stamp(stage)
        return next(
            (path.parent for path in marks if path.is_file() and path.read_text() == stamp), None
        )

    def steps(self, stage: str) -> Iterator[Step]:
        """Run a stage from where it was, one yield a step."""
        if stage == "world":
            return self._world()
        if stage == "latents":
            return self._latents()
        if stage == "assembly":
            return self._assembly()
        trained: dict[str, Callable[[], Iterator[Fitted]]] = {
            "autoencoder": self._autoencoder,
            "clip": self._clip,
            "descriptor": self._descriptor,
        }
        return trained[stage]() if stage in trained else self._denoiser(stage)

    def model(self, stage: str) -> Any:
        """Return the averaged network of a finished stage of training."""
        if not self.finished(stage):
            raise MMHError(f"The stage {stage} is not finished: run it first.")
        # A finished fit yields its last step again, and takes none.
        [last] = self.steps(stage)
        if not isinstance(last, Fitted):
            raise ValueError(f"The stage {stage!r} trains no network.")
        return last.model

    def scaled_autoencoder(self) -> Any:
        """Return the finished autoencoder, scaled so that latents of open images spread by 1."""
        vae = self.model("autoencoder")
        if not self._scale_path.is_file():
            scaled = open_images(self.tables, _POOL_START, min(_SCALED, self.config.pool))
            images = draw_all([each.scene for each in scaled])
            write_text(self._scale_path, json.dumps(set_scale(vae, as_tensor(images))))
        vae.register_to_config(scaling_factor=json.loads(self._scale_path.read_text()))
        return vae

    def truth(self) -> pd.DataFrame:
        """Return what was measured so far: caption, lid, and chance of a copy."""
        columns = ["caption", "lid", "chance"]
        path = self.work / "truth.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        kept = [each for each in map(json.loads, lines) if each.pop("stamp") == self.stamp("")]
        return pd.DataFrame(kept, columns=columns)

    # --- stages -------------------------------------------------------------------------------

    def _world(self) -> Iterator[Step]:
        """Write the tables and the tokenizer, and measure the truth of all captions."""
        tables = self.tables
        captions = tables.captions
        self.work.mkdir(parents=True, exist_ok=True)
        for name, table in (("captions", captions), ("rows", tables.rows)):
            with replacing(self.work / f"{name}.parquet") as temporary:
                table.to_parquet(temporary, index=False)
        texts = [each.caption.text for each in open_images(tables, _POOL_START, self.config.pool)]
        inside = captions[captions.group.isin(("trained", "small"))]
        train_tokenizer(
            [*inside.text, *texts], self.work / "tokenizer", vocabulary=self.config.vocabulary
        )
        numbers = captions[~captions.group.isin(("paraphrases", "outside"))].id.tolist()
        numbers = numbers[: self.config.measured]
        measured = self.truth()
        left = [number for number in numbers if number not in set(measured.caption)]
        stamp = self.stamp("")
        for start in range(0, len(left), _TRUTHS):
            truths = caption_truths(tables, left[start : start + _TRUTHS])
            lines = [json.dumps({**vars(truth), "stamp": stamp}) for truth in truths]
            kept = [json.dumps({**row, "stamp": stamp}) for row in measured.to_dict("records")]
            write_text(self.work / "truth.jsonl", "\n".join([*kept, *lines]) + "\n")
            measured = self.truth()
            yield len(measured), len(numbers)

    def _autoencoder(self) -> Iterator[Fitted]:
        config = self.config.autoencoder
        place = self._place("autoencoder")
        images, _, _ = self._shown("autoencoder")
        yield from train_autoencoder(images, config, place, self.config.precision)

    def _clip(self) -> Iterator[Fitted]:
        images, texts, keys = self._shown("clip")
        read = captioned([(text,) for text in texts], keys, self._ids)
        place = self._place("clip")
        yield from train_clip(images, read, self.config.clip, place, self.config.precision)

    def _descriptor(self) -> Iterator[Fitted]:
        images, _, keys = self._shown("descriptor")
        numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        subjects = torch.tensor([numbers[key] for key in keys])
        place = self._place("descriptor")
        config = self.config.descriptor
        yield from train_descriptor(images, subjects, config, place, self.config.precision)

    def _shown(self, stage: str) -> tuple[Tensor, list[str], list[str]]:
        """Return the pool, or one image where a finished stage only loads its network."""
        if not self.finished(stage):
            return self._pool
        return torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8), [""], [""]

    @cached_property
    def _pool(self) -> tuple[Tensor, list[str], list[str]]:
        """Return the images of autoencoder, CLIP and descriptor, their captions and contents.

        Open images, and each image of the training set once, near-duplicates left out.
        """
        tables = self.tables
        opened = list(open_images(tables, _POOL_START, self.config.pool))
        rows = tables.rows.iloc[: self.config.rows]
        rows = rows[rows["transform"] == ""]
        numbers = list(zip(rows.caption.tolist(), rows.image.tolist(), strict=True))
        scenes = [each.scene for each in opened]
        scenes += [trained_scene(tables, caption, image) for caption, image in numbers]
        row_captions = [tables.grammar[caption] for caption, _ in numbers]
        captions = [each.caption for each in opened] + [
            each for each in row_captions if each is not None
        ]
        keys = [f"{c.painter}/{c.subject}/{sorted(c.fixed)}" for c in captions]
        return as_tensor(draw_all(scenes)), [caption.text for caption in captions], keys

    def _latents(self) -> Iterator[Step]:
        """Render and encode all images of the denoisers, part after part."""
        vae = self.scaled_autoencoder()
        parts = range(0, len(self._entries), _PART)
        for number, start in enumerate(parts):
            path = self._part(number)
            if not path.is_file():
                images = draw_entries(self.tables, self._entries.part(start, start + _PART))
                with replacing(path) as temporary:
                    torch.save(encode(vae, as_tensor(images)).half(), temporary)
            yield number + 1, len(parts)

    def _assembly(self) -> Iterator[Step]:
        """Write the folder of the pipeline, CLIP and descriptor, `model` in the work folder."""
        unet = self.model(DENOISERS[0])
        clip, descriptor = self.model("clip"), self.model("descriptor")
        networks = Models(self.scaled_autoencoder(), clip, descriptor, unet)
        assemble(networks, self.work / "tokenizer", self.work / "model", self.work)
        yield 1, 1

    def _denoiser(self, stage: str) -> Iterator[Fitted]:
        data = self._no_latents() if self.finished(stage) else self._latent_set(stage)
        config = self.config.denoiser
        if not stage.startswith("denoiser"):
            config = replace(config, fitting=self.config.small)
        yield from train_denoiser(data, config, self._place(stage), self.config.precision)

    # --- what the stages use ------------------------------------------------------------------

    @cached_property
    def _entries(self) -> Entries:
        """Return the images of all denoisers."""
        return Entries.joined(
            denoiser_entries(self.tables, self.config), small_entries(self.tables)
        )

    def _latent_set(self, stage: str) -> LatentSet:
        """Return the training set of one of the denoisers."""
        entries = self._entries
        chosen, copies = entries.of(stage)
        latents = self._all_latents(len(entries))[torch.from_numpy(chosen)].float()
        texts = [entries.texts[i] for i in chosen.tolist()]
        read = captioned([(text,) for text in texts], texts, self._ids)
        text_model = self.model("clip").text_model
        return LatentSet(
            latents,
            torch.from_numpy(copies),
            read,
            contexts(text_model, read.ids).half(),
            contexts(text_model, self._ids([""])).half(),
        )

    def _no_latents(self) -> LatentSet:
        """Return a set in place of the training set, where a finished stage loads its network."""
        side = SIDE // 8
        latents = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
        context = torch.zeros(1, LENGTH, self.config.clip.text_width)
        texts = captioned([("",)], [""], self._ids)
        return LatentSet(latents, torch.ones(1), texts, context, context)

    def _all_latents(self, count: int) -> Tensor:
        parts = range((count + _PART - 1) // _PART)
        latents_kept = [torch.load(self._part(number), weights_only=True) for number in parts]
        return torch.cat(latents_kept)

    def _part(self, number: int) -> Path:
        return self.work / f"latents-{self.stamp('latents')[:12]}" / f"{number:04d}.pt"

    @property
    def _scale_path(self) -> Path:
        return self.work / f"scale-{self.stamp('autoencoder')[:12]}.json"

    def _ids(self, captions: Sequence[str]) -> Tensor:
        ids: Tensor = token_ids(load_tokenizer(self.work / "tokenizer"), list(captions))
        return ids

    def _place(self, stage: str) -> Place:
        seed = self.config.seed * len(STAGES) + STAGES.index(stage)
        folder = self._home(stage) or self.work
        return Place(self.device, seed, folder / f"{stage}.pt", self.stamp(stage))

    @cached_property
    def _fingerprint(self) -> str:
        """Return a digest of the tables and of some images: another renderer, another world."""
        tables = self.tables
        images = draw_all([each.scene for each in open_images(tables, 0, _FINGERPRINTED)])
        digest = hashlib.sha256(images.tobytes())
        digest.update("\n".join(tables.captions.text).encode())
        digest.update(tables.rows.to_json().encode())
        return digest.hexdigest()

    def stamp(self, stage: str) -> str:
        """Return what is equal for two builds exactly when a stage of theirs is the same."""
        config = self.config
        world = (config.seed, config.sizes, config.rows, self._fingerprint)
        clip = (world, config.pool, config.vocabulary, config.clip, config.precision)
        autoencoder = (world, config.pool, config.autoencoder, config.precision)
        latents = (autoencoder, config.open, config.refresh, config.most_fresh)
        settings: dict[str, tuple[object, ...]] = {
            "": world,
            "world": (world, config.pool, config.vocabulary, config.measured),
            "autoencoder": autoencoder,
            "clip": clip,
            "descriptor": (world, config.pool, config.descriptor, config.precision),
            "latents": (latents, clip),
            "assembly": (config,),
        }
        networks = (latents, clip, config.open_rows, config.denoiser)
        own = settings.get(stage, (*networks, *((config.small,) if "small" in stage else ())))
        return hashlib.sha256(json.dumps([stage, repr(own)]).encode()).hexdigest()
