"""Which delivered files make one product: the names JAXA gives, in a folder or an archive; and how to read its XML.

Names: JAXA's "ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS SAR product format description" (rev. F), of other satellites
as :mod:`.satellites` says; those of Level 2.2, the mosaic and the forest map from real files and from the tests of
stactools-packages/palsar.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias
from xml.etree import ElementTree

from ..core.errors import Alos2TutError, warn
from .archives import DamageError
from .metadata import POLARIZATIONS
from .satellites import SATELLITES, Satellite
from .sources import Delivery, FileSource

Kind: TypeAlias = Literal["delivered", "card4l", "mosaic"]

ORBITS = {"A": "ascending", "D": "descending"}
LOOK_SIDES = {"L": "left", "R": "right"}
_SCENE = r"(?P<scene>ALOS2(?P<orbit_number>\d{5})(?P<frame>\d{4})-(?P<date>\d{6}))"
_SCENES, _PRODUCTS = ("|".join(getattr(satellite, part) for satellite in SATELLITES) for part in ("scene", "product"))
_POL, _TIF = "(?P<pol>HH|HV|VH|VV)", r"\.(?i:tiff?)"
#: letter of the mode, its width or beam, polarisations, orbit direction, look side: F02DAR, FP6QAR
_TILE_BEAM = r"(?P<beam>[A-Z][A-Z0-9]{2}[SDQ][AD][LR])"
#: what makes a product, and which parts of the names its files share; F and B number the scans of a ScanSAR, processed
#: with full aperture or burst by burst
_KINDS: dict[Kind, tuple[re.Pattern[str], tuple[str, ...]]] = {
    "delivered": (
        re.compile(
            rf"(?P<kind>VOL|LED|TRL|IMG)-(?:{_POL}-)?(?P<scene>{_SCENES})-(?P<product>{_PRODUCTS})"
            rf"(?:-(?P<scan>[BF]\d))?(?P<suffix>{_TIF})?"
        ),
        ("scene", "product"),
    ),
    "card4l": (
        re.compile(
            rf"{_SCENE}_(?P<product>[0-9A-Z._]{{10}})_(?:{_POL}_SLP{_TIF}|(?P<layer>LIN|MSK){_TIF}|(?P<xml>summary\.xml))"
        ),
        ("scene", "product"),
    ),
    # 1° tiles, named by their upper left corner; the forest map's second version states no beam
    "mosaic": (
        re.compile(
            r"(?P<stem>.*(?P<tile>[NS]\d{2}[EW]\d{3})_(?P<year>\d{2})(?:_MOS|_FNF)?)_"
            rf"(?:sl_{_POL}|(?P<layer>linci|mask|date|C(?=_|$|\.)))(?:_{_TILE_BEAM}|(?<=_C))(?:{_TIF})?"
        ),
        ("stem", "beam"),
    ),
}
#: files that come with a product and stand for its folder
_COMPANION = re.compile(
    rf"summary(-({_SCENES})-.*)?\.txt|workreport|(BRS-|({_SCENES})[-_]).*\.(jpg|kml)|.*_{_TILE_BEAM}\.(xml|hdr)|.*_C\.hdr"
)
#: an image's name inside a longer one, as browsers and users make them
_INNER_NAME = re.compile(rf"IMG-(HH|HV|VH|VV)-({_SCENES})-({_PRODUCTS})")
ARCHIVE_ENDS = (".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".7z", ".rar")
#: products of others, by their names: JAXA's, ESA's, NASA's, and those of ASF's corrected scenes
_OTHERS = {
    "ALOS PALSAR": re.compile(
        r"^AP_\d{5}_(FB[SD]|PLR|WB\d)|[NS]\d{2}[EW]\d{3}_(07|08|09|10)_(MOS|FNF|sl_|mask|linci|date|C)"
    ),
    "ALOS PRISM": re.compile(r"ALPSM"),
    "ALOS AVNIR-2": re.compile(r"ALAV2"),
    "Sentinel-1": re.compile(r"^S1[A-D]_(IW|EW|WV|S\d)_"),
    "NISAR": re.compile(r"^NISAR_"),
}
_RASTER_ENDS = (".tif", ".tiff", ".img")
#: what lies beside rasters and is none
_BESIDE_RASTERS = {".hdr", ".xml", ".txt", ".msk", ".ovr", ".tfw", ".wld", ".prj", ".pdf", ".jpg", ".kml", ".html"}
_BESIDE_RASTERS |= {".csv", ".json", ".md", ".sha256"}
_LARGEST_XML = 4 * 2**20


@dataclass(frozen=True)
class Found:
    """The files of one product."""

    delivery: Delivery
    kind: Kind
    #: what their names share
    identity: str
    #: of the folder they lie in, all files
    folder: Mapping[str, FileSource]
    #: of the product, the names taken apart
    matches: Mapping[str, re.Match[str]]
    #: that of the file by which the user named the product, if it was one of these
    named: re.Match[str] | None

    @property
    def any_match(self) -> re.Match[str]:
        """The file the user named, else the first one."""
        return self.named or next(iter(self.matches.values()))

    @property
    def satellite(self) -> Satellite:
        """Whose product it is, by the scene's name."""
        scene = self.any_match["scene"]
        return next(satellite for satellite in SATELLITES if re.fullmatch(satellite.scene, scene))

    @property
    def parts(self) -> dict[str, str]:
        """What its names say of scene and product, by the groups of :class:`.Satellite`; none where they are odd.

        Whoever asks has found a product of Levels 1.1 to 3.1, or of Level 2.2.
        """
        match = self.satellite.parts.fullmatch(f"{self.any_match['scene']}-{self.any_match['product']}")
        return match.groupdict() if match else {}

    @property
    def summary(self) -> FileSource | None:
        """``summary.txt``; of ALOS-4 the name of the product stands in its name, and ASF called it ``workreport``."""
        names = ("summary.txt", f"summary-{self.identity}.txt", "workreport")
        return next((self.folder[name] for name in names if name in self.folder), None)

    @property
    def named_polarization(self) -> str | None:
        """Polarisation of the image file that the user named."""
        return self.named["pol"] if self.named is not None else None

    def beside(self, name: str) -> tuple[list[FileSource], dict[str, Any]]:
        """What :func:`beside` says of one of the rasters."""
        return beside(self.folder, name)

    def of(self, *names: str) -> Found:
        """With these of its files only."""
        return replace(self, matches={name: self.matches[name] for name in names})

    def images(self) -> dict[str, FileSource]:
        """Image files by polarisation, in the usual order; without damaged members of an archive, if others are left.

        Raises:
            Alos2TutError: two files of one polarisation, unless the user named one of them; one that is damaged, if the
                user named it or there is no other.
        """
        by_pol: dict[str, str] = {}
        for name, match in self.matches.items():
            pol = match["pol"]
            other = by_pol.setdefault(pol, name) if pol else name
            if match is self.named:
                by_pol[pol] = name
            elif other != name and self.matches[other] is not self.named:
                raise Alos2TutError(
                    f"{other} and {name} both claim to be {pol}",
                    where=self.delivery.path,
                    remedy="Name the one you mean.",
                )
        images = {pol: self.folder[by_pol[pol]] for pol in POLARIZATIONS if pol in by_pol}
        for pol, source in [*images.items()]:
            try:
                source.on_disk()
            except DamageError as error:
                if pol == self.named_polarization or len(images) == 1:
                    raise
                warn(str(error))
                del images[pol]
        return images

    def files(self, sources: Sequence[FileSource]) -> tuple[Path, ...]:
        """Files on disk whose content makes the product: the archive, or these."""
        return (self.delivery.archive,) if self.delivery.archive else tuple(source.path for source in sources)


def beside(folder: Mapping[str, FileSource], name: str) -> tuple[list[FileSource], dict[str, Any]]:
    """What lies beside a raster and says where it has data: files, and arguments of ``RasterBand.open``.

    That is a mask, and the text (``.aux.xml``) to which GDAL and QGIS write a no-data tag, if it names one.
    """
    files: list[FileSource] = []
    stated: dict[str, Any] = {}
    if mask := folder.get(f"{name}.msk", folder.get(f"{name}.MSK")):
        files, stated = [mask], {"mask": mask}
    if text := folder.get(f"{name}.aux.xml"):
        with suppress(Alos2TutError):
            tag = number(read_xml(text).findtext("PAMRasterBand/NoDataValue"))
            if tag is not None:
                files, stated = [*files, text], stated | {"no_data": tag}
    return files, stated


def products_in(delivery: Delivery) -> Found | None:
    """The one product of JAXA's that the path of these files means; None without any.

    Raises:
        Alos2TutError: several; an archive of a kind that is not read.
    """
    path, named = delivery.path, delivery.named
    if delivery.archive is None and named is not None and named.lower().endswith(ARCHIVE_ENDS):
        raise Alos2TutError(
            "is no zip, tar or tar.gz",
            where=path,
            remedy="Unpack it; if it was one of these, it is damaged or a page that tells of an error.",
        )
    products = {
        (folder, identity): found
        for folder, files in delivery.folders.items()
        for identity, found in _products_in(delivery, files).items()
    }
    if named is not None and not _COMPANION.fullmatch(named):
        products = {place: found for place, found in products.items() if named in found.matches}
    if len(products) > 1:
        names = ", ".join(sorted(f"{folder}/{identity}".lstrip("/") for folder, identity in products))
        raise Alos2TutError(f"holds {len(products)} products: {names}", where=path, remedy="Name a file of one.")
    return next((replace(found, named=found.matches.get(named or "")) for found in products.values()), None)


def no_product(delivery: Delivery, as_image: Alos2TutError | None = None) -> Alos2TutError:
    """The error that says why these files are no product of ALOS-2, and ``as_image`` why no image that is read."""
    also = (
        " Of others a raster of backscatter (GeoTIFF, ENVI, plain VRT), a PolSARpro folder or a NISAR GCOV, unpacked."
    )
    if as_image is not None:
        also = f" As a calibrated image: {as_image.problem}. {as_image.remedy or ''}".rstrip()
    try:
        _refuse_others(delivery)
    except Alos2TutError as error:
        return Alos2TutError(error.problem, where=error.where, remedy=f"{error.remedy}{also}")
    named = delivery.named
    whose = "no file here is" if named is None or _COMPANION.fullmatch(named) else f"'{named}' is not"
    return Alos2TutError(
        f"is no ALOS-2 product: {whose} named as JAXA names them",
        where=delivery.path,
        remedy="Expected IMG-HH-ALOS2…-… (CEOS, or GeoTIFF with .tif; ALOS4… and ALPSR… likewise), ALOS2…_HH_SLP.tif "
        f"of Level 2.2, or …_sl_HH_F02DAR.tif of the 25 m mosaic.{_elsewhere(delivery)}{also}",
    )


def _refuse_others(delivery: Delivery) -> None:
    """Say whose product it is, if names tell that it is another satellite's."""
    names = [name for folder in delivery.folders.values() for name in folder]
    for name in [delivery.named] if delivery.named else [delivery.path.name, *names]:
        for satellite, pattern in _OTHERS.items():
            if pattern.search(name):
                raise _not_read(satellite, delivery.path)


def _not_read(satellite: str, where: str | Path) -> Alos2TutError:
    article = "an" if satellite[0] in "AEIO" else "a"
    problem = f"is {article} {satellite} product, which is not read"
    return Alos2TutError(problem, where=where, remedy="Products of ALOS-2 (PALSAR-2) are.")


def _products_in(delivery: Delivery, files: Mapping[str, FileSource]) -> dict[str, Found]:
    """Products of one folder by what the names of their files share."""
    products: dict[str, dict[str, re.Match[str]]] = {}
    kinds: dict[str, Kind] = {}
    for kind, (pattern, shared) in _KINDS.items():
        for name in files:
            match = pattern.fullmatch(name)
            if match:
                identity = "-".join(match[part] for part in shared if match[part])
                products.setdefault(identity, {})[name] = match
                kinds[identity] = kind
    return {
        identity: Found(delivery, kinds[identity], identity, files, matches, None)
        for identity, matches in products.items()
    }


def label_rasters(names: Collection[str]) -> list[str]:
    """Which of a folder's files are rasters of classes: GeoTIFF, ERDAS, or ENVI with its header.

    Of JAXA's 25 m mosaic only the forest map is; headers, metadata, masks and previews beside rasters are none.
    """
    known = {name.lower() for name in names}

    def is_raster(name: str) -> bool:
        if (tile := _KINDS["mosaic"][0].fullmatch(name)) and tile["layer"] != "C":
            return False
        path = Path(name.lower())
        headed = f"{path}.hdr" in known or str(path.with_suffix(".hdr")) in known
        return path.suffix in _RASTER_ENDS or (headed and path.suffix not in _BESIDE_RASTERS)

    return [name for name in names if is_raster(name)]


def _elsewhere(delivery: Delivery) -> str:
    """Where else to look: users often name the folder above the one they mean, or have renamed a file."""
    name = _INNER_NAME.search(delivery.named or "")
    if name:
        return f" Rename it to {name[0]}{Path(delivery.named or '').suffix}."
    if delivery.archive is not None and (delivery.named or "").lower().endswith(ARCHIVE_ENDS):
        return f" Unpack {delivery.archive.name}: archives in archives are not read."
    # what lies beside a file that was named is nothing that it may mean
    if delivery.named is not None and not _COMPANION.fullmatch(delivery.named):
        return ""
    nearby = [name for files in delivery.folders.values() for name in files if name.lower().endswith(ARCHIVE_ENDS)]
    nearby += delivery.subfolders
    return f" Look into {', '.join(nearby[:5])}." if nearby else ""


def number(text: str | None) -> float | None:
    """A finite number, if the text is one."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def day_of(yymmdd: str) -> str:
    """``2014-09-09`` of a scene id's ``140909``."""
    return f"20{yymmdd[:2]}-{yymmdd[2:4]}-{yymmdd[4:]}"


def iso_time(text: str | None) -> str | None:
    """ISO 8601 of JAXA's ``20140909 04:33:47.052`` or ``20140909043347052``; None for anything else."""
    match = re.fullmatch(r"(\d{4})(\d\d)(\d\d) ?(\d\d):?(\d\d):?(\d\d)\.?(\d*)", (text or "").strip())
    if match is None:
        return None
    return "{}-{}-{}T{}:{}:{}{}Z".format(*match.groups()[:6], f".{match[7]}" if match[7] else "")


def middle_of(start: str | None, end: str | None) -> str | None:
    """ISO time half way between two of them; the first one where there is no second."""
    try:
        times = [datetime.fromisoformat(text) for text in (start, end) if text]
        middle = times[0] + (times[-1] - times[0]) / 2
    except (ValueError, TypeError, IndexError):
        return start
    return middle.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_xml(source: FileSource) -> ElementTree.Element:
    """A small XML file of JAXA's. It needs no entities, so that one which defines any is refused.

    Raises:
        Alos2TutError: one that is too large, no XML, or not of that kind.
    """
    content = source.read_all(_LARGEST_XML)
    try:
        # whatever encoding it claims: in another one entities would not be seen
        text = content.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise Alos2TutError("defines XML entities, which JAXA's files do not", where=source.where)
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Alos2TutError(f"is no XML ({error})", where=source.where, remedy="Download it again.") from None


def xml_texts(root: ElementTree.Element | None) -> dict[str, str]:
    """The text of the first element of each name; names in these files are unique where it matters."""
    texts: dict[str, str] = {}
    for element in () if root is None else root.iter():
        if element.text and element.text.strip():
            texts.setdefault(str(element.tag), element.text.strip())
    return texts


def factor_of_equation(text: str | None) -> float | None:
    """The calibration factor in dB of ``10*log10(DN^2) - 83.0``; None for another equation."""
    match = re.fullmatch(r"10\*log10\(DN\^2\)([-+]\d{1,4}(?:\.\d{1,9})?)", "".join((text or "").split()))
    return float(match[1]) if match else None


def noise_floor(root: ElementTree.Element | None, name: str) -> dict[str, float]:
    """Noise-equivalent backscatter in dB by polarisation, from elements that bear it as an attribute."""
    elements = () if root is None else root.iter(name)
    texts = {element.get("pol", "?"): "".join(element.itertext()).strip() for element in elements}
    return {pol: value for pol, text in texts.items() if (value := number(text)) is not None}


def wkt_polygon(text: str | None) -> tuple[tuple[float, float], ...]:
    """Corners of ``Polygon ((lon lat, lon lat, …))`` without the repeated last one; none if it is anything else."""
    inside = (text or "").strip().removeprefix("Polygon").strip().removeprefix("((").removesuffix("))")
    try:
        corners = [(float(x), float(y)) for x, y in (part.split() for part in inside.split(","))]
    except ValueError:
        return ()
    return tuple(corners[:-1]) if len(corners) > 3 and corners[0] == corners[-1] else tuple(corners)
