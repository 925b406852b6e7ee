"Write README.md from nbs/index.ipynb."

import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
HTML_ONLY = re.compile(r'^(:{3,}) \{\.content-visible when-format="html"\}\n.*?^\1$\n', re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^:{3,}.*$\n?", re.MULTILINE)  # of a block that has a class on the site


def readme() -> str:
    "The index notebook as Markdown for the root of the repository: no hidden cells, links from the root."
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    notebook.metadata.language_info = {"name": "python"}
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith(("#| hide", "---"))]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FENCE.sub("", HTML_ONLY.sub("", cell.source + "\n"))
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("text/html", None)
        if "#| echo: false" in cell.source:
            cell.source = ""
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    text = text.replace("```python\n\n```\n", "")
    text = re.sub(r"\]\((images/[^)]+)\)", r"](nbs/\1)", text)
    text = re.sub(r"\]\(([\w/]+\.ipynb)\)", r"](nbs/\1)", text)
    text = "\n".join(line.rstrip() for line in text.splitlines())
    note = "<!-- made from nbs/index.ipynb by `make readme`: edit the notebook -->\n\n"
    return note + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")
