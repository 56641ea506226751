"""How the gallery saves figures: a module, since Sphinx remembers settings that are text, and no functions."""

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def last_figure(block, variables, settings):
    """Saves the figure that ends a block, which a notebook would show: those of Posterity are not pyplot's."""
    figure = variables["example_globals"].get("___")
    if not isinstance(figure, Figure) or figure.get_label() == "saved":
        return ""
    figure.set_label("saved")
    path = next(variables["image_path_iterator"])
    figure.savefig(path, dpi=150)
    return figure_rst([path], settings["src_dir"])
