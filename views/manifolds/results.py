"""A run: which one it is, how far it came, its key numbers and its sections."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.manifolds.catalogue import MANIFOLDS
from mmh_core.memorization.hypothesis import VERDICTS
from mmh_core.memorization.verdict import verdict_words
from mmh_core.plots import playback, theme
from mmh_core.statistics.intervals import share_difference, share_interval
from mmh_core.studies.manifolds.conclusion import conclusion
from mmh_core.studies.manifolds.data import fresh_draws
from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun, Snapshot
from views import kept_runs
from views.manifolds import digits, figure, state, training
from views.manifolds.settings import NUMBERS, TABS, ManifoldSettings, command
from views.manifolds.state import key
from views.widgets import layout, player, reproduce, words
from views.widgets.reproduce import RunFile
from views.widgets.tabs import open_tabs

_SCRUBBER = key("scrubber")


def result(run: ManifoldRun, settings: ManifoldSettings, *, precomputed: bool) -> None:
    """Show a run that has ended, with everything that can be asked about it."""
    _headline(run, settings.config, precomputed=precomputed)
    if not run.snapshots:
        st.info(
            "This run was stopped before its first samples, so there is nothing to see yet. "
            "Press **Train** to start it again.",
            icon=":material/info:",
        )
        return
    above = st.container()
    snapshot = _scrubber(run)
    summary = conclusion(run, snapshot)
    with above:
        layout.finding(summary.finding)
        _playback(run)
    _figures(run, snapshot)
    _sections(run, snapshot)
    layout.recommendation(summary.recommendation, summary.certainty)


def nothing(settings: ManifoldSettings) -> None:
    """Show what to do where no run of a manifold exists yet."""
    spec = MANIFOLDS[settings.config.manifold]
    st.header(spec.label, anchor=False)
    st.info(
        "There is no run of this manifold yet. Press **Train** in the sidebar: samples and LID "
        "appear while the model learns, and you can stop at any time.",
        icon=":material/play_circle:",
    )


def _headline(run: ManifoldRun, form: ManifoldConfig, *, precomputed: bool) -> None:
    """Show dataset and settings of the run, and where the form differs."""
    config = run.config
    facts = [
        words.plural(config.points, "training point"),
        words.plural(config.duplicates, "duplicate") if config.duplicates else "",
        f"width {config.width}",
        words.plural(config.steps, "training step"),
        f"seed {config.seed}",
        f"in {config.ambient_dim} dimensions" if config.ambient_dim else "",
    ]
    kind = "Precomputed run" if precomputed else "Your run"
    sentence = f"{kind}: {', '.join(fact for fact in facts if fact)}."
    differing = [n for n in NUMBERS if getattr(form, n) != getattr(config, n)]
    # Precomputed runs of digits are chosen by their size, and not by the form.
    chosen_by_form = not precomputed or config.manifold != "digits"
    if differing and chosen_by_form and config.manifold == form.manifold:
        names = ", ".join(name.replace("_", " ") for name in differing)
        sentence += f" The form in the sidebar differs in {names}: press **Train** to run that."
    with st.container(gap="xxsmall"):
        st.header(MANIFOLDS[config.manifold].label, anchor=False)
        st.caption(sentence)
    if run.state == "stopped":
        done = int(run.losses[-1, 0]) if len(run.losses) else 0
        st.info(
            f"Stopped at step {done:,} of {config.steps:,}; everything up to there is kept.",
            icon=":material/stop_circle:",
        )


def _playback(run: ManifoldRun) -> None:
    """Show the training as frames that the browser plays by itself, where points are points."""
    if len(run.snapshots) < 2 or MANIFOLDS[run.config.manifold].plot == "images":
        return
    layout.heading(
        "Training, step by step",
        "Dots are generated samples, crosses training points; violet is LID 0. Each dot starts "
        "from the same noise at every step. The figures below are those of the training step "
        "chosen there.",
    )
    player.show(playback.training(run), "mf_playback")


def _scrubber(run: ManifoldRun) -> Snapshot:
    """Return the snapshot chosen on the slider of training steps."""
    by_step = {s.step: s for s in run.snapshots}
    last = run.snapshots[-1]
    chosen = st.session_state.get(key("step"))
    if chosen is not None and chosen not in by_step:
        steps = ", ".join(f"{step:,}" for step in by_step)
        st.warning(
            f"step is {chosen}; this run has the steps {steps}. Shown instead: the last.",
            icon=":material/warning:",
        )
        st.session_state[key("step")] = chosen = None
    if len(by_step) == 1:
        return last
    st.session_state[_SCRUBBER] = last.step if chosen is None else chosen
    step = st.select_slider(
        "Training step",
        list(by_step),
        key=_SCRUBBER,
        on_change=_take_step,
        args=(last.step,),
        format_func=lambda s: _step_words(by_step[s]),
        help="Everything below shows the model after this many steps; drag to go back in time.",
    )
    return by_step[step]


def _step_words(snapshot: Snapshot) -> str:
    """Return a number of steps, with how often a training point was in their batches."""
    seen = max(1, round(snapshot.epoch))
    return (
        f"{words.plural(snapshot.step, 'step')} (each training point seen about "
        f"{words.plural(seen, 'time')})"
    )


def _take_step(last: int) -> None:
    """Remember the step chosen; the last one is the default and needs no place in the link."""
    step = st.session_state[_SCRUBBER]
    st.session_state[key("step")] = None if step == last else step


def _figures(run: ManifoldRun, snapshot: Snapshot) -> None:
    samples = snapshot.generated
    many = len(samples.verdict)
    memorized = float(samples.memorized.float().mean())
    with st.container(horizontal=True, gap="small"):
        layout.metric(
            "Distance ratio below ⅓",
            words.percent(snapshot.low_ratio_share),
            _beside_fresh_data(run, snapshot),
            words.DISTANCE_RATIO,
        )
        layout.metric(
            "Model LID",
            words.number(float(samples.lid.nanmedian())),
            "median over samples",
            words.LID,
        )
        layout.metric(
            "True LID" if theme.truth_known(run) else "Data LID",
            words.number(run.typical_lid),
            "median" if theme.truth_known(run) else "median, estimated",
            "The median LID of the data: known by construction, or estimated from all known "
            "images.",
        )
        layout.metric(
            "Memorized by LID",
            words.percent(memorized),
            f"{round(memorized * many):,} of {many:,} samples",
            "Share of samples whose LID is too low, near a training point or not; the distance "
            f"ratio goes by distances instead, so the two differ. {words.OD_MEM} {words.DD_MEM}",
        )
        layout.metric(
            "Fit",
            "good" if snapshot.fits else "too poor",
            "LID is trusted" if snapshot.fits else "no verdicts",
            "Whether the model denoises its own training data at least as well as two baselines "
            "without a network.",
        )
    counts = Counter(samples.verdict.tolist())
    verdicts = [
        f"{counts[i]:,} {verdict_words(label)}" for i, label in enumerate(VERDICTS) if counts[i]
    ]
    st.caption(f"Verdicts on {many:,} generated samples: {' · '.join(verdicts)}.")


def _beside_fresh_data(run: ManifoldRun, snapshot: Snapshot) -> str:
    """Return how far the share of samples lies from that of fresh data, if distinguishable."""
    many, fresh = len(snapshot.distance_ratio), run.chance_memorized
    draws = fresh_draws(run.config)
    excess = share_difference(
        share_interval(round(snapshot.low_ratio_share * many), many),
        share_interval(round(fresh * draws), draws),
    )
    level = f"fresh data ({words.percent(fresh)})"
    if excess.low <= 0 <= excess.high:
        return f"not distinguishable from {level}"
    points = abs(100 * excess.value)
    side = "above" if excess.value > 0 else "below"
    return f"{points:.0f} percentage points {side} {level}"


def _sections(run: ManifoldRun, snapshot: Snapshot) -> None:
    """Show the section that is open; the others cost nothing."""
    for name, tab in open_tabs(TABS, key):
        with tab:
            if name == "image" and MANIFOLDS[run.config.manifold].plot == "images":
                digits.section(run, snapshot)
            elif name == "image":
                figure.section(run, snapshot)
            elif name == "training":
                training.progress(run, snapshot)
            elif name == "estimators":
                training.estimators(run)
            elif name == "fit":
                training.fit(run, snapshot)
            else:
                _reproduce(run, snapshot)


def _reproduce(run: ManifoldRun, snapshot: Snapshot) -> None:
    """Show the command line, the link and the downloads."""
    name = f"{run.config.manifold}-seed-{run.config.seed}"
    files = (
        RunFile(
            "Points (CSV)",
            f"{name}-step-{snapshot.step}.csv",
            lambda: _points(run, snapshot),
            "mf_csv",
            "Training points and samples of this training step, with LID and verdict",
        ),
        RunFile(
            "Whole run (safetensors)",
            f"{name}.safetensors",
            lambda: kept_runs.run_bytes(run),
            "mf_run",
            "Everything on this page, to open in Python with mmh_core.store.archive",
        ),
        RunFile(
            "Settings (JSON)",
            f"{name}.json",
            lambda: json.dumps(asdict(run.config), indent=2).encode(),
            "mf_json",
        ),
    )
    about = "Points, run and settings as files."
    reproduce.section("run", command(run.config), state.address(), about, files)


def _points(run: ManifoldRun, snapshot: Snapshot) -> bytes:
    import pandas as pd

    parts = []
    for kind, estimates in (
        ("training point", snapshot.trained),
        ("generated sample", snapshot.generated),
    ):
        table = estimates.frame()
        table.insert(0, "kind", kind)
        parts.append(table)
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "point", list(range(len(table))))
    table.insert(1, "manifold", run.config.manifold)
    table.insert(2, "step", snapshot.step)
    return frame_csv(table)
