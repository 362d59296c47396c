"""Every form of a space that ``default_for`` chooses for some dataset, the widest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

from nas.errors import SearchError, nearest
from nas.space import SearchSpace
from search_spaces.cell import cell
from search_spaces.image import image
from search_spaces.series import STEPS, series
from search_spaces.tabular import EMBEDDED, tabular

NUMERIC = (True, 0, *(EMBEDDED // size + 1 for size in (32, 16, 8)))  # columns from which on fewer sizes fit


def forms(name: str) -> list[SearchSpace]:
    """Returns the forms of the space with that name.

    Raises:
        SearchError: If there is no such space.
    """
    if name not in _FORMS:
        raise SearchError(
            f"a space is one of {', '.join(_FORMS)}, but got {name!r};{nearest(name, _FORMS)} pass one of your own in "
            "Python, as `space=`."
        )
    return list({space.fingerprint: space for space in _FORMS[name]()}.values())


def _tabular() -> list[SearchSpace]:
    return [
        tabular(numeric=numeric, missing=missing, categorical=levels > 0, embed=levels > 1, classification=classes)
        for numeric, missing, levels, classes in product(NUMERIC, (True, False), (2, 1, 0), (True, False))
        if numeric or (levels and not missing)
    ]


def _image() -> list[SearchSpace]:
    sizes = ((2, False), (1, False), (3, True))
    return [image(stages=n, reduce_stem=stem, classification=c) for c in (True, False) for n, stem in sizes]


def _series() -> list[SearchSpace]:
    lengths = (STEPS, 1, 12, 48, *(STEPS * stride for stride in range(2, 17)))  # of one to three stages; of each stride
    return [series(steps=steps, classification=classes) for classes in (True, False) for steps in lengths]


_FORMS: Mapping[str, Callable[[], list[SearchSpace]]] = {
    "tabular": _tabular,
    "image": _image,
    "series": _series,
    "cell": lambda: [cell()],
}
NAMES = tuple(_FORMS)
