"""The documentation: pages in Markdown, the reference from the docstrings.

The site asks for nothing outside itself: MathJax is shipped with its pages.
"""

import logging
import re
import shutil
import sys
from pathlib import Path

from posterity import __version__

ROOT = Path(__file__).resolve().parents[1]

# Where the gallery finds how its figures are saved.
sys.path.insert(0, str(ROOT / "docs"))

#: Pages that stand elsewhere in the project, where code hosts and readers look for them, and their names here.
PAGES = {"config/README.md": "configuration.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}

project = "Posterity"
author = "The Posterity developers"
project_copyright = "2026, the Posterity developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "gallery"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

# The reference is generated into docs/api, a page for each module.
autosummary_generate = True
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Two classes are called Problem, since that of `import posterity as ps` is the other one, made of names and numbers.
suppress_warnings = ["ref.python"]
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Examples run whenever the site is built.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "ExampleTitleSortKey",
    "image_scrapers": ("gallery_figures.last_figure",),
    "capture_repr": ("_repr_html_",),
    "ignore_repr_types": "matplotlib",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 3600,
    "write_computation_times": False,
}

html_theme = "furo"
html_title = "Posterity"
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True


def skip_fields(app, what, name, obj, skip, options):
    """Leaves out what named tuples say of their fields, which their docstrings say better."""
    return skip or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")


def gather_pages(app, config):
    """Copies the pages that stand elsewhere, with their links as they are from here; forgets what was made before."""
    for made in ("api", "auto_gallery"):
        shutil.rmtree(ROOT / "docs" / made, ignore_errors=True)
    for source, name in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        (ROOT / "docs" / name).write_text(re.sub(r"\]\((?:\.\./)?docs/", "](", text), encoding="utf-8")


def link_pages(app, name, source):
    """Leads links to the pages that stand elsewhere to their copies."""
    for page, copy in PAGES.items():
        source[0] = source[0].replace(f"](../{page}", f"]({copy}")


def setup(app):
    """Connects to Sphinx, which would print each epoch of the examples."""
    logging.getLogger("posterity").setLevel(logging.WARNING)
    app.connect("config-inited", gather_pages)
    app.connect("source-read", link_pages)
    app.connect("autodoc-skip-member", skip_fields)
