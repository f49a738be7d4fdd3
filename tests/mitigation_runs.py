"""A comparison of mitigations made by hand, with figures that can be counted by eye."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmh_core.mitigations.attribution import Attribution
from mmh_core.mitigations.catalogue import mitigation
from mmh_core.studies.mitigation.run import Cell, MitigationConfig, MitigationRun, Treatment
from mmh_core.studies.mitigation.token_attribution import TokenRun
from mmh_core.text_to_image.requests import Sampling

#: A text that must be shown and never obeyed.
HOSTILE = '<img src="http://example.org/x.png" onerror=alert(1)> & ![p](http://example.org/p.png)'
NONE, WORDS = Treatment("none", 0.0), Treatment("random_tokens", 2.0)
STATIC, REWRITE = Treatment("static_guidance", 0.5), Treatment("rewrite", 4.0)
RAISE = Treatment("raise_lid", 0.5)
PROMPT = "a red fox in the snow"
REFUSAL = "There are no LIDs of reference prompts to aim at: measure some reference prompts first."
#: By treatment: copies of the two seeds, similarity, alignment and LID of each.
FIGURES: dict[Treatment, tuple[tuple[str, str], list[float], list[float], list[float]]] = {
    NONE: (("exact", "exact"), [0.98, 0.96], [0.40, 0.44], [2.0, 4.0]),
    WORDS: (("exact", "none"), [0.95, 0.75], [0.36, 0.36], [3.0, 15.0]),
    STATIC: (("none", "none"), [0.60, 0.70], [0.38, 0.40], [20.0, 24.0]),
    REWRITE: (("none", "template"), [0.70, 0.90], [0.30, 0.44], [18.0, 9.0]),
}


def comparison(
    prompt: str = PROMPT, reference: tuple[str, ...] = ("a blue bird",)
) -> MitigationRun:
    """Return five treatments of a prompt with two seeds, one of them refused."""
    treatments = (NONE, WORDS, STATIC, REWRITE, RAISE)
    config = MitigationConfig(
        "pocket-sd", (prompt, *reference), (0, 7), treatments, Sampling(5, 2.0, 16, 16)
    )
    cells = [
        _cell(config, number, treatment)
        for number in range(1 + len(reference))
        for treatment in treatments
    ]
    return MitigationRun(
        config=config,
        state="complete",
        model="pocket-sd",
        sha256="0f" * 32,
        device="cpu",
        log_delta=-0.9,
        preview=torch.empty(0, 3, 16, 16, dtype=torch.uint8),
        cells=tuple(cells),
        nearest_images=((5, _image(5)),),
        seconds=30.0,
    )


def token_run(prompt: str = PROMPT) -> TokenRun:
    """Return scores of the words of a prompt by two attributions."""
    words, spans, at = prompt.split(), [], 0
    for word in words:
        at = prompt.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    scores = torch.arange(1.0, len(words) + 1)
    found = [
        Attribution("guidance norm", prompt, tuple(words), tuple(spans), scores, 3.0),
        Attribution("random", prompt, tuple(words), tuple(spans), scores.flip(0), 0.0),
    ]
    return TokenRun(comparison(prompt).config, -0.9, tuple(found))


def _cell(config: MitigationConfig, number: int, treatment: Treatment) -> Cell:
    found = mitigation(treatment.mitigation)
    refused = REFUSAL if treatment == RAISE else ""
    count = 0 if refused else 2
    kinds, similarity, alignment, lid = FIGURES.get(
        treatment, (("none", "none"), [0.0, 0.0], [0.0, 0.0], [0.0, 0.0])
    )
    if number:
        kinds, lid = ("none", "none"), [25.0, 26.0]
        # The schedule leaves them alone; all others cost alignment.
        alignment = [0.41, 0.43] if treatment == STATIC else alignment
    used = config.prompts[number]
    if treatment == REWRITE:
        used = used.replace("red", "crimson")
    values = torch.tensor
    return Cell(
        prompt=number,
        treatment=treatment,
        label=found.label,
        used=used,
        explanation="" if refused else f"{found.label} was applied.",
        refused=refused,
        images=torch.stack([_image(10 * number + i) for i in range(2)])[:count],
        latents=torch.zeros(count, 4, 2, 2),
        similarity=values(similarity)[:count],
        nearest=torch.full((count,), 5),
        similarity_to_unmitigated=values([1.0, 1.0] if treatment == NONE else [0.7, 0.8])[:count],
        alignment=values(alignment)[:count],
        lid=values(lid)[:count],
        lid_error=values([0.5, 0.5])[:count],
        percentile=values([0.99, 0.9])[:count],
        kinds=kinds[:count],  # type: ignore[arg-type]
        seed_similarity=math.nan if refused else 0.9,
        noise_sha256="" if refused else "ab" * 32,
        nfe=0.0 if refused else 10.0,
        seconds=0.0 if refused else 1.5,
        peak_mb=math.nan,
    )


def _image(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, 16, 16), generator=generator, dtype=torch.uint8)
