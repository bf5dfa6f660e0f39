"""Settings of the site. ``sphinx-build -W --keep-going -b html docs build/docs`` makes it."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `benchmarks`, whose results the pages of figures show
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
# So that a page that shows no progress bar is the same wherever it is built.
os.environ.setdefault("MPLBACKEND", "agg")

import skmlp  # noqa: E402

project = "skmlp"
author = "The skmlp developers"
copyright = author
version = release = skmlp.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    # Of docs/_extensions:
    "docstrings",
    "front_picture",
    "internal_links",
    "mathml",
    "measured",
    "recorded_run",
    "reference",
    "tidy",
]
exclude_patterns = ["_extensions", "_templates", "gallery/**/*.ipynb", "gallery/**/*.py"]
templates_path = ["_templates"]
# Indented blocks are pictures and formulas; what is Python says so.
highlight_language = "none"
# Names between single backticks lead to their page where there is one.
default_role = "py:obj"
nitpicky = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

# The API reference: one page a name, in docs/generated/api.
autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # numpydoc's sections say more
autodoc_member_order = "alphabetical"
numpydoc_class_members_toctree = False
numpydoc_show_inherited_class_members = True

# Inventories of other projects lie on the network, which a build does without unless it is told.
if os.environ.get("SKMLP_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "joblib": ("https://joblib.readthedocs.io/en/stable", None),
    }

# Scripts named plot_* are executed, the others shown; see examples/GALLERY_HEADER.rst.
sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples")],
    "gallery_dirs": ["gallery"],
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skmlp",),
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": False,
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 1,
    "write_computation_times": False,  # a page that takes scripts from elsewhere
    "image_srcset": ["2x"],
    "remove_config_comments": True,
    "default_thumb_file": str(ROOT / "docs" / "_static" / "logo.svg"),
    "plot_gallery": "True",
}

# Formulas are MathML, for which pages need nothing of the network.
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "skmlp"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "skmlp"},
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "show_nav_level": 1,
    "navbar_persistent": ["search-button"],
    "article_footer_items": [],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {
    "index": [],
    "getting-started": [],
    "performance": [],
    "changelog": [],
    "contributing": [],
}

# Copied are commands, neither prompts nor what is printed.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Asked for by `-b linkcheck`, a command of its own: a build needs no network.
linkcheck_timeout = 20
linkcheck_retries = 2
