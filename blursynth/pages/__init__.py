"""Parts of self-contained HTML pages: nothing is loaded, names are escaped, equal input gives equal bytes."""

from blursynth.pages.charts import Series, curves, histogram
from blursynth.pages.comparing import compare_page
from blursynth.pages.markup import escape, facts, headline_numbers, table
from blursynth.pages.shell import page
from blursynth.pages.slider import Picture, slider

__all__ = [
    "Picture",
    "Series",
    "compare_page",
    "curves",
    "escape",
    "facts",
    "headline_numbers",
    "histogram",
    "page",
    "slider",
    "table",
]
