"""The command line: one command per stage. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .configs import describe_settings, encoder_presets, load_config, profile_names
from .core.artifacts import read_json
from .core.errors import Alos2TutError, Alos2TutWarning, Stopped
from .core.version import __version__
from .dataset.legend import legend_names
from .dataset.store import SPLITS

#: exit status for bad input or an impossible request
_REFUSED = 2
#: exit status of a training that was told to stop before its end (EX_TEMPFAIL: try again)
_STOPPED = 75
#: what a command may miss when only the core is installed, and the extra that brings it
_EXTRA_OF = dict.fromkeys(("torch", "timm", "lightning", "safetensors", "tensorboard"), "train")
_EXTRA_OF |= dict.fromkeys(("sklearn", "threadpoolctl"), "train")
_EXTRA_OF |= dict.fromkeys(("matplotlib", "papermill", "ipywidgets", "IPython", "nbformat"), "notebooks")
_CRS_HELP = "coordinate system that the product lacks or states wrongly, as in EPSG:32654"
#: what an interrupted command does when it is given again
_AGAIN = dict.fromkeys(("pretrain", "finetune", "compare"), "continues from its last checkpoint")
_AGAIN |= dict.fromkeys(("build-dataset", "map"), "goes on where it was")
_AGAIN |= {"fetch": "starts this file anew, and keeps those that are whole"}
_TRAINING_ENDS = (
    "SIGTERM, SIGUSR1 or stop_after_minutes end a training after its current step with a checkpoint, status 75 (under\n"
    "torchrun 0) and stopped.json in its folder; the same command goes on."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2: refused, with one line that says why)."""
    _print_what_can_be_shown()
    options = _parser().parse_args(arguments)
    warnings.showwarning = _print_warning
    try:
        return options.run(options) or 0
    except Alos2TutError as error:
        print(f"alos2tut: {' '.join(str(error).split())}", file=sys.stderr)
        return _REFUSED
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(f"alos2tut: {stopped}", file=sys.stderr)
        # torchrun would take any other status for a failure, and kill who is still at work
        return 0 if "TORCHELASTIC_RUN_ID" in os.environ else _STOPPED
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA_OF:
            raise
        install = f'pip install "alos2tut[{_EXTRA_OF[missing]}]"'
        print(f"alos2tut: this command needs {missing}, which is not installed: {install}", file=sys.stderr)
        return _REFUSED
    except KeyboardInterrupt:
        again = _AGAIN.get(options.command, "starts anew; nothing half done is left")
        print(f"alos2tut: interrupted; the same command {again}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output has left: nothing to say, and nobody to say it to
        sys.stderr.close()
        return 0


def _print_what_can_be_shown() -> None:
    """Let a terminal or pipe of few characters get escapes for the others, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _to_json(content: Any) -> str:
    """Readable JSON; where the output has no Unicode, with the escapes of JSON."""
    has_unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    return json.dumps(content, indent=2, ensure_ascii=not has_unicode)


def _say(text: object) -> None:
    """Print a result: once, where ``torchrun`` started several processes."""
    if os.environ.get("RANK", "0") == "0":
        print(text)


def _print_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """Our own warnings are meant for the user: without the source line that raised them."""
    if issubclass(category, Alos2TutWarning):
        print(f"alos2tut: note: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *place[:2]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alos2tut", description="From ALOS-2 PALSAR-2 products to land-cover maps.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"alos2tut {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    info = _command(commands, "info", _info, "what a product, a dataset or a weights file is")
    info.add_argument("path", metavar="PATH", help="product (folder or file), dataset folder or .safetensors file")
    info.add_argument("--crs", help=_CRS_HELP)
    info.add_argument(
        "--scan", type=int, metavar="N", help="scan of a ScanSAR product of Level 1.1 (default: the first)"
    )
    info.add_argument("--json", action="store_true", help="all metadata as JSON")

    verify = _command(commands, "verify", _verify, "check a product's files against each other, or a dataset's hashes")
    verify.add_argument("path", metavar="PATH", help="product (folder, file or archive) or dataset, damaged or not")
    verify.add_argument("--crs", help=_CRS_HELP)
    verify.add_argument("--json", action="store_true", help="the report as JSON")
    verify.epilog = (
        "The report names no folders and may be sent to others. Exit status: 0 if nothing differs and all is\n"
        "readable, 1 if not, 2 if there is neither product nor dataset."
    )

    fetch = _command(commands, "fetch", _fetch, "download a published data set, or say how to get it")
    fetch.add_argument("name", metavar="NAME", nargs="?", help="data set, as --list shows it")
    fetch.add_argument("--list", action="store_true", help="the data sets there are; with NAME: all known of it")
    fetch.add_argument("--json", action="store_true", help="with --list: as JSON, with all that is known")
    fetch.add_argument("--folder", metavar="DIR", default="data", help="folder of all data sets (default data)")
    fetch.add_argument("--manifest", metavar="FILE", help="a list of data sets of your own, as data_manifest.yaml")
    fetch.epilog = (
        "Files arrive whole or not at all and are not unpacked: products are read in their archives. Checksums are\n"
        "kept in DIR/NAME/checksums.json. What is there already is checked and not downloaded again. Exit status: 2\n"
        "if files are missing in the end, also where it takes steps by hand, which are then listed."
    )

    cache = _command(commands, "cache", _cache, "where compressed archives are unpacked, and how much that takes")
    cache.add_argument("--clear", action="store_true", help="remove what is there; it is unpacked anew when needed")

    simulate = _command(commands, "simulate", _simulate, "write a simulated Level 2.1 product and its label tile")
    simulate.add_argument("out_dir", metavar="OUT_DIR", help="folder to make")
    simulate.add_argument("--seed", type=int, default=0, help="equal seeds give equal bytes on one machine (default 0)")
    simulate.add_argument("--size-px", type=int, nargs="+", default=[4096], metavar="N", help="rows and columns")
    simulate.add_argument("--season", default="autumn", help="autumn (default), winter, spring or summer")
    simulate.add_argument(
        "--corner", type=float, nargs=2, metavar=("LON", "LAT"), help="south-west corner (default: Sagami Bay)"
    )

    build = _stage(commands, "build-dataset", "dataset", _build_dataset, "cut products and labels into patches")
    build.add_argument(
        "products", nargs="*", metavar="PRODUCT", help="products: folders, files, 'patterns*' or CSV tables of paths"
    )
    build.add_argument(
        "--labels", nargs="+", metavar="RASTER", help="label rasters that cover them, or folders of them"
    )
    build.add_argument("--legend", help=f"{', '.join(legend_names())}, or a YAML file")
    build.add_argument("--polarization", help="channel to read (default: the only one, else HH)")
    build.add_argument("--crs", help=_CRS_HELP)
    build.add_argument("--on-error", help="a product that cannot be read: raise (default) or skip")
    build.add_argument("--workers", type=int, help="processes (default: as many as cores, at most one per product)")
    build.add_argument(
        "--dry-run", action="store_true", help="only estimate patches, classes, bytes and hours; write nothing"
    )

    export = _command(commands, "export-patches", _export_patches, "write a dataset as one GeoTIFF per patch")
    export.add_argument("dataset", metavar="DATASET", help="a dataset's folder")
    export.add_argument("folder", metavar="FOLDER", help="folder to make, in the layout of the paper's authors")

    imported = _command(commands, "import-patches", _import_patches, "read one GeoTIFF per patch into a dataset")
    imported.add_argument("folder", metavar="FOLDER", help="holds patches and lists, in the layout of the authors")
    imported.add_argument("out", metavar="OUT_DIR", help="the dataset's folder to make")
    for split in SPLITS:
        imported.add_argument(f"--{split}", metavar="FILE", help=f"the list's file in FOLDER (default {split}.csv)")
    imported.add_argument(
        "--labels", nargs="+", default=[], metavar="RASTER", help="where no labels lie beside patches"
    )
    imported.add_argument("--legend", help="of the labels (default: that beside the patches, else japan_9)")
    imported.add_argument(
        "--quantity", help="sigma0 or gamma0 (default: as the patches' description says, else sigma0)"
    )
    imported.add_argument("--polarization", help="of the patches (default: as their description or names say)")
    imported.add_argument(
        "--buffer-m",
        type=float,
        help="ground so near to held-out ground is in no other list (default: as described, or 0)",
    )
    imported.add_argument(
        "--on-overlap", default="raise", help="lists that share ground: raise (default) or drop training patches"
    )

    pretrain = _stage(commands, "pretrain", "pretrain", _pretrain, "pretrain an encoder: SAR-W-SimMIM")
    pretrain.add_argument("dataset", metavar="DATASET", help="a dataset's folder")
    pretrain.add_argument(
        "--init", metavar="ENCODER", help="encoder.safetensors or its folder to go on from; none: random initialisation"
    )
    pretrain.add_argument(
        "--dry-run", action="store_true", help="only check the settings, and say the folder, steps and operations"
    )

    probe = _command(commands, "probe", _probe, "judge encoders by small classifiers on their frozen features")
    probe.add_argument("dataset", metavar="DATASET", help="a dataset's folder")
    probe.add_argument(
        "encoders", nargs="+", metavar="ENCODER", help="encoder.safetensors or its folder, or NAME=PATH of one"
    )
    probe.add_argument("--seeds", type=int, default=5, metavar="N", help="draws of training patches (default 5)")
    probe.add_argument("--patches", type=int, default=500, metavar="N", help="at most, of each list (default 500)")
    probe.add_argument("--batch-size", type=int, default=32, metavar="N", help="patches per forward pass (default 32)")
    probe.add_argument(
        "--allow-other-signal", action="store_true", help="only warn of a signal that an encoder was not trained on"
    )
    probe.add_argument("--json", action="store_true", help="the scores of every seed, as JSON")
    probe.epilog = (
        "Trained on the list train, scored on val, by balanced accuracy: the mean recall of the classes. Beside the\n"
        "encoders stand random weights of the first one's architecture, and mean and variation of the raw power: what\n"
        "was learned should beat both. Nothing is written."
    )

    finetune = _stage(commands, "finetune", "finetune", _finetune, "train a segmenter")
    finetune.add_argument("dataset", metavar="DATASET", help="a dataset's folder")
    finetune.add_argument(
        "--init", metavar="ENCODER", help="encoder.safetensors or its folder; none: random initialisation"
    )

    compare = _stage(
        commands, "compare", "finetune", _compare, "fine-tune from several starts, over label budgets and seeds"
    )
    compare.add_argument("dataset", metavar="DATASET", help="a dataset's folder")
    compare.add_argument(
        "--start",
        action="append",
        default=[],
        metavar="NAME[=ENCODER]",
        help="an encoder.safetensors or its folder; without it, random weights; repeatable, the first is the reference",
    )
    compare.add_argument("--budgets", nargs="+", default=["all"], metavar="N", help="labelled patches, or all")
    compare.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N − 1 (default 3)")

    evaluate = _stage(commands, "evaluate", "evaluate", _evaluate, "score a segmenter on the test list")
    evaluate.add_argument("dataset", metavar="DATASET", help="a dataset's folder")
    evaluate.add_argument("segmenter", metavar="SEGMENTER", help="segmenter.safetensors, or its folder")
    evaluate.add_argument("--baseline", metavar="SEGMENTER", help="another one to compare with")
    evaluate.epilog = f"{evaluate.epilog}\nProcesses that torchrun starts share the patches; the scores are the same."

    map_ = _command(commands, "map", _map, "map a whole product")
    map_.add_argument("product", metavar="PRODUCT", help="product (folder or file)")
    map_.add_argument("segmenter", metavar="SEGMENTER", help="segmenter.safetensors, or its folder")
    map_.add_argument("out", metavar="OUT.tif", help="the Cloud-Optimized GeoTIFF to write")
    map_.add_argument("--labels", nargs="+", default=(), metavar="LABELS", help="label rasters to compare the map with")
    map_.add_argument("--probability", action="store_true", help="write the probability of the mapped class, too")
    map_.add_argument("--entropy", action="store_true", help="write the entropy of the class probabilities, too")
    map_.add_argument("--flips", action="store_true", help="average over mirror images of each tile: 4 times the work")
    map_.add_argument("--no-preview", dest="preview", action="store_false", help="draw no picture of the map")
    map_.add_argument("--overwrite", action="store_true", help="replace an older map that was made of something else")
    map_.add_argument("--overlap-px", type=int, help="pixels neighbouring tiles share (default: a quarter of a tile)")
    map_.add_argument("--batch-size", type=int, default=8, help="tiles per forward pass at most (default 8)")
    map_.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the work (default 1)")
    map_.add_argument("--devices", nargs="+", default=(), metavar="NAME", help="GPUs that do: cuda:0 cuda:1")
    map_.add_argument("--polarization", help="channel to read (default: the one trained on)")
    map_.add_argument(
        "--convert", action="store_true", help="convert another quantity or pixel size than those trained on"
    )
    map_.add_argument(
        "--allow-other-signal", action="store_true", help="only warn of a quantity or polarisation not trained on"
    )
    map_.add_argument("--crs", help=_CRS_HELP)
    map_.epilog = (
        "A run that is stopped goes on where it was when it is called again. Beside OUT.tif lie OUT_preview.png and,\n"
        "as asked for, OUT_probability.tif, OUT_entropy.tif, OUT_agreement.json and OUT_difference.tif."
    )

    convert = _command(commands, "convert", _convert, "make a checkpoint of others a weights file of this package")
    convert.add_argument("source", metavar="IN", help="Microsoft's Swin, SimMIM's or the paper's authors' checkpoint")
    convert.add_argument("target", metavar="OUT.safetensors", help="the encoder's or segmenter's file to write")
    convert.add_argument(
        "--image-px", type=int, nargs="+", metavar="N", help="side, or height and width, where the file does not tell"
    )
    convert.add_argument("--window-size", type=int, metavar="N", help="interpolate to attention windows of N tokens")
    convert.add_argument("--num-heads", type=int, metavar="N", help="of a ViT without a table of biases")
    convert.add_argument("--mean-db", type=float, nargs="+", metavar="DB", help="of each channel (default: authors')")
    convert.add_argument("--std-db", type=float, nargs="+", metavar="DB", help="alike, the spread")
    convert.add_argument("--quantity", help="of the input: sigma0 (default) or gamma0")
    convert.add_argument("--polarizations", nargs="+", metavar="POL", help="by channel (default HH)")
    convert.add_argument("--spacing-m", type=float, metavar="M", help="pixel size (default 5)")
    convert.add_argument("--legend", help="of a segmenter: a name or a YAML file (default: japan_9 for nine classes)")
    convert.add_argument("--attribution", metavar="TEXT", help="who is to be named for the data it was trained on")
    convert.add_argument("--simulated", action="store_true", help="it was trained on simulated data")
    convert.add_argument("--drop-unknown", action="store_true", help="leave out entries that are not known here")
    convert.epilog = "Nothing in the checkpoint is run. The report says what became of each of its entries."

    weights = _command(commands, "export-weights", _export_weights, "write weights under the names of others")
    weights.add_argument("source", metavar="IN", help="encoder.safetensors, segmenter.safetensors, or its folder")
    weights.add_argument("target", metavar="OUT", help="the .pth or .safetensors file to write")
    weights.add_argument("--layout", default="microsoft", help="names: microsoft (default) or authors")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    """A command; what ``run`` returns is the exit status, None means 0."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run, command=name)
    return command


def _stage(
    commands: Any, name: str, stage: str, run: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    """A command with a profile, a settings file and single settings, which its help lists."""
    command = _command(commands, name, run, text)
    command.set_defaults(stage=stage)
    command.add_argument("--profile", default="quick", help=f"{', '.join(profile_names())} (default quick)")
    command.add_argument("--config", metavar="FILE", help="YAML file of settings")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="one setting; repeatable"
    )
    command.add_argument("--work-dir", help="folder for results (default work)")
    command.add_argument("--seed", type=int, help="default 0")
    lines = [f"  {key} = {json.dumps(value)}\n      {text}" for key, value, text in describe_settings(stage)]
    if stage in ("pretrain", "finetune"):
        lines += [f"encoders by name, as in --set encoder=NAME: {', '.join(encoder_presets())}", _TRAINING_ENDS]
    command.epilog = "settings, as in the profile 'quick':\n" + "\n".join(lines)
    return command


def _config(options: argparse.Namespace, **values: Any) -> Any:
    if hasattr(options, "seed"):
        values["seed"] = options.seed
    return load_config(
        options.stage,
        options.profile,
        file=options.config,
        overrides=options.overrides,
        work_dir=options.work_dir,
        **values,
    )


def _content(path: Path, crs: str | None, scan: int | None) -> dict[str, Any]:
    """What is known of a weights file or a product."""
    if path.suffix == ".safetensors":
        from .networks.weights import read_header

        return read_header(path)
    from .products.opening import open_product

    return open_product(path, crs=crs, scan=scan).to_dict()


def _info(options: argparse.Namespace) -> None:
    path = Path(options.path)
    if (path / "dataset.json").is_file():
        from .dataset.store import open_dataset

        dataset = open_dataset(path)
        print(_to_json(dataset.content) if options.json else dataset.describe())
        return
    content = _content(path, options.crs, options.scan)
    if options.json:
        print(_to_json(content))
        return
    # what is not known is in the JSON, and named under gaps
    known = {key: value for key, value in content.items() if value not in (None, [], {})}
    width = max(len(key) for key in known)
    for key, value in known.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f"{key:<{width}}  {text}")


def _verify(options: argparse.Namespace) -> int:
    if (Path(options.path) / "dataset.json").is_file():
        from .dataset.verify import verify_dataset

        report = verify_dataset(options.path)
    else:
        from .products.verify.report import verify_product

        report = verify_product(options.path, crs=options.crs)
    print(_to_json(report.to_dict()) if options.json else report.to_text())
    return 1 if report.differ or report.unreadable else 0


def _cache(options: argparse.Namespace) -> None:
    from .core.cache import clear_cache, describe_cache

    if options.clear:
        _say(f"{clear_cache() / 2**20:,.1f} MiB freed")
    _say(describe_cache())


def _fetch(options: argparse.Namespace) -> int | None:
    from .downloads.manifest import find_entry

    if options.list:
        _list_data(options)
        return None
    if options.json:
        raise Alos2TutError("goes with --list only", where="--json", remedy="A download has no JSON to show.")
    if options.name is None:
        raise Alos2TutError("needs the NAME of a data set", where="fetch", remedy="alos2tut fetch --list shows them.")
    from .downloads.fetching import ManualDownload, describe_receipt, fetch_entry

    entry = find_entry(options.name, options.manifest)
    try:
        _say(describe_receipt(entry, fetch_entry(entry, options.folder)))
    except ManualDownload as error:
        print(f"alos2tut: {error}", file=sys.stderr)  # with its lines: they are a list
        return _REFUSED
    return None


def _list_data(options: argparse.Namespace) -> None:
    from .downloads.manifest import describe_entry, find_entry, list_entries, load_manifest

    name, manifest = options.name, options.manifest
    known = list(load_manifest(manifest).values()) if name is None else [find_entry(name, manifest)]
    if options.json:
        print(_to_json([asdict(entry) for entry in known]))
    elif name is None:
        print(list_entries(known, shutil.get_terminal_size((116, 24)).columns))
    else:
        print(describe_entry(known[0]))


def _simulate(options: argparse.Namespace) -> None:
    from .simulation.scene import simulate_product

    if len(options.size_px) > 2:
        raise Alos2TutError("takes one number or two", where="--size-px")
    size = options.size_px[0] if len(options.size_px) == 1 else tuple(options.size_px)
    corner = None if options.corner is None else tuple(options.corner)
    _say(simulate_product(options.out_dir, options.seed, size, season=options.season, corner=corner))


def _build_dataset(options: argparse.Namespace) -> None:
    from .dataset.builder import build_dataset
    from .dataset.estimate import estimate_dataset

    names = ("products", "labels", "legend", "polarization", "crs", "on_error", "workers")
    # what is not given here may stand in the settings file
    config = _config(options, **{name: getattr(options, name) or None for name in names})
    if options.dry_run:
        _say(estimate_dataset(config).to_text())
        return
    # the output is the folder alone, also where it is found again, so that a script can take it
    with contextlib.redirect_stdout(sys.stderr):
        folder = build_dataset(config)
    _say(folder)


def _export_patches(options: argparse.Namespace) -> None:
    from .dataset.patch_files import export_patches

    _say(export_patches(options.dataset, options.folder))


def _import_patches(options: argparse.Namespace) -> None:
    from .dataset.patch_files import import_patches

    lists = {split: file for split in SPLITS if (file := getattr(options, split)) is not None}
    names = ("labels", "legend", "quantity", "polarization", "buffer_m", "on_overlap")
    _say(import_patches(options.folder, options.out, lists=lists, **{name: getattr(options, name) for name in names}))


def _pretrain(options: argparse.Namespace) -> None:
    from .pretraining.stage import plan_pretraining, pretrain

    config = _config(options, dataset=options.dataset, init=options.init)
    _say(plan_pretraining(config).to_text() if options.dry_run else pretrain(config))


def _probe(options: argparse.Namespace) -> None:
    from .pretraining.probing import probe

    found = probe(
        options.dataset,
        options.encoders,
        seeds=options.seeds,
        patches=options.patches,
        batch_size=options.batch_size,
        allow_other_signal=options.allow_other_signal,
    )
    _say(_to_json(found.to_dict()) if options.json else found.to_text())


def _finetune(options: argparse.Namespace) -> None:
    from .segmentation.stage import finetune

    _say(finetune(_config(options, dataset=options.dataset, init=options.init)))


def _compare(options: argparse.Namespace) -> None:
    from .evaluation.comparison import compare, comparison_table, read_comparison

    starts = {start.partition("=")[0]: start.partition("=")[2] or None for start in options.start}
    if len(starts) < len(options.start):
        raise Alos2TutError("a name is given twice", where="--start")
    if not all(budget == "all" or (budget.isdigit() and int(budget) > 0) for budget in options.budgets):
        raise Alos2TutError(f"takes numbers of patches, or all, not {' '.join(options.budgets)}", where="--budgets")
    if options.seed is not None:
        raise Alos2TutError("a comparison goes over seeds 0 to N − 1", where="--seed", remedy="Use --seeds N.")
    budgets = [None if budget == "all" else int(budget) for budget in options.budgets]
    config = _config(options, dataset=options.dataset)
    folder = compare(config, starts or {"random": None}, budgets=budgets, seeds=range(options.seeds))
    _say(comparison_table(read_comparison(folder)))
    _say(folder)


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluation.report import evaluate

    config = _config(options, dataset=options.dataset, segmenter=options.segmenter, baseline=options.baseline)
    folder = evaluate(config)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for role, scores in report["models"].items():
        keys, intervals = ("miou", "macc", "pixel_accuracy"), scores["intervals"]
        values = ", ".join(f"{key} {_score(scores[key], intervals[key])}" for key in keys)
        notes = [f"absent: {', '.join(scores['absent'])}"] if scores["absent"] else []
        notes += [f"no intervals: {intervals['refused']}"] if intervals["refused"] else []
        _say(f"{role} ({scores['initialisation']}): {values}" + (f" ({'; '.join(notes)})" if notes else ""))
    _say(folder)


def _score(value: float | None, interval: list[float] | None) -> str:
    """A score, and its interval if there is one, as text; a dash where nothing was labelled to score by."""
    if value is None:
        return "–"
    return f"{value:.4f}" + ("" if interval is None else f" [{interval[0]:.4f}, {interval[1]:.4f}]")


def _map(options: argparse.Namespace) -> None:
    from .core.parallel import process_pool
    from .mapping.config import MapConfig
    from .mapping.files import map_file
    from .mapping.rows import DeviceExecutor
    from .mapping.scene import map_scene
    from .products.opening import open_product

    given = ["labels", "probability", "entropy", "flips", "preview", "overwrite", "overlap_px", "batch_size"]
    given += ["polarization", "convert", "allow_other_signal"]
    config = MapConfig(**{name: getattr(options, name) for name in given})
    product = open_product(options.product, crs=options.crs)
    pool = DeviceExecutor(options.devices) if options.devices else process_pool(options.workers)
    # the output is the agreement, if it is asked for, and the map's path, also where it is found again
    with contextlib.redirect_stdout(sys.stderr), pool as executor:
        path = map_scene(product, options.segmenter, options.out, config, executor=executor)
    if options.labels:
        found = read_json(map_file(path, "agreement"))
        _say(f"agrees with the labels on {found['pixel_accuracy']:.1%} of {found['pixels']['compared']:,} pixels")
        _say(found["reading"])
    _say(path)


def _convert(options: argparse.Namespace) -> None:
    from .dataset.encoding import Statistics
    from .networks.conversion import convert_checkpoint

    if (options.mean_db is None) != (options.std_db is None):
        raise Alos2TutError("need each other", where="--mean-db and --std-db")
    if options.image_px and len(options.image_px) > 2:
        raise Alos2TutError("takes one number or two", where="--image-px")
    given = None
    if options.mean_db is not None:
        given = Statistics.from_dict({"mean_db": options.mean_db, "std_db": options.std_db}, where="--mean-db")
    signal = {name: getattr(options, name) for name in ("quantity", "polarizations") if getattr(options, name)}
    if options.spacing_m is not None:
        signal["spacing_m"] = [options.spacing_m] * 2
    report = convert_checkpoint(
        options.source,
        options.target,
        image_px=None if options.image_px is None else (options.image_px[0], options.image_px[-1]),
        window_size=options.window_size,
        num_heads=options.num_heads,
        statistics=given,
        signal=signal,
        legend=options.legend,
        attribution=options.attribution,
        simulated=options.simulated,
        strict=not options.drop_unknown,
    )
    _say(report.to_text())


def _export_weights(options: argparse.Namespace) -> None:
    from .networks.published import export_checkpoint

    _say(export_checkpoint(options.source, options.target, options.layout))
