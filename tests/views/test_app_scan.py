"""A scan in the browser: upload, progress, cancel, go on, and the queue of what is flagged."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mmh_core.store.item_search import ItemFilter, items_page
from mmh_core.store.queues import get_queue
from mmh_core.store.shards import read_rows
from mmh_core.studies.detection.labelled_prompts import pocket_reference_captions
from mmh_core.subject.calibration import FILE, empty_calibration, write_calibration
from mmh_core.subject.early_calibration import early_calibration
from mmh_core.text_to_image.catalogue import CATALOGUE
from tests.views.test_app_review import captions, opened, said, sound
from views import session, subjects
from views.review import scan_session
from views.review import session as review_session

PROMPTS = (
    "Jonas Okonjo in a red coat, head and shoulders, warm light",
    "a photo of the mountains at sunset with a lake",
    "a bridge in the fog",
    '=HYPERLINK("http://example.org") in a red coat',
)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an early scan calibrated on twenty reference captions and one seed."""
    folder = tmp_path_factory.mktemp("calibration")
    model = subjects.model("pocket-sd")
    [*_, last] = early_calibration(
        model, pocket_reference_captions(Path(CATALOGUE["pocket-sd"].source))[:20], (0,)
    )
    early = replace(empty_calibration(model), early=last.partial)
    write_calibration(folder / FILE, early)
    return folder


@pytest.fixture(autouse=True)
def data(tmp_path: Path, started_with: Callable[..., None], calibration: Path) -> Iterator[Path]:
    started_with("--data", tmp_path)
    (tmp_path / "calibrations" / "pocket-sd").mkdir(parents=True)
    shutil.copy(calibration / FILE, tmp_path / "calibrations" / "pocket-sd" / FILE)
    yield tmp_path
    session.jobs().runner.shutdown()


def table() -> bytes:
    quoted = (prompt.replace('"', '""') for prompt in PROMPTS)
    return ("prompt,id\n" + "".join(f'"{p}",row {i}\n' for i, p in enumerate(quoted))).encode()


def test_a_table_becomes_a_scan_and_the_scan_a_queue_to_judge() -> None:
    app = opened(tab="scan")
    sound(app.file_uploader(key="rv_prompts").upload("my prompts.csv", table()).run())
    sound(app.checkbox(key="rv_study").uncheck().run())
    # The loosest threshold and no drawing: what is flagged does not matter here.
    sound(app.select_slider(key="rv_share").set_value(0.1).run())
    sound(app.button(key="rv_scan").click().run())
    job = app.query_params["job"]
    record = session.jobs().runner.wait(job, timeout=110)
    assert record.error is None and record.state == "done"
    sound(app.run())
    rows = [
        row for batch in read_rows(scan_session.scan_folder(str(record.result))) for row in batch
    ]
    assert sorted(row.prompt for row in rows) == sorted(PROMPTS)
    flagged = sum(bool(row.values["flagged"]) for row in rows)
    shown = {metric.label: metric.value for metric in app.metric}
    assert (shown["Prompts"], shown["Flagged"]) == ("4 of 4", str(flagged))
    sound(app.button(key="rv_queue_all").click().run())
    queue = get_queue(review_session.queues(), app.query_params["queue"])
    assert queue.name == "my prompts.csv, all prompts"
    items = items_page(review_session.queues(), queue.id, ItemFilter(), "").items
    scores = {row.prompt: row.values["score"] for row in rows}
    # In the order of the table, whatever the scores are.
    assert [view.item.name for view in items] == [f"row {i}" for i in range(4)]
    assert {view.item.prompt: view.item.score for view in items} == scores
    assert {view.item.name for view in items} == {f"row {i}" for i in range(4)}
    # It is open at its first item, and a verdict can be given.
    assert "tab" not in app.query_params and app.query_params["item"] == "1"
    assert "0 of 4 judged" in app.get("progress")[0].proto.text.replace("\\", "")


def test_an_example_is_at_hand_and_stays_until_a_table_is_brought() -> None:
    app = opened(tab="scan")
    sound(app.button(key="rv_take_example").click().run())
    for _ in range(2):
        assert any("25 prompts to read" in text.value for text in app.text)
        assert [button for button in app.button if button.key == "rv_scan"]
        sound(app.run())
    sound(app.file_uploader(key="rv_prompts").upload("one.txt", b"a fox").run())
    assert any("1 prompt to read" in text.value for text in app.text)


def test_a_scan_asked_for_again_repeats_nothing() -> None:
    kept = scan_session.keep_table("p.csv", table())
    runner = session.jobs().runner
    for known in (0, 4):
        job = scan_session.submit_scan(kept, "pocket-sd", fpr=0.1, analyze_flagged=False)
        assert runner.wait(job, timeout=110).state == "done"
        state = scan_session.scan_job(job).run
        assert state is not None
        assert (state.done, state.known, state.scored) == (4, known, 4 - known)
    [(about, done)] = scan_session.kept_scans()
    assert (about.name, done) == ("p.csv", 4)
    # Other settings are another scan, beside it.
    job = scan_session.submit_scan(kept, "pocket-sd", fpr=0.0, analyze_flagged=False)
    runner.wait(job, timeout=110)
    assert len(scan_session.kept_scans()) == 2


def test_a_cancelled_scan_keeps_what_it_has_and_goes_on_from_the_page() -> None:
    # Two batches of the early scan, so that there is a moment in between.
    lines = "\n".join(f"a bridge in the fog, number {i}" for i in range(60))
    kept = scan_session.keep_table("lines.txt", lines.encode())
    runner = session.jobs().runner
    job = scan_session.submit_scan(kept, "pocket-sd", fpr=0.0, analyze_flagged=False)
    while (latest := runner.latest(job)) is None or latest.partial.done < 1:
        assert runner.record(job).is_active
        runner.wait(job, timeout=0.02)
    runner.cancel(job)
    assert runner.wait(job, timeout=110).state in ("cancelled", "done")
    app = opened(tab="scan", job=job)
    state = scan_session.scan_job(job).run
    assert state is not None and 0 < state.done <= 60
    assert f"{state.done} of {state.total}" in [metric.value for metric in app.metric]
    [(about, _)] = scan_session.kept_scans()
    sound(app.button(key=f"rv_go_{about.id}").click().run())
    again = str(app.session_state["rv_job"])
    assert again != job
    assert runner.wait(again, timeout=110).state == "done"
    sound(app.run())
    ended = scan_session.scan_job(again).run
    assert ended is not None and (ended.done, ended.known) == (60, state.done)
    assert "Scanned 60 prompts" in said(app) and captions(app)


def test_a_scan_that_meets_a_full_disk_says_so_and_goes_on_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = scan_session.keep_table("p.csv", table())
    replace_file = os.replace

    def full(source: str, target: Path) -> None:
        if target.suffix == ".parquet":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", full)
    job = scan_session.submit_scan(kept, "pocket-sd", fpr=0.1, analyze_flagged=False)
    assert session.jobs().runner.wait(job, timeout=110).state == "failed"
    monkeypatch.setattr(os, "replace", replace_file)
    app = opened(tab="scan", job=job)
    assert "No space left on device" in said(app) and "free some space" in said(app)
    [(about, done)] = scan_session.kept_scans()
    assert done == 0
    sound(app.button(key=f"rv_go_{about.id}").click().run())
    assert session.jobs().runner.wait(str(app.session_state["rv_job"]), timeout=110).error is None
    assert scan_session.kept_scans() == [(about, 4)]


def test_a_flagged_prompt_brings_its_run_into_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from mmh_core.studies.images.run import most_severe_image
    from mmh_core.studies.review.scan_rows import RUNS

    lines = "Jonas Okonjo in a red coat, head and shoulders, warm light"
    kept = scan_session.keep_table("one.txt", lines.encode())
    found = subjects.calibration("pocket-sd")
    assert found is not None
    # Below every score: the prompt is flagged, whatever the model is.
    monkeypatch.setattr(type(found), "threshold", lambda self, share: -1e9)
    job = scan_session.submit_scan(kept, "pocket-sd", fpr=0.1, analyze_flagged=True)
    record = session.jobs().runner.wait(job, timeout=110)
    assert record.state == "done", record.error
    [(about, _)] = scan_session.kept_scans()
    queue = scan_session.queue_of_scan(about, flagged=True)
    [view] = items_page(review_session.queues(), queue.id, ItemFilter(), "").items
    run = review_session.run_of(view.item)
    assert run is not None and run.config.prompts == (lines,)
    worst = most_severe_image(run.images)
    assert worst.copy is not None and view.item.similarity >= worst.copy.similarity - 1e-12
    assert view.item.lid == pytest.approx(
        sum(one.lid.conditional for one in run.images if one.lid) / len(run.images)
    )
    # The queue's file outlives that of the scan.
    shutil.rmtree(scan_session.scan_folder(about.id) / RUNS)
    assert review_session.run_of(replace(view.item)) is not None
    app = opened(queue=queue.id)
    assert "Comparison with a training image" in " ".join(m.value for m in app.subheader)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b'{"caption": "a fox", "index": 1, "url": "x"}\n'),
        ("b.csv", b";Caption;URL;type\n0;a fox;x;VM\n"),
        ("c.json", b'["a fox"]'),
        ("d.tsv", b"Prompt\tCategory\na fox\tanimal\n"),
        ("e.ndjson", b'"a fox"\n'),
        ("f.csv", "prompt\na fox\n".encode("utf-16")),
    ],
)
def test_every_usual_form_of_a_table_can_be_brought(name: str, data: bytes) -> None:
    app = opened(tab="scan")
    sound(app.file_uploader(key="rv_prompts").upload(name, data).run())
    assert any("1 row: 1 prompt to read" in text.value for text in app.text)
    assert [button for button in app.button if button.key == "rv_scan"]


def test_repeated_rows_are_listed_with_their_first_and_kept_columns_named() -> None:
    data = b"case id,prompt,source\nP1,a fox,web\nP2,a dog,web\nP3,a fox,web\nP4,,web\n"
    app = opened(tab="scan")
    sound(app.file_uploader(key="rv_prompts").upload("t.csv", data).run())
    texts = " ".join(text.value for text in app.text)
    assert "4 rows: 2 prompts to read, 1 repeats an earlier row, 1 left out." in texts
    assert "Kept beside them: 'case id', 'source'." in texts
    assert "Row 3 (P3) repeats the prompt of row 1." in texts


def test_a_table_that_leaves_the_column_open_asks_with_the_choices() -> None:
    app = opened(tab="scan")
    data = b"prompt,caption\na fox,a dog\na cat,a bird\n"
    sound(app.file_uploader(key="rv_prompts").upload("t.csv", data).run())
    assert "differ in row 1" in app.error[0].value.replace("\\", "")
    [choice] = [box for box in app.selectbox if box.label == "Prompt column"]
    assert list(choice.options) == ["prompt", "caption"]
    sound(choice.set_value("caption").run())
    assert not app.error
    assert any("Prompts are in the column 'caption'" in text.value for text in app.text)
    # Another table is not bound by that choice.
    sound(app.file_uploader(key="rv_prompts").upload("u.csv", b"prompt\na fox\n").run())
    assert not app.error
