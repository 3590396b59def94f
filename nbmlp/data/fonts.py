"""Faces of the glyphs data set: font files that come with packages from PyPI."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from nbmlp.errors import missing_package

__all__ = ["TRAINING", "VALIDATION", "Family", "find_faces"]


@dataclass(frozen=True)
class Family:
    """One typeface.

    Attributes
    ----------
    name : str
    package : str
        Module that holds the files.
    pattern : str
        Their place below it, ``{}`` for the style.
    styles : str
        Separated by spaces; ``""`` is one face without a style.
    """

    name: str
    package: str
    pattern: str
    styles: str = ""

    def faces(self) -> list[Path]:
        """Path of each face, in the order of `styles`.

        Raises
        ------
        MissingPackageError
            The package, or the file in it, is not there.
        """
        spec = find_spec(self.package)  # finds it without executing it
        folders = list(spec.submodule_search_locations or ()) if spec else []
        styles = self.styles.split() or [""]
        paths = [Path(folder, self.pattern.format(s)) for folder in folders[:1] for s in styles]
        if not paths or not all(path.is_file() for path in paths):
            raise missing_package("the data set glyphs", f"the fonts of {self.package}", "glyphs")
        return paths


_TTF = "mpl-data/fonts/ttf/"
_NINE = "Thin Light Regular Medium Bold Black Italic LightItalic BoldItalic"
_ADOBE = "ExtraLight Light Regular Semibold Bold Black LightIt It BoldIt BlackIt"
_DEJAVU = "-Bold -Oblique -BoldOblique"

#: Families of the training images.
TRAINING = (
    Family("Roboto", "font_roboto", "files/Roboto-{}.ttf", _NINE),
    Family("Source Sans Pro", "font_source_sans_pro", "files/SourceSansPro-{}.ttf", _ADOBE),
    Family("Source Serif Pro", "font_source_serif_pro", "files/SourceSerifPro-{}.ttf", _ADOBE),
    Family(
        "Hanken Grotesk", "font_hanken_grotesk", "files/HankenGrotesk-{}.otf",
        "Light Regular Medium Bold LightItalic Italic BoldItalic",
    ),
    Family("DejaVu Sans", "matplotlib", _TTF + "DejaVuSans{}.ttf", _DEJAVU),
    Family("DejaVu Sans Mono", "matplotlib", _TTF + "DejaVuSansMono{}.ttf", _DEJAVU),
    Family("DejaVu Serif", "matplotlib", _TTF + "DejaVuSerif{}.ttf", "-Bold -Italic -BoldItalic"),
    Family("Computer Modern", "matplotlib", _TTF + "cm{}10.ttf", "r b ss tt"),
)  # fmt: skip
#: Families of the validation images: none that training sees.
VALIDATION = (
    Family(
        "Open Sans", "ttf_opensans", "ttf/OpenSans-{}.ttf",
        "Light Regular SemiBold Bold ExtraBold LightItalic Italic BoldItalic",
    ),
    Family(
        "Manrope", "font_manrope", "files/Manrope-{}.ttf",
        "ExtraLight Light Regular Medium SemiBold Bold ExtraBold",
    ),
    Family("Caladea", "font_caladea", "files/Caladea-{}.ttf", "Regular Bold Italic BoldItalic"),
    Family("STIX", "matplotlib", _TTF + "STIXGeneral{}.ttf", "Bol Italic BolIta"),
)  # fmt: skip


def find_faces(families: tuple[Family, ...]) -> list[list[Path]]:
    """Faces of each family; see :meth:`Family.faces`."""
    return [family.faces() for family in families]
