"""Prompts reach the encoder as in diffusers: placeholders, long ones, and what is cut of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from torch import Tensor

from mmh_core.mitigations.attribution import attribute
from mmh_core.mitigations.interface import MitigationContext, result_of
from mmh_core.mitigations.tokens import padding_rows, prompt_tokens
from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import embeddings, generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.prompt_text import expanded, tokens_of
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.stable_diffusion import load
from mmh_core.text_to_image.unread_text import (
    cut_off,
    partly_read_lines,
    partly_read_prompts,
    unread_text,
)
from tests.text_to_image.conftest import FolderOf, ModelOf
from tests.text_to_image.pipelines import IMAGE_TOLERANCE, TOKENS, plain_pipeline

#: Embeddings are of size 1, sums of float32.
CLOSE = {"rtol": 0.0, "atol": 1e-5}
NAMES = ["<toy>", "<toy>_1", "<toy>_2", "<one>", "sks", "sks_1"]
PROMPTS = [
    *("<toy>", "a photo of <toy>", "a <toy>, a dog", "<toy><toy>", "a <toy> and a <toy>!"),
    *("a (<toy>) b", "<one> at <toy>", "the sks", "skss", "\n <toy>\t the", "<toy", "<TOY>"),
    *("a photo", "", "Æ <toy> 猫 <toy>", "the cat the cat the cat the cat <toy> the"),
]


@pytest.fixture(scope="module")
def toy_folder(folder_of: FolderOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pipeline with the tokens of several textual inversions."""
    pipeline = plain_pipeline(folder_of("tiny"))
    pipeline.tokenizer.add_tokens(NAMES)
    torch.manual_seed(0)
    pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer), mean_resizing=False)
    weight = pipeline.text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        weight[-len(NAMES) :] = torch.randn(len(NAMES), weight.shape[1])
    folder = tmp_path_factory.mktemp("toy")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def toy(toy_folder: Path) -> TextToImage:
    """Return the loaded pipeline."""
    return load(toy_folder)


@pytest.fixture(scope="module")
def theirs(toy_folder: Path) -> Any:
    """Return what diffusers makes of it."""
    return plain_pipeline(toy_folder)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_placeholders_encode_as_in_diffusers(toy: TextToImage, theirs: Any, prompt: str) -> None:
    expected = theirs.encode_prompt(prompt, "cpu", 1, False)[0]
    torch.testing.assert_close(toy.encode_text([prompt]), expected, **CLOSE)
    # By hand as well, which the windows build on.
    by_hand = toy.text_encoder(tokens_of(toy.tokenizer, prompt).ids[None])[0]
    torch.testing.assert_close(by_hand, expected, **CLOSE)


def test_a_placeholder_is_all_its_tokens(toy: TextToImage) -> None:
    assert expanded(toy.tokenizer, "a <toy>, sks") == "a <toy> <toy>_1 <toy>_2, sks sks_1"
    # Written out they are left as they are.
    for prompt in ("a <toy>_1", "<one>", "<toy", "a <TOY>"):
        assert expanded(toy.tokenizer, prompt) == prompt
    one = toy.encode_text(["a photo of <toy>_1"])
    assert (toy.encode_text(["a photo of <toy>"]) - one).abs().max() > 0.1


def test_negative_prompts_with_placeholders_are_those_of_diffusers(
    toy: TextToImage, theirs: Any
) -> None:
    request = Request("the cat", (3,), Sampling(3, 3.0, 32, 32, negative="a <toy>"))
    images = theirs(
        request.prompt,
        negative_prompt=request.sampling.negative,
        height=32,
        width=32,
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images
    torch.testing.assert_close(generate_images(toy, request), images, rtol=0, atol=IMAGE_TOLERANCE)


@pytest.mark.parametrize("by", ["guidance norm", "random"])
def test_attribution_shows_a_placeholder_as_one_word(toy: TextToImage, by: Any) -> None:
    prompt = "The <toy>, sks!"
    tokens = prompt_tokens(toy, prompt)
    assert tokens.texts == ("The", "<toy>", ",", "sks", "!")
    assert tokens.rows == ((1,), (2, 3, 4), (5,), (6, 7), (8,))
    assert [prompt[start:end] for start, end in tokens.spans] == list(tokens.texts)
    request = Request(prompt, (3, 7), Sampling(3, 3.0, 32, 32))
    context = MitigationContext(generator=torch.Generator().manual_seed(0))
    found = result_of(attribute(toy, request, by, context=context))
    assert found.tokens == tokens.texts and found.scores.shape == (5,)
    assert bool((found.scores >= 0).all())


LONG = " ".join(f"{word} the" for word in "abcdefghijklmnopq")


def by_hand(model: TextToImage, prompt: str, windows: int) -> Tensor:
    """Return the embedding as the web UIs build it: pieces, each with a start and an end."""
    words: Any = model.tokenizer
    ids = words(prompt, add_special_tokens=False).input_ids
    parts = []
    for _ in range(windows):
        piece, ids = ids[: TOKENS - 2], ids[TOKENS - 2 :]
        row = [words.bos_token_id, *piece, words.eos_token_id]
        row += [words.pad_token_id] * (TOKENS - len(row))
        parts.append(model.text_encoder(torch.tensor([row]))[0])
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("prompt", ["", "the cat", LONG, "the " * 14, "the " * 15, "the " * 28])
@pytest.mark.parametrize("windows", [1, 2, 3, 8])
def test_windows_are_pieces_one_after_another(
    model_of: ModelOf, prompt: str, windows: int
) -> None:
    model = model_of("tiny").in_windows(windows)
    found = model.encode_text([prompt, "a dog"])
    assert found.shape[:2] == (2, windows * TOKENS)
    torch.testing.assert_close(found[:1], by_hand(model, prompt, windows), **CLOSE)
    torch.testing.assert_close(model.unconditional, by_hand(model, "", windows), **CLOSE)
    x, t = torch.ones(1, *model.score_model.shape), 0.5
    expected = model.score_model.eps(x, t, model.unconditional)
    torch.testing.assert_close(model.score_model.eps(x, t), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{}, {"negative": "a dog"}, {"negative": LONG}, {"guidance": 1.0}, {"windows": 4}],
    ids=str,
)
def test_images_of_a_long_prompt_are_those_of_diffusers_given_the_embeddings(
    folder_of: FolderOf, model_of: ModelOf, changes: dict[str, Any]
) -> None:
    model, pipeline = model_of("tiny"), plain_pipeline(folder_of("tiny"))
    asked = replace(Sampling(3, 3.0, 32, 32, windows=3), **changes)
    request = Request(LONG, (3, 7), asked)
    cond, without = (
        by_hand(model, text, request.sampling.windows)
        for text in (request.prompt, request.sampling.negative)
    )
    images = pipeline(
        prompt_embeds=cond,
        negative_prompt_embeds=without,
        height=32,
        width=32,
        num_inference_steps=3,
        guidance_scale=request.sampling.guidance,
        num_images_per_prompt=2,
        generator=[torch.Generator().manual_seed(seed) for seed in request.seeds],
        output_type="pt",
    ).images
    found = generate_images(model, request)
    torch.testing.assert_close(found, images, rtol=0, atol=IMAGE_TOLERANCE)
    cut = generate_images(model, replace(request, sampling=replace(request.sampling, windows=1)))
    assert (found - cut).abs().max() > 20 * IMAGE_TOLERANCE
    assert embeddings(model, request)[0].shape[1] == request.sampling.windows * TOKENS


def test_what_is_cut_is_told_as_it_was_written(model_of: ModelOf, toy: TextToImage) -> None:
    model = model_of("tiny")
    assert cut_off(model, "the " * 14) == ""
    assert cut_off(model, "the " * 15 + "CAT") == "the CAT"
    assert cut_off(model, f"{LONG} Café") == unread_text(model, f"{LONG} Café").cut
    assert cut_off(model, f"{LONG} Café").endswith("Café")
    assert cut_off(model.in_windows(3), f"{LONG} Café") == ""
    assert cut_off(model.in_windows(2), LONG) == " ".join(LONG.split()[28:])
    # A placeholder whose vectors do not all fit is not read as it should be.
    assert cut_off(toy, "the " * 12 + "<toy> b") == "<toy> b"
    assert cut_off(toy, "the " * 11 + "<toy>") == ""


@pytest.mark.parametrize(
    ("words", "windows"), [(0, 1), (1, 1), (14, 1), (15, 2), (28, 2), (29, 3)]
)
def test_so_many_windows_read_all(model_of: ModelOf, words: int, windows: int) -> None:
    model, prompt = model_of("tiny"), "the " * words
    assert cut_off(model.in_windows(windows), prompt) == ""
    assert windows == 1 or cut_off(model.in_windows(windows - 1), prompt)


def test_tokens_and_padding_of_windows_have_their_places(model_of: ModelOf) -> None:
    model = model_of("tiny").in_windows(2)
    prompt = "the " * 14 + "cat"
    tokens = prompt_tokens(model, prompt)
    assert tokens.rows[-2:] == ((14,), (TOKENS + 1,)) and tokens.texts[-1] == "cat"
    assert padding_rows(model, prompt).tolist() == list(range(TOKENS + 3, 2 * TOKENS))


def test_windows_outside_their_range_are_refused(model_of: ModelOf) -> None:
    refused: list[Callable[[], object]] = [
        lambda: model_of("tiny").in_windows(9),
        lambda: model_of("tiny").in_windows(0),
        lambda: Request("a", (1,), Sampling(3, 3.0, 32, 32, windows=9)),
        lambda: Request("a", (1,), Sampling(3, 3.0, 32, 32, windows=0)),
    ]
    for ask in refused:
        with pytest.raises(MMHError, match="context windows: choose from 1 to 8"):
            ask()
    model = model_of("tiny")
    assert model.in_windows(1) is model
    assert model.in_windows(3).in_windows(1).unconditional.shape == model.unconditional.shape


@pytest.mark.parametrize("more", [0, 1, 6, 7, 13, 14, 20, 40, 70])
def test_the_windows_that_are_named_hold_the_prompt_and_one_less_does_not(
    model_of: ModelOf, more: int
) -> None:
    model, prompt = model_of("tiny"), "the " * 15 + "cat " * more
    needed = unread_text(model, prompt).windows
    assert unread_text(model.in_windows(needed), prompt).whole
    assert unread_text(model.in_windows(needed - 1), prompt).cut
    assert f"--windows {needed})" in unread_text(model, prompt).words()


def test_a_prompt_for_more_windows_than_there_are_is_to_be_shortened(model_of: ModelOf) -> None:
    said = unread_text(model_of("tiny"), "the " * 200).words()
    assert "--windows" not in said and "it takes 15 context windows" in said and "shorten" in said


def test_prompts_that_are_not_whole_are_named_once_and_the_rest_counted(
    model_of: ModelOf,
) -> None:
    model = model_of("tiny")
    long = [f"{LONG} {'cat ' * i}" for i in range(4)]
    found = partly_read_prompts(model, ["the cat", *long, long[0], ""])
    assert [prompt for prompt, _ in found] == long
    lines = partly_read_lines(found, most=1)
    assert lines[0].startswith("“a the b") and "--windows 3" in lines[0]
    assert lines[1:] == ["3 more prompts are not read whole."]
    assert partly_read_lines(found[:2], most=1)[1] == "1 more prompt is not read whole."
    assert partly_read_lines(()) == []


class OneAtATime:
    """A tokenizer that counts the calls that come while another one is answered."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.inside, self.overlaps = tokenizer, False, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.overlaps += self.inside
        self.inside = True
        time.sleep(0.001)
        try:
            return self.tokenizer(*arguments, **options)
        finally:
            self.inside = False


def test_threads_that_share_a_tokenizer_ask_it_one_after_another(model_of: ModelOf) -> None:
    """It keeps cut and padding in itself: a page reads whole prompts, a job encodes cut ones."""
    shared = OneAtATime(model_of("tiny").tokenizer)
    model = replace(model_of("tiny"), tokenizer=shared)
    ended = Event()

    def read() -> None:
        while not ended.is_set():
            tokens_of(shared, LONG)
            unread_text(model, "кот")

    reader = Thread(target=read)
    reader.start()
    try:
        shapes = {tuple(model.encode_text([LONG]).shape) for _ in range(30)}
    finally:
        ended.set()
        reader.join()
    assert shared.overlaps == 0
    assert shapes == {tuple(model.unconditional.shape)}
