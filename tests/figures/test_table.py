"""The table of all methods: its heads."""

import pytest

from posterity.figures.drawing import style
from posterity.figures.table import Column, _draw


@pytest.mark.parametrize("group", ["90% regions", "a head"])
def test_a_head_lies_within_the_page_over_the_narrow_columns_that_share_it(group) -> None:
    names = Column("", "method", ["prior", "4dvar"])
    wide = [Column(f"group {n}", "a wide column", ["0.12345±0.00001"] * 2) for n in range(5)]
    with style.context():
        figure = _draw([names, *wide, Column(group, "a", ["1%", "2%"]), Column(group, "b", ["3%", "4%"])])
        figure.draw_without_rendering()
        (head,) = [text for text in figure.axes[0].texts if text.get_text() == group]
        assert head.get_window_extent().x1 <= figure.bbox.x1
