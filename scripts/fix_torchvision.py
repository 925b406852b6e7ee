"""Make a CUDA build of torchvision importable beside a CPU build of torch, in this environment only.

Package registries carry torchvision for CUDA alone. Beside a CPU build of torch its compiled operators cannot be loaded
and `import torchvision` fails with "operator torchvision::nms does not exist", and with it Lightning and torchmetrics.
Everything that this project needs of torchvision (transforms, video models) works as soon as the schemas of the two
operators are known. Where the plain import fails with that message, this script adds an import hook to the
environment's site-packages, which declares them just before torchvision is first imported. The hook imports nothing by
itself, so starting Python costs no more than before. Where the import works the script does nothing.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

HOOK = """"Declare torchvision's operators before its first import (written by scripts/fix_torchvision.py)."
import sys


class DeclareOperators:
    "A finder that finds nothing: it declares the operators and leaves the import to the others."
    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        import torch
        self.library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            self.library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        sys.modules[__name__].finder = self
        return None


sys.meta_path.insert(0, DeclareOperators())
"""


def torchvision_error() -> str:
    "The last line that `import torchvision` prints when it fails; empty if it works."
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def main() -> None:
    error = torchvision_error()
    if not error:
        return
    if "torchvision::nms does not exist" not in error:
        sys.exit(f"torchvision cannot be imported: {error}")
    site = Path(sysconfig.get_path("purelib"))
    (site / "_declare_torchvision_operators.py").write_text(HOOK)
    (site / "_declare_torchvision_operators.pth").write_text("import _declare_torchvision_operators\n")
    if error := torchvision_error():
        sys.exit(f"torchvision still cannot be imported: {error}")
    print("torchvision is built for CUDA and torch for the CPU: declared its operators, so that it can be imported")


if __name__ == "__main__":
    main()
