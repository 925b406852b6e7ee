"""Run notebooks from top to bottom and store their outputs: python scripts/run_notebook.py NOTEBOOK…

Cells marked `#| slow` run. Those marked `#| network` do not, and those marked `#| cuda` only where there is a GPU: they
keep the outputs that they have. A notebook is written when all of it has run.
"""

import sys
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient

LEFT_OUT = {"#| network"} | (set() if torch.cuda.is_available() else {"#| cuda"})


class Client(NotebookClient):
    async def async_execute_cell(self, cell, *args, **kwargs):
        if LEFT_OUT.isdisjoint(cell.source.splitlines()):
            return await super().async_execute_cell(cell, *args, **kwargs)
        return cell


for path in map(Path, sys.argv[1:]):
    notebook = nbformat.read(path, as_version=4)
    Client(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    nbformat.write(notebook, path)
