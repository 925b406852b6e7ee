"""Copy what the landing page shows of a finished demo into the repository: its table, a report and its contact sheet.

    tiktok-mm demo && python scripts/demo_samples.py demo

The site does not run the demo itself, because building a page would then take four minutes more.
"""

import argparse
import shutil
from pathlib import Path

NBS = Path(__file__).parents[1] / "nbs"
MOST = 300_000  # bytes of the report


def main(demo: Path) -> None:
    table = next(demo.glob("runs/*/table"))
    report = table / "test-video.html"
    if report.stat().st_size > MOST:
        raise SystemExit(f"{report} has more than {MOST:,} bytes")
    (NBS / "demo").mkdir(exist_ok=True)
    shutil.copyfile(report, NBS / "demo" / "report.html")
    for name in ("table.csv", "table.txt"):
        shutil.copyfile(table / name, NBS / "demo" / name)
    shutil.copyfile(demo / "contact_sheet.png", NBS / "images" / "contact_sheet.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of a finished `tiktok-mm demo`")
    main(parser.parse_args().demo)
