"""The overview, as a person uses it: doors, guided tour, last jobs and queues, and no waiting."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from html import escape, unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from mmh_core.memorization.verdict import COPY_VERDICTS
from mmh_core.records import Progress
from mmh_core.store.archive import load_record
from mmh_core.store.job_record import JobRecord
from mmh_core.store.jobs import JobStore
from mmh_core.store.queues import create_queue
from mmh_core.store.review_log import ReviewTarget, judge
from mmh_core.store.review_records import ReviewItem
from mmh_core.studies.images.run import ImageRun
from tests.drawn_runs import HOSTILE
from tests.views.pages import pages_html
from views import session
from views.glossary import terms
from views.overview import session as overview_session
from views.overview.answers import answers
from views.review import session as review_session
from views.tour import examples

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "pages" / "overview.py"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, started_with: Callable[..., None]) -> Path:
    started_with("--data", tmp_path)
    return tmp_path


def opened() -> AppTest:
    app = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not app.exception and not app.error
    return app


def links(app: AppTest) -> list[tuple[str, dict[str, str]]]:
    """Return page and parameters of every link, in order."""
    found = re.findall(r'href="([^"]*)"', pages_html(app).replace("&amp;", "&"))
    return [
        (urlsplit(one).path, {k: v[0] for k, v in parse_qs(urlsplit(one).query).items()})
        for one in found
    ]


def test_three_doors_and_a_tour_through_finished_states() -> None:
    help, *found = links(opened())
    assert help == ("glossary", {"term": "memorization"})
    assert [page for page, values in found[:5] if not values] == [
        "manifolds",
        "images",
        "mitigation",
        "review",
        "benchmark",
    ]
    tour = found[5:9]
    assert [page for page, _ in tour] == ["manifolds", "images", "images", "mitigation"]
    assert [values["tour"] for _, values in tour] == ["1", "2", "3", "4"]
    # Every page that is linked to is one of the app's, under its own path.
    app = (ROOT / "app.py").read_text()
    assert all(f'url_path="{page}"' in app for page, _ in found)
    # The states are precomputed: their files are there.
    for folder, name in (
        ("manifolds", tour[0][1]["manifold"]),
        ("images", tour[1][1].get("example", "duplicate")),
        ("images", tour[2][1].get("example", "duplicate")),
        ("mitigation", tour[3][1]["example"]),
    ):
        assert (ROOT / "assets" / folder / f"{name}.safetensors").is_file()


def test_every_question_has_an_answer_and_its_link_leads_somewhere(data: Path) -> None:
    app = opened()
    shown = pages_html(app)
    known = {term.name.casefold() for term in terms()}
    for question, answer, _, address in answers(str(data)):
        assert escape(question) in shown and escape(answer) in shown
        assert len(answer.split()) > 30
        term = parse_qs(urlsplit(address).query).get("term")
        assert term is None or any(term[0].casefold() in name for name in known)
    assert escape(str(data)) in shown


def test_the_images_of_the_tour_are_those_of_the_precomputed_runs() -> None:
    import io

    import torch
    from PIL import Image
    from safetensors.torch import load_file

    found = overview_session.tour_images()
    copied, after = examples.copied(), examples.mitigated()
    assert copied is not None and after is not None
    for path, name, png in (
        (copied.path, "/images/0/image", found.generated),
        (copied.path, "/images/0/neighbors/0/image", found.training),
        (after.path, "/cells/0/images", found.copied),
        (after.path, f"/cells/{after.number}/images", found.mitigated),
    ):
        kept = load_file(path)[name]
        kept = kept[0] if kept.ndim == 4 else kept
        pixels = torch.frombuffer(
            bytearray(Image.open(io.BytesIO(png)).tobytes()), dtype=torch.uint8
        )
        assert torch.equal(pixels.reshape(64, 64, 3).permute(2, 0, 1), kept)


def test_last_jobs_and_queues_are_listed_and_their_names_are_text(data: Path) -> None:
    store = JobStore(data / "jobs.sqlite")
    for kind, state in (("images", "done"), ("scan", "cancelled"), ("another", "failed")):
        store.add(JobRecord(kind[0] * 32, kind, f"{kind} {HOSTILE}", "cpu", state))  # type: ignore[arg-type]
    item = ReviewItem("a prompt", (0,), "pocket-sd", "")
    queue = create_queue(
        review_session.queues(),
        HOSTILE[:100],
        model="pocket-sd",
        model_sha256="",
        items=[item, ReviewItem("another", (0,), "pocket-sd", "")],
    )
    for name in ("A", "B"):
        judge(review_session.queues(), ReviewTarget(queue.id, 1, name, 0), "unsure")
    app = opened()
    assert ("images", {"job": "i" * 32}) in links(app)
    assert ("review", {"tab": "scan", "job": "s" * 32}) in links(app)
    assert ("review", {"queue": queue.id}) in links(app)
    assert not [one for one in links(app) if "a" * 32 in one[1].values()]
    text = pages_html(app)
    assert "stopped" in text and "finished" in text and "failed" in text
    # Two reviewers of one item are one judged item.
    assert "1 of 2 items judged" in text
    assert '<img src="http' not in text and "&lt;img src=" in text


def test_one_search_finds_jobs_and_items_of_all_queues(data: Path) -> None:
    store = JobStore(data / "jobs.sqlite")
    store.add(JobRecord("a" * 32, "images", "4 images, a red fox", "cpu", "done"))
    store.add(JobRecord("b" * 32, "images", "4 images, a cat", "cpu", "done"))
    items = [ReviewItem(f"{HOSTILE} a red fox {n}", (0,), "pocket-sd", "") for n in range(25)]
    queue = create_queue(
        review_session.queues(), "mine", model="pocket-sd", model_sha256="", items=items
    )
    app = opened()
    before = len(links(app))
    app.text_input(key="ov_search").input("RED FOX").run()
    assert not app.exception and not app.error
    found = links(app)
    assert len(found) == before + 1 + 20
    assert ("review", {"queue": queue.id, "item": "20"}) in found
    text = pages_html(app)
    assert "item 1 of mine" in text and '<img src="http' not in text
    assert [one.value for one in app.header if "25 review items that contain it" in one.value]
    app.text_input(key="ov_search").input("zebra").run()
    assert len(links(app)) == before
    assert any("No job and no review item" in one.value for one in app.caption)


def test_running_and_waiting_jobs_are_found_and_cancelled_from_any_window() -> None:
    """A window that is closed leaves its job running: it must not be out of reach."""
    gate, started = threading.Event(), threading.Event()

    def work() -> Iterator[Progress[int]]:
        yield Progress(0.5, "half", 1)
        started.set()
        assert gate.wait(60)
        yield Progress(1.0, "all", 2)

    runner = session.jobs().runner
    kinds = {"scan": "job", "audit": "audit", "audits": "audits"}
    tabs = {"scan": "scan", "audit": "audit", "audits": "audit"}
    ids = [runner.submit(kind, HOSTILE, work) for kind in kinds]
    assert started.wait(60)
    app = opened()
    for id, (kind, name) in zip(ids, kinds.items(), strict=True):
        link = {"tab": tabs[kind], name: id}
        assert link in [values for _, values in links(app)]
        assert app.button(key=f"ov_cancel_{id}")
    assert "running, " in pages_html(app) and "waiting since" in pages_html(app)
    assert "No job has finished yet" in " ".join(c.value for c in app.caption)
    for waiting in ids[1:]:
        app.button(key=f"ov_cancel_{waiting}").click().run()
        assert runner.record(waiting).state == "cancelled"
    app.button(key=f"ov_cancel_{ids[0]}").click().run()
    gate.set()
    assert runner.wait(ids[0], 60).state == "cancelled"
    app = opened()
    assert not [b for b in app.button if str(b.key).startswith("ov_cancel_")]
    runner.shutdown()


def test_a_job_of_a_dead_server_is_not_shown_as_running(data: Path) -> None:
    store = JobStore(data / "jobs.sqlite")
    store.add(JobRecord("d" * 32, "images", "left behind", "cpu", "running"))
    store.close()
    assert "interrupted" in pages_html(opened())


def test_the_page_loads_no_torch(data: Path) -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['app.py', '--data', {str(data)!r}]\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(PAGE)!r}, default_timeout=60).run()\n"
        "assert not app.exception and not app.error, (app.exception, app.error)\n"
        "assert len(app.get('html')) > 3\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_the_app_opens_on_the_overview() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert not app.exception
    assert app.title[0].value == "Copied training images in diffusion models"


def test_the_finding_counts_the_copies_of_the_finished_example() -> None:
    copied = examples.copied()
    assert copied is not None
    run = load_record(copied.path, ImageRun)
    copies = sum(image.verdict in COPY_VERDICTS for image in run.images)
    sentence = f"{copies} of {len(run.images)} generated images are copies of training images"
    page = pages_html(opened())
    assert sentence in page and page.index(sentence) < page.index("What to do next")
    assert 0 < copies <= len(run.images)
    # The figures are of one or two chosen prompts, and the sentence says so.
    mitigated = examples.mitigated()
    assert mitigated is not None
    same = mitigated.prompt == copied.prompt
    assert ("One memorized prompt" if same else "Two memorized prompts") in page
    assert same or f"with {mitigated.label}, none of {mitigated.images}." in unescape(page)
