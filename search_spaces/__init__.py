"""Search spaces ready to use, one file each."""

from search_spaces.cell import cell
from search_spaces.default import default_for
from search_spaces.image import image
from search_spaces.series import series
from search_spaces.tabular import tabular

__all__ = ["cell", "default_for", "image", "series", "tabular"]
