"""The simulated scene: the same bytes for the same seed, a frozen recipe, labels in their place."""

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform as reproject_points
from scipy import ndimage
from support.simulated import surfaces_of

from alos2tut import Alos2TutError, load_legend, open_product, radiometry, simulate_product
from alos2tut.simulation import landcover, priors
from alos2tut.simulation import scene as simulation

SMALL = (128, 192)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- the same again


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """The scene of seed 5 and SMALL pixels, which several tests make once more in other ways."""
    return simulate_product(tmp_path_factory.mktemp("tiny") / "scene", seed=5, size_px=SMALL)


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path, tiny):
    # numbers may be NumPy's, and the table's place may be given by its corner
    place = json.loads((tiny / "simulation.json").read_text())["place"]
    numbers = {"seed": np.uint32(5), "size_px": tuple(np.array(SMALL)), "corner": tuple(place["corner_deg"])}
    simulation._land_cover.cache_clear()
    assert content(simulate_product(tmp_path / "same", **numbers)) == content(tiny)
    everything = slice(0, SMALL[0]), slice(0, SMALL[1])
    images = [open_product(tiny).read_dn(), simulation.Scene(6, *SMALL).digital_numbers(*everything)[0].astype(float)]
    both = np.isfinite(images[0]) & (images[1] > 0)
    assert (images[0][both] != images[1][both]).mean() > 0.95


def detrended(power: np.ndarray) -> np.ndarray:
    """Speckle alone: log power less its local mean."""
    log = np.log(np.nan_to_num(power, nan=1e-3))
    return log - ndimage.uniform_filter(log, 5)


def test_strips_do_not_repeat_each_other(scene, small_scene):
    power = open_product(scene).read_power()
    other = open_product(small_scene).read_power()
    strips = [detrended(power[first : first + 512, :640]) for first in (0, 512, 1024)] + [detrended(other)]
    correlation = np.corrcoef([strip[:, 40:600].ravel() for strip in strips])
    assert np.abs(correlation - np.eye(4)).max() < 0.05


def test_no_pixel_depends_on_how_the_work_was_cut():
    scene = simulation.Scene(3, 333, 517)
    whole = scene.digital_numbers(slice(0, 333), slice(0, 517))[0]
    rng = np.random.default_rng(0)
    for _ in range(8):
        (top, bottom), (left, right) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in (333, 517))
        block = scene.digital_numbers(slice(int(top), int(bottom)), slice(int(left), int(right)))[0]
        np.testing.assert_array_equal(block, whole[top:bottom, left:right])


@pytest.mark.parametrize(
    ("pool", "workers", "strip"),
    [(ThreadPoolExecutor, 1, 64), (ThreadPoolExecutor, 3, 24), (ProcessPoolExecutor, 1, 256)],
)
def test_workers_and_strips_change_no_byte(tmp_path, monkeypatch, tiny, pool, workers, strip):
    monkeypatch.setattr(simulation, "_STRIP", strip)
    with pool(workers) as executor:
        found = simulate_product(tmp_path / "found", seed=5, size_px=SMALL, executor=executor)
    assert content(found) == content(tiny)


def test_threads_do_not_each_build_the_ground(tmp_path, monkeypatch):
    simulation._land_cover.cache_clear()
    built = []
    make = landcover.LandCover
    monkeypatch.setattr(simulation, "LandCover", lambda *given: built.append(given) or make(*given))
    with ThreadPoolExecutor(4) as executor:
        simulate_product(tmp_path / "scene", seed=77, size_px=(1100, 64), executor=executor)
    assert len(built) == 1


# --- the frozen recipe: whatever makes these fail changes the simulated scene and needs a new version

#: surfaces of the scene of seed 2 and 1600 × 1600 pixels, every 52nd line and 26th column, "a" for the first one
SURFACES_SEEN = (
    "opppppoooooooppoorpppppppppssoooooooooooorrrrrtttjjjjjkkljjjjj",
    "ppppppoooooooppoooopppoooprsooooooooooooqrrrqtttnttnnnntnnjljk",
    "oppppproooprpoooorrroooooooooooooooooooqqrqqqrtqnrnrnqnnnnljjj",
    "opprrrrooorrppssorrroorpooooooosooooooqqqqqqqqqnqqnrnqnnnnnnuw",
    "rrrrrrrrrrrrrrossoooorrrrrrooorrsqqqqqqqrqqqqnqnqqnnqnnnnnnnnj",
    "rrrrrrrrrrrrrroooooorrrrrrrrrrrrrrrqqqqqqqqqqnqnnnnnnnnnnnnnlk",
    "rrrrrrrrrrrrrrrrrroooooorrrrnrrorrqqqqqqqqqqnnnnnnnnnnnnnnnjkn",
    "rrrsssbbbbbooorrooorooorrrrrroorroooqqooqqqqqnnnnnnnnnnnnnnslj",
    "rrrrrbbbbbbbooorrrrornrrrorrroorrrrrrroooooqqqnnnnnnnnnnnhjjlk",
    "tjrrbbbbbbbbbqrbbnnnnnroooooppoopooorrroooooonnnnnnnnnnnnkjjjn",
    "rrrqbbbbbbbbqqbnnnnnnnnrooorpoooopppprrooorrqoqqqqoooqqtejjjjj",
    "rrrrrqbbbbbbbbbnnnnnrrnrnrrrrpppppprrorrrrrorqrooqrrrqqqceechg",
    "rrrrrqrrrrrbqrqrrnrrrrrrroorrrrrprrrrpooorooorrqorrrrrrrttehfe",
    "rrrrrrrrrrrrrrrrrrrrrrooooooorooorrrrpooooooorrrrrrrrrrrrccecc",
    "rrqsrrrrrrrrrrrrrrrrqroooooooooooooorrooorrrrrosssrrrrrreeghee",
    "rrqthfehegtqqqrrrrrrrrroooprooopoooorrroorrrqqrqrrrrrrrhcnndcf",
    "rrrdccedhefjjttrssssrroooorrouuuppoooorrrrrrrqqrrrrrrchcenhcee",
    "rrengheccccgjjjjcjnqqqoooooorouunospoooqrrrrrrrrrrcfercfeechcs",
    "ceceehehhhhljjcjkjjrrqqqorroooonnssrrroqqrrrttdeecceecheeehcjs",
    "hcceheeecjjjjjjjjjljqrqqqrrrorooorrornnqrrrthececdeckjjjcljjjj",
    "fhendhedgckjkjjsljjjtrrrrrrqqqrrrqonnnnnnqqtljjhjyyyjjjjjjjjjj",
    "heehhhnendjjdjkjxjjjjjlttttrrqqrnsnnnnncesnntjhcenzefjlcegeqjj",
    "cccdeehhhhhejjjjxjjknljllmllltrrnnsnnndeetnnjyzylljsjqlceedjxa",
    "hedecccceehhhdgjjlxxxlxllllltlrnnnnqqjeecrtllzyyjjjnxsasssaaaa",
    "enheenhssccexxxxsllllxxxlltrrrrnnrrlqkjccheldjdjxxxxaaaaaaaaaa",
    "hehfheaaaasxxxxxxelxxxxxjjctrrrrellljkjjjjjjjehhxxxaaaaaaaaaaa",
    "efehxaaaaaaaxxxxxxlllllnjlllllllllcljjnjjjjjjxxxxxxaaaaaaaaaaa",
    "xxaaaaaaaaaasxxggfccnnlnlllcllnlllllmlnhjjljjxxxxaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaxxehfllljlnnnllllnheeefecncedjjkjxxxxaaaaaaaaaaaa",
    "saaaaaaaaaaaaxxxcennjllnlheeeeccehhdhhcceclllnllknlaaaaaaaaaaa",
    "saaaaaaaaaaaasxejjqjjljjjudheieeceehefhllllllljjkaaaaaaaaaaaaa",
)
#: share of each surface of the pixels with data, in the table's order
SHARES_SEEN = (
    "0.06946 0.0228 0.03482 0.00982 0.0513 0.00578 0.0052 0.03085 0.0003 0.07728 0.01127 0.05372 0.0011 "
    "0.09679 0.13984 0.03043 0.06253 0.21145 0.02372 0.01556 0.00176 0.00078 0.00172 0.03403 0.00498 0.00271"
)
#: digital numbers from line 800 and column 900 on
NUMBERS_SEEN = (
    [3267, 7779, 4547, 7587, 5475, 240, 10616, 5546, 5151, 5680, 5222, 1888],
    [3309, 5439, 1601, 2742, 2678, 3841, 10112, 9011, 3256, 6737, 1781, 1952],
    [3609, 3212, 1350, 1842, 5861, 3814, 5912, 4820, 2946, 5504, 4417, 2666],
    [3073, 2542, 2007, 5127, 2101, 5883, 6072, 4891, 3350, 2319, 3600, 4910],
    [7995, 2939, 1702, 4080, 8522, 4518, 2742, 1839, 6780, 4029, 6691, 6765],
    [4546, 2554, 2262, 2376, 1493, 1294, 4061, 2333, 9201, 3578, 2297, 10427],
)


def test_the_recipe_is_that_of_its_version():
    assert simulation.RECIPE == "japansim-v1"
    # the order of rows counts: it numbers surfaces and streams of random numbers
    table = json.dumps(priors.load_table(), default=str)
    assert hashlib.sha256(table.encode()).hexdigest() == (
        "7453e1d0f07404ec622ab9e7abd372e8fccba59c941726212ff7639eac02dafe"
    )


def test_the_frozen_scene_shows_the_same_ground(scene):
    seen = np.array([[ord(letter) - ord("a") for letter in row] for row in SURFACES_SEEN])
    # elsewhere, a point on a border may be rounded to its other side
    assert (surfaces_of(scene)[10::52, 10::26] != seen).mean() < 0.002
    facts = json.loads((scene / "simulation.json").read_text())
    shares = dict(zip(priors.surface_names(), map(float, SHARES_SEEN.split()), strict=True))
    assert facts["surface_shares"] == pytest.approx(shares, abs=3e-5)


def test_the_frozen_scene_shows_the_same_pixels(scene):
    dn = open_product(scene).read_dn().astype(float)
    block = dn[800 : 800 + len(NUMBERS_SEEN), 900 : 900 + len(NUMBERS_SEEN[0])]
    np.testing.assert_allclose(block, NUMBERS_SEEN, rtol=0, atol=1)
    quantiles = np.nanquantile(dn, [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(quantiles, [670, 1712, 2971, 4953, 9573], rtol=0, atol=1)


def test_incidence_grows_away_from_the_radar():
    scene = simulation.Scene(0, 27_000, 32_000)
    west, east = (
        np.degrees(simulation._incidence_rad(scene, slice(13_500, 13_501), slice(c, c + 1))) for c in (0, 31_999)
    )
    assert 3 < west - east < 8 and (west + east) / 2 == pytest.approx(36.3, abs=0.1)


def test_a_season_changes_backscatter_and_date_but_not_the_ground(tmp_path, small_scene):
    spring = simulate_product(tmp_path / "spring", seed=1, size_px=(512, 640), season="spring")
    product, autumn = open_product(spring), open_product(small_scene)
    assert "220521" in product.scene_id and "221119" in autumn.scene_id
    labels = [next((folder / "labels").iterdir()).read_bytes() for folder in (spring, small_scene)]
    assert labels[0] == labels[1]
    surface = surfaces_of(small_scene)
    change = radiometry.to_db(product.read_power() / autumn.read_power())
    names = priors.load_priors().names
    # the same random numbers: what differs is the mean
    assert np.nanmedian(change[surface == names.index("paddy")]) == pytest.approx(-5, abs=1)
    assert np.nanmedian(change[surface == names.index("street")]) == pytest.approx(0, abs=0.01)


def test_facts_are_kept_beside_the_product(scene):
    facts = json.loads((scene / "simulation.json").read_text())
    assert facts["simulated"] is True and facts["seed"] == 2 and facts["size_px"] == [1600, 1600]
    assert facts["recipe"] == "japansim-v1" and facts["season"] == "autumn"
    assert sum(facts["surface_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert sum(share["obtained"] for share in facts["code_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert facts["clipped_pixels"]["low"] < 100 and facts["clipped_pixels"]["high"] < 1e-4 * 1600**2
    assert open_product(scene).simulated


# --- labels


def test_the_label_tile_has_jaxas_form(scene):
    [path] = (scene / "labels").iterdir()
    assert path.name == "LC_N35E139.tif"
    with rasterio.open(path) as tile:
        assert (tile.dtypes, tile.shape, tile.crs.to_epsg()) == (("uint8",), (12000, 12000), 4326)
        assert tile.transform.almost_equals(rasterio.Affine(1 / 12000, 0, 139, 0, -1 / 12000, 36), 1e-12)
        colors = tile.colormap(1)
        codes = set(np.unique(tile.read(1, window=label_window(scene, tile))).tolist())
    legend = load_legend("japan_14")
    assert {code: colors[code] for c in legend.classes for code in c.codes} == {
        code: (*c.color, 255) for c in legend.classes for code in c.codes
    }
    assert codes <= {*range(1, 15), 255} and len(codes) > 8


def label_window(scene: Path, tile) -> rasterio.windows.Window:
    product = open_product(scene)
    left, bottom, right, top = rasterio.warp.transform_bounds(product.crs, tile.crs, *product.bounds)
    return rasterio.windows.from_bounds(left, bottom, right, top, tile.transform).round_offsets().round_lengths()


class Alignment:
    """How well the label tile, moved by so many of its pixels, explains the image (share of the variance of dB)."""

    def __init__(self, scene: Path, label_path: Path):
        product = open_product(scene)
        self.db = product.read_db(looks=2)
        self.valid = np.isfinite(self.db)
        cols, rows = np.meshgrid(2 * np.arange(self.db.shape[1]) + 1, 2 * np.arange(self.db.shape[0]) + 1)
        x_m, y_m = product.transform * (cols[self.valid], rows[self.valid])
        longitude, latitude = reproject_points(product.crs, "EPSG:4326", x_m, y_m)
        with rasterio.open(label_path) as tile:
            self.codes = tile.read(1)
            self.cols, self.rows = ~tile.transform * (np.array(longitude), np.array(latitude))

    def explained(self, dx: float, dy: float) -> float:
        codes = self.codes[np.floor(self.rows + dy).astype(int), np.floor(self.cols + dx).astype(int)]
        db = self.db[self.valid].astype(float)
        inside = codes != 255
        codes, db = codes[inside], db[inside]
        count, total = np.bincount(codes, minlength=15), np.bincount(codes, weights=db, minlength=15)
        between = (total**2 / np.maximum(count, 1)).sum() / db.size - db.mean() ** 2
        return between / db.var()

    def offset(self, axis: int) -> float:
        """Where the fit is best along x (0) or y (1), in label pixels: the top of a parabola through the best."""
        shifts = np.arange(-3, 3.01, 0.5)
        fits = np.array([self.explained(*((s, 0) if axis == 0 else (0, s))) for s in shifts])
        best = int(np.clip(fits.argmax(), 2, len(shifts) - 3))
        near = slice(best - 2, best + 3)
        curve = np.polyfit(shifts[near], fits[near], 2)
        return float(-curve[1] / (2 * curve[0]))


AXES = [pytest.param(0, id="x"), pytest.param(1, id="y")]


@pytest.fixture(scope="module")
def alignment(scene) -> Alignment:
    return Alignment(scene, next((scene / "labels").iterdir()))


@pytest.mark.parametrize("axis", AXES)
def test_labels_lie_on_the_image(alignment, axis):
    assert abs(alignment.offset(axis)) < 0.25


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("moved", [-1, 1])
def test_a_label_moved_by_one_pixel_would_be_noticed(alignment, monkeypatch, axis, moved):
    monkeypatch.setattr(alignment, "codes", np.roll(alignment.codes, moved, axis=1 - axis))
    assert alignment.offset(axis) == pytest.approx(moved, abs=0.25)


MOVES = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]


# --- another place


@pytest.fixture(scope="module")
def border_scene(tmp_path_factory) -> Path:
    """A scene of UTM zone 53 that crosses 138° east, where zone 54 begins."""
    folder = tmp_path_factory.mktemp("border") / "scene"
    return simulate_product(folder, seed=1, size_px=(512, 640), corner=(137.99, 35.3))


def test_a_scene_across_a_zones_border_lies_in_the_zone_of_its_corner(border_scene, small_scene):
    product = open_product(border_scene)
    assert product.crs.to_epsg() == 32653 and product.scene_id != open_product(small_scene).scene_id
    [west], [south] = reproject_points(product.crs, "EPSG:4326", [product.bounds[0]], [product.bounds[1]])
    assert (west, south) == pytest.approx((137.99, 35.3), abs=1.3 / 90_000)
    assert not np.any(np.array(product.bounds) % 2.5)
    # the same seed shows the same ground; its noise and levels are the same but for the angles
    here, there = product.read_dn(), open_product(small_scene).read_dn()
    assert np.nanmax(np.abs(here / there - 1)[there > 1000]) < 0.01


def codes_at(scene: Path, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Label codes where pixels have their centres, from whichever tile lies there."""
    product = open_product(scene)
    place = reproject_points(product.crs, "EPSG:4326", *(product.transform * (cols + 0.5, rows + 0.5)))
    codes = np.full(rows.shape, 255)
    for path in sorted((scene / "labels").iterdir()):
        with rasterio.open(path) as tile:
            tile_cols, tile_rows = (np.floor(part).astype(int) for part in ~tile.transform * np.array(place))
            here = (tile_cols >= 0) & (tile_cols < 12000) & (tile_rows >= 0) & (tile_rows < 12000)
            codes[here] = tile.read(1)[tile_rows[here], tile_cols[here]]
    return codes


def test_labels_agree_with_the_image_on_both_sides_of_the_border(border_scene):
    assert [path.name for path in sorted((border_scene / "labels").iterdir())] == ["LC_N35E137.tif", "LC_N35E138.tif"]
    rows, cols = (part.ravel() for part in np.mgrid[2:510, 2:638])
    shown = priors.surface_codes()[surfaces_of(border_scene)]
    labels = codes_at(border_scene, rows, cols)
    east = rows + cols > np.median(rows + cols)
    for side in (east, ~east):
        agree = [(labels == shown[rows + down, cols + right])[side].mean() for down, right in MOVES]
        assert np.argmax(agree) == 0 and agree[0] > 0.93


@pytest.mark.parametrize(
    ("corner", "epsg", "tile"),
    [
        ((-60.02, -4.01), 32720, "LC_S05W061.tif"),
        ((-179.9, 10.2), 32601, "LC_N10W180.tif"),
        ((np.float32(12.5), 0), 32633, "LC_N00E012.tif"),
        ((151.2, -33.9), 32756, "LC_S34E151.tif"),
    ],
)
def test_zone_hemisphere_and_tile_follow_from_the_corner(tmp_path, corner, epsg, tile):
    scene = simulate_product(tmp_path / "scene", size_px=64, corner=corner)
    product = open_product(scene)
    assert product.crs.to_epsg() == epsg and product.simulated
    assert [path.name for path in (scene / "labels").iterdir()] == [tile]
    rows, cols = (part.ravel() for part in np.mgrid[8:56, 8:56])
    agree = codes_at(scene, rows, cols) == priors.surface_codes()[surfaces_of(scene)[rows, cols]]
    assert agree.mean() > 0.8


def test_what_tells_scenes_apart_is_in_their_names():
    place = simulation.Place(53, False, 771_000.0, 3_910_000.0)
    scenes = [simulation.Scene(seed, 512, 640) for seed in (0, 1, 9999, 10_000, 10_001, 20_000, 2**32 - 1)]
    scenes += [simulation.Scene(0, 512, 512), simulation.Scene(0, 512, 640, "spring"), simulation.Scene(0, 640, 512)]
    scenes += [simulation.Scene(0, 512, 640, place=place)]
    assert len({scene.identity for scene in scenes}) == len(scenes)
    assert all(len(scene.identity) == len("ALOS2900002890-221119-UBSR2.1GUD") for scene in scenes)


def test_dates_lie_in_their_season():
    months = {season: priors.load_priors(season).date.month for season in priors.SEASONS}
    first = {"spring": 3, "summer": 6, "autumn": 9, "winter": 12}
    assert all((month - first[season]) % 12 < 3 for season, month in months.items())


# --- bad input


REFUSED = {
    "size_px": [63, 40_001, (64, 0), (64, 64, 64), 128.5, "128", (True, 128)],
    "seed": [-1, 1.5, 2**32, True],
    "season": ["rainy", ["autumn"]],
    "corner": [(139.0, 84.1), (139.0, -80.1), (180.1, 35.0), (np.nan, 35.0), (139.0,), (139.0, 35.0, 0), 139.0, "ab"],
    "executor": [3],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in REFUSED.items() for value in values])
def test_bad_arguments_are_refused(tmp_path, field, value):
    with pytest.raises(Alos2TutError, match=field):
        simulate_product(tmp_path / "out", **{"size_px": SMALL, field: value})
    assert not list(tmp_path.iterdir())


def test_no_scene_crosses_the_date_line(tmp_path):
    with pytest.raises(Alos2TutError, match=r"corner.*180°"):
        simulate_product(tmp_path / "scene", size_px=64, corner=(180, 10.2))


def test_what_is_in_the_way_is_left_alone(tmp_path, tiny):
    (tmp_path / "mine.txt").write_text("precious")
    for target in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(Alos2TutError, match=r"not empty.*another folder"):
            simulate_product(target, size_px=SMALL)
    with pytest.raises(Alos2TutError, match="cannot be made"):
        simulate_product(tmp_path / "mine.txt" / "out", size_px=SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"] and (tmp_path / "mine.txt").read_text() == "precious"
    # an empty folder is filled
    (tmp_path / "mine.txt").unlink()
    assert simulate_product(tmp_path, seed=5, size_px=SMALL) == tmp_path and content(tmp_path) == content(tiny)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError], ids=["interrupted", "disk full"])
def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch, error):
    def stop(*_):
        raise error

    monkeypatch.setattr(simulation, "_write_labels", stop)
    with pytest.raises((KeyboardInterrupt, Alos2TutError)):
        simulate_product(tmp_path / "out", size_px=SMALL)
    assert not list(tmp_path.iterdir())
