"""What people typed stands in figures letter for letter, whatever Plotly would make of it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from mmh_core.mitigations.attribution import Attribution
from mmh_core.plots import benchmark, images
from mmh_core.plots.theme import escaped, label_in_lines
from mmh_core.plots.token_bars import token_bars
from mmh_core.studies.images.map import ImageMap
from tests.views.test_app_benchmark import made_up

TEXTS = (
    "New trailer for <i>The Interview</i> out",
    "a $12 cup and a $5 cup",
    "<b>bold</b><br>two lines",
    "R&B &lt;x&gt;",
    'a "quoted" word and one\'s own',
    "&amp; &quot; &#38; &nbsp; &mu;",
    "%{x} and %{customdata[0]:.2f}",
    '<a href="https://example.org">link</a>',
    "<sup>2</sup> < 3 > 1",
    "</extra>",
    "<extra>aside</extra>",
    "50%{",
    "$x^2$",
    "5 < 6 & 7",
    "<BR>",
    "<span style='color:red'>red</span>",
)
#: The entities that Plotly knows (svg_text_utils.js, `entityToUnicode`).
NAMED = {"mu": "μ", "amp": "&", "lt": "<", "gt": ">", "nbsp": "\xa0", "times": "\xd7"}
NAMED |= {"plusmn": "±", "deg": "°"}


def shown(text: str) -> str:
    """Return what a reader sees of a label, by the rules of Plotly."""
    assert "%{" not in text
    plain = re.sub("<[^>]*>", "", text)

    def letter(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith("#"):
            return chr(int(name[2:], 16) if name[1] == "x" else int(name[1:]))
        return NAMED.get(name, found[0])

    return re.sub(r"&(#\d+|#x[\da-fA-F]+|[a-z]+);", letter, plain)


@pytest.mark.parametrize("text", TEXTS)
def test_letters_are_shown_as_typed(text: str) -> None:
    assert "<" not in escaped(text)
    assert shown(escaped(text)) == text


def test_long_texts_are_cut_before_they_are_escaped() -> None:
    assert shown(escaped("<" * 300)) == "<" * 197 + "..."
    assert shown(escaped("&" * 71, 70)) == "&" * 67 + "..."


@pytest.mark.parametrize("text", TEXTS)
def test_every_chart_shows_prompts_and_kinds_as_typed(text: str) -> None:
    run = made_up()
    prompts = tuple(replace(one, prompt=text, kind=text) for one in run.prompts)
    row = replace(run.rows[0], label=text)
    run = replace(run, prompts=prompts, detectors=(row,))
    for figure in (benchmark.scores(run, row, 0.0), benchmark.lid_against_truth(run)):
        [trace] = figure.data
        assert {shown(one) for one in trace.text} == {text} == {shown(trace.name)}
        extra = re.search("<extra>(.*)</extra>$", trace.hovertemplate)
        assert extra is not None and shown(extra[1]) == text
    [tick] = benchmark.scores(run, row, 0.0).layout.yaxis.ticktext
    assert shown(tick) == text
    assert text in [shown(curve.name) for curve in benchmark.roc(run, [row.name]).data]
    assert [shown(tick) for tick in benchmark.separations([row]).layout.yaxis.ticktext] == [text]
    places = ImageMap((0,), (text,), (text,), (1,), torch.zeros(1, 2), torch.zeros(0, 2), "umap")
    cloud, entry = images.image_map(places, []).data
    assert {shown(cloud.text[0]), shown(entry.name)} == {text}
    bars = token_bars([Attribution("random", text, (text,), ((0, 1),), torch.ones(1), 1.0)])
    assert shown(bars.data[0].text[0]) == text == shown(bars.layout.xaxis.ticktext[0])


def test_what_is_in_brackets_stands_below_the_label_and_nothing_else_is_a_tag() -> None:
    assert label_in_lines("LID (FLIPD) (x)") == "LID<br>(FLIPD) (x)"
    assert label_in_lines("<b>a</b> (b)") == "&lt;b&gt;a&lt;/b&gt;<br>(b)"
    assert label_in_lines("Sharpness") == "Sharpness"
