"""Two runs side by side: what differs between them, and image beside image by seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mmh_core.counting import agreeing, plural
from mmh_core.formats.export import frame_csv
from mmh_core.records import MMHError
from mmh_core.studies.images.comparison import (
    ComparedSetting,
    RunComparison,
    SeedPair,
    compare_runs,
)
from mmh_core.studies.images.run import ImageResult, ImageRun
from views.images import cards, image_html, phrases, state
from views.images import session as image_session
from views.images.settings import ImageSettings, about_kind
from views.images.state import key
from views.widgets import downloads, layout, past_jobs

#: Kept runs that can be chosen.
_MOST = 50
_STYLE = """<style>
.im-settings {border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums;}
.im-settings :is(th, td) {text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0;
  border-bottom: 1px solid rgba(128,140,146,.35); overflow-wrap: anywhere;}
.im-settings th[scope="row"] {font-weight: 400; width: 28%;}
.im-settings td {width: 36%;}
.im h4.im-seed {font-size: 1rem; font-weight: 600; margin: .5rem 0 0; padding: 0;}
</style>"""


@contextmanager
def conclusion(run: ImageRun, settings: ImageSettings) -> Iterator[None]:
    """Show what the comparison finds, then what is shown inside, then what to do next."""
    comparison = _comparison(run, settings)
    if isinstance(comparison, RunComparison):
        summary = comparison.conclusion()
        layout.finding(summary.finding)
    yield
    if isinstance(comparison, RunComparison):
        layout.recommendation(summary.recommendation, summary.certainty)


def section(run: ImageRun, settings: ImageSettings) -> None:
    """Show the choice of the other run, and the two runs side by side."""
    layout.part(
        "Compare runs",
        "The run that this page shows beside another one, of the same model or of another: what "
        "differs in their settings, and image beside image by seed.",
    )
    _choice(settings)
    comparison = _comparison(run, settings)
    if isinstance(comparison, str):
        st.error(layout.plain(comparison), icon=":material/error:")
    elif comparison is None:
        st.caption("Choose the second run; runs of this page are kept here.")
    else:
        _settings(comparison)
        _images(comparison)
        _export(comparison, settings)


def _comparison(run: ImageRun, settings: ImageSettings) -> RunComparison | str | None:
    """Return the two runs side by side, the sentence why not, or None before one was chosen."""
    if settings.other in (None, _shown(settings)):
        return None
    try:
        second = image_session.kept_run(str(settings.other))
    except MMHError as error:
        return str(error)
    if not run.images or not second.images:
        return "One of the two runs was stopped before its first image: choose another run."
    return compare_runs(run, second)


def _shown(settings: ImageSettings) -> str:
    """Return the job or the example that the page shows."""
    return settings.job or settings.example


def _choice(settings: ImageSettings) -> None:
    """Show the choice among kept runs and finished examples, without the run that is shown."""
    records = {record.id: past_jobs.named(record) for record in image_session.past_images(_MOST)}
    examples = {
        name: f"Finished example: {about_kind(name)[0]}"
        for name in image_session.example_kinds()
        if name in image_session.example_names()
    }
    # A link may name a run that is older than those listed.
    chosen = {} if settings.other is None else {settings.other: "The run that the link names"}
    labels = chosen | examples | records
    labels.pop(_shown(settings), None)
    if settings.other not in labels:
        st.session_state[key("other")] = None
    st.selectbox(
        "Second run",
        list(labels),
        key=key("other"),
        index=None,
        placeholder="Choose a run",
        format_func=labels.__getitem__,
        help="The first run is the one that this page shows: open another by *Past runs*.",
    )


def _settings(comparison: RunComparison) -> None:
    """Show the settings that differ, and the others folded away."""
    differing = comparison.differing
    equal = [setting for setting in comparison.settings if not setting.differs]
    differ = agreeing(len(differing), "differs", "differ")
    layout.heading(
        f"{plural(len(differing), 'setting')} that {differ}",
        "What changes images stands first; the search and the noise scale change figures alone.",
    )
    if differing:
        in_order = sorted(differing, key=lambda setting: not setting.acts)
        st.html(_STYLE + _table(in_order))
    with st.expander(f"{plural(len(equal), 'equal setting')}"):
        layout.facts([(setting.name, setting.first) for setting in equal])


def _table(settings: list[ComparedSetting]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(setting.name)}</th><td>{escape(setting.first)}</td>'
        f"<td>{escape(setting.second)}</td></tr>"
        for setting in settings
    )
    head = '<tr><th scope="col">Setting</th><th scope="col">First run</th>'
    return (
        f'<table class="im-settings"><thead>{head}<th scope="col">Second run</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _images(comparison: RunComparison) -> None:
    """Show both images of each seed with their figures, those of both runs first."""
    layout.heading(
        "Images by seed",
        "Left the first run, right the second. With equal weights and size one seed starts both "
        "from the same noise.",
        help=f"{phrases.LID} {phrases.PERCENTILE} {phrases.SIMILARITY}",
    )
    for number, pair in enumerate(comparison.pairs):
        image_html.show(f'{_STYLE}<h4 class="im-seed">{escape(_title(pair))}</h4>')
        sides = layout.side_by_side(f"im_seed_{number}")
        _card(sides[0], "First run", comparison.first, pair.first)
        _card(sides[1], "Second run", comparison.second, pair.second)


def _title(pair: SeedPair) -> str:
    same = ", the same image pixel for pixel" if pair.is_equal else ""
    return f"Seed {pair.seed}{same}"


def _card(side: DeltaGenerator, name: str, run: ImageRun, image: ImageResult | None) -> None:
    with side, st.container(border=True):
        if image is None:
            image_html.show(f'<p class="im-quiet">{name}: it has no image of this seed.</p>')
            return
        image_html.show(f'<p class="im-quiet">{name}</p>{cards.body(run, image)}')


def _export(comparison: RunComparison, settings: ImageSettings) -> None:
    """Show the link to the comparison, and its table as a file."""
    layout.heading(
        "Link to this comparison",
        "Whoever reaches this app opens the same comparison by it; the runs lie in this app's "
        "data folder.",
    )
    st.code(state.address(), language=None, wrap_lines=True)
    name = f"comparison-{_shown(settings)[:8]}-{str(settings.other)[:8]}.csv"
    downloads.offer(
        "Table (CSV)",
        name,
        lambda: frame_csv(comparison.frame()),
        "im_compare_csv",
        help="One row per seed: verdict, LID, similarity and threshold of both images",
    )
