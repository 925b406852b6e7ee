"Package metadata, read from settings.ini so that each fact stands once."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini")
cfg = config["DEFAULT"]

extras = {
    name: cfg[f"{name}_requirements"].split()
    for name in (
        "scrape",
        "fast",
        "hub",
        "context",
        "text",
        "ocr",
        "image",
        "clip",
        "app",
        "ray",
        "s3",
        "gs",
        "tensorboard",
        "wandb",
        "bench",
        "scale",
        "dev",
    )
}
for name in ("scrape", "fast", "context", "text", "ocr", "image", "clip", "app"):
    extras["dev"] += extras[name]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    keywords=cfg["keywords"],
    license="Apache-2.0",
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=["tiktok_mm*"]),
    package_data={"tiktok_mm": ["assets/*", "assets/*/*"]},
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": ["tiktok_mm=tiktok_mm._modidx:d"],
    },
    zip_safe=False,
)
