"""The site: ``make site`` builds it from these pages, the docstrings and the executed notebooks, without a network."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from astroid.exceptions import AstroidImportError
from astroid.manager import AstroidManager
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.nodes import make_refnode

from alos2tut.core.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: The address of the public repository, or nothing: pyproject.toml is the one place where it stands.
REPOSITORY = PROJECT["urls"].get("Repository", "").rstrip("/")

project = "alos2tut"
author = "alos2tut contributors"
copyright = f"2026, {author}"
version = release = __version__
language = "en"

extensions = [
    "myst_nb",
    "autoapi.extension",
    "sphinx.ext.napoleon",
    "sphinx_exercise",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "results/runs"]
nitpicky = True

# --- pages and notebooks

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
# tables that cells make are tables, and what a cell prints line by line is one block
nb_render_markdown_format = "myst"
nb_merge_streams = True


def with_text_alternatives(cells: list[dict[str, Any]]) -> None:
    """Give each drawn figure a text alternative: the section that it stands in, and what its code calls it."""
    section = ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            section = (re.findall(r"^#+ (.+)$", source, re.M) or [section])[-1]
        elif drawn := re.findall(r"figures\.(\w+)\(|keep\(\w+, \"\d\d_(\w+)\"", source):
            name = (drawn[-1][0] or drawn[-1][1]).replace("_", " ")
            cell["metadata"]["mystnb"] = {"image": {"alt": f"Figure: {name}. Section: {section}"}}


def stage_notebooks() -> None:
    """Copy the notebooks beside the pages: executed ones where a run left them, else as they are committed.

    ``NOTEBOOKS`` names the folder of executed ones; without it ``make tutorial``'s is looked at. Left out are the
    folder of results on this machine, and the state of widgets, which only a kernel could bring to life.
    """
    source, target = ROOT / "notebooks", ROOT / "docs" / "notebooks"
    executed = Path(os.environ.get("NOTEBOOKS") or ROOT / "work" / "notebooks")
    # executed notebooks lead to the documentation from where they lie
    links = Path(os.path.relpath(ROOT / "docs", executed)).as_posix()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    if (source / "figures").is_dir():
        shutil.copytree(source / "figures", target / "figures")
    for path in sorted(source.glob("*.ipynb")):
        run = executed / path.name
        text = (run if run.exists() else path).read_text(encoding="utf-8")
        notebook = json.loads(text.replace(str(executed.resolve().parent), "work") if run.exists() else text)
        notebook["metadata"].pop("widgets", None)
        for cell in notebook["cells"]:
            source_text = "".join(cell["source"]).replace(f"]({links}/", "](../")
            cell["source"] = source_text.replace("](../docs/", "](../")
        with_text_alternatives(notebook["cells"])
        (target / path.name).write_text(json.dumps(notebook), encoding="utf-8")
        if not run.exists():
            print(f"{path.name} is shown without its figures: no run of it is in {executed}")


stage_notebooks()

# --- API

load_module = AstroidManager.ast_from_module_name


def ours_or_of_python(self: AstroidManager, modname: str | None, *args: Any, **options: Any) -> Any:
    """Other packages stay unread: to learn what a base class of torch is, its source would be parsed for a minute."""
    if modname and modname.partition(".")[0] not in {"alos2tut", *sys.stdlib_module_names}:
        raise AstroidImportError(f"not read: {modname}", modname=modname)
    return load_module(self, modname, *args, **options)


AstroidManager.ast_from_module_name = ours_or_of_python

autoapi_dirs = ["../alos2tut"]
autoapi_root = "api"
autoapi_file_patterns = ["*.py"]
autoapi_options = ["members", "undoc-members", "show-inheritance", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_python_class_content = "class"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# an attribute's docstring is prose: napoleon would take what stands before its first colon for a type
GoogleDocstring._parse_attribute_docstring = lambda self: self._consume_to_end()  # type: ignore[method-assign]
# each page begins with a table of what it holds; a second one in every margin takes minutes to write
toc_object_entries = False
# autoapi follows no name that is one of several on the left of an assignment; and types such as FloatArray are defined
# in several modules, of which any will do
suppress_warnings = ["autoapi.python_import_resolution", "ref.python"]
# what other packages and Python itself define, and names that are private here, have no page on this site
nitpick_ignore_regex = [
    (r"py:.*", rf"(alos2tut\.)?([\w.]+\.)?_\w+|({package})\..*")
    for package in (
        "affine|argparse|collections|concurrent|contextlib|dataclasses|datetime|h5py|importlib|io|lightning|matplotlib|np|numpy|pathlib"
        "|pydantic|rasterio|re|scipy|timm|torch|typing|xarray|xml",
    )
] + [("py:class", "Field|NDArray")]


def as_restructured_text(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let a docstring's |x| be two strokes and no substitution, and its references a list with hanging lines."""
    in_references = False
    for index, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[index] = "``".join(parts)
        in_references = line == "References:" or (in_references and not line[:1].strip())
        if in_references and line.startswith("    "):
            lines[index] = f"    {'  ' if line[4] == ' ' else '- '}{line.strip()}"


def public_names() -> dict[str, str]:
    """The public names, as the packages' stubs list them, and where each is defined."""
    names = {}
    for stub in sorted((ROOT / "alos2tut").rglob("__init__.pyi"), key=lambda path: (len(path.parts), path)):
        package = ".".join(stub.parent.relative_to(ROOT).parts)
        for place, name in re.findall(r"^from (\.\w[\w.]*) import (\w+) as", stub.read_text(encoding="utf-8"), re.M):
            names[f"{package}.{name}"] = f"{package}{place}.{name}"
    return names


PUBLIC = public_names()


def first_sentence(name: str) -> str:
    """What the docstring of a function or class begins with, in Markdown; nothing of other names."""
    module, _, own = name.rpartition(".")
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == own:
            text = (ast.get_docstring(node) or "").split("\n")[0]
            return re.sub(r":\w+:`~?([\w.]*\.)?(\w+)`", r"`\2`", text).replace("``", "`")
    return ""


def list_of_names() -> str:
    """The page of public names: functions and classes, each with the first sentence of its docstring."""
    told = {public: (name, first_sentence(name)) for public, name in PUBLIC.items()}
    return "\n\n".join(f"{{py:obj}}`{public} <{name}>`\n: {text}" for public, (name, text) in told.items() if text)


myst_substitutions = {"public_names": list_of_names()}


def follow_public_name(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Where a reference leads that names a thing by the package it is imported from, or by its last words alone."""
    if node.get("refdomain") != "py":
        return None
    target, domain = node["reftarget"], env.domains.python_domain
    for public, name in PUBLIC.items():
        if target == public or target.startswith(f"{public}."):
            target = name + target.removeprefix(public)
    found = domain.find_obj(env, None, None, target, None, 1)
    if len({name for name, _ in found}) != 1:
        return None
    [(name, entry), *_] = found
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)


def links_of_the_site(app: Sphinx, docname: str, source: list[str]) -> None:
    """A folder of the repository is no page here: its name is left. Notebooks were copied beside the pages."""
    place = (ROOT / "docs" / docname).parent

    def text(link: re.Match[str]) -> str:
        return link[1] if (place / link[2]).is_dir() else link[0]

    source[0] = re.sub(r"\[([^\]]+)\]\(([\w./]+)\)", text, source[0].replace("](../notebooks/0", "](notebooks/0"))


# --- looks

html_theme = "sphinx_book_theme"
html_title = "alos2tut"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_theme_options: dict[str, Any] = {
    # the sidebar has the search
    "navbar_persistent": [],
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "collapse_navigation": True,
    "navigation_depth": 2,
}
if REPOSITORY:
    html_theme_options |= {
        "repository_url": REPOSITORY,
        "use_repository_button": True,
        "use_issues_button": True,
        # notebooks lie at the same path in the repository as on the site
        "path_to_docs": "",
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"},
    }


def setup(app: Sphinx) -> None:
    """Docstrings are prepared before napoleon reads them; references and folders are followed as readers would."""
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)
    app.connect("missing-reference", follow_public_name)
    app.connect("source-read", links_of_the_site)
    # it adds a script to each page and keeps nothing, so pages may be read side by side
    app.extensions["sphinx-mathjax-offline"].parallel_read_safe = True
