"""Each notebook's first picture lies beside it, where JupyterLab, GitHub and the site find it."""

from __future__ import annotations

import json
import re

from support.notebooks import ROOT


def test_the_pictures_of_notebooks_lie_beside_them_and_are_those_of_the_pages():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert len(notebooks) == 5
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any("attachments" in cell for cell in cells)
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
        assert pictures and all(name.startswith(f"figures/{path.name[:2]}_") for name in pictures)
        for name in pictures:
            shown = (path.parent / name).read_bytes()
            assert (
                shown.startswith(b"\x89PNG") and shown == (ROOT / "docs" / name.removeprefix("figures/")).read_bytes()
            )
        for link in re.findall(r"(?<!!)\[[^\]]+\]\((\.\./[^)#]+)", text):
            assert (path.parent / link).exists()
