"""The data set glyphs: what is drawn, from which fonts, and that a seed says it all."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import nbmlp
from nbmlp import MissingPackageError, SpecError
from nbmlp.data import fonts
from nbmlp.data import glyphs as module
from nbmlp.data.fonts import TRAINING, VALIDATION
from nbmlp.data.glyphs import CHARACTERS, SIDE
from nbmlp.datasets import glyphs

pytest.importorskip("PIL", reason="the extra glyphs is not installed")


@pytest.fixture(scope="module")
def drawn() -> nbmlp.Dataset:
    return glyphs(3200, validation=800, seed=3)


def test_shapes_and_types(drawn: nbmlp.Dataset) -> None:
    assert drawn.test is not None
    assert drawn.y is not None
    assert drawn.X.shape == (3200, SIDE * SIDE)
    assert drawn.test.X.shape == (800, SIDE * SIDE)
    assert drawn.X.dtype == np.uint8
    assert len(drawn.feature_names) == SIDE * SIDE
    labels, counts = np.unique(drawn.y, return_counts=True)
    assert set(labels) == set(CHARACTERS)
    assert counts.min() > 140  # of 200 on average


def test_one_seed_one_result_and_less_is_its_beginning(drawn: nbmlp.Dataset) -> None:
    again = glyphs(2300, validation=700, seed=3)
    assert drawn.test is not None
    assert again.test is not None
    for whole, part in ((drawn, again), (drawn.test, again.test)):
        np.testing.assert_array_equal(whole.X[: len(part)], part.X)
        np.testing.assert_array_equal(whole.y[: len(part)], part.y)
    other = glyphs(2300, validation=700, seed=4)
    assert not np.array_equal(other.X, again.X)
    assert not np.array_equal(other.X[:700], again.test.X)


def test_threads_do_not_matter(drawn: nbmlp.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_threads", lambda: 1)
    np.testing.assert_array_equal(glyphs(3000, validation=1, seed=3).X, drawn.X[:3000])


def test_no_face_or_package_family_is_in_both_parts() -> None:
    assert not {f.name for f in TRAINING} & {f.name for f in VALIDATION}
    seen, unseen = (
        {face for faces in fonts.find_faces(part) for face in faces}
        for part in (TRAINING, VALIDATION)
    )
    assert len(seen) >= 40
    assert len(unseen) >= 20
    assert not seen & unseen


def test_every_face_draws_every_character() -> None:
    for families in (TRAINING, VALIDATION):
        fields = module._faces(families).fields
        ink = (fields > 0).sum(axis=1)
        assert ink.min() > 40  # points, of which a pixel has 16
        shapes = (fields > 0).reshape(-1, len(CHARACTERS), fields.shape[1])
        for face in shapes:  # a face without a character would draw the same box for all
            assert len({shape.tobytes() for shape in face}) == len(CHARACTERS)


def test_characters_stand_upright_in_the_middle(drawn: nbmlp.Dataset) -> None:
    def mean_image(character: str) -> np.ndarray:
        return drawn.X[drawn.y == character].mean(axis=0).reshape(SIDE, SIDE)

    minus, bracket = mean_image("-"), mean_image("[")
    middle = slice(12, 16)
    assert minus[middle, middle].mean() > 3 * minus[:6].mean()
    assert minus[middle].mean() > 1.2 * minus[:, middle].mean()  # wide, not high
    assert bracket[:, :14].sum() > bracket[:, 14:].sum()  # its back is on the left
    seven = mean_image("7")
    assert seven[:14].sum() > seven[14:].sum()  # its bar is at the top


def test_inverse_undoes_the_distortion() -> None:
    bent = module._Distortion.draw(np.random.default_rng(0), 50)
    to_x, to_y = bent.inverse()
    point = np.array([3.0, -5.0])  # in the field, from its middle
    for i in range(50):
        cos, sin = np.cos(bent.angle[i]), np.sin(bent.angle[i])
        x = (point[0] + bent.shear[i] * point[1]) * bent.scale[i] * bent.aspect[i] / 4
        y = point[1] * bent.scale[i] / bent.aspect[i] / 4
        x, y = cos * x - sin * y + bent.dx[i], sin * x + cos * y + bent.dy[i]
        found = [rows[i] @ np.array([x, y, 1.0]) for rows in (to_x, to_y)]
        np.testing.assert_allclose(found, point, atol=1e-4)


def test_progress_counts_all_images() -> None:
    told: list[tuple[int, int]] = []
    glyphs(2500, validation=1200, progress=lambda done, all_: told.append((done, all_)))
    assert told == [(n, 3700) for n in (1000, 2000, 2500, 3500, 3700)]


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"n": 0}, "n"), ({"validation": 1.5}, "validation"), ({"seed": -1}, "seed")],
)
def test_wrong_numbers_are_refused(settings: dict[str, object], name: str) -> None:
    with pytest.raises(SpecError, match=f"^{name}="):
        glyphs(**settings)


def test_missing_fonts_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    module._faces.cache_clear()
    monkeypatch.setattr(fonts, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'font_roboto: pip install "nbmlp\[glyphs\]"'):
        glyphs(10, validation=10)


def test_missing_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    module._faces.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError, match=r'Pillow: pip install "nbmlp\[glyphs\]"'):
        glyphs(10, validation=10)
