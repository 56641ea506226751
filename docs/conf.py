"""The documentation: pages in Markdown, the reference from the docstrings."""

from posterity import __version__

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
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

# The reference is generated into docs/api, a page for each module.
autosummary_generate = True
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "Posterity"
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True


def skip_fields(app, what, name, obj, skip, options):
    """Leaves out what named tuples say of their fields, which their docstrings say better."""
    return skip or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")


def setup(app):
    """Connects to Sphinx."""
    app.connect("autodoc-skip-member", skip_fields)
