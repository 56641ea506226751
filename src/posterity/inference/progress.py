"""Progress of long work: a bar on a terminal and in a notebook, nothing elsewhere."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

#: Seconds between updates in a notebook, each of which is a message to the browser.
INTERVAL = 0.2

#: What says that a step of the work is done, with a few words on how it stands.
Advance = Callable[[str], None]


@contextmanager
def progress(title: str, total: int | None = None, shown: bool = True) -> Iterator[Advance]:
    """Shows how far some work is.

    Args:
        title: What it is.
        total: The number of its steps; None if that is not known, as of work in one piece.
        shown: Whether to show anything at all.

    Yields:
        A function to call after each step.
    """
    if not shown:
        yield _ignore
    elif in_notebook():
        yield from _in_notebook(title, total)
    elif sys.stderr.isatty():
        yield from _on_terminal(title, total)
    else:
        yield _ignore


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Passes items on, and shows how many have been.

    Args:
        items: The items.
        title: What they are.
        total: Their number.
    """
    with progress(title, total) as advance:
        for item in items:
            yield item
            advance("")


def in_notebook() -> bool:
    """Whether the process serves a notebook."""
    return Console().is_jupyter


def _ignore(text: str) -> None:
    """Shows nothing."""


def _on_terminal(title: str, total: int | None) -> Iterator[Advance]:
    """A bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    rest = (TimeRemainingColumn(),) if total else ()
    with Progress(*columns, *rest, TextColumn("{task.fields[text]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, text="")

        def advance(text: str) -> None:
            bar.update(task, advance=1, text=text)

        yield advance
        # Work may end early, as trainings do that get no better.
        bar.update(task, total=bar.tasks[0].completed)


def _in_notebook(title: str, total: int | None) -> Iterator[Advance]:
    """A bar of HTML in the output of the cell, which is made anew: ``ipywidgets`` need not be there."""
    display = import_module("IPython.display")
    start, done, last, said = monotonic(), 0, 0.0, ""
    handle = display.display(display.HTML(escape(title)), display_id=True)

    def show(text: str, ended: bool) -> None:
        bar = f'<progress value="{done}" max="{total}"></progress> ' if total and not ended else ""
        handle.update(display.HTML(f"{escape(title)} {bar}{monotonic() - start:.0f} s {escape(text)}"))

    def advance(text: str) -> None:
        nonlocal done, last, said
        done, said = done + 1, text
        if monotonic() - last > INTERVAL:
            last = monotonic()
            show(text, False)

    yield advance
    show(said, True)
