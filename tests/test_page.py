# ruff: noqa: E402 - the extra is asked for before what needs it
"""What the server's page says and links, and what it keeps out; no browser needed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from page_service import (
    DIAGNOSIS,
    FORMULA,
    HOSTILE,
    UNUSUAL,
    add_ensemble,
    add_model_of_many,
    change,
    made_up_models,
    page_server,
    renew,
    rows,
    signed_in,
    ulid,
)
from server_live import Live

import nbmlp.server.page as package
from nbmlp.server.jobs.spec import Hyper, JobSpec
from nbmlp.server.labels import file_name
from nbmlp.server.page import exports, forms, views, words
from nbmlp.server.page.nets import nets

STATIC = Path(package.__file__).parent / "static"
PAGES = [
    "/", "/jobs", "/models", "/docs",
    f"/datasets/{ulid(1)}", f"/datasets/{ulid(1)}?like={ulid(14)}",
    f"/compare?job={ulid(13)}&job={ulid(14)}", f"/models/{ulid(1)}", f"/models/{ulid(2)}",
    *(f"/jobs/{ulid(number)}" for number in range(10, 21)),
]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with page_server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Live) -> Iterator[Any]:
    client = signed_in(served)
    yield client
    client.close()


@pytest.fixture
def changing(served: Live) -> Iterator[Any]:
    """The service, which a test may change."""
    yield served.service
    renew(served.service)


class Tags(HTMLParser):
    """Every tag with its attributes, the text, and what stands in script and style elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.inline = ""
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            self.inline += data
        self.text += data

    def find(self, tag: str, **attrs: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and attrs.items() <= a.items()]


def read(client: Any, address: str) -> Tags:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return Tags(answer.text)


@pytest.mark.parametrize("address", PAGES)
class TestEveryPage:
    def test_nothing_inline(self, client: Any, address: str) -> None:
        page = read(client, address)
        assert not page.inline.strip()
        for tag, attrs in page.tags:
            bad = [n for n in attrs if n == "style" or n.startswith(("on", "hx-on", "hx-vars"))]
            assert not bad, (tag, bad)
            for name in ("href", "src", "action"):
                assert (attrs.get(name) or "/").startswith(("/", "#")), (tag, attrs)

    def test_labels(self, client: Any, address: str) -> None:
        page = read(client, address)
        ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
        assert len(ids) == len(set(ids))
        named = {attrs.get("for") for attrs in page.find("label")}
        for tag in ("input", "select", "textarea"):
            for attrs in page.find(tag):
                if attrs.get("type") not in ("hidden", "range") and attrs.get("name") != "log":
                    labelled = attrs.get("id") in named or attrs.get("aria-label")
                    assert labelled or attrs.get("data-kind") == "flag", attrs
        for _, attrs in page.tags:
            for name in ("aria-labelledby", "aria-describedby", "data-copy"):
                assert attrs.get(name, ids[0]) in ids, attrs
        assert len(page.find("h1")) == 1
        assert len(page.find("a", **{"aria-current": "page"})) == 1

    def test_static_files_are_there(self, client: Any, address: str) -> None:
        page = read(client, address)
        used = [a["src"] for a in page.find("script")] + [a["href"] for a in page.find("link")]
        for file in used:
            assert client.get(file).status_code == 200, file
            # Modules import each other without a query: with one, a file would run twice.
            assert "?" not in file


class TestEscaping:
    def test_names_are_text(self, client: Any) -> None:
        for address in ("/", "/jobs", f"/jobs/{ulid(11)}", f"/datasets/{ulid(2)}"):
            html = client.get(address).text
            assert HOSTILE not in html
            assert HOSTILE in Tags(html).text

    def test_formulas_are_text(self, client: Any) -> None:
        text = client.get(f"/models/{ulid(1)}/evaluation.csv").text
        table = list(csv.reader(io.StringIO(text)))
        assert table[0] == ["true class", "as setosa", "as versicolor", f"as {FORMULA}"]
        assert table[3] == [f"'{FORMULA}", "0", "5", "45"]

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "\n"])
    def test_what_spreadsheets_run(self, start: str) -> None:
        rows = [{"epoch": 1, "note": f"{start}cmd()", "loss": -1.5}]
        text = "".join(exports.curve_csv([rows]))
        assert next(csv.DictReader(io.StringIO(text, newline=""))) == {
            "epoch": "1", "note": f"'{start}cmd()", "loss": "-1.5",
        }  # fmt: skip

    def test_missing(self, client: Any) -> None:
        answer = client.get(f"/jobs/{HOSTILE.replace('/', '')}")
        assert answer.status_code == 404
        assert "<script>a" not in answer.text


def test_curve_as_csv(client: Any) -> None:
    answer = client.get(f"/jobs/{ulid(17)}/curve.csv")
    assert "attachment" in answer.headers["content-disposition"]
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [float(row["val_loss"]) for row in table] == [row["val_loss"] for row in rows(41)]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (f"/jobs/{ulid(17)}/curve.csv", "iris, two layers curve.csv"),
        (f"/models/{ulid(1)}/evaluation.csv", "iris, small evaluation.csv"),
        (f"/jobs/{ulid(11)}/curve.csv", "_script_alert(1)_script_ curve.csv"),
    ],
)
def test_files_carry_the_name_of_what_they_are_of(client: Any, address: str, name: str) -> None:
    said = client.get(address).headers["content-disposition"]
    assert unquote(said) == f"attachment; filename*=utf-8''{name}"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("houses.csv", "houses"), ("Häuser 2.CSV.gz", "Häuser 2"), ("a/b\\c:d", "a_b_c_d"),
        ("..", "nbmlp"), (".csv", "nbmlp"), ("x" * 200, "x" * 100), ("a\u202egpj", "a_gpj"),
    ],
)  # fmt: skip
def test_names_of_files(label: str, name: str) -> None:
    assert file_name(label, ".safetensors") == f"{name}.safetensors"


def test_who_made_what(client: Any) -> None:
    for address, names in (
        ("/", ["ada"]), ("/jobs", ["ada", "grace"]), ("/models", ["grace"]),
        (f"/datasets/{ulid(1)}", ["ada"]), (f"/jobs/{ulid(14)}", ["grace"]),
        (f"/models/{ulid(1)}", ["grace"]),
    ):  # fmt: skip
        text = read(client, address).text
        assert all(f"by {name}" in text for name in names), address


class TestStates:
    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (20, "place 3 in the queue"),
            (18, "making machine code"),
            (17, "41 of 100 epochs, 40% of epoch 42 · 31 s left"),
            (16, "after epoch 20"),
            (15, "resuming from epoch 12"),
            (14, "early stopping at epoch 60"),
            (12, "lower the learning rate"),
            (11, "out of memory"),
            (9, "succeeded, no better than a constant"),
        ],
    )
    def test_in_words(self, client: Any, number: int, words: str) -> None:
        assert words in read(client, f"/jobs/{ulid(number)}/status").text
        if number not in (17, 12):
            assert words in read(client, "/jobs").text

    def test_a_dead_net_is_no_plain_success(self, client: Any) -> None:
        for address in ("/jobs", f"/jobs/{ulid(9)}/status", f"/compare?job={ulid(9)}"):
            marks = read(client, address).find("span")
            assert "state succeeded doubtful" in {mark.get("class") for mark in marks}
        assert "always answering 'setosa' reaches" in read(client, f"/jobs/{ulid(9)}").text
        assert "doubtful" not in str(read(client, f"/jobs/{ulid(14)}").tags)

    @pytest.mark.parametrize(
        ("number", "actions"),
        [(19, "pause cancel"), (18, "pause stop cancel"), (17, "pause stop cancel"),
         (16, "resume stop cancel"), (15, "pause cancel"), (14, ""), (12, ""), (10, "")],
    )  # fmt: skip
    def test_what_may_be_done(self, client: Any, number: int, actions: str) -> None:
        buttons = read(client, f"/jobs/{ulid(number)}/status").find("button")
        assert [b["hx-post"] for b in buttons if "hx-post" in b] == [
            f"/v1/jobs/{ulid(number)}/{action}" for action in actions.split()
        ]
        ended = number in (14, 12, 10)
        deletes = [b["hx-delete"] for b in buttons if "hx-delete" in b]
        assert deletes == [f"/v1/jobs/{ulid(number)}"] * ended
        assert all(button["hx-confirm"] for button in buttons)

    def test_facts(self, client: Any) -> None:
        text = read(client, f"/jobs/{ulid(17)}/status").text
        for fact in ("412\u202f345", "312\u00a0MB", "93.14\u202f%", "31"):
            assert fact in text

    def test_cores_live_and_after_the_end(self, client: Any) -> None:
        for number in (17, 14):
            text = read(client, f"/jobs/{ulid(number)}/status").text
            assert re.search(r"Cores\s*3\s", text), number

    def test_time_left_in_the_list(self, client: Any) -> None:
        rows = re.findall(r"<tr>.*?</tr>", client.get("/jobs").text, re.S)
        left = [re.findall(r'"Time left">([^<]*)<', row) for row in rows[1:]]
        assert left == [["31 s"] if ulid(17) in row else [""] for row in rows[1:]]

    def test_diagnosis(self, client: Any) -> None:
        assert DIAGNOSIS in read(client, f"/jobs/{ulid(12)}").text


class TestForm:
    def fields(self, client: Any, query: str = "") -> dict[str | None, str | None]:
        page = read(client, f"/datasets/{ulid(1)}{query}")
        return {a["name"]: a.get("value") for a in page.find("input") if a.get("data-kind")}

    def test_defaults(self, client: Any) -> None:
        fields = self.fields(client)
        assert fields["model.hidden"] == "100"
        assert fields["early_stopping.patience"] == "10"
        assert fields["model.learning_rate"] == ""

    def test_like_another_job(self, client: Any) -> None:
        fields = self.fields(client, f"?like={ulid(14)}")
        assert fields["model.hidden"] == "100, 64"
        assert fields["model.learning_rate"] == "0.014"
        assert fields["model.batch_size"] == "32"

    def test_all_fields_are_known(self, client: Any) -> None:
        """What has no field travels along: a name missing here would be sent twice or never."""
        page = read(client, f"/datasets/{ulid(1)}")
        named = [a["name"] for _, a in page.tags if a.get("data-kind")]
        beside = [a["data-column"] for _, a in page.tags if "data-column" in a]
        assert beside == ["sepal length", "sepal width", "colour", "species"]
        named.append("model.column_kinds")  # all of these together
        assert sorted(map(str, named)) == sorted(forms.SHOWN)

    def test_says_what_has_no_field(self, client: Any, changing: Any) -> None:
        change(changing, 14, spec=UNUSUAL)
        text = read(client, f"/datasets/{ulid(1)}?like={ulid(14)}").text
        said = re.sub(r"\s+", " ", text.split("have no field")[1].split("Column to predict")[0])
        for setting in (
            "columnscolour, 3", "losshuber(1.5)", "l10.01", "warmup2.5", "dtypefloat64",
            "early stopping monitortrain_loss", "limits memory mb512", "shuffleFalse",
        ):  # fmt: skip
            assert setting in said
        for setting in (" dropout0.33", "sepal length", "seed"):
            assert setting not in said

    def test_scores_and_weights_of_classes(self, client: Any, changing: Any) -> None:
        model = Hyper(eval_metric="pinball(0.9)", class_weight={"yes": 5.0})
        change(changing, 14, spec=JobSpec(dataset_id=ulid(1), model=model))
        page = read(client, f"/datasets/{ulid(1)}?like={ulid(14)}")
        chosen = [a["value"] for a in page.find("option") if "selected" in a]
        assert "pinball(0.9)" in chosen
        assert "as in that job" in page.text
        (form,) = page.find("form", id="train")
        assert json.loads(str(form["data-carried"]))["model.class_weight"] == {"yes": 5.0}
        offered = [a["value"] for a in page.find("option")]
        assert offered.count("f1") == 2  # to watch, and to tune the threshold for
        assert offered.count("roc_auc") == 1

    def test_the_best_epoch_of_an_ensemble_is_one_of_a_net(
        self, client: Any, changing: Any
    ) -> None:
        made = add_ensemble(changing)
        page = read(client, f"/jobs/{made.id}/status")
        assert "9 of 100 epochs of all nets" in page.text
        assert "3 of net 1" in page.text
        (panel,) = page.find("section", **{"data-state": "running"})
        assert (panel["data-best"], panel["data-lagged"]) == ("7", "2")
        assert (panel["data-net"], panel["data-net-epoch"]) == ("1", "3")
        assert "3 of net 1" in read(client, f"/compare?job={made.id}&job={ulid(14)}").text

    def test_a_job_of_an_ensemble(self, client: Any, changing: Any) -> None:
        spec = JobSpec(dataset_id=ulid(1), preset="best", n_members=7)
        change(changing, 14, spec=spec)
        page = read(client, f"/datasets/{ulid(1)}?like={ulid(14)}")
        assert "best" in [a["value"] for a in page.find("option") if "selected" in a]
        assert page.find("input", name="n_members", value="7")
        text = read(client, "/jobs").text
        assert "ensemble · best · 7 members" in text
        assert "hidden" not in forms.flat(spec, brief=True)

    def test_target_guess(self, client: Any) -> None:
        page = read(client, f"/datasets/{ulid(1)}")
        chosen = [a["value"] for a in page.find("option") if "selected" in a]
        assert chosen[0] == "species"

    def test_preview(self, client: Any) -> None:
        text = read(client, f"/datasets/{ulid(1)}").text
        for said in ("4.3 to 7.9", "blue, violet, white", "missing", "one-hot: 3", "holds text"):
            assert said in text
        assert "41" in text
        assert "41.0" not in text


class TestModel:
    def test_measures(self, client: Any) -> None:
        text = read(client, f"/models/{ulid(2)}").text
        for said in (
            "Root mean squared error",
            "50\u202f951",
            "R²",
            "in the units of sepal length",
        ):
            assert said in text
        assert "mean_squared" not in text
        assert "R² 0.9124" in read(client, "/models").text
        assert "units" not in read(client, f"/models/{ulid(1)}").text.split("Predict")[0]

    def test_residuals(self, client: Any) -> None:
        """Every pair has its point; both axes are alike, so that the diagonal is "right"."""
        page = read(client, f"/models/{ulid(2)}")
        points = [(float(str(a["cx"])), float(str(a["cy"]))) for a in page.find("circle")]
        (ideal,) = page.find("line", **{"class": "ideal"})
        left, bottom, right, top = (float(str(ideal[name])) for name in ("x1", "y1", "x2", "y2"))
        pairs = made_up_models()[0].evaluation["residuals"]
        low, high = min(map(min, pairs)), max(map(max, pairs))
        assert len(points) == len(pairs) == 200
        for (x, y), (true, predicted) in zip(points, pairs, strict=True):
            shares = (x - left) / (right - left), (bottom - y) / (bottom - top)
            expected = [(value - low) / (high - low) for value in (true, predicted)]
            assert shares == pytest.approx(expected, abs=1e-3)
        for end in (low, high):
            assert page.text.count(words.amount(end)) >= 2

    def test_calibration(self, client: Any) -> None:
        page = read(client, f"/models/{ulid(1)}")
        few, many = page.find("circle")
        assert float(str(few["cx"])) == pytest.approx(64 + 0.3 * 248)
        assert float(str(many["cy"])) == pytest.approx(206 - 0.95 * 198)
        assert float(str(many["r"])) > 1.5 * float(str(few["r"]))
        assert "probability of the predicted class" in page.text

    def test_importance(self, client: Any) -> None:
        page = read(client, f"/models/{ulid(1)}")
        bars = [str(a["value"]) for a in page.find("progress")]
        assert bars == ["1.0", "0.323", "0.0"]
        assert "Accuracy lost when a column is shuffled" in page.text
        assert HOSTILE in page.text  # as text, not as markup
        assert "What it rests on" not in read(client, f"/models/{ulid(2)}").text

    def test_nets_of_an_ensemble(self, client: Any) -> None:
        text = read(client, f"/models/{ulid(2)}").text
        told = re.sub(r"\s+", " ", text.split("Its nets")[1])
        assert "NetSettingsRMSEShare" in told.replace(" ", "")
        assert "2 layers of 256, 128, batches of 32, note <script>" in told
        assert HOSTILE in text  # as text, not as markup
        assert "75.0%" in told
        assert "17.98" in told
        assert "Its nets" not in read(client, f"/models/{ulid(1)}").text

    def test_how_its_nets_ended(self, client: Any, changing: Any) -> None:
        page = read(client, f"/models/{add_model_of_many(changing).id}")
        for text in (
            "128 bins, 2 layers of 8, relu", "early stopping at epoch 3",
            "lagged behind at epoch 2", "trained to the end, 4 epochs",
            "Probabilities and what came true",
        ):  # fmt: skip
            assert text in page.text
        (table,) = page.find("table", **{"class": "nets"})
        both = [{"member": 4, "fold": fold, "settings": {}, "score": 0.1, "weight": 0.5,
                 "ended": "epochs done", "epochs": 7} for fold in range(2)]  # fmt: skip
        shown = [net.end for net in nets({"members": {"nets": both}})]
        assert shown == [f"member 4, fold {k}: trained to the end, 7 epochs" for k in range(2)]
        assert table["data-chosen"] == "1"

    def test_example(self, client: Any) -> None:
        page = read(client, f"/models/{ulid(1)}")
        assert page.find("input", name="sepal length", value="41")

    def test_categories_are_offered(self, client: Any) -> None:
        page = read(client, f"/models/{ulid(1)}")
        (colour,) = page.find("input", name="colour")
        assert page.find("datalist", id=str(colour["list"]))
        assert [a["value"] for a in page.find("option")] == ["blue", "violet", "white"]
        assert page.find("p", id=str(colour["aria-describedby"]))
        assert "One of blue, violet, white" in page.text
        assert not page.find("input", name="sepal width")[0].get("list")

    def test_a_few_of_many_categories(self) -> None:
        assert words.one_of([str(i) for i in range(37)]) == "One of 37: 0, 1, 2, 3, 4, 5, …"


class TestCompare:
    def test_differences(self) -> None:
        differ, same = views.differences([{"a": 1, "b": [2]}, {"a": 1, "b": [3], "c": 0}])
        assert differ == [("b", [[2], [3]]), ("c", [None, 0])]
        assert same == ["a"]

    def test_page(self, client: Any) -> None:
        text = read(client, f"/compare?job={ulid(13)}&job={ulid(14)}&job={ulid(14)}").text
        assert "Compare 2 jobs" in text
        assert "100, 63" in text
        assert "100, 64" in text

    def test_jobs_of_one_name_are_told_apart(self, client: Any, changing: Any) -> None:
        for number in (13, 14, 12):
            change(changing, number, name="iris.csv")
        change(changing, 12, name="another")
        html = client.get(f"/compare?job={ulid(14)}&job={ulid(13)}&job={ulid(12)}").text
        labels = re.findall(r"data-run=[^>]*><span[^>]*>([^<]*)<", html)
        assert labels == ["iris.csv (2)", "iris.csv (1)", "another"]
        assert "Values of iris.csv (2)" in html

    def test_none_marked(self, client: Any) -> None:
        answer = client.get("/compare")
        assert answer.status_code == 404
        assert "mark two or more" in answer.text


class TestExamples:
    """Whatever a page lets people do has its lines of curl and of Python."""

    @pytest.mark.parametrize(
        ("address", "names"),
        [
            ("/", "upload"),
            (f"/datasets/{ulid(1)}", "train delete"),
            (f"/jobs/{ulid(17)}", "watch values pause resume stop cancel delete-job"),
            (
                f"/jobs/{ulid(14)}",
                "predict download delete watch values pause resume stop cancel delete-job",
            ),
            (f"/models/{ulid(2)}", "predict download delete"),
            (f"/compare?job={ulid(13)}&job={ulid(14)}", f"values-{ulid(13)} values-{ulid(14)}"),
        ],
    )
    def test_every_action_has_one(self, client: Any, address: str, names: str) -> None:
        page = read(client, address)
        expected = [f"code-{name}-{way}" for name in names.split() for way in ("curl", "python")]
        assert [a["id"] for a in page.find("pre") if a.get("id")] == expected
        assert [a["data-copy"] for a in page.find("button") if a.get("data-copy")] == expected

    def test_buttons_and_examples_are_the_same(self, client: Any) -> None:
        page = read(client, f"/jobs/{ulid(17)}")
        posts = [str(a["hx-post"]) for a in page.find("button") if a.get("hx-post")]
        assert posts
        for post in posts:
            assert post in page.text
            assert f'client.act("{ulid(17)}", "{post.rsplit("/", 1)[-1]}")' in page.text


class TestStatic:
    @pytest.mark.parametrize("name", ["routes.py", "..%2Froutes.py", "%2e%2e/routes.py", "x"])
    def test_nothing_else(self, client: Any, name: str) -> None:
        assert client.get(f"/static/{name}").status_code == 404

    def test_licences(self) -> None:
        for name in ("htmx", "uplot"):
            assert (STATIC / f"{name}.LICENSE").stat().st_size > 300

    def test_nothing_from_elsewhere(self) -> None:
        own = [p for p in STATIC.iterdir() if not p.name.startswith(("htmx", "uplot"))]
        for path in [*own, *(STATIC.parent / "templates").iterdir()]:
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://", text), path


@pytest.mark.parametrize(
    ("address", "kind", "links"),
    [
        ("/", "datasets", "/datasets/"),
        ("/jobs", "jobs", "/jobs/0"),
        ("/models", "models", "/models/"),
    ],
)
def test_lists_lead_to_what_is_older(
    client: Any, changing: Any, address: str, kind: str, links: str
) -> None:
    items = getattr(changing, kind)
    first = next(iter(items.values()))
    ids = [ulid(number) for number in range(220, 100, -1)]
    items.clear()
    items.update({name: replace(first, id=name) for name in ids})
    seen: list[str] = []
    while address:
        page = read(client, address)
        linked = [str(a["href"]) for a in page.find("a") if a.get("href")]
        seen += [link.rsplit("/", 1)[-1] for link in linked if link.startswith(links)]
        address = next((str(a["href"]) for a in page.find("a", id="older")), "")
    assert seen == ids


def test_login(served: Live) -> None:
    page = Tags(httpx.get(f"{served.url}/login").text)
    assert page.find("input", name="token", type="password")
    assert not page.find("nav")[0].get("href")
    assert "Jobs" not in page.text


def test_refused_login(served: Live) -> None:
    page = Tags(httpx.get(f"{served.url}/login?wrong=1&next=/jobs").text)
    assert "This token is not known." in page.text
    (token,) = page.find("input", name="token")
    assert token["aria-invalid"] == "true"
    assert str(token["aria-describedby"]).split() == ["token-error", "token-hint"]
    assert page.find("p", id="token-error")
    assert page.find("input", name="next", value="/jobs")


class TestWords:
    def test_duration(self) -> None:
        assert [words.duration(s) for s in (None, 8.4, 130, 11_100)] == [
            "", "8 s", "2 min 10 s", "3 h 5 min",
        ]  # fmt: skip

    def test_whole_numbers(self) -> None:
        """Years are four digits without a space."""
        given = (0, 1950.0, -2024, 9999.4, 9999.6, -12_345, 412_345)
        shown = ["0", "1950", "-2024", "9999", "10 000", "-12 345", "412 345"]
        assert [words.thousands(value).replace("\u202f", " ") for value in given] == shown
        assert [words.amount(value) for value in (1950, 2024.4, 28.5)] == ["1950", "2024", "28.5"]

    def test_size(self) -> None:
        assert [words.size(b) for b in (12, 1500, 2.5e6, 7.2e10)] == [
            "12\u00a0B", "1.5\u00a0kB", "2.5\u00a0MB", "72\u00a0GB",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "value", "label", "shown"),
        [
            ("mean_squared_error", 2.596e9, "Root mean squared error", "50\u202f951"),
            ("mean_absolute_error", 38_204.61, "Mean absolute error", "38\u202f205"),
            ("accuracy", 0.9133, "Accuracy", "91.33\u202f%"),
            ("error", 0.0867, "Error", "8.67\u202f%"),
            ("r2", 0.91237, "R²", "0.9124"),
            ("loss", 0.00012, "Loss", "0.00012"),
        ],
    )
    def test_measure(self, name: str, value: float, label: str, shown: str) -> None:
        assert words.measure(name, value) == (label, shown)

    def test_plain(self) -> None:
        given = [41.0, 0.1, -3.25, 1e-7, 1e300, float("nan"), 7, "41.0", None, True]
        shown = [41, "0.1", "-3.25", "1e-07", "1e+300", "nan", 7, "41.0", None, True]
        assert list(map(words.plain, given)) == shown

    def test_score(self) -> None:
        assert words.score(0.9133, "accuracy") == "91.33\u202f%"
        assert words.score(0.91237, "R2") == "R² 0.9124"
        assert words.score(0.5, "") == "Score 0.5"  # of a job that has not said its name yet

    def test_heat(self) -> None:
        assert views.heat([[0, 1, 9], [0, 0, 0]]) == [
            [(0, 0), (1, 1), (9, 9)], [(0, 0), (0, 0), (0, 0)],
        ]  # fmt: skip
