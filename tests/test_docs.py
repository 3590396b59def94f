"""What the documents show runs, prints what they say, and points to what exists."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from nbmlp import MLP, MissingPackageError

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
#: A fenced block of Python, and the text block behind it that says what it prints.
BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE
)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: Words in code font that name a file of the project.
NAMED = re.compile(r"`((?:nbmlp|tests|bench|docs|\.ci)/[\w./-]*)`")


class Block(NamedTuple):
    line: int
    code: str
    printed: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield Block(text.count("\n", 0, found.start(1)), found[1], found[2])


def run(block: Block, page: Path, names: dict[str, Any]) -> str:
    """What the block prints; its lines are numbered as in the page."""
    said = io.StringIO()
    code = compile("\n" * block.line + block.code, str(page), "exec")
    with contextlib.redirect_stdout(said):
        exec(code, names)
    return said.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "docs/guide.md", "docs/columns.md", "docs/ensembles.md",
        "docs/many-trainings.md", "docs/migrating-from-sklearn.md", "docs/scores.md",
    ],
)  # fmt: skip
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, lacking = ROOT / name, []
    names: dict[str, Any] = {"__name__": "page"}
    monkeypatch.chdir(tmp_path)
    found = list(blocks(page))
    assert found
    for block in found:
        try:
            said = run(block, page, names)
        except MissingPackageError as error:
            lacking.append(f"line {block.line + 1}: {error}")
            continue
        if block.printed is not None:
            same = doctest.OutputChecker().check_output(block.printed, said, doctest.ELLIPSIS)
            assert same, f"{name}, line {block.line + 1} printed:\n{said}"
    if lacking:
        pytest.skip("; ".join(lacking))


def test_a_saved_net_predicts_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    area = [54, 80, np.nan, 41, 95, 60]
    table = {"area": area, "town": ["Bonn", "Ulm", "Bonn", "Ulm", "Bonn", None]}
    net = MLP(5, dropout=0.2, dropout_scale_at="predict", epochs=9, task="regression")
    net.fit(table, np.arange(6.0)).save("model.safetensors")
    names: dict[str, Any] = {}
    (reader,) = blocks(ROOT / "docs" / "model-file.md")
    run(reader, ROOT / "docs" / "model-file.md", names)
    arrays, extra = names["arrays"], names["metadata"]["extra"]

    number, town = extra["columns"]["prepared"]
    assert (number["kind"], town["kind"]) == ("number", "category")
    assert town["categories"] == ["Bonn", "Ulm"]
    # area, area missing; Bonn, Ulm, other, missing
    unknown = np.array([[(70 - number["centre"]) / number["scale"], 0, 0, 0, 1, 0]])
    lacking = np.array([[0, 1, 0, 0, 0, 1]])
    h = np.vstack([unknown, lacking]) * extra["scale"]
    h = np.maximum(h @ arrays["layer1.weight"] + arrays["layer1.bias"], 0) * (1 - 0.2)
    scale = extra["coding"]["scale"]
    found = h @ arrays["layer2.weight"] + arrays["layer2.bias"]
    found = found * scale["scale"][0] + scale["mean"][0]
    wanted = net.predict({"area": [70, np.nan], "town": ["Kiel", None]})
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-5)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(link: str, page: Path) -> bool:
    if re.match(r"[a-z]+:", link):
        return False  # elsewhere: not for tests
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    assert [link for link in LINK.findall(text) if broken(link, page)] == []
    assert [path for path in NAMED.findall(text) if not (ROOT / path).exists()] == []


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    links = {(index.parent / link).resolve() for link in LINK.findall(index.read_text("utf-8"))}
    pages = {page for page in (ROOT / "docs").glob("*.md") if page != index}
    assert pages <= links
    decisions = ROOT / "docs" / "decisions"
    listed = LINK.findall((decisions / "README.md").read_text("utf-8"))
    assert {page.name for page in decisions.glob("0*.md")} <= set(listed)
