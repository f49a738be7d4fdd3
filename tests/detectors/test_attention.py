"""Attention entropy on random Stable Diffusions, against diffusers' own unfused attention."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from mmh_core.detectors.attention_entropy import AttentionEntropy, recorded_attention
from mmh_core.detectors.inputs import DetectorInputs, encode, noise_inputs
from mmh_core.detectors.measurement import measure
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.worlds import world
from tests.text_to_image.conftest import ModelOf

PROMPTS = ("the cat", "a dog", "")
#: Probabilities of float32 in another order of operations.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def evidence_of(model: TextToImage) -> DetectorInputs:
    return noise_inputs(model, encode(model, PROMPTS), (2, 9))


def entropies(model: TextToImage, inputs: DetectorInputs) -> Tensor:
    return measure(model, inputs, [AttentionEntropy()])["attention_entropy"].values[:, 0]


def hooks(model: TextToImage) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.unet.modules()
    )


@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
def test_entropy_is_that_of_the_networks_probabilities(model_of: ModelOf, kind: str) -> None:
    """Recomputed by replacing every processor with diffusers' plain one, which is watched."""
    from diffusers.models.attention_processor import Attention, AttnProcessor

    model = model_of(kind)
    inputs = evidence_of(model)
    found = entropies(model, inputs)
    seen: list[Tensor] = []
    plain = Attention.get_attention_scores

    def watching(self: Any, *args: Any) -> Tensor:
        shares = plain(self, *args)
        if self.is_cross_attention:
            seen.append(shares.unflatten(0, (-1, self.heads)).mean((1, 2)))
        return shares

    kept = dict(model.unet.attn_processors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attention, "get_attention_scores", watching)
        model.unet.set_attn_processor(AttnProcessor())
        try:
            x, cond = inputs.noise[inputs.noise_index], inputs.embeddings[inputs.prompt_index]
            with torch.no_grad():
                model.score_model.eps(x, 0.98, cond)
        finally:
            model.unet.set_attn_processor(kept)
    share = torch.stack(seen).mean(0)
    assert share.sum(1).tolist() == pytest.approx([1.0] * 6, abs=1e-4)
    torch.testing.assert_close(found, -(share * share.log()).sum(1), **CLOSE)
    assert found.max() - found.min() > 100 * CLOSE["atol"]


def test_an_even_look_has_the_largest_entropy(model_of: ModelOf) -> None:
    """Equal tokens are looked at equally: log of their number."""
    model = model_of("tiny")
    one = encode(model, ["the cat"])[:, :1]
    flat = noise_inputs(model, one.expand(1, model.unconditional.shape[1], -1), (2,))
    tokens = float(model.unconditional.shape[1])
    torch.testing.assert_close(entropies(model, flat), torch.tensor([tokens]).log(), **CLOSE)


def test_the_network_is_left_as_it_was(model_of: ModelOf) -> None:
    model = model_of("tiny")
    inputs = evidence_of(model)
    x, cond = inputs.noise[inputs.noise_index], inputs.embeddings[inputs.prompt_index]
    processors = dict(model.unet.attn_processors)
    with torch.no_grad():
        before = model.score_model.eps(x, 0.98, cond)
        with recorded_attention(model) as layers:
            during = model.score_model.eps(x, 0.98, cond)
        after = model.score_model.eps(x, 0.98, cond)
    count = len(layers)
    for other in (during, after):
        torch.testing.assert_close(other, before, rtol=1e-5, atol=1e-5)
    assert hooks(model) == 0 and count == len(layers) > 1
    assert model.unet.attn_processors == processors
    with pytest.raises(RuntimeError, match="stopped"), recorded_attention(model):
        assert hooks(model) == count
        raise RuntimeError("stopped")
    assert hooks(model) == 0


def test_other_threads_are_not_recorded(model_of: ModelOf) -> None:
    model = model_of("tiny")
    inputs = evidence_of(model)
    x, cond = inputs.noise[:1], inputs.embeddings[:1]

    def other() -> None:
        with torch.no_grad():
            model.score_model.eps(x, 0.5, cond)

    with recorded_attention(model) as layers:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert layers == []
        other()
        assert layers


def test_a_batch_is_its_rows_one_by_one(model_of: ModelOf) -> None:
    model = model_of("tiny")
    inputs = evidence_of(model)
    whole = entropies(model, inputs)
    for row in (0, 3, 5):
        alone = entropies(model, inputs.rows(torch.tensor([row])))
        torch.testing.assert_close(alone[0], whole[row], **CLOSE)


def test_the_cost_is_one_forward(model_of: ModelOf) -> None:
    model = model_of("tiny")
    rows = []
    handle = model.unet.register_forward_pre_hook(lambda net, args: rows.append(len(args[0])))
    try:
        found = measure(model, evidence_of(model), [AttentionEntropy()])["attention_entropy"]
    finally:
        handle.remove()
    assert found.nfe == sum(rows) / 6 == 1


def test_a_network_without_cross_attention_is_refused() -> None:
    model = world()
    with pytest.raises(MMHError, match="gaussians has no cross-attention"):
        entropies(model, noise_inputs(model, encode(model, ["template"]), (1,)))
