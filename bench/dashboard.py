"""``python -m bench.dashboard SITE``: make asv's published pages work without the internet.

asv's page loads its libraries from content networks. Here they are fetched once from the npm
registry, each at a fixed version whose archive must have the known SHA-512, put beside the page,
and named in it. Then the address of the main view is printed.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import re
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LIBRARIES", "VIEW", "Library", "vendor"]

#: Throughput against batch size, both axes fit for powers of ten.
VIEW = "#training.Throughput.track_samples_per_second?x-axis=batch_size&y-axis-scale=log"


@dataclass(frozen=True)
class Library:
    """One archive of the npm registry.

    Attributes
    ----------
    name, version : str
    sha512 : str
        Of the archive, base64, as the registry publishes it.
    files : dict of str
        What the page calls a file (the end of its address) -> the file in the archive.
    beside : tuple of str
        Files of the archive that those refer to.
    """

    name: str
    version: str
    sha512: str
    files: dict[str, str]
    beside: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where the archive is."""
        return f"https://registry.npmjs.org/{self.name}/-/{self.name}-{self.version}.tgz"


LIBRARIES = (
    Library(
        "jquery", "3.3.1",
        "Ubldcmxp5np52/ENotGxlLe6aGMvmF4R8S6tZjsP6Knsaxd/xp3Zrh50cG93lR6nPXyUFwzN3ZSOQI0wRJNdGg==",
        {"jquery-3.3.1.min.js": "dist/jquery.min.js"},
    ),
    Library(
        "flot", "0.8.3",
        "xg2otcTJDvS+ERK+my4wxG/ASq90QURXtoM4LhacCq0jQW2jbyjdttbRNqU2cPykrpMvJ6b2uSp6SAgYAzj9tQ==",
        {
            f"jquery.flot{part}.min.js": f"jquery.flot{part}.js"
            for part in ("", ".time", ".selection", ".categories")
        },
    ),
    Library(
        "flot-orderbars", "1.0.0",
        "Jv51fvzevUjNXEeozpwEKfPjhiZhfiJddv0WHjduUTCmSF+7T5K7C9c9Y1wIVmUhDBv5fLMjgbwKecT0GIKPZA==",
        {"jquery.flot.orderBars.js": "js/jquery.flot.orderBars.js"},
    ),
    Library(
        "stupid-table-plugin", "1.1.3",
        "2Vk7XouQPxUQPRe9w0Fu7ZZ8kHLK7rDoLMsCgtKxRNJ7f4dSOGvW9CkHsq5wD6QsaEnWoyLBYH3xOEsrK3yWBg==",
        {"stupidtable.min.js": "stupidtable.min.js"},
    ),
    Library(
        "blueimp-md5", "2.19.0",
        "DRQrD6gJyy8FbiE4s+bDoXS9hiW3Vbx5uCdwvcCf3zLHL+Iv7LtGHLpr+GZV8rHG8tK766FGYBwRbu8pELTt+w==",
        {"md5.min.js": "js/md5.min.js"},
    ),
    Library(
        "bootstrap", "3.1.1",
        "TAzqS8E/ISpVHP29gYhy+1NSV+FJwApDVQhDfgLYsIuUDJiqJzH2DfORN5tiu+Ie2iBLrzEG34t4Rf465cigqg==",
        {
            "bootstrap.min.js": "dist/js/bootstrap.min.js",
            "bootstrap.min.css": "dist/css/bootstrap.min.css",
        },
        tuple(f"dist/fonts/glyphicons-halflings-regular.{kind}" for kind in ("woff", "ttf", "svg")),
    ),
)  # fmt: skip


#: asv draws numbers on a linear axis: batch sizes from 1 to 10,000 would lie on each other.
_LOG_AXIS = """\
(function () {
  var draw = $.plot;
  function wide(series) {
    var x = [].concat.apply([], series.map(function (s) {
      return s.data.map(function (point) { return point[0]; });
    }));
    return x.length && Math.min.apply(null, x) > 0
      && Math.max.apply(null, x) > 100 * Math.min.apply(null, x)
      && !/[?&]x-axis-scale=/.test(location.hash) && /[?&]x-axis=(?!commit)/.test(location.hash);
  }
  $.plot = function (place, series, options) {
    if (wide(series)) {
      options = $.extend(true, {}, options);
      $.extend(options.xaxis, {
        transform: Math.log, inverseTransform: Math.exp,
        ticks: series[0].data.map(function (point) { return point[0]; })
      });
    }
    return draw(place, series, options);
  };
  $.extend($.plot, draw);
})();
"""


class DashboardError(Exception):
    """The site cannot be made, in one sentence."""


def fetch(library: Library, timeout: float = 30.0) -> bytes:
    """The archive; DashboardError if it cannot be had or is not the known one."""
    try:
        with urllib.request.urlopen(library.url, timeout=timeout) as answer:
            archive: bytes = answer.read()
    except (urllib.error.URLError, TimeoutError) as error:
        raise DashboardError(f"{library.url} cannot be fetched: {error}.") from None
    found = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != library.sha512:
        raise DashboardError(f"{library.url} is not what it was: its SHA-512 is {found}.")
    return archive


def vendor(site: Path) -> None:
    """Put the libraries of a published site beside its page, and name them there.

    Parameters
    ----------
    site : Path
        What ``asv publish`` has written.

    Raises
    ------
    DashboardError
        No page, no network, another archive than the known one, or a library that is not known.
    """
    page = site / "index.html"
    if not page.is_file():
        raise DashboardError(f"{site} holds no index.html: run asv publish first.")
    text = page.read_text(encoding="utf-8")
    for library in LIBRARIES:
        folder = f"vendor/{library.name}-{library.version}"
        with tarfile.open(fileobj=io.BytesIO(fetch(library))) as archive:
            for member in (*library.files.values(), *library.beside):
                content = archive.extractfile(f"package/{member}")
                assert content is not None, member
                place = site / folder / member
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())
        for name, member in library.files.items():
            text = _point_to(text, name, f"{folder}/{member}")
    left = re.findall(r'<(?:script|link)[^>]*?(?:src|href)="(https?:[^"]+)"', text)
    if left:
        raise DashboardError(f"{page} still loads {left[0]}: add it to bench/dashboard.py.")
    (site / "vendor" / "log-axis.js").write_text(_LOG_AXIS, encoding="utf-8")
    asv = re.compile(r'(?=<script[^>]*src="graphdisplay\.js")')
    page.write_text(asv.sub('<script src="vendor/log-axis.js"></script>\n    ', text), "utf-8")


def _point_to(text: str, name: str, place: str) -> str:
    """Replace the address that ends in /name, and drop the checks of what came from there."""
    tag = re.compile(
        r'(<(?:script|link)[^>]*?(?:src|href)=")https?:[^"]*/' + re.escape(name) + r'"[^>]*>'
    )

    def local(found: re.Match[str]) -> str:
        rel = ' rel="stylesheet"' if name.endswith(".css") else ' onerror="js_load_failure()"'
        return f'{re.sub(r" rel=.stylesheet.", "", found[1])}{place}"{rel}>'

    return tag.sub(local, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard", description=__doc__)
    parser.add_argument("site", type=Path, help="folder that asv publish has written")
    site: Path = parser.parse_args(argv).site
    try:
        vendor(site)
    except DashboardError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"To look at it: make serve, then http://127.0.0.1:8080/{VIEW}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
