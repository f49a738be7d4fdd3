"""The commands of the review: list, verify, export, import and the demonstration."""

from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path

import pytest

from mmh_core.cli.app import main
from mmh_core.store.archive import save_record
from mmh_core.store.item_search import get_item
from mmh_core.store.queues import create_queue, get_queue, list_queues
from mmh_core.store.review_log import ReviewTarget, judge, log_rows, undo
from mmh_core.store.review_plans import ReviewPlan, plans_folder, read_plan, write_plan
from mmh_core.store.review_records import QueueRecord, ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.run_files import file_sha256
from mmh_core.studies.review import demonstration
from mmh_core.studies.review.items import run_item
from tests.drawn_runs import HOSTILE, drawn_run

RUN = "drawn.safetensors"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder with a queue of three items, judged by two reviewers."""
    folder = tmp_path / "data"
    run = drawn_run()
    save_record(folder / "runs" / RUN, run)
    file = open_queues(folder / "review.sqlite")
    queue = create_queue(
        file,
        f"Case {HOSTILE}"[:190],
        model="pocket-sd",
        model_sha256=run.sha256,
        items=[
            run_item(run, 0, file=RUN, sha256=file_sha256(folder / "runs" / RUN)),
            ReviewItem("plain", (0,), "pocket-sd", run.sha256),
            ReviewItem("lost", (0,), "pocket-sd", run.sha256, run="gone.safetensors"),
        ],
    )
    judge(file, ReviewTarget(queue.id, 1, "Ann", 0), "exact copy")
    judge(file, ReviewTarget(queue.id, 2, "Ann", 0), "unsure")
    undo(file, queue.id, "Ann")
    judge(file, ReviewTarget(queue.id, 1, "Ben", 0), "template copy")
    return folder


def only_queue(data: Path) -> QueueRecord:
    [queue] = list_queues(open_queues(data / "review.sqlite"))
    return queue


def ran(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Run `review ARGUMENTS`, and return exit status, output and errors."""
    with pytest.raises(SystemExit) as caught:
        main(["review", *map(str, arguments)])
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    return int(caught.value.code or 0), found.out, found.err


def tampered(data: Path, statement: str) -> None:
    """Change the file of queues past its own guards."""
    with sqlite3.connect(data / "review.sqlite") as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
    connection.close()


def test_queues_are_listed_with_their_ids_and_names_that_stay_one_line(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_queue(
        open_queues(data / "review.sqlite"), "two\nlines", model="pocket-sd", model_sha256=""
    )
    status, out, _ = ran(capsys, "list", "--data", data)
    newest, oldest = out.splitlines()
    assert status == 0
    assert "0 items" in newest and newest.endswith("'two\\nlines'")
    assert oldest.split()[0] == list_queues(open_queues(data / "review.sqlite"))[1].id
    assert "3 items" in oldest and "4 rows" in oldest and HOSTILE in oldest


def test_a_whole_log_verifies_and_a_changed_row_is_named_with_status_one(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = only_queue(data)
    for arguments in ((), (queue.id,)):
        status, out, _ = ran(capsys, "verify", *arguments, "--data", data)
        assert (status, out.count("\n")) == (0, 1)
        assert out.startswith(f"{queue.id}: All 4 rows are as they were recorded")
        assert "Files of runs: 1 as recorded, 1 missing ('gone.safetensors')." in out
    tampered(data, "UPDATE verdicts SET after = 'not memorized' WHERE number = 2")
    status, out, _ = ran(capsys, "verify", "--data", data)
    assert status == 1 and "Row 2" in out and "does not match its digest" in out


def test_a_replaced_file_of_a_run_gives_status_one(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "runs" / RUN
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    status, out, _ = ran(capsys, "verify", "--data", data)
    assert status == 1 and f"1 changed or replaced ({RUN!r})" in out
    status, _, err = ran(
        *(capsys, "export", only_queue(data).id, "--data", data, "--out", data / "case.zip")
    )
    assert status == 2 and "is not the one with which its item was made" in err


def test_one_bad_queue_among_several_gives_status_one_and_all_are_checked(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = open_queues(data / "review.sqlite")
    item = ReviewItem("x", (0,), "pocket-sd", "")
    newer = create_queue(file, "newer", model="pocket-sd", model_sha256="", items=[item])
    judge(file, ReviewTarget(newer.id, 1, "Ann", 0), "unsure")
    tampered(data, "UPDATE verdicts SET reviewer = 'Eve' WHERE queue = 2")
    status, out, _ = ran(capsys, "verify", "--data", data)
    first, second = out.splitlines()
    # The older one, checked last, is whole, and does not make up for it.
    assert status == 1 and "Row 1" in first and "All 4 rows" in second
    assert ran(capsys, "verify", newer.id, "--data", data)[0] == 1
    assert ran(capsys, "verify", list_queues(file)[1].id, "--data", data)[0] == 0


def test_a_case_goes_out_and_comes_in_elsewhere_with_log_and_runs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue, case, again = only_queue(data), tmp_path / "case.zip", tmp_path / "again.zip"
    plan = ReviewPlan(("trademark",), ("ann", "bob"), 1)
    write_plan(plans_folder(data), queue.id, plan)
    status, out, _ = ran(capsys, "export", queue.id, "--out", case, "--data", data)
    assert status == 0
    assert "3 items, 4 rows, 1 runs." in out and "1 runs are missing" in out
    ran(capsys, "export", queue.id, "--out", again, "--data", data)
    assert case.read_bytes() == again.read_bytes()

    other = tmp_path / "other"
    status, out, _ = ran(capsys, "import", case, "--data", other)
    assert (status, out.count("\n")) == (0, 1)
    assert queue.id in out and "3 items" in out
    here, there = (open_queues(place / "review.sqlite") for place in (data, other))
    assert get_queue(there, queue.id) == get_queue(here, queue.id)
    assert log_rows(there, queue.id) == log_rows(here, queue.id)
    assert read_plan(plans_folder(other), queue.id) == plan
    assert (other / "runs" / RUN).read_bytes() == (data / "runs" / RUN).read_bytes()
    assert ran(capsys, "verify", "--data", other)[0] == 0
    # Twice is refused, and nothing is doubled.
    status, _, err = ran(capsys, "import", case, "--data", other)
    assert status == 2 and "is here already" in err
    assert len(list_queues(there)) == 1


def test_a_changed_case_is_refused_and_leaves_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case, changed = tmp_path / "case.zip", tmp_path / "changed.zip"
    ran(capsys, "export", only_queue(data).id, "--out", case, "--data", data)
    with zipfile.ZipFile(case) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            new.writestr(name, text.replace(b"exact copy", b"unsure    "))
    other = tmp_path / "other"
    status, _, err = ran(capsys, "import", changed, "--data", other)
    assert status == 2 and "damaged or changed" in err
    assert list_queues(open_queues(other / "review.sqlite")) == []
    assert not list(other.rglob("*.safetensors"))


def test_what_cannot_be_done_is_a_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = only_queue(data)
    for arguments, words in (
        (("list", "--data", tmp_path / "none"), "holds no queues"),
        (("verify", "f" * 32, "--data", data), "There is no queue"),
        (("export", queue.id, "--out", data / "runs", "--data", data), "cannot be written"),
        (("export", queue.id, "--out", "/proc/x/case.zip", "--data", data), "be written"),
        (("export", "f" * 32, "--out", tmp_path / "x.zip", "--data", data), "There is no queue"),
        (("import", tmp_path / "none.zip", "--data", data), "There is no file"),
        (("import", data / "runs" / RUN, "--data", data), "is no case file"),
    ):
        status, out, err = ran(capsys, *arguments)
        assert (status, out) == (2, "") and words in err, (arguments, err)
    assert not (tmp_path / "x.zip").exists() and not (tmp_path / "none").exists()
    # A case whose log was changed is not handed over.
    tampered(data, "UPDATE verdicts SET notes = 'x' WHERE number = 1")
    status, _, err = ran(capsys, "export", queue.id, "--out", tmp_path / "x.zip", "--data", data)
    assert status == 2 and "exported only if" in err
    assert not (tmp_path / "x.zip").exists()


def test_the_demonstration_is_a_case_with_some_full_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demonstration, "SUBJECTS", 1)
    monkeypatch.setattr(demonstration, "PARAPHRASES", 0)
    monkeypatch.setattr(demonstration, "SEEDS", (0,))
    everything = demonstration.demonstration_prompts
    monkeypatch.setattr(
        demonstration, "demonstration_prompts", lambda folder: everything(folder)[:2]
    )
    monkeypatch.setattr(demonstration, "kept_prompts", lambda prompts: {prompts[1].caption})
    case = tmp_path / "demonstration.zip"
    status, out, _ = ran(capsys, "demonstration", "--out", case)
    assert status == 0 and out.endswith("demonstration.zip: 2 items, 1 runs.\n")
    ran(capsys, "import", case, "--data", tmp_path / "data")
    file = open_queues(tmp_path / "data" / "review.sqlite")
    queue = only_queue(tmp_path / "data")
    items = [get_item(file, queue.id, position, "").item for position in (1, 2)]
    # The most suspicious one comes first, every one has its image, one its study.
    assert items[0].lid_percentile <= items[1].lid_percentile
    assert all(item.thumbnail and item.kind and item.seeds == (0,) for item in items)
    [named] = [item.run for item in items if item.run]
    assert [path.name for path in (tmp_path / "data" / "runs").iterdir()] == [named]


def test_a_kept_seal_tells_a_log_that_was_computed_anew(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue, kept = only_queue(data), tmp_path / "elsewhere" / "seals.txt"
    status, out, _ = ran(capsys, "verify", queue.id, "--seal", queue.seal, "--data", data)
    assert status == 0 and "stood at row 4: nothing up to it was changed" in out
    status, out, _ = ran(capsys, "verify", "--kept", kept, "--data", data)
    assert status == 0 and "1 seal added" in out
    assert ran(capsys, "verify", "--kept", kept, "--data", data)[1].endswith("0 seals added.\n")
    file = open_queues(data / "review.sqlite")
    older = (data / "review.sqlite").read_bytes()
    seen = get_item(file, queue.id, 1, "Ann").judgement.revision
    judge(file, ReviewTarget(queue.id, 1, "Ann", seen), "unsure")
    assert ran(capsys, "verify", "--kept", kept, "--data", data)[0] == 0
    assert len(kept.read_text().splitlines()) == 2
    # An older copy put back is whole by itself; the file of seals tells it, and stays.
    (data / "review.sqlite").write_bytes(older)
    assert ran(capsys, "verify", "--data", data)[0] == 0
    status, out, _ = ran(capsys, "verify", "--kept", kept, "--data", data)
    assert status == 1 and "never stood at the seal" in out
    assert len(kept.read_text().splitlines()) == 2
    ran(capsys, "remove", queue.id, "--yes", "--data", data)
    status, out, _ = ran(capsys, "verify", "--kept", kept, "--data", data)
    assert status == 1 and "it is not here any more" in out
    for arguments, words in (
        (("verify", "--seal", queue.seal, "--data", data), "name the queue before"),
        (("verify", queue.id, "--seal", "", "--data", data), "'' is no seal"),
        (("verify", queue.id, "--seal", queue.seal[1:], "--data", data), "this is 63 long"),
        (("verify", "--kept", data / "runs", "--data", data), "cannot be read"),
        (("verify", "--kept", data / "runs" / RUN, "--data", data), "cannot be read|is no seal"),
    ):
        status, _, err = ran(capsys, *arguments)
        assert status == 2 and any(word in err for word in words.split("|")), err


def test_a_queue_taken_out_by_hand_is_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = create_queue(
        open_queues(data / "review.sqlite"), "other", model="pocket-sd", model_sha256=""
    )
    tampered(data, "DELETE FROM queues WHERE number = 1")
    for arguments in (("verify",), ("verify", other.id)):
        status, out, _ = ran(capsys, *arguments, "--data", data)
        assert status == 1
        assert "3 items, 4 rows of verdicts and 3 judgements belong to no queue" in out
    tampered(data, "DELETE FROM items")
    tampered(data, "DELETE FROM verdicts")
    tampered(data, "DELETE FROM judgements")
    status, out, err = ran(capsys, "verify", "--data", data)
    assert status == 0 and "note: 1 queue was removed before the newest one was made" in err
    ran(capsys, "remove", other.id, "--data", data)
    status, out, _ = ran(capsys, "verify", "--data", data)
    assert status == 0 and out.endswith("no queue is in it.\n")


def test_a_queue_is_removed_only_when_that_is_meant(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = only_queue(data)
    status, _, err = ran(capsys, "remove", queue.id, "--data", data)
    assert status == 2 and "has 4 rows of judgements: export it first" in err
    status, _, err = ran(capsys, "remove", "x" * 300, "--data", data)
    assert status == 2 and "There is no queue" in err and len(err) < 300
    tampered(data, "UPDATE queues SET created = 1e300")
    status, out, err = ran(capsys, "list", "--data", data)
    assert status == 0 and out == "" and "cannot be read: 1e+300 is no time" in err
    status, out, _ = ran(capsys, "verify", "--data", data)
    assert status == 1 and "its record is damaged" in out
    write_plan(plans_folder(data), queue.id, ReviewPlan(("trademark",), ("ann",), 0))
    status, out, _ = ran(capsys, "remove", queue.id, "--yes", "--data", data)
    assert status == 0 and queue.id in out
    assert not list(plans_folder(data).iterdir())
    assert ran(capsys, "list", "--data", data)[:2] == (0, "")


def test_looking_at_a_data_folder_changes_nothing_in_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = only_queue(data)

    def state() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in data.rglob("*") if p.is_file()}

    before = state()
    for arguments in (
        ("list",),
        ("verify",),
        ("verify", queue.id, "--seal", queue.seal),
        ("export", queue.id, "--out", tmp_path / "case.zip"),
    ):
        assert ran(capsys, *arguments, "--data", data)[0] == 0
    assert state() == before
