"""The server's page in a real browser: light and dark, wide and narrow, by mouse and by keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from browser import assert_accessible, browser, looks, window
from page_service import (
    COURSES,
    UNUSUAL,
    add_ensemble,
    add_model_of_many,
    change,
    lengthen,
    page_server,
    renew,
    rows,
    rows_of_nets,
    ulid,
)
from server_fake import FakeService
from server_live import Live

from nbmlp import MLP
from nbmlp.data import Table
from nbmlp.server.jobs.spec import OF_ENSEMBLES, Hyper, JobSpec
from nbmlp.server.ports import EventKind, JobState

ADDRESSES = [
    "/login", "/", f"/datasets/{ulid(1)}", "/jobs", f"/compare?job={ulid(13)}&job={ulid(14)}",
    f"/jobs/{ulid(11)}", f"/jobs/{ulid(12)}", f"/jobs/{ulid(14)}", f"/jobs/{ulid(17)}", "/models",
    f"/models/{ulid(2)}", "/docs", "/jobs/missing",
    f"/datasets/{ulid(1)}?like={ulid(14)}",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with page_server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def service(served: Live) -> FakeService:
    renew(served.service)
    return served.service


def is_bad(message: Any) -> bool:
    """Anything but the browser's own reports of a page that is missing, and of a refusal."""
    missing = message.location["url"].endswith("/jobs/missing")
    refused = re.search(r"(status of|Error Code) 4(09|22)|ERR_FAILED", message.text)
    return message.type in ("error", "warning") and not missing and not refused


@pytest.fixture(scope="module")
def signed_in(chromium: Any, served: Live) -> Any:
    """A browser's profile: what it has loaded once it keeps."""
    context = window(chromium, base_url=served.url)
    context.request.post("/login", form={"token": served.secret})
    context.add_init_script(KEEP_PLOTS)
    return context


@pytest.fixture
def visit(signed_in: Any, served: Live, service: FakeService) -> Iterator[Callable[..., Any]]:
    """Opens an address in a window of its own; nothing may break while it is open."""
    broken: list[str] = []

    def opened(path: str, *, dark: bool = False, width: int = 1280) -> Any:
        page = signed_in.new_page()
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.set_viewport_size({"width": width, "height": 800})
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", lambda m: is_bad(m) and broken.append(m.text))
        page.on("request", lambda r: r.url.startswith(served.url) or broken.append(r.url))
        page.goto(path)
        return page

    yield opened
    for page in signed_in.pages:
        page.evaluate("localStorage.clear()")
        page.close()
    assert not broken, broken


#: Makes the pictures of a page known to tests: `plots`, in the order of their making.
KEEP_PLOTS = """
  const plots = window.plots = [];
  let plain;
  Object.defineProperty(window, "uPlot", { get: () => plain, set: (made) => {
    plain = new Proxy(made, { construct(of, given) {
      const plot = new of(...given);
      plots.push(plot);
      return plot;
    } });
  } });
"""

#: How much of a line over the whole height of a picture is painted, at an epoch.
PAINTED = """([which, epoch]) => {
  const plot = plots.at(which), { ctx, bbox } = plot;
  const x = Math.round(plot.valToPos(epoch, "x", true));
  const copy = new OffscreenCanvas(2, bbox.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(ctx.canvas, 1 - x, -bbox.top);
  const { data } = copy.getImageData(0, 0, 2, bbox.height);
  let painted = 0;
  for (let i = 3; i < data.length; i += 8) painted += data[i] + data[i + 4] > 100;
  return painted / bbox.height;
}"""


def epochs(page: Any) -> str:
    """What the curve tells those who do not see it."""
    return str(page.get_attribute("#loss", "aria-label") or "")


def test_every_page_fits_and_is_accessible(visit: Callable[..., Any]) -> None:
    page = visit("/login")
    for path in ADDRESSES:
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        for look in looks(page):
            assert_accessible(page, look)


def test_long_names_do_not_widen_a_page(visit: Callable[..., Any], service: FakeService) -> None:
    lengthen(service)
    page = visit("/")
    nameless = ("/login", "/docs", "/jobs/missing")
    for path in (*ADDRESSES, f"/models/{ulid(1)}"):
        if path in nameless:
            continue
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        for _ in looks(page):
            pass


def test_an_open_question_is_accessible(visit: Callable[..., Any]) -> None:
    page = visit(f"/jobs/{ulid(17)}")
    page.wait_for_selector("#loss canvas")
    page.click("#do-cancel")
    page.wait_for_selector("dialog[open]")
    for look in looks(page):
        assert_accessible(page, look)


@pytest.mark.parametrize("width", [400, 1280])
def test_the_table_of_columns_is_not_cut_off(visit: Callable[..., Any], width: int) -> None:
    page = visit(f"/datasets/{ulid(1)}", width=width)
    assert page.locator(".tall").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    lines = """all => all.map((e) => {
      const range = document.createRange();
      range.selectNodeContents(e);
      return range.getClientRects().length;
    })"""
    assert set(page.locator(".tall td:nth-child(2)").evaluate_all(lines)) == {1}


class TestCurve:
    def test_grows(self, visit: Callable[..., Any], service: FakeService) -> None:
        page = visit(f"/jobs/{ulid(17)}")
        page.wait_for_selector("#loss[aria-label*='1 to 41']")
        assert "best epoch 31" in epochs(page)
        change(service, 17, epoch=45, best_epoch=44)
        page.wait_for_selector("#loss[aria-label*='1 to 45'][aria-label*='best epoch 44']")
        change(service, 17, epoch=50, state=JobState.SUCCEEDED, model_id=ulid(1), live=None)
        page.wait_for_selector("#result .matrix")
        page.wait_for_selector("#status .state.succeeded")
        page.wait_for_selector("#announce:has-text('succeeded')", state="attached")

    def test_begins_with_the_first_epoch(
        self, visit: Callable[..., Any], service: FakeService
    ) -> None:
        page = visit(f"/jobs/{ulid(18)}")
        assert "begins with the first epoch" in page.text_content("#loss")
        change(service, 18, state=JobState.RUNNING, epoch=2)
        page.wait_for_selector("#loss[aria-label*='1 to 2'] canvas")
        page.wait_for_selector("#status .state.running")

    def test_of_a_job_that_ended_before_it(
        self, visit: Callable[..., Any], service: FakeService
    ) -> None:
        assert "There is no curve" in visit(f"/jobs/{ulid(11)}").text_content("#loss")
        page = visit(f"/jobs/{ulid(18)}")
        assert "begins with the first epoch" in page.text_content("#loss")
        change(service, 18, state=JobState.FAILED, error="The data are gone.")
        page.wait_for_selector("#loss:has-text('There is no curve')")

    def test_logarithm_and_smoothing(self, visit: Callable[..., Any]) -> None:
        page = visit(f"/jobs/{ulid(14)}")
        page.wait_for_selector("#loss canvas")
        seen = {page.locator("#loss canvas").screenshot()}
        page.check("[name=log]")
        seen.add(page.locator("#loss canvas").screenshot())
        page.focus("[name=smooth]")
        page.keyboard.press("End")
        assert page.text_content("#tools output") == "95"
        seen.add(page.locator("#loss canvas").screenshot())
        assert len(seen) == 3

    def test_best_epoch_is_marked(self, visit: Callable[..., Any], service: FakeService) -> None:
        page = visit(f"/jobs/{ulid(17)}")
        page.wait_for_selector("#loss[aria-label*='best epoch 31']")

        def marked(which: int, epoch: int) -> bool:
            return bool(page.evaluate(PAINTED, [which, epoch]) > 0.4)

        for which in (0, 1):
            assert [marked(which, epoch) for epoch in (27, 31, 38)] == [False, True, False]
        change(service, 17, best_epoch=38)
        page.wait_for_selector("#loss[aria-label*='best epoch 38']")
        for which in (0, 1):
            assert [marked(which, epoch) for epoch in (27, 31, 38)] == [False, False, True]

    def test_logarithmic_axis(self, visit: Callable[..., Any]) -> None:
        """Twice as much is the same way up, wherever it begins; a score stays as it is."""
        page = visit(f"/jobs/{ulid(14)}")
        page.wait_for_selector("#score canvas")
        ways = """() => plots.at(-1).scales.y.distr + ":" + [0.25, 0.5, 1].map((v) =>
          plots.at(-1).valToPos(v, "y") - plots.at(-1).valToPos(2 * v, "y")).map(Math.round)"""
        before = page.evaluate("plots.length")
        page.check("[name=log]")
        assert page.evaluate("plots.length") == before + 1
        distr, steps = page.evaluate(ways).split(":")
        assert distr == "3"
        assert len(set(steps.split(","))) == 1
        page.uncheck("[name=log]")
        distr, steps = page.evaluate(ways).split(":")
        half, one, two = map(int, steps.split(","))
        assert distr == "1"
        assert one == pytest.approx(2 * half, abs=2)
        assert two == pytest.approx(4 * half, abs=4)

    def test_smoothing_shows_the_raw_line_too(self, visit: Callable[..., Any]) -> None:
        page = visit(f"/jobs/{ulid(14)}")
        page.wait_for_selector("#loss canvas")
        page.locator("[name=smooth]").fill("80")
        told = page.evaluate("""() => {
          const plot = plots.findLast((plot) => plot.series.length === 5);
          return plot.series.slice(1).map(({ show, alpha }, i) => [show, alpha, plot.data[i + 1]]);
        }""")
        raw = [[row[name] for row in rows(60)] for name in ("train_loss", "val_loss")]
        assert [line[2] for line in told[:2]] == raw
        assert [line[:2] for line in told] == [[True, 0.35]] * 2 + [[True, 1]] * 2
        for values, (_, _, smoothed) in zip(raw, told[2:], strict=True):
            weights = [0.8**age for age in range(60)]
            for at, value in enumerate(smoothed):
                seen = list(zip(weights, reversed(values[: at + 1]), strict=False))
                mean = sum(w * v for w, v in seen) / sum(w for w, _ in seen)
                assert value == pytest.approx(mean)

    def test_keys_move_through_the_epochs(self, visit: Callable[..., Any]) -> None:
        page = visit(f"/jobs/{ulid(14)}")
        page.wait_for_selector("#loss canvas")
        values = page.locator(".legend").first.locator("output")
        last = values.all_text_contents()
        page.focus("#loss")
        page.keyboard.press("Home")
        first = values.all_text_contents()
        page.keyboard.press("ArrowRight")
        assert len({*map(tuple, (last, first, values.all_text_contents()))}) == 3
        page.keyboard.press("End")
        assert values.all_text_contents() == last

    def test_of_an_ensemble(self, visit: Callable[..., Any], service: FakeService) -> None:
        """A line for each net over its own epochs; the best one has the last word."""
        made = add_ensemble(service)
        page = visit(f"/jobs/{made.id}")
        page.wait_for_selector("#loss[aria-label*='of 3 nets over their epochs 1 to 4']")
        assert "best net 1, epoch 3" in epochs(page)
        legend = page.locator(".legend").first.locator("li")
        best = "Validation log loss of net 1, the best so far0.3"
        assert legend.all_text_contents() == ["lagged behind", "other nets", best]
        assert page.is_hidden("#score")
        drawn = """() => {
          const { series, data } = plots.findLast((plot) => plot.series.length === 7);
          return [1, 2, 3].map((i) => [series[i].width, data[i].filter((v) => v != null)]);
        }"""
        lagged, other, best = page.evaluate(drawn)
        assert [one[1] for one in (lagged, other, best)] == [
            [0.9, 0.8], [0.6, 0.4, 0.35, 0.38], [0.7, 0.5, 0.3]
        ]  # fmt: skip
        assert lagged[0] < other[0] < best[0]
        for look in looks(page):
            assert_accessible(page, look)
        # Another epoch, and then a process that goes on from before it, with other numbers.
        more = rows_of_nets((*COURSES, (0, 5, 0.2)))
        service.jobs[made.id] = replace(made, epoch=10, best_epoch=10)
        service.tell(made.id, EventKind.EPOCHS, {"rows": more[-1:]})
        service.changed(made.id)
        page.wait_for_selector("#loss[aria-label*='best net 0, epoch 5']")
        again = rows_of_nets(sorted(COURSES[:-1], key=lambda one: one[1]))
        service.jobs[made.id] = replace(made, epoch=8, best_epoch=7)
        service.tell(made.id, EventKind.EPOCHS, {"rows": again})
        service.changed(made.id)
        page.wait_for_selector("#loss[aria-label*='epochs 1 to 3'][aria-label*='best net 1']")
        model = add_model_of_many(service).id
        ended = {"state": JobState.SUCCEEDED, "model_id": model, "live": None}
        service.jobs[made.id] = replace(service.jobs[made.id], **ended)
        service.changed(made.id)
        page.wait_for_selector("#loss[aria-label*='net 1, the best 0.3']")
        page.wait_for_selector(".legend li:has-text('not in the ensemble')")
        assert legend.count() == 2

    def test_an_ensemble_compared(self, visit: Callable[..., Any], service: FakeService) -> None:
        made = add_ensemble(service)
        page = visit(f"/compare?job={made.id}&job={ulid(14)}")
        page.wait_for_selector("#score canvas")
        names = page.locator(".legend").nth(1).locator("li").all_text_contents()
        one = rows(60)[-1]["val_score"]
        assert names == ["iris, many, net 10.3", f"iris, small{one:.4g}"]
        assert page.evaluate("plots.at(-1).series.length") == 1 + 2 * 4

    def test_compared(self, visit: Callable[..., Any]) -> None:
        page = visit(f"/compare?job={ulid(13)}&job={ulid(14)}")
        page.wait_for_selector("#score canvas")
        names = page.locator(".legend").first.locator("li").all_text_contents()
        assert [name.rstrip("0123456789.") for name in names] == ["iris, large", "iris, small"]
        scores = page.locator(".legend").nth(1).locator("output").all_text_contents()
        last = [100 * rows(epochs)[-1]["val_score"] for epochs in (50, 60)]
        assert scores == [f"{value:.4g} %" for value in last]


class TestControls:
    def test_by_keys_and_only_when_confirmed(
        self, visit: Callable[..., Any], service: FakeService
    ) -> None:
        page = visit(f"/jobs/{ulid(17)}")
        page.wait_for_selector("#loss canvas")
        page.focus("#do-stop")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open]")
        assert page.evaluate("document.activeElement.value") == "no"
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.id") == "do-stop"
        assert service.done == []
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Stop and keep"
        with page.expect_response("**/stop"):
            page.keyboard.press("Enter")
        assert service.done == [(ulid(17), "stop")]

    def test_an_open_question_hides_no_end(
        self, visit: Callable[..., Any], service: FakeService
    ) -> None:
        page = visit(f"/jobs/{ulid(17)}")
        page.wait_for_selector("#loss canvas")
        page.focus("#do-stop")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open]")
        change(service, 17, state=JobState.SUCCEEDED, model_id=ulid(1), live=None)
        page.wait_for_selector("#result .matrix", state="attached")
        assert page.is_visible("#do-stop")
        page.keyboard.press("Escape")
        page.wait_for_selector("#status .state.succeeded")
        assert service.done == []

    def test_deletes_once(self, visit: Callable[..., Any], service: FakeService) -> None:
        page = visit("/")
        button = f"[hx-delete$='{ulid(2)}']"
        page.focus(button)
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open]")
        assert page.locator("dialog").count() == 1
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector(button, state="detached")
        assert service.done == [(ulid(2), "delete")]

    def test_a_deleted_job_leads_to_the_others(
        self, visit: Callable[..., Any], service: FakeService
    ) -> None:
        page = visit(f"/jobs/{ulid(12)}")
        page.click("#do-delete")
        page.click("dialog [value=yes]")
        page.wait_for_selector("#jobs table")
        assert service.done == [(ulid(12), "delete")]
        assert page.locator(f"#open-{ulid(12)}").count() == 0

    def test_a_refusal_is_shown(self, visit: Callable[..., Any], service: FakeService) -> None:
        page = visit("/")
        page.click(f"[hx-delete$='{ulid(1)}']")
        page.click("dialog [value=yes]")
        page.wait_for_selector("#complaint:has-text('still needs these data')")
        assert page.is_visible(f"[hx-delete$='{ulid(1)}']")
        assert service.done == []

    def test_marks_survive_renewal(self, visit: Callable[..., Any]) -> None:
        page = visit("/jobs")
        for number in (13, 14):
            page.focus(f"#compare-{ulid(number)}")
            page.keyboard.press("Space")
        with page.expect_response("**/jobs/table"):
            pass
        page.wait_for_function("() => !document.querySelector('.htmx-settling, .htmx-swapping')")
        assert page.evaluate("document.activeElement.id") == f"compare-{ulid(14)}"
        page.keyboard.press("Enter")
        page.wait_for_url("**/compare?*")
        assert page.text_content("h1") == "Compare 2 jobs"


class TestTheme:
    def test_is_kept(self, visit: Callable[..., Any]) -> None:
        page = visit("/jobs", dark=True)
        page.focus("#theme")
        page.keyboard.press("Enter")
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        page.goto("/")
        assert page.evaluate("document.documentElement.dataset.theme") == "light"

    def test_first_key_skips_to_the_content(self, visit: Callable[..., Any]) -> None:
        page = visit("/jobs")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def sent(page: Any) -> JobSpec:
    """The job that the form would send, out of its example for curl."""
    shell = page.text_content("#code-train-curl")
    assert page.evaluate("document.getElementById('train').checkValidity()")
    return JobSpec.model_validate_json(re.search(r"-d '(.*)'", shell)[1])


class TestTrainAgain:
    @pytest.fixture
    def page(self, visit: Callable[..., Any], service: FakeService) -> Any:
        change(service, 14, spec=UNUSUAL)
        return visit(f"/datasets/{ulid(1)}?like={ulid(14)}")

    def test_is_the_same_job(self, page: Any) -> None:
        assert sent(page) == UNUSUAL

    def test_changed(self, page: Any) -> None:
        """What has a field is as the field says, all else as it was."""
        page.select_option("[name=target]", "species")
        page.click("#train summary")
        page.fill("[name='early_stopping.patience']", "")
        page.fill("[name='model.learning_rate']", "")
        page.fill("[name='model.batch_size']", "8")
        model = UNUSUAL.model.model_copy(update={"learning_rate": None, "batch_size": 8})
        changes = {"target": "species", "early_stopping": None, "model": model}
        assert sent(page) == UNUSUAL.model_copy(update=changes)

    def test_targets_that_the_file_names(
        self, visit: Callable[..., Any], service: FakeService
    ) -> None:
        spec = JobSpec(dataset_id=ulid(1))
        change(service, 14, spec=spec)
        assert sent(visit(f"/datasets/{ulid(1)}?like={ulid(14)}")) == spec


class TestPreset:
    def test_fields_of_one_net_give_way(self, visit: Callable[..., Any]) -> None:
        page = visit(f"/datasets/{ulid(1)}")
        page.click("#train summary")
        page.select_option("[name='model.scaling']", "robust")
        page.fill("[name='model.bins']", "12")
        page.select_option("[name='model.category_embedding']", "true")
        assert not page.is_visible("[name=n_members]")
        spec = sent(page)
        assert (spec.preset, spec.model.scaling, spec.model.bins) == (None, "robust", 12)
        assert spec.model.category_embedding
        page.fill("[name='model.bins']", "-1")
        page.select_option("[name=preset]", "default")
        for name in ("model.hidden", "model.epochs", "model.bins", "early_stopping.patience"):
            assert not page.is_visible(f"[name='{name}']")
        page.fill("[name=n_members]", "7")
        page.select_option("[name='model.tune_threshold']", "f1")
        for look in looks(page):
            assert_accessible(page, look)
        spec = sent(page)  # what nobody sees is neither sent nor in the way
        assert (spec.preset, spec.n_members, spec.validation) == ("default", 7, None)
        assert spec.model.tune_threshold == "f1"
        page.fill("[name=n_members]", "0")
        page.select_option("[name=preset]", "")
        page.fill("[name='model.bins']", "0")
        assert page.is_visible("[name='model.hidden']")
        assert sent(page).n_members is None

    def test_what_another_job_of_one_net_has_besides_is_left_out(
        self, visit: Callable[..., Any], service: FakeService
    ) -> None:
        change(service, 14, spec=UNUSUAL)
        page = visit(f"/datasets/{ulid(1)}?like={ulid(14)}")
        page.select_option("[name=preset]", "fast")
        spec = sent(page)
        assert spec.columns == UNUSUAL.columns
        assert spec.model.model_dump(exclude_defaults=True).keys() <= OF_ENSEMBLES

    def test_of_a_job_that_had_one(
        self, visit: Callable[..., Any], service: FakeService
    ) -> None:
        model = Hyper(seed=4, class_weight={"setosa": 2.0}, tune_threshold="f1")
        spec = JobSpec(dataset_id=ulid(1), target="species", preset="best", model=model)
        change(service, 14, spec=spec)
        page = visit(f"/datasets/{ulid(1)}?like={ulid(14)}")
        assert not page.is_visible("[name='model.hidden']")
        assert sent(page) == spec


class TestMessages:
    """They stand beside the field that they are about, and are read out with it."""

    def said(self, page: Any, field: str) -> str:
        """What is said about a field; it has the focus and is marked."""
        page.wait_for_selector(f"{field}[aria-invalid=true]")
        assert page.locator(field).evaluate("e => e === document.activeElement")
        assert page.text_content("#complaint") == ""
        ids = str(page.get_attribute(field, "aria-describedby")).split()
        assert all(page.locator(f"[id='{i}']").count() == 1 for i in ids)
        for look in looks(page):
            assert_accessible(page, look)
        below = "e => e.nextElementSibling.id"
        assert page.locator(field).evaluate(below) == ids[0]
        return str(page.text_content(f"[id='{ids[0]}']"))

    def test_of_the_form_to_train(self, visit: Callable[..., Any]) -> None:
        page = visit(f"/datasets/{ulid(1)}")
        hint = page.get_attribute("[name='model.hidden']", "aria-describedby")
        page.fill("[name='model.hidden']", "100, many")
        page.click("#train [type=submit]")
        assert "valid integer" in self.said(page, "[name='model.hidden']")
        page.fill("[name='model.hidden']", "100")
        assert page.locator(".error").count() == 0
        assert page.get_attribute("[name='model.hidden']", "aria-invalid") is None
        assert page.get_attribute("[name='model.hidden']", "aria-describedby") == hint

    def test_of_a_target_with_a_gap(self, visit: Callable[..., Any], service: FakeService) -> None:
        table = service.datasets[ulid(1)]
        (*first, last) = table.columns
        service.datasets[ulid(1)] = replace(
            table, columns=(*first, replace(last, missing=1, first_gap=207))
        )
        page = visit(f"/datasets/{ulid(1)}")
        page.click("#train [type=submit]")
        assert "row 207" in self.said(page, "[name=target]")

    def test_of_a_file(self, visit: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
        page = visit("/")
        page.set_input_files("#file", tmp_path / "ragged.csv")
        page.click("#upload [type=submit]")
        assert "line 3" in self.said(page, "#file")

    def test_of_a_file_that_needs_to_be_described(
        self, visit: Callable[..., Any], tmp_path: Path
    ) -> None:
        (tmp_path / "preise.csv").write_bytes("Größe;Preis\n1,5;2\n2,5;3\n".encode("cp1252"))
        page = visit("/")
        page.set_input_files("#file", tmp_path / "preise.csv")
        page.click("#upload [type=submit]")
        assert "cp1252" in self.said(page, "#file")
        page.fill("#encoding", "cp1252")
        page.click("#upload [type=submit]")
        page.wait_for_selector("h1:has-text('preise.csv')")
        assert page.locator(".preview th").all_text_contents() == ["Größe", "Preis"]

    def test_of_a_server_that_is_gone(self, visit: Callable[..., Any]) -> None:
        page = visit(f"/datasets/{ulid(1)}")
        page.route("**/v1/jobs", lambda route: route.abort())
        page.click("#train [type=submit]")
        page.wait_for_selector("#complaint:has-text('The server cannot be reached.')")
        assert page.is_enabled("#train [type=submit]")

    def test_of_a_row(self, visit: Callable[..., Any], service: FakeService) -> None:
        X = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
        mlp = MLP(2, epochs=1, task="regression", threads=1).fit(X, X[:, 0])
        model = service.add_model(mlp, [("sepal length", "number"), ("sepal width", "number")])
        page = visit(f"/models/{model.id}")
        page.fill("[name='sepal length']", "1")
        page.fill("[name='sepal width']", "much")
        page.click(".predict .primary")
        assert self.said(page, "[name='sepal width']") == '"much" is not a number.'


def test_a_text_that_the_model_does_not_know(
    visit: Callable[..., Any], service: FakeService
) -> None:
    colours = np.array(["blue", "red"] * 8, object)
    mlp = MLP(2, epochs=1, threads=1).fit(Table({"colour": colours}), colours)
    page = visit(f"/models/{service.add_model(mlp, [('colour', 'text')]).id}")
    for text, told in (("blu", True), ("blue", False)):
        page.fill("[name=colour]", text)
        with page.expect_response("**/infer"):
            page.click(".predict .primary")
        page.wait_for_selector(".answer .result")
        assert page.locator(".answer .notice:has-text(\"unknown: colour 'blu'\")").count() == told
        for look in looks(page):
            assert_accessible(page, look)


class TestExamples:
    def test_follow_the_form(self, visit: Callable[..., Any]) -> None:
        page = visit(f"/datasets/{ulid(1)}")
        page.click("text=This table from a program")
        page.fill("[name='model.hidden']", "64, 32")
        shell, python = (page.text_content(f"#code-train-{i}") for i in ("curl", "python"))
        assert '"hidden":[64,32]' in shell
        assert '"hidden": [64, 32]' in python
        compile(python, "example", "exec")
