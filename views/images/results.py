"""A run of the image study: what it is, its key numbers and its sections."""

from __future__ import annotations

import math
from collections import Counter
from html import escape

import streamlit as st

from mmh_core.formats.export import frame_csv
from mmh_core.installation import PROGRAM
from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.memorization.verdict import verdict_words
from mmh_core.plots import images as image_plots
from mmh_core.plots import playback
from mmh_core.report import image_command, image_report, run_zip
from mmh_core.retrieval.copy_evidence import CopyKind, copied
from mmh_core.studies.detection.prompt_scan import scan_words
from mmh_core.studies.images.conclusion import conclusion
from mmh_core.studies.images.run import ImageResult, ImageRun, most_severe_image
from mmh_core.subject.caption_kinds import kind_words
from views.images import (
    audit,
    cards,
    compare_runs,
    detail,
    image_html,
    phrases,
    plane,
    state,
    training_sets,
    vocabulary,
)
from views.images import session as image_session
from views.images.settings import TABS, ImageSettings, form_of
from views.images.state import choose_image, key
from views.widgets import layout, player, reproduce, words
from views.widgets.reproduce import RunFile
from views.widgets.tabs import open_tabs


def result(run: ImageRun, settings: ImageSettings, *, precomputed: bool) -> None:
    """Show a run that has ended, with everything that can be asked about it."""
    if st.session_state[key("tab")] == "compare":
        with compare_runs.conclusion(run, settings):
            _sections(run, settings)
        return
    _headline(run, settings, precomputed=precomputed)
    # An image or a training set that somebody brings is not what this run is about.
    shows_run = bool(run.images) and st.session_state[key("tab")] not in ("audit", "sets")
    if shows_run:
        summary = conclusion(run)
        layout.finding(summary.finding)
        _playback(run)
        _figures(run)
        _without_training_images(run)
    _sections(run, settings)
    if shows_run:
        layout.recommendation(summary.recommendation, summary.certainty)


def nothing(settings: ImageSettings) -> None:
    """Show what to do where there is no run to show; an image can be audited all the same."""
    st.info(
        "There is no run of this model yet. Once the model is loaded, write a prompt in the "
        "sidebar and press **Generate**: images appear while they are generated, and you can "
        "stop at any time.",
        icon=":material/brush:",
    )
    layout.part("Audit an image", audit.SENTENCE)
    audit.section(settings.model)
    layout.part("Training sets", training_sets.SENTENCE)
    training_sets.section()


def _headline(run: ImageRun, settings: ImageSettings, *, precomputed: bool) -> None:
    """Show prompt and settings of the run, where the form differs, and what was not read."""
    kind = "Finished example" if precomputed else "Your run"
    count = words.plural(len(run.images), "image")
    sentence = f"{kind}: {count} by {phrases.settings(run)}."
    if form_of(run.config) != settings.form and run.config.model == settings.model:
        sentence += " The form in the sidebar differs: press Generate to run that."
    with st.container(gap="xsmall"):
        for prompt in run.config.prompts[:4]:
            image_html.show(f'<h2 class="im-prompt">{escape(prompt)}</h2>')
        st.caption(layout.plain(sentence))
    image_html.show_unread(run)
    for prompt in run.config.prompts[:4]:
        vocabulary.note(run.config.model, prompt)
    if run.state == "stopped":
        kept = f"{count} kept" if run.images else "no image was finished"
        st.info(f"Stopped before the end; {kept}.", icon=":material/stop_circle:")


def _playback(run: ImageRun) -> None:
    """Show the denoising of the first images, as frames that the browser plays by itself."""
    figure = playback.denoising(run.images) if st.session_state[key("tab")] == "images" else None
    if figure is None:
        return
    layout.heading(
        "From noise to image",
        "The predicted final image of each seed after each step, beside the training image that "
        "the most severe verdict is about.",
    )
    player.show(figure, "im_playback")


def _figures(run: ImageRun) -> None:
    images, many = run.images, len(run.images)
    kinds = Counter(image.copy.kind for image in images if image.copy is not None)
    decided = any(not math.isnan(copied(kind)) for kind in kinds)
    lids = sorted(image.lid.conditional for image in images if image.lid is not None)
    lids = [lid for lid in lids if not math.isnan(lid)]
    with st.container(horizontal=True, gap="small"):
        layout.metric(
            "Copies",
            f"{len(run.copies)} of {many}" if run.searched and decided else "unknown",
            _searched(run, kinds, decided),
            "Images that reproduce a training image (exact copy), or a layout that many "
            "training images share (template copy).",
        )
        middle = (lids[(len(lids) - 1) // 2] + lids[len(lids) // 2]) / 2 if lids else math.nan
        layout.metric(
            "Median LID", words.number(shown_lid(middle), 1), _percentile(run), phrases.LID
        )
        similarity = run.seed_similarity[0] if run.seed_similarity else math.nan
        layout.metric(
            "Seed-to-seed similarity",
            words.number(similarity, 2),
            "1 = same image at every seed",
            phrases.SEED_SIMILARITY,
        )
        truth = images[0].truth
        if truth is not None:
            layout.metric(
                "Ground truth of the prompt",
                truth.kind,
                f"data LID {words.number(truth.lid, 0)}, "
                f"{words.plural(truth.images, 'distinct training image')}",
                f"{kind_words(truth.kind).capitalize()}. "
                "Known by construction of the shipped training set: how the prompt's caption was "
                "trained, in how many directions its training images vary (data LID), and how "
                "many distinct ones there are. It is no verdict on a generated image.",
            )
    for prompt, scan in zip(run.config.prompts, run.scans, strict=False):
        st.caption(layout.plain(scan_words(scan, copies=run.copies_of(prompt))))
    counts = Counter(image.verdict for image in images)
    verdicts = " · ".join(
        f"{verdict_words(name)} ({count})" for name, count in counts.most_common()
    )
    st.caption(f"Verdicts: {verdicts}.")


def _searched(run: ImageRun, kinds: Counter[CopyKind], decided: bool) -> str:
    """Return what stands beneath the number of copies."""
    if not run.searched:
        return "no training set"
    if kinds["likely"]:
        return f"{kinds['likely']} likely, compare by eye"
    if not decided:
        return "no threshold for this embedder" if kinds["unknown"] else "nothing to compare"
    return f"{run.searched:,} training images searched"


def _percentile(run: ImageRun) -> str:
    places = [image.lid.percentile for image in run.images if image.lid is not None]
    places = sorted(percentile for percentile in places if not math.isnan(percentile))
    if not places:
        return "not calibrated for these settings"
    middle = places[len(places) // 2]
    return phrases.percentile_words(middle)


def _without_training_images(run: ImageRun) -> None:
    if run.searched:
        return
    st.info(
        "**Cause not identifiable.** This model comes without training images, so a low LID "
        "can be seen but not explained, and no copy can be shown. What helps: seed-to-seed "
        "similarity above, and training images to search. Add them under **Training sets** "
        f"below, or build an index with `{PROGRAM} index FOLDER --out INDEX` and start the app "
        f"with `{PROGRAM} app -- --index INDEX --index-images FOLDER`.",
        icon=":material/help:",
    )


def _sections(run: ImageRun, settings: ImageSettings) -> None:
    """Show the section that is open; the others cost nothing."""
    for name, tab in open_tabs(TABS, key):
        with tab:
            if name == "audit":
                layout.heading("Audit an image", audit.SENTENCE)
                audit.section(settings.model)
            elif name == "sets":
                layout.heading("Training sets", training_sets.SENTENCE)
                training_sets.section()
            elif name == "compare":
                compare_runs.section(run, settings)
            elif name == "data":
                _reproduce(run)
            elif not run.images:
                st.info("This run was stopped before its first image.")
            elif name == "images":
                _images(run)
            elif name == "normal":
                _distribution(run)
            else:
                plane.section(run, settings)


def _images(run: ImageRun) -> None:
    chosen = chosen_image(run)
    cards.section(run, chosen.index)
    st.divider()
    detail.stepper(run, chosen)
    detail.section(chosen, detail.context_of(run), f"run_{chosen.index}")


def chosen_image(run: ImageRun) -> ImageResult:
    """Return the image to show in detail: the chosen one, else the first of the most severe."""
    index = st.session_state.get(key("image"))
    if isinstance(index, int) and 0 <= index < len(run.images):
        return run.images[index]
    if index is not None:
        st.warning(
            f"image is {index}; this run has the images 0 to {len(run.images) - 1}.",
            icon=":material/warning:",
        )
        choose_image(None)
    return most_severe_image(run.images)


def _reproduce(run: ImageRun) -> None:
    """Show the command line, the link and the downloads."""
    command = image_command(run.config, image_session.index_arguments(run))
    # Named after model and seed alone: a prompt may hold what no file name should.
    name = f"{run.model.replace('/', '-')}-seed-{run.config.seeds[0]}"
    files = (
        RunFile(
            "Report (HTML)",
            f"{name}.html",
            lambda: image_report(run, command).encode(),
            "im_report",
            "Images, neighbors, curves and verdicts on one page",
        ),
        RunFile(
            "Whole run (zip)",
            f"{name}.zip",
            lambda: run_zip(run, command),
            "im_zip",
            "All images as PNG, the numbers as JSON and CSV, the report",
        ),
        RunFile(
            "Table (CSV)",
            f"{name}.csv",
            lambda: frame_csv(run.frame()),
            "im_csv",
            "One row per image: settings, LID, copies, verdict",
        ),
    )
    about = (
        "The report is one page that opens anywhere without a network; each PNG carries its "
        "settings."
    )
    reproduce.section("run", command, state.address(), about, files)


def _distribution(run: ImageRun) -> None:
    """Show the histogram, or say why there is nothing to compare with."""
    layout.heading(
        "LID distribution of reference prompts",
        "Gray: images of prompts that are not memorized, generated with the same settings. "
        "Marks far left of them have a low LID; marks among them prove nothing.",
        help=f"{phrases.LID} {phrases.PERCENTILE}",
    )
    layout.chart(image_plots.lid_histogram(run.images, run.reference), "im_histogram")
    if run.reference is None:
        st.info(
            "There are no reference prompts for these settings: percentiles hold only for the "
            "settings of their calibration. Take the model's recommended steps, guidance, "
            "scheduler and size, or compare the images with one another.",
            icon=":material/info:",
        )
    else:
        count = len(set(run.reference.prompts))
        st.caption(
            f"{len(run.reference.conditional)} images of {count} reference prompts at "
            f"{run.reference.sampling.words}."
        )
