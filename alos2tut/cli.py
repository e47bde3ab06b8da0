"""The command line: one command per stage. Nothing heavy is imported before a command runs.

A command stands in the table by :func:`_command`, with its own arguments; those of a stage have an option for each of
its settings, which are made from its config when the command is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .core.environment import process_number
from .core.errors import Alos2TutError, Alos2TutWarning, Stopped, closest, system_error, system_errors_named, visible
from .core.tables import bytes_text
from .core.version import __version__

if TYPE_CHECKING:
    from .products.given import Given

T = TypeVar("T")

#: exit status for bad input or an impossible request
_REFUSED = 2
#: exit status of a training that was told to stop before its end (EX_TEMPFAIL: try again)
_STOPPED = 75
#: exit status as of a program that SIGPIPE ends
_BROKEN_PIPE = 141
#: what a command may miss when only the core is installed, and the extra that brings it
_EXTRA_OF = dict.fromkeys(("torch", "timm", "lightning", "safetensors", "tensorboard", "sklearn"), "train")
_EXTRA_OF |= dict.fromkeys(("matplotlib", "papermill", "ipywidgets", "IPython", "nbformat"), "notebooks")
#: what an interrupted command does when it is given again
_AGAIN = dict.fromkeys(("pretrain", "finetune", "compare"), "continues from its last checkpoint")
_AGAIN |= dict.fromkeys(("build-dataset", "map"), "goes on where it was")
_AGAIN |= {"fetch": "starts this file anew, and keeps those that are whole"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2: refused, with one line that says why)."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal or pipe of few characters gets escapes for the others
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    # commands draw into files, on machines without a screen, too
    os.environ["MPLBACKEND"] = "agg"
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as done:  # help, or a mistake in the words
        raise SystemExit(_flushed(done.code)) from None
    warnings.showwarning = _print_warning
    try:
        status: int = _flushed(_run(options))
        return status
    except BrokenPipeError:
        # the reader of our output left before the work was done: nothing to say, and nobody to say it to
        _discard_output()
        return _BROKEN_PIPE


def _run(options: argparse.Namespace) -> int:
    # the output is the result alone, so that a script can take it: what is said on the way is for people
    options.results = sys.stdout
    try:
        with system_errors_named(), contextlib.redirect_stdout(sys.stderr):
            return _COMMANDS[options.command].run(options) or 0
    except Alos2TutError as error:
        _complain(_with_flags(" ".join(str(error).split()), options.flags))
        return _REFUSED
    except Stopped as stopped:
        if process_number("RANK") == 0:
            _complain(stopped)
        # torchrun would take any other status for a failure, and kill who is still at work
        return 0 if "TORCHELASTIC_RUN_ID" in os.environ else _STOPPED
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA_OF:
            raise
        install = f'pip install "alos2tut[{_EXTRA_OF[missing]}]"'
        _complain(f"this command needs {missing}, which is not installed: {install}")
        return _REFUSED
    except KeyboardInterrupt:
        again = _AGAIN.get(options.command, "starts anew; nothing half done is left")
        _complain(f"interrupted; the same command {again}")
        return 130


def _flushed(status: Any) -> Any:
    """The exit status, once all output has gone where it should; 2 if that cannot take it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the work is done, and its reader has seen enough
        _discard_output()
    except OSError as error:
        _discard_output()
        _complain(system_error(error, "standard output"))
        return status or _REFUSED
    return status


def _complain(text: object) -> None:
    with contextlib.suppress(OSError):  # of this nobody can be told
        print(f"alos2tut: {text}", file=sys.stderr)


def _discard_output() -> None:
    """Let the interpreter's end find nothing that it could not write."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show(options: argparse.Namespace, content: Any, text: object) -> None:
    """Print a result as people read it, or as JSON where that is asked for.

    Once, where ``torchrun`` started several processes, and without what steers a terminal.
    """
    if process_number("RANK") == 0:
        shown = json.dumps(content, indent=2, default=str) if options.json else str(text)
        with system_errors_named("standard output"):
            print(visible(shown), file=options.results)


def _print_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """Show our own warnings without the source line that raised them."""
    if issubclass(category, Alos2TutWarning):
        _complain(f"note: {message}")
    else:
        sys.stderr.write(visible(warnings.formatwarning(message, category, *place[:2])))


_Argument = tuple[tuple[str, ...], dict[str, Any]]
_Run = Callable[[argparse.Namespace], int | None]


@dataclass(frozen=True)
class _Command:
    """A function whose docstring is the help and whose result the exit status (None: 0), and what the command takes."""

    run: _Run
    arguments: Sequence[_Argument]
    #: those whose settings have options; ``--set`` and ``--config`` are of the first
    stages: Sequence[str]
    #: settings that have none
    without: Sequence[str]
    #: what its help ends with: words that follow ``alos2tut``
    example: str


_COMMANDS: dict[str, _Command] = {}
#: settings that come first in a help: those that most calls give
_COMMON = frozenset(
    {"labels", "legend", "patch_px", "work_dir", "seed", "size_px", "workers", "polarization", "crs"}
    | {"steps", "epochs", "batch_size", "lr", "init", "objective", "budget", "mode", "decoder", "devices"}
    | {"budgets", "seeds", "split", "baseline", "probability", "overwrite"}
)


def _command(
    *arguments: _Argument, example: str, stages: Sequence[str] = (), without: Sequence[str] = ()
) -> Callable[[_Run], _Run]:
    """Put a function into the table of commands, under its name; all can print what they print as JSON."""

    def entered(run: _Run) -> _Run:
        name = run.__name__.strip("_").replace("_", "-")
        _COMMANDS[name] = _Command(run, (*arguments, _JSON), stages, without, f"alos2tut {name} {example}")
        return run

    return entered


def _arg(*names: str, **options: Any) -> _Argument:
    """What ``ArgumentParser.add_argument`` takes."""
    return names, options


_JSON = _arg("--json", action="store_true", help="print what is found or made as JSON")


def _made(options: argparse.Namespace, path: object) -> None:
    """Print where a result lies."""
    _show(options, {"path": str(path)}, path)


class _Parser(argparse.ArgumentParser):
    """A parser that makes the options of a command when it is asked for, and knows what a mistyped one may mean."""

    command: _Command | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """As argparse has it; an option that is not known is an error of this command."""
        if self.command is None:
            return super().parse_known_args(args, namespace)
        _add_options(self, self.command)
        found, unknown = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            texts = value if isinstance(value, list) else [value]
            # as of a variable of the shell that was not set
            if any(isinstance(text, str) and not text.strip() for text in texts):
                self.error(f"argument {'/'.join(action.option_strings) or action.metavar}: is empty")
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings if len(flag) > 2]
            self.error(f"unknown argument '{unknown[0]}'. {closest(unknown[0].partition('=')[0], known)}")
        return found, unknown


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What a command line asks for; help and errors end the process, as argparse does it."""
    parser, _ = _parser()
    asked = next((word for word in arguments if not word.startswith("-")), None)
    if asked is not None and asked not in _COMMANDS:
        parser.error(f"unknown command '{asked}'. {closest(asked, _COMMANDS)}")
    return parser.parse_args(arguments)


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of all commands, and theirs by name, whose options are not made yet."""
    parser = _Parser(
        prog="alos2tut", description="From ALOS-2 PALSAR-2 products to land-cover maps.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"alos2tut {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command", parser_class=_Parser
    )
    for name, command in _COMMANDS.items():
        text, _, epilog = inspect.cleandoc(command.run.__doc__ or name).partition("\n\n")
        commands.add_parser(
            name,
            help=f"{text[0].lower()}{text[1:].rstrip('.')}",
            description=text,
            epilog="\n\n".join(filter(None, [epilog, f"example:\n  {command.example}"])),
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        ).command = command
    return parser, commands.choices


def _add_options(parser: argparse.ArgumentParser, command: _Command) -> None:
    """A command's own arguments; a profile, a settings file and an option for each setting of its stages."""
    of_files = parser.add_argument_group("what files of products may leave open")
    own = [
        (of_files if argument in _GIVEN else parser).add_argument(*argument[0], **argument[1])
        for argument in command.arguments
    ]
    #: what arguments of functions are called here
    flags = {action.dest: next(iter(action.option_strings), str(action.metavar)) for action in own}
    parser.set_defaults(flags=flags)
    if not command.stages:
        return
    from .configs import describe_settings, encoder_presets, profile_names

    positional = " ".join(str(action.metavar) for action in own if not action.option_strings)
    parser.usage = f"{parser.prog} {positional} [options]"
    parser.set_defaults(stage=command.stages[0])
    parser.add_argument("--profile", default="quick", help=f"{', '.join(profile_names())} (default quick)")
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="one setting; repeatable"
    )
    taken, by_set = {action.dest for action in own} | set(command.without), []
    title = "and their values in the profile 'quick'"
    groups = [parser.add_argument_group(f"{which} settings", title) for which in ("common", "further")]
    for key, value, text, kind in (setting for stage in command.stages for setting in describe_settings(stage)):
        if key in taken:
            continue
        taken.add(key)
        described = f"{text.replace('``', '')} ({json.dumps(value, ensure_ascii=False, default=str)})"
        if "." in key or isinstance(value, dict):
            by_set.append(f"  {key}\n      {described}")
            continue
        flag = key.replace("_", "-")
        form: dict[str, Any] = {"metavar": "VALUE", "nargs": "+" if "tuple" in str(kind) else None}
        if isinstance(value, bool):
            form = {"action": argparse.BooleanOptionalAction}
        groups[key not in _COMMON].add_argument(f"--{flag}", default=None, help=described.replace("%", "%%"), **form)
        flags[key] = f"--no-{flag}" if value is True else f"--{flag}"
    if by_set:
        presets = [f"  encoder\n      by name, as in --set encoder=NAME: {', '.join(encoder_presets())}"]
        lines = by_set + presets * any("  encoder." in line for line in by_set)
        parser.epilog = "\n".join(["settings by --set KEY=VALUE alone:", *lines, "", str(parser.epilog)])


def _config(options: argparse.Namespace, stage: str | None = None) -> Any:
    """The settings of a command's first stage; or those of another one, of which ``--set`` does not speak."""
    from .configs import STAGES, load_config

    known = {field.name for field in fields(STAGES[stage or options.stage])}
    given = {key: value for key, value in vars(options).items() if key in known and value not in (None, [])}
    if stage is not None:
        return load_config(stage, options.profile, **given)
    return load_config(options.stage, options.profile, file=options.config, overrides=options.overrides, **given)


def _named(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names}


def _with_flags(message: str, flags: dict[str, str]) -> str:
    """A message in which arguments of functions are named as this command's options."""

    def as_flags(words: re.Match[str]) -> str:
        return f"({', '.join(flags.get(word, word) for word in words[1].split(', '))})"

    # of several values pydantic names the one by its number, and what it was taken for
    names = "|".join(map(re.escape, flags))
    place = rf"^({names})(?=: )|(?<![\w.'-])({names})(?:\.\d+\S*?)?(?==)"
    message = re.sub(place, lambda name: flags[name[1] or name[2]], message)
    return re.sub(r"\(([a-z_]+(?:, [a-z_]+)*)\)", as_flags, message)


def _given(options: argparse.Namespace) -> Given:
    """What is said of a product."""
    from .products.given import Given

    return Given.of(options, spacing_m=_pair(options.spacing_m, "--spacing-m"))


def _opened(options: argparse.Namespace) -> list[Any]:
    """The products that are given, open."""
    from .products.opening import open_product

    return [open_product(path, **vars(_given(options))) for path in options.products]


def _pair(values: Sequence[T] | None, flag: str) -> tuple[T, T] | None:
    """Rows and columns of one number or two."""
    if values and len(values) > 2:
        raise Alos2TutError("takes one number or two", where=flag)
    return (values[0], values[-1]) if values else None


#: what files of products may leave open
_GIVEN = (
    _arg("--crs", help="coordinate system that the product lacks or states wrongly, as in EPSG:32654"),
    _arg("--scale", help="what the numbers of a calibrated image are: power, amplitude or db"),
    _arg("--quantity", help="quantity of a calibrated image: sigma0, gamma0, beta0 or relative"),
    _arg("--sensor", metavar="TEXT", help="sensor of a calibrated image, which is only recorded"),
    _arg("--spacing-m", type=float, nargs="+", metavar="M", help="pixel size of an image on no map: rows, columns"),
    _arg("--no-data", type=float, metavar="NUMBER", help="the number that stands for no data in a calibrated image"),
)
_POLARIZATION = _arg(
    "--polarization", metavar="POL", help="polarisation to read, or that of a calibrated image; of several bands: HH,HV"
)
_PRODUCT = _arg(
    "--product",
    nargs="+",
    default=[],
    metavar="PATH",
    dest="products",
    help="what the dataset was built of: the floor's windows then reach beyond a patch, as on a map",
)
_PRODUCT_PATH = _arg("product", metavar="PRODUCT", help="product (folder, file or archive)")
_OUT_TIF = _arg("out", metavar="OUT.tif", help="the GeoTIFF to write")
_OVERWRITE = _arg("--overwrite", action="store_true", help="replace an output file that is there")
_DATASET = _arg("dataset", metavar="DATASET", help="a dataset's folder")
_SEGMENTER = _arg("segmenter", metavar="SEGMENTER", help="segmenter.safetensors, its folder, or bundled")


@_command(
    _arg("path", metavar="PATH", help="product (folder, file or archive), or a result: its folder or file; or bundled"),
    *_GIVEN,
    _POLARIZATION,
    _arg("--scan", type=int, metavar="N", help="scan of a ScanSAR product of Level 1.1 (default: the first)"),
    example="data/scene",
)
def _info(options: argparse.Namespace) -> int:
    """What a product is, or any file or folder that a stage left behind; or the weights that came with the package.

    Of a product that is damaged all that its files say is printed, and the exit status is 2.
    """
    from .results import describe

    content, text = describe(options.path, lambda: vars(_given(options)))
    _show(options, content, text)
    if "damage" in content:
        _complain(content["damage"])
        return _REFUSED
    return 0


@_command(
    _arg("path", metavar="PATH", help="product (folder, file or archive) or dataset, damaged or not"),
    *_GIVEN,
    _POLARIZATION,
    example="data/scene",
)
def _verify(options: argparse.Namespace) -> int:
    """Check a product's files against each other, or a dataset's hashes.

    The report names no folders and may be sent to others, as may errors. Exit status: 0 if nothing differs and
    all is readable, 1 if not, 2 if there is neither product nor dataset.
    """
    from .dataset.verify import verify_dataset
    from .products.verify.report import verify_product, without_folders

    path = Path(options.path)
    try:
        is_dataset = (path / "dataset.json").is_file()
        report = verify_dataset(path) if is_dataset else verify_product(path, **vars(_given(options)))
    except Alos2TutError as error:
        raise Alos2TutError(without_folders(str(error), path.parent)) from None
    _show(options, report.to_dict(), report.to_text())
    return 1 if report.differ or report.unreadable else 0


#: which pixels of a product are written, and as what
_PIXELS = (
    _arg("--as", default="db", dest="as_scale", metavar="SCALE", help="what is written: db (default), power or dn"),
    _arg("--window", type=int, nargs=4, metavar="N", help="row, column, height and width of a part, in pixels"),
    _arg("--looks", type=int, nargs="+", metavar="N", help="pixels averaged in power: rows and columns (default 1)"),
    _arg("--to", metavar="QUANTITY", dest="to_quantity", help="convert to sigma0 or gamma0 by the incidence angle"),
)


def _check_free(options: argparse.Namespace) -> None:
    """Refuse to replace a file unless told to, before anything is read."""
    if not options.overwrite and os.path.lexists(options.out):
        raise Alos2TutError("exists", where=options.out, remedy="Name another file, or replace it (overwrite).")


def _written(options: argparse.Namespace, **more: Any) -> None:
    """Write a product's pixels as a GeoTIFF."""
    from .products.opening import open_product

    _check_free(options)
    options.looks = _pair(options.looks, "--looks") or (1, 1)
    product = open_product(options.product, **vars(_given(options)))
    # from here on these words are of what is written
    options.flags |= {"scale": "--as", "quantity": "--to", "despeckle": "--filter"}
    named = {"scale": options.as_scale, "window": options.window, "looks": options.looks}
    named |= {"polarization": options.polarization, "quantity": options.to_quantity}
    _made(options, product.to_cog(options.out, **named, **more))


@_command(
    _PRODUCT_PATH,
    _OUT_TIF,
    *_PIXELS,
    _POLARIZATION,
    *_GIVEN,
    _arg("--compress", default="deflate", metavar="METHOD", help="deflate (default), zstd (newer programs) or none"),
    _arg("--no-overviews", action="store_true", help="a plain tiled GeoTIFF, which is written once instead of twice"),
    _OVERWRITE,
    example="data/scene scene_db.tif --looks 2 --polarization HV",
)
def _cog(options: argparse.Namespace) -> None:
    """Write a product as a calibrated Cloud-Optimized GeoTIFF.

    One polarisation, float32, NaN where there is no data; pixels are averaged in power, whatever is written.
    """
    _written(options, compress=options.compress, overviews=not options.no_overviews)


@_command(
    _PRODUCT_PATH,
    _OUT_TIF,
    _arg("--filter", default="refined Lee", help="boxcar, Lee, refined Lee (default), Gamma-MAP, Kuan or Frost"),
    _arg("--filter-px", type=int, default=7, metavar="N", help="side of the filter's window, odd (default 7)"),
    _arg("--enl", type=float, metavar="L", help="looks of the speckle (default: those of the product times --looks)"),
    _OVERWRITE,
    *_PIXELS,
    _POLARIZATION,
    *_GIVEN,
    example="data/scene filtered.tif --filter Lee --filter-px 5",
)
def _despeckle(options: argparse.Namespace) -> None:
    """Filter a product's speckle, and write it as a Cloud-Optimized GeoTIFF.

    The filters are those of alos2tut.despeckling; they work on calibrated power.
    """
    _written(options, despeckle=options.filter, filter_px=options.filter_px, enl=options.enl)


@_command(
    _PRODUCT_PATH,
    _arg("out", metavar="OUT.png", help="the picture to write"),
    _arg("--max-px", type=int, default=1024, metavar="N", help="most pixels along the longer side (default 1024)"),
    _OVERWRITE,
    _POLARIZATION,
    *_GIVEN,
    example="data/scene scene.png --max-px 600",
)
def _quicklook(options: argparse.Namespace) -> None:
    """Draw a small grey picture of a product, in dB, from some of its pixels.

    Black is no data; grey goes from the 1st to the 99th percentile of what is shown.
    """
    from .products.opening import open_product
    from .products.quicklook import write_quicklook

    _check_free(options)
    product = open_product(options.product, **vars(_given(options)))
    _made(options, write_quicklook(product, options.out, options.max_px, polarization=options.polarization))


@_command(
    _arg("name", metavar="NAME", nargs="?", help="data set, as --list shows it"),
    _arg("--list", action="store_true", help="the data sets there are; with NAME: all known of it"),
    _arg("--folder", metavar="DIR", default="data", help="folder of all data sets (default data)"),
    _arg("--manifest", metavar="FILE", help="your own list of data sets, in the form of data_manifest.yaml"),
    example="--list",
)
def _fetch(options: argparse.Namespace) -> int | None:
    """Download a published data set, or say how to get it.

    Files arrive whole or not at all and are not unpacked: products are read in their archives. Checksums are
    kept in DIR/NAME/checksums.json. What is there already is checked and not downloaded again. Exit status: 2
    if files are missing in the end, also where it takes steps by hand, which are then listed.
    """
    from .downloads.fetching import ManualDownload, describe_receipt, fetch_entry
    from .downloads.manifest import describe_entry, find_entry, list_entries, load_manifest

    name, manifest = options.name, options.manifest
    if options.list:
        known = list(load_manifest(manifest).values()) if name is None else [find_entry(name, manifest)]
        width = shutil.get_terminal_size((116, 24)).columns
        text = list_entries(known, width) if name is None else describe_entry(known[0])
        _show(options, [asdict(entry) for entry in known], text)
        return None
    if name is None:
        raise Alos2TutError("needs the NAME of a data set", where="fetch", remedy="alos2tut fetch --list shows them.")
    entry = find_entry(name, manifest)
    try:
        receipt = fetch_entry(entry, options.folder)
        _show(options, {"path": str(receipt)}, describe_receipt(entry, receipt))
    except ManualDownload as error:
        _complain(error)  # with its lines: they are a list
        return _REFUSED
    return None


@_command(
    _arg("--clear", action="store_true", help="empty the folder; archives are unpacked again when needed"),
    example="--clear",
)
def _cache(options: argparse.Namespace) -> None:
    """Show the folder into which compressed archives are unpacked, and its size."""
    from .core.cache import cached_sizes, clear_cache, describe_cache

    freed = clear_cache() if options.clear else None
    text = describe_cache() if freed is None else f"{bytes_text(freed)} freed\n{describe_cache()}"
    _show(options, {"freed_bytes": freed, "bytes": cached_sizes()}, text)


@_command(
    _arg("out_dir", metavar="OUT_DIR", help="folder to make"),
    stages=["simulate"],
    without=["work_dir"],
    example="data/simulated --size-px 1024 --season autumn",
)
def _simulate(options: argparse.Namespace) -> None:
    """Write a simulated Level 2.1 product and its label tile.

    Equal settings give equal bytes on one machine.
    """
    from concurrent.futures import ThreadPoolExecutor

    from .core.parallel import cores
    from .simulation.scene import simulate_product

    options.size_px = _pair(options.size_px, "--size-px")
    config = _config(options)
    place = {"season": config.season, "corner": config.corner}
    with ThreadPoolExecutor(cores()) as pool:
        _made(options, simulate_product(options.out_dir, config.seed, config.size_px, **place, executor=pool))


@_command(
    _arg("products", nargs="*", metavar="PRODUCT", help="products: folders, files, 'patterns*' or CSV tables of paths"),
    _arg("--dry-run", action="store_true", help="only estimate patches, classes, bytes and hours; write nothing"),
    stages=["dataset"],
    example="'archive/*/' --labels labels/ --legend japan_9 --patch-px 128 --dry-run",
)
def _build_dataset(options: argparse.Namespace) -> None:
    """Cut products and labels into patches."""
    from .dataset.builder import build_dataset
    from .dataset.estimate import estimate_dataset

    config = _config(options)
    if options.dry_run:
        estimate = estimate_dataset(config)
        names = ("patches", "class_pixels", "balance", "size_bytes", "hours", "workers")
        return _show(options, {name: getattr(estimate, name) for name in names}, estimate.to_text())
    return _made(options, build_dataset(config))


@_command(
    _DATASET,
    _arg("folder", metavar="FOLDER", help="folder to make, in the layout of the paper's authors"),
    example="work/dataset-0123456789ab patches/",
)
def _export_patches(options: argparse.Namespace) -> None:
    """Write a dataset as one GeoTIFF per patch."""
    from .dataset.patch_files import export_patches

    _made(options, export_patches(options.dataset, options.folder))


#: the lists of a dataset, as :data:`alos2tut.dataset.store.SPLITS`
_LISTS = ("pretrain", "train", "val", "test")


@_command(
    _arg("folder", metavar="FOLDER", help="folder of patches and lists, in the layout of the paper's authors"),
    _arg("out", metavar="OUT_DIR", help="the dataset's folder to make"),
    *(_arg(f"--{name}", metavar="FILE", help=f"the list's file in FOLDER (default {name}.csv)") for name in _LISTS),
    _arg(
        "--labels", nargs="+", default=[], metavar="RASTER", help="label rasters, if no labels lie beside the patches"
    ),
    _arg("--legend", help="legend of the labels (default: that beside the patches, else japan_9)"),
    _arg("--quantity", help="sigma0 or gamma0 (default: as the patches' description says, else sigma0)"),
    _arg("--polarization", help="polarisation of the patches (default: as their description or names say)"),
    _arg(
        "--buffer-m",
        type=float,
        help="width of the strip around held-out ground that is in no list (default: as stated, or 0)",
    ),
    _arg("--on-overlap", default="raise", help="lists that share ground: raise (default) or drop training patches"),
    example="patches/ work/imported --legend japan_9",
)
def _import_patches(options: argparse.Namespace) -> None:
    """Read one GeoTIFF per patch into a dataset."""
    from .dataset.patch_files import import_patches

    named = _named(options, "labels", "legend", "quantity", "polarization", "buffer_m", "on_overlap")
    lists = {name: file for name in _LISTS if (file := getattr(options, name)) is not None}
    _made(options, import_patches(options.folder, options.out, lists=lists, **named))


@_command(
    _DATASET,
    _arg("--dry-run", action="store_true", help="only check the settings, and say the folder, steps and operations"),
    stages=["pretrain"],
    example="work/dataset-0123456789ab --profile laptop --steps 2000 --dry-run",
)
def _pretrain(options: argparse.Namespace) -> None:
    """Pretrain an encoder without labels: SAR-W-SimMIM, unless settings name another objective.

    SIGTERM, SIGUSR1 or stop_after_minutes end a training after its current step with a checkpoint, status 75 (under
    torchrun 0) and stopped.json in its folder; the same command goes on.
    """
    from .pretraining.stage import plan_pretraining, pretrain

    config = _config(options)
    if options.dry_run:
        plan = plan_pretraining(config)
        return _show(options, asdict(plan) | {"operations": plan.operations}, plan.to_text())
    return _made(options, pretrain(config))


@_command(
    _DATASET,
    _arg("encoders", nargs="+", metavar="ENCODER", help="encoder.safetensors, its folder, bundled, or NAME=one"),
    _arg("--seeds", type=int, default=5, metavar="N", help="draws of training patches (default 5)"),
    _arg("--patches", type=int, default=500, metavar="N", help="at most, of each list (default 500)"),
    _arg("--batch-size", type=int, default=32, metavar="N", help="patches at work at once (default 32)"),
    _arg("--allow-other-signal", action="store_true", help="only warn of a signal that an encoder was not trained on"),
    _arg(
        "--statistics",
        default="encoder",
        choices=("encoder", "own"),
        help="what input is standardised by; own: the dataset's, for relative power or another polarisation",
    ),
    example="work/dataset-0123456789ab bundled mine=work/pretrain-0123456789ab",
)
def _probe(options: argparse.Namespace) -> None:
    """Judge encoders by small classifiers on their frozen features.

    Trained on the list train, scored on val, by balanced accuracy: the mean recall of the classes. Beside the
    encoders stand random weights of the first one's architecture, and mean and variation of the raw power: what
    was learned should beat both. Nothing is written.
    """
    from .pretraining.probing import probe

    named = _named(options, "seeds", "patches", "batch_size", "allow_other_signal", "statistics")
    found = probe(options.dataset, options.encoders, **named)
    _show(options, found.to_dict(), found.to_text())


@_command(
    _DATASET, stages=["finetune"], example="work/dataset-0123456789ab --init work/pretrain-0123456789ab --budget 500"
)
def _finetune(options: argparse.Namespace) -> None:
    """Train a segmenter.

    SIGTERM, SIGUSR1 or stop_after_minutes end a training after its current step with a checkpoint, status 75 (under
    torchrun 0) and stopped.json in its folder; the same command goes on.
    """
    from .segmentation.stage import finetune

    _made(options, finetune(_config(options)))


@_command(
    _DATASET,
    _arg(
        "--start",
        action="append",
        default=[],
        metavar="NAME[=ENCODER]",
        help="encoder.safetensors or its folder, or none: random weights (bundled alone: those that came with the "
        "package); repeatable, the first is the reference",
    ),
    _PRODUCT,
    *_GIVEN,
    _POLARIZATION,
    stages=["finetune", "compare"],
    without=["init", "budget", "starts"],
    example="work/dataset-0123456789ab --start random --start pretrained=work/pretrain-0123456789ab --budgets 20 all",
)
def _compare(options: argparse.Namespace) -> None:
    """Fine-tune from several starts, over label budgets and seeds.

    --set and --config speak of the fine-tuning.
    """
    from .evaluation.comparison import compare, comparison_table, fitting_budgets, read_comparison
    from .networks.bundle import BUNDLED

    parts = [start.partition("=") for start in options.start]
    for name, equals, path in parts:
        if equals and not path.strip():
            problem, remedy = f"'{name}=' names no weights", "NAME alone stands for random ones."
            raise Alos2TutError(problem, where="--start", remedy=remedy)
        if not name.strip():
            raise Alos2TutError(f"'={path}' has no name", where="--start", remedy="Write NAME=ENCODER.")
    starts = {name: path or (BUNDLED if name == BUNDLED else None) for name, _, path in parts}
    if len(starts) < len(options.start):
        raise Alos2TutError("a name is given twice", where="--start")
    options.starts = starts or None
    config = _config(options, "compare")
    config = config if options.budgets else fitting_budgets(config, options.dataset)
    folder = compare(_config(options), config, _opened(options))
    found = read_comparison(folder)
    _show(options, {**found, "path": str(folder)}, f"{comparison_table(found)}\n{folder}")


@_command(
    _DATASET,
    _SEGMENTER,
    _PRODUCT,
    *_GIVEN,
    _POLARIZATION,
    stages=["evaluate"],
    example="work/dataset-0123456789ab work/finetune-0123456789ab --baseline work/finetune-ba9876543210",
)
def _evaluate(options: argparse.Namespace) -> None:
    """Score a segmenter on the test list.

    Processes that torchrun starts share the patches; the scores are the same.
    """
    from .core.artifacts import read_json
    from .evaluation.report import evaluate, report_text

    folder = evaluate(_config(options), _opened(options))
    report = read_json(folder / "report.json")
    _show(options, {**report, "path": str(folder)}, f"{report_text(report)}\n{folder}")


@_command(
    _DATASET,
    _PRODUCT,
    *_GIVEN,
    _POLARIZATION,
    _arg("--split", default="test", choices=_LISTS[1:], help="the list to score on (default test)"),
    _arg(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the forest and of the pixels it is trained on (default 0)",
    ),
    _arg("--on", metavar="DATASET", help="another dataset to score on (default: the same)"),
    _arg(
        "--work-dir", default="work", metavar="DIR", help="folder that holds the results of all stages (default work)"
    ),
    example="work/dataset-0123456789ab --split val",
)
def _baseline(options: argparse.Namespace) -> None:
    """Score the floor: a random forest on means and variations of power at several scales.

    It grows on the list train, and its settings are chosen on val. A network that is no better on the same patches
    has learned nothing that was not plain to see. It is kept in DIR/floor-… and found again.
    """
    from .evaluation.forest import baseline

    floor = baseline(options.dataset, _opened(options), **_named(options, "on", "split", "seed", "work_dir"))
    _show(options, floor.to_dict(), floor.to_text())


@_command(
    _arg("product", metavar="PRODUCT", help="product (folder or file)"),
    _SEGMENTER,
    _arg("out", metavar="OUT.tif", help="the Cloud-Optimized GeoTIFF to write"),
    _arg("--workers", type=int, default=1, metavar="N", help="processes that share the work (default 1)"),
    _arg("--devices", nargs="+", default=(), metavar="NAME", help="GPUs that share the work, such as cuda:0 cuda:1"),
    _GIVEN[0],
    stages=["map"],
    without=["work_dir"],
    example="data/scene work/finetune-0123456789ab landcover.tif --probability",
)
def _map(options: argparse.Namespace) -> None:
    """Map a whole product.

    A run that is stopped goes on where it was when it is called again. Beside OUT.tif lie OUT_preview.png and,
    as asked for, OUT_probability.tif, OUT_entropy.tif, OUT_agreement.json and OUT_difference.tif; and the names of the
    classes for GIS programs (OUT.tif.aux.xml, OUT.qml) and for catalogues (OUT_stac.json).
    """
    from .core.artifacts import read_json
    from .core.config import MOST_WORKERS
    from .core.parallel import process_pool
    from .mapping.files import map_file
    from .mapping.rows import DeviceExecutor
    from .mapping.scene import map_scene
    from .products.given import Given
    from .products.opening import open_product

    if not 1 <= options.workers <= MOST_WORKERS or (options.workers > 1 and options.devices):
        problem = f"is a number from 1 to {MOST_WORKERS}, and excludes --devices"
        raise Alos2TutError(problem, where="--workers")
    config = _config(options)
    product = open_product(options.product, **vars(Given.of(config, crs=options.crs)))
    pool = DeviceExecutor(options.devices) if options.devices else process_pool(options.workers)
    with pool as executor:
        path = map_scene(product, options.segmenter, options.out, config, executor=executor)
    found = read_json(map_file(path, "agreement")) if config.labels else None
    lines = [str(path)]
    if found:
        share, pixels = found["pixel_accuracy"], found["pixels"]["compared"]
        lines[:0] = [f"agrees with the labels on {share:.1%} of {pixels:,} pixels", found["reading"]]
    _show(options, {"path": str(path), "agreement": found}, "\n".join(lines))


@_command(
    _arg("source", metavar="IN", help="a checkpoint of Swin (Microsoft), of SimMIM, or of the paper's authors"),
    _arg("target", metavar="OUT.safetensors", help="the encoder's or segmenter's file to write"),
    _arg("--image-px", type=int, nargs="+", metavar="N", help="side, or height and width, if the file does not tell"),
    _arg("--window-size", type=int, metavar="N", help="interpolate to attention windows of N tokens"),
    _arg("--num-heads", type=int, metavar="N", help="number of heads of a ViT without a table of position biases"),
    _arg(
        "--mean-db",
        type=float,
        nargs="+",
        metavar="DB",
        help="mean of each channel's input (default: that of the paper)",
    ),
    _arg("--std-db", type=float, nargs="+", metavar="DB", help="standard deviation of each channel's input, likewise"),
    _arg("--quantity", help="quantity of the input: sigma0 (default) or gamma0"),
    _arg("--polarizations", nargs="+", metavar="POL", help="polarisation of each channel (default HH)"),
    _arg("--spacing-m", type=float, metavar="M", help="pixel size (default 5)"),
    _arg("--legend", help="legend of a segmenter: a name or a YAML file (default: japan_9 for nine classes)"),
    _arg("--attribution", metavar="TEXT", help="whom to name for the data that the weights were trained on"),
    _arg("--simulated", action="store_true", help="the weights were trained on simulated data"),
    _arg("--drop-unknown", action="store_true", help="leave out entries that are not known here"),
    example="swin_tiny.pth encoder.safetensors --window-size 8",
)
def _convert_weights(options: argparse.Namespace) -> None:
    """Convert a published checkpoint to a weights file of this package.

    Nothing in the checkpoint is run. The report says what became of each of its entries.
    """
    from .dataset.encoding import Statistics
    from .networks.conversion import convert_checkpoint

    if (options.mean_db is None) != (options.std_db is None):
        raise Alos2TutError("need each other", where="--mean-db and --std-db")
    given = None
    if options.mean_db is not None:
        given = Statistics.from_dict(_named(options, "mean_db", "std_db"), where="--mean-db")
    signal = {name: value for name, value in _named(options, "quantity", "polarizations").items() if value}
    if options.spacing_m is not None:
        signal["spacing_m"] = [options.spacing_m] * 2
    report = convert_checkpoint(
        options.source,
        options.target,
        image_px=_pair(options.image_px, "--image-px"),
        statistics=given,
        signal=signal,
        strict=not options.drop_unknown,
        **_named(options, "window_size", "num_heads", "legend", "attribution", "simulated"),
    )
    _show(options, asdict(report), report.to_text())


@_command(
    _arg("source", metavar="IN", help="encoder.safetensors, segmenter.safetensors, its folder, or bundled"),
    _arg("target", metavar="OUT", help="the .pth or .safetensors file to write"),
    _arg("--layout", default="microsoft", help="whose names the entries get: microsoft (default) or authors"),
    example="work/pretrain-0123456789ab encoder.pth --layout authors",
)
def _export_weights(options: argparse.Namespace) -> None:
    """Write weights under the names of others."""
    from .networks.published import export_checkpoint

    _made(options, export_checkpoint(options.source, options.target, options.layout))


@_command(
    _arg("source", metavar="IN", help="encoder.safetensors, segmenter.safetensors, its folder, or bundled"),
    _arg("folder", metavar="FOLDER", help="folder to make"),
    _arg(
        "--license", required=True, metavar="NAME", help="licence of the weights: mit, apache-2.0, cc-by-4.0 or other"
    ),
    example="work/pretrain-0123456789ab sar-encoder --license cc-by-4.0",
)
def _export_hub(options: argparse.Namespace) -> None:
    """Write weights as a folder for a model hub: model.safetensors, config.json, README.md.

    Nothing is sent anywhere. The folder stands for the weights wherever they are named.
    """
    from .networks.hub import export_hub

    _made(options, export_hub(options.source, options.folder, license=options.license))


@_command(_arg("shell", choices=("bash", "zsh", "tcsh"), metavar="SHELL", help="bash, zsh or tcsh"), example="bash")
def _completion(options: argparse.Namespace) -> None:
    """Print a script that completes commands and options by the Tab key.

    Load it in bash by: eval "$(alos2tut completion bash)"
    """
    import shtab

    parser, commands = _parser()
    for name, command in commands.items():
        _add_options(command, _COMMANDS[name])
    _show(options, {"script": (script := shtab.complete(parser, options.shell))}, script)
