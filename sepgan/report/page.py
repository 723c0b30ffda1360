"""A page as one HTML file: styles, script, pictures and sound are inside, and it never asks a network for anything."""

import base64
import math
from importlib import resources

import jinja2
from markupsafe import Markup

from sepgan.report.blocks import Block, Page

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def render(page: Page) -> str:
    """The text of an HTML file that shows the page, from disk and without a network.

    A content security policy in the file has the browser refuse any request, so that not even a mistake here leaves it.

    Args:
        page: What to show.
    """
    assets = resources.files(__package__).joinpath("assets")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.globals |= {"kind_of": _kind_of, "number": number, "sort_value": _sort_value, "base64": _base64}
    template = environment.from_string(assets.joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        page=page,
        css=Markup(assets.joinpath("page.css").read_text(encoding="utf-8")),
        script=Markup(assets.joinpath("page.js").read_text(encoding="utf-8")),
    )


def number(value: float, digits: int) -> str:
    """A number as people read it: a real minus sign, and a dash where it is undefined.

    >>> number(-1.25, 1), number(math.nan, 2), number(-0.001, 2)
    ('−1.2', '–', '0.00')
    """
    if math.isnan(value):
        return DASH
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def _kind_of(block: Block) -> str:
    return type(block).__name__


def _sort_value(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
