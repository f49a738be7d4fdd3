"""The names, sentences and citations of the catalogue of mitigations."""

from __future__ import annotations

import inspect
import re

import pytest

from mmh_core.mitigations.catalogue import ACTS_ON, MITIGATIONS, SEARCHING, mitigation

#: Stored name -> a word of the name that the paper gives it.
PAPERS = {
    "random_tokens": ("token insertion", "Somepalli"),
    "rewrite": ("Token-attribution", "Ross"),
    "embedding_optimization": ("Prompt-embedding optimization", "Wen"),
    "raise_lid": ("LID-guided embedding", "Ross"),
    "static_guidance": ("Static transition point", "Jain"),
    "opposite_guidance": ("Opposite guidance", "Jain"),
    "dynamic_guidance": ("Dynamic transition point", "Jain"),
    "noise_adjustment": ("Initial-noise adjustment", "Han"),
    "noise_optimization": ("Initial-noise optimization", "Han"),
    "attention_masking": ("Cross-attention masking", "Ren"),
    "attention_attenuation": ("GUARD", "Zhao"),
    "padding_fix": ("Padding", "Kim & No"),
    "sparse_repellency": ("SPELL", "Kirchhof"),
    "anti_memorization_guidance": ("AMG", "Chen"),
}


@pytest.mark.parametrize("name", MITIGATIONS)
def test_every_mitigation_bears_its_papers_name_and_a_sentence(name: str) -> None:
    found = mitigation(name)
    assert found.name == name
    assert re.fullmatch(r"[A-Z][^.]{20,170}\.", found.summary), found.summary
    if name in PAPERS:
        word, author = PAPERS[name]
        assert word in found.label
        assert author in found.citation and re.search(r"\b20\d\d\b", found.citation)
    else:
        assert name in ("none", "automatic_chain")


def test_labels_and_sentences_are_distinct() -> None:
    # Charts leave out what follows the comma.
    labels = [found.label.split(",")[0] for found in MITIGATIONS.values()]
    assert len(set(labels)) == len(labels)
    assert len({found.summary for found in MITIGATIONS.values()}) == len(labels)


@pytest.mark.parametrize("name", MITIGATIONS)
def test_a_variant_says_how_it_differs(name: str) -> None:
    found = mitigation(name)
    differs = re.search(r"the paper|term alone|AMG's", found.summary) is not None
    assert ("variant" in found.label) == differs
    assert ("variant" in (inspect.getdoc(type(found)) or "") or name == "sparse_repellency") == (
        differs
    )


def test_every_mitigation_acts_on_one_part_of_a_generation() -> None:
    listed = [name for names in ACTS_ON.values() for name in names]
    assert sorted(listed) == sorted(set(MITIGATIONS) - {"none"})
    assert set(SEARCHING) <= set(listed)
