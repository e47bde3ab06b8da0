"""What the files of a delivered product say of each other, side by side: a report for users to read and to send.

Leader, lines, volume directory, trailer, ``summary.txt``, XML, names and sizes state many things twice. What cannot be
read is a line of the report, too. Tolerances stand at each comparison and in the report.
"""

from __future__ import annotations

import html
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import rasterio

from ...core.artifacts import named_path
from ...core.errors import Alos2TutError, Alos2TutWarning
from ...core.public import public
from ...core.version import __version__
from ..archives import container_of, damaged_members
from ..georeference import parsed_crs
from ..given import Given
from ..names import Found, products_in
from ..opening import open_found, open_product
from ..product import Product
from ..sources import find_files
from . import ceos as checks_ceos
from . import rasters as checks_rasters
from .checks import Check, Verdict, judged, unreadable

_LONGEST_VALUE, _LONGEST_NOTE = 160, 600
_VERDICT_WIDTH = max(map(len, get_args(Verdict)))


def _counted(verdict: Verdict, what: str) -> property:
    return property(lambda report: report.count(verdict), doc=what)


@dataclass(frozen=True, repr=False)
class Report:
    """All checks of one product; ``identity`` is what its files' names share, no folder of the user's is named."""

    identity: str
    kind: str
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, identity: str, kind: str, checks: Iterable[Check], base: Path) -> Report:
        """Of checks that may name the user's folders, above all ``base``: they are taken out."""
        return cls(identity, kind, tuple(_shareable(check, base) for check in checks))

    def count(self, verdict: Verdict) -> int:
        """How many checks have this verdict."""
        return sum(check.verdict == verdict for check in self.checks)

    agree = _counted("agrees", "Checks whose sources agree.")
    differ = _counted("differs", "Checks whose sources contradict each other.")
    once = _counted("stated once", "Checks of what one source alone states.")
    absent = _counted("absent", "Checks of what no source states.")
    unreadable = _counted("unreadable", "Sources that could not be read.")

    def _by_subject(self) -> dict[str, list[Check]]:
        subjects: dict[str, list[Check]] = {}
        for check in self.checks:
            subjects.setdefault(check.subject, []).append(check)
        return subjects

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        counts = {name: getattr(self, name) for name in ("agree", "differ", "once", "absent", "unreadable")}
        checks = [asdict(check) for check in self.checks]
        return {"identity": self.identity, "kind": self.kind, "versions": _versions(), **counts, "checks": checks}

    def _counts(self) -> str:
        counts = f"{self.agree} agree, {self.differ} differ, {self.once} stated once, {self.absent} absent"
        return f"{counts}, {self.unreadable} unreadable"

    def __repr__(self) -> str:
        return f"<Report {self.identity} ({self.kind}): {self._counts()}>"

    def to_text(self) -> str:
        """A line per check, grouped by subject: verdict, what was checked, the values and who states them, a note."""
        lines = [
            f"{self.identity} ({self.kind})",
            self._counts(),
            ", ".join(f"{a} {b}" for a, b in _versions().items()),
        ]
        width = max((len(check.name) for check in self.checks), default=0)
        for subject, checks in self._by_subject().items():
            lines += ["", subject]
            for check in checks:
                sources: dict[str, list[str]] = {}
                for source, text in check.values.items():
                    sources.setdefault(text, []).append(source)
                texts = [f"{text} ({', '.join(names)})" for text, names in sources.items()]
                texts += [check.note] if check.note else []
                lines.append(f"  {check.verdict:<{_VERDICT_WIDTH}}  {check.name:<{width}}  {'; '.join(texts)}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A table per subject, open where something does not agree."""
        parts = []
        for subject, checks in self._by_subject().items():
            rows = "".join(_html_row(check) for check in checks)
            counts = Counter(check.verdict for check in checks)
            text = ", ".join(f"{n} {verdict if n == 1 else verdict.removesuffix('s')}" for verdict, n in counts.items())
            is_open = " open" if counts["differs"] or counts["unreadable"] else ""
            parts.append(f"<details{is_open}><summary>{html.escape(subject)}: {text}</summary><table>{rows}</table>")
        return f"<b>{html.escape(self.identity)} ({html.escape(self.kind)})</b>{'</details>'.join(parts)}</details>"


def _html_row(check: Check) -> str:
    values = "; ".join(f"{source}: {text}" for source, text in check.values.items())
    cells = (check.verdict, check.name, values, check.note)
    return "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _versions() -> dict[str, str]:
    return {"alos2tut": __version__, "rasterio": rasterio.__version__, "GDAL": rasterio.__gdal_version__}


@public
def verify_product(path: str | Path, **given: Any) -> Report:
    """Compare what the files of a product say of each other; of an image of others only itself can be looked at.

    Args:
        path: as for :func:`alos2tut.open_product`; the product may be damaged or incomplete. All scans of a ScanSAR
            are looked at. Of a product that lies there as both CEOS and GeoTIFF, the file named decides; else CEOS.
        given: what the files leave open, by the names of :func:`alos2tut.open_product`, as ``crs``.

    Raises:
        Alos2TutError: nothing there that is a product, several products, an archive that is not safe to read, or
            something given that cannot be.
    """
    place, said = named_path(path, "product").absolute(), Given(**given)
    found = products_in(find_files(place))
    if found is None:
        return _of_image(open_product(place, **given))
    system = None if said.crs is None else parsed_crs(said.crs, found.delivery.path)
    product, opening = _opened(found, said)
    is_delivered = found.kind == "delivered"
    kind, checks = checks_ceos.checks_of(found, product, system) if is_delivered else checks_rasters.checks_of(found)
    delivery = found.delivery
    base = delivery.archive or (delivery.path if delivery.named is None else delivery.path.parent)
    return Report.of(found.identity, kind, [*_checksums(delivery.archive), *checks, *opening], base)


def _of_image(product: Product) -> Report:
    """Each image is read to its end; there is nothing else that says something of it."""
    checks = _opening(product)
    for pol in product.polarizations:
        try:
            known = sum(int(np.isfinite(block).sum()) for _, block in product.blocks("power", polarization=pol))
        except Alos2TutError as error:
            checks.append(unreadable("images", pol, error))
            continue
        values = {"pixels": f"{known:,} of {math.prod(product.shape):,} hold data"}
        checks.append(judged("images", pol, None, values, "no other file says what they should be"))
    return Report.of(product.name, product.kind, checks, product.path if product.path.is_dir() else product.path.parent)


def _checksums(archive: Path | None) -> Iterator[Check]:
    """Whether what an archive holds is what was packed; a tar that is not compressed states nothing of it."""
    if archive is None:
        return
    try:
        container = container_of(archive)
        if container == "tar":
            return
        members = dict(damaged_members(archive))
    except (Alos2TutError, OSError) as error:
        yield unreadable("files", "checksums of the archive", error)
        return
    damaged = [f"{name}: {problem}" for name, problem in members.items() if problem]
    values = {str(container): f"{len(members)} files"}
    yield judged("files", "checksums of the archive", not damaged, values, "; ".join(damaged))


def _opened(found: Found, given: Given) -> tuple[Product | None, list[Check]]:
    """The product as it opens, and what is said then."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", Alos2TutWarning)
        try:
            product = open_found(found, given)
        except Exception as error:
            return None, [unreadable("reading", "open_product", error)]
    return product, _opening(product, *(str(warning.message) for warning in caught))


def _opening(product: Product, *warned: str) -> list[Check]:
    """What is said of a product that opened."""
    note = "; ".join(dict.fromkeys([*warned, *product.notes]))
    gaps = [Check("reading", "not stated", "absent", {"open_product": gap}) for gap in product.gaps]
    return [Check("reading", "open_product", "agrees", {"opened": repr(product).strip("<>")}, note), *gaps]


def without_folders(text: str, base: Path) -> str:
    """A text for others to see: no folders of the user's, above all not ``base``, and no control characters."""
    others = (Path.cwd(), Path(os.path.expanduser("~")))  # noqa: PTH111 (Path.home raises where there is none)
    for folder in (base, base.absolute(), base.resolve(), *others):
        if folder != Path(folder.anchor):
            text = text.replace(f"{folder}/", "").replace(str(folder), "the delivery")
    text = re.sub(r"(?<![\w.)])/(?:[^/\s:;,'\"]+/)+", "", text)
    return "".join(character if character.isprintable() else "?" for character in text)


def _shareable(check: Check, base: Path) -> Check:
    """A check for others to see, without endless text."""

    def clean(text: str, longest: int) -> str:
        text = without_folders(text, base)
        return text if len(text) <= longest else f"{text[:longest]}…"

    values = {source: clean(text, _LONGEST_VALUE) for source, text in check.values.items()}
    return Check(check.subject, check.name, check.verdict, values, clean(check.note, _LONGEST_NOTE))
