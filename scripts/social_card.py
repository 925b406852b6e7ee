"""Draw what other sites show beside a link to this one: nbs/images/social_card.png, 1200×630, from the demo's table.

python scripts/social_card.py
"""

from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
RUNS = ("ensemble-compact", "linear", "boosting", "median", "cnn3d", "mean", "ensemble-paper", "swin-scratch")
INK, SOFT, BLUE, GREY = "#1b1f24", "#59636e", "#0969da", "#afb8c1"


def draw_errors(ax) -> None:
    "The mean absolute errors of the demo's rows with their intervals, and a line at the median's."
    table = pd.read_csv(ROOT / "nbs" / "demo" / "table.csv", index_col="run").loc[list(RUNS)]
    table = table.sort_values("MAE (K) value")
    error, low, high = (table[f"MAE (K) {name}"] / 1000 for name in ("value", "low", "high"))
    colours = [GREY if run in ("mean", "median") else BLUE for run in table.index]
    ax.barh(range(len(RUNS)), error, color=colours, height=0.62)
    ax.hlines(range(len(RUNS)), low, high, color=INK, lw=1.5, alpha=0.6)
    ax.axvline(error["median"], color=INK, lw=1.5, ls=":")
    ax.set_yticks(range(len(RUNS)), table.label, fontsize=16, color=INK)
    ax.tick_params(axis="x", labelsize=14, colors=SOFT)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_title(
        "built-in corpus: mean absolute error and 95 % interval, millions of views",
        fontsize=15,
        color=SOFT,
        loc="left",
        pad=12,
    )


def main() -> None:
    website = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]
    fig = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    fig.text(0.05, 0.84, website["title"], fontsize=54, weight="bold", color=INK, va="center")
    fig.text(0.05, 0.72, fill(website["description"], 62), fontsize=22, color=SOFT, va="top", linespacing=1.35)
    draw_errors(fig.add_axes((0.33, 0.1, 0.62, 0.4)))
    fig.savefig(ROOT / "nbs" / "images" / "social_card.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
