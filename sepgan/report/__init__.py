"""Pages to read and listen to: tables, plots, spectrograms and sample-locked players in one HTML file.

`blocks` holds what a page is made of, `sound`, `spectrograms` and `plots` make its parts, and `page.render` joins them.
All need the `eval` extra. Nothing here knows about metrics or training.
"""
