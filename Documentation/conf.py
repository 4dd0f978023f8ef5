# SPDX-License-Identifier: GPL-2.0
"""Sphinx: `make doc` builds build/doc (HTML) and build/man with warnings as errors."""

project = "ferrox"
author = "The ferrox developers"
copyright = "the ferrox developers"
extensions = []
exclude_patterns = []
root_doc = "index"
highlight_language = "none"
html_theme = "alabaster"
html_theme_options = {
    "description": "A filesystem for persistent memory",
    "fixed_sidebar": True,
    "page_width": "1000px",
}
html_copy_source = False
html_show_sphinx = False
smartquotes = False
man_pages = [
    ("man/mkfs.ferrox.8", "mkfs.ferrox", "make a ferrox filesystem", [author], 8),
    ("man/fsck.ferrox.8", "fsck.ferrox", "check a ferrox filesystem", [author], 8),
    ("man/ferrox.8", "ferrox", "look into a ferrox filesystem", [author], 8),
]
