"""A fitted prior kept as files, so that what history teaches is worked out once: JSON beside safetensors, no code.

A prior is named by a digest of all it was fitted to and with: the past datasets with their records, the space, the
encoding, the code and the numerical libraries. So whoever finds it has what fitting again would give, bit for bit;
whatever cannot be read, or does not hold together, is fitted again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.controllers.files import content, put, require, worked_with
from nas.controllers.prior import LessonInfo, Prior, fit
from nas.controllers.resemblance import Resemblance, placed
from nas.encoding import STEPS, Steps
from nas.errors import HistoryError, NasError
from nas.metadataset.lazy import digest_of_past
from nas.surrogate import Hierarchy, Smoothness

if TYPE_CHECKING:
    from nas.controllers.base import Problem

FORMAT = 6
LARGEST = 1e9  # variance or weight
HIGHEST = 40.0  # normal score: none is higher, however many there are
KEPT = 48  # priors in one folder, the latest; each is about a megabyte

_RESEMBLANCE = ("near", "gain", "error")
_WORDS = ("format", "space", "columns", "lessons", "ignored", "variances", "alike", "masses", "resemblance", "arrays")
_LESSON = {
    "name": str,
    "fingerprint": str,
    "group": str,
    "metafeatures": dict,
    "created": str,
    "trainings": int,
    "winners": list,
    "here": bool,
}


def prior_of(problem: Problem) -> Prior:
    """Returns what the past of ``problem`` teaches: as kept in its folder of priors, else fitted, and kept there.

    A space that ``within`` limits draws other candidates than one that is not, so what is fitted to it is not kept.
    """
    if problem.priors is None or not problem.past or problem.space.limited:
        return _rebuilt(fit(problem))
    path = path_of(problem)
    assert path is not None
    with suppress(HistoryError):
        return read(path)
    prior = _rebuilt(fit(problem))
    with suppress(OSError):  # a folder that cannot be written costs the next search some seconds
        write(prior, path)
        _thin(path.parent)
    return prior


def path_of(problem: Problem) -> Path | None:
    """Returns where the prior of a problem is kept, whether it is there or not; None where none is kept."""
    return None if problem.priors is None else problem.priors / f"{key_of(problem)}.json"


def key_of(problem: Problem) -> str:
    """Returns a digest of all that decides the prior of a problem; its dataset and its seed do not."""
    words: list[object] = [FORMAT, STEPS, *worked_with(), problem.space.name, problem.space.fingerprint]
    words += [(past.info.fingerprint, digest_of_past(past)) for past in problem.past]
    return hashlib.sha256(repr(words).encode()).hexdigest()[:32]


def write(prior: Prior, path: Path) -> None:
    """Writes ``path`` (JSON) and, beside it, the arrays as ``.safetensors``; each appears whole or not at all."""
    from safetensors.numpy import save

    words, arrays = _parts(prior)
    numbers = save(arrays)
    words["arrays"] = hashlib.sha256(numbers).hexdigest()
    words["digest"] = digest_of_words(words)
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path.with_suffix(".safetensors"), numbers)
    put(path, (json.dumps(words, allow_nan=False) + "\n").encode())


def read(path: Path) -> Prior:
    """Returns the prior that ``write`` wrote.

    Raises:
        HistoryError: If the files are missing, of another format, not as they were written, or make no prior.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        text, numbers = (content(each) for each in (path, path.with_suffix(".safetensors")))
        words = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise HistoryError(f"a prior is a .json with a .safetensors beside it, but {path} is not: {error}") from error
    if not isinstance(words, dict) or words.get("format") != FORMAT:
        raise HistoryError(f"a prior must be of format {FORMAT}, but {path} is not; fit it again.")
    if words.pop("digest", None) != digest_of_words(words):
        raise HistoryError(f"a prior must be as it was written, but {path} was changed; fit it again.")
    if words.get("arrays") != hashlib.sha256(numbers).hexdigest():
        raise HistoryError(f"the two files of a prior belong together, but {path} has other arrays; fit it again.")
    try:
        return _prior(words, load(numbers))
    except (KeyError, TypeError, ValueError, OverflowError, SafetensorError, NasError) as error:
        raise HistoryError(f"{path} makes no prior ({error}); fit it again.") from error


def digest_of_words(words: Mapping[str, Any]) -> str:
    """Returns what ``words``, all of a prior's but this, must have as their ``digest``."""
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


# ---- a prior as words and arrays -------------------------------------------------------------------------------------


def _parts(prior: Prior) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    h, r = prior.hierarchy, prior.resemblance
    arrays = {"theta": prior.smoothness.theta}
    if h is not None:
        arrays |= {"C": h.C.astype(np.uint8), "z": h.z, "owner": h.owner, "group": h.group, "alpha": h.alpha}
        arrays["directions"] = prior.directions
        arrays["weights"] = h.smoothness.weights
    if r is not None:
        arrays["metafeatures"] = r.known
    words = {
        "format": FORMAT,
        "space": prior.space,
        "columns": prior.columns.to_dict(),
        "lessons": [{**vars(lesson), "winners": list(lesson.winners)} for lesson in prior.lessons],
        "ignored": dict(prior.ignored),
        "variances": [prior.smoothness.common, prior.smoothness.own, prior.smoothness.noise],
        "alike": prior.smoothness.alike,
        "masses": dict(prior.masses),
        "resemblance": r
        and {"names": list(r.names), "used": r.used} | {name: getattr(r, name) for name in _RESEMBLANCE},
    }
    return words, {name: np.array(a, order="C") for name, a in arrays.items()}


def _rebuilt(prior: Prior) -> Prior:
    """The same prior with its arrays as a file would give them: how they lie in memory decides last bits."""
    words, arrays = _parts(prior)
    return _prior(json.loads(json.dumps(words)) | {"arrays": ""}, arrays)


def _prior(words: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Prior:
    """The prior of words and arrays; ValueError, TypeError or KeyError where they make none."""
    require(set(words) == set(_WORDS), "its parts are others")
    arrays = {name: np.array(array, order="C") for name, array in given.items()}  # a file's own need not be aligned
    columns = Steps.from_dict(words["columns"])
    d, lessons = len(columns.paths), tuple(map(_lesson, words["lessons"]))
    T = len(lessons)
    common, own, noise = (_positive(v) for v in words["variances"])
    theta = _floats(arrays, "theta", d)
    require(bool((theta >= 0).all() and (theta < LARGEST).all()), "a weight is none")
    smoothness = Smoothness(theta, common, own, noise)
    hierarchy, directions, p = None, np.zeros((0, 0)), 0
    if "C" in arrays:
        N = len(_floats(arrays, "z", None))
        C, owner, group = arrays["C"], arrays["owner"], arrays["group"]
        require(C.shape == (N, d) and C.dtype == np.uint8 and (C <= 1).all(), "its columns are not 0 or 1")
        require(owner.shape == (N,) and owner.dtype.kind == "i" and (np.diff(owner) >= 0).all(), "owners not in order")
        require(np.array_equal(np.unique(owner), np.arange(T)), "its records are not those of its lessons")
        require(group.shape == (T,) and group.dtype.kind == "i", "its lessons have no groups")
        directions = _floats(arrays, "directions", None, T)
        z, alpha, weights = _floats(arrays, "z", N), _floats(arrays, "alpha", N), _floats(arrays, "weights", None)
        p = len(weights)
        require(bool((np.abs(z) < HIGHEST).all() and (np.abs(directions) <= 1 + 1e-9).all()), "a score is none")
        require(bool((weights >= 0).all() and (weights < LARGEST).all()), "a weight is none")
        alike = _positive(words["alike"]) if p else 0.0
        smoothness = replace(smoothness, alike=alike, weights=weights)
        features = placed(arrays["metafeatures"]) if p else np.zeros((T, 0))
        require(features.shape == (T, p), "its lessons are described by other meta-features")
        hierarchy = Hierarchy(C.astype(float), z, owner, group, features, smoothness, alpha)
        require(hierarchy.sound, "it says other than its records")
    require(words["resemblance"] is not None or p == 0, "its lessons are described, and nobody knows how")
    require((hierarchy is None) == (T == 0), "it has lessons without records, or records without lessons")
    return Prior(
        space=_text(words["space"]),
        columns=columns,
        lessons=lessons,
        ignored={_text(name): _text(reason) for name, reason in words["ignored"].items()},
        smoothness=smoothness,
        hierarchy=hierarchy,
        masses={_text(name): _share(mass) for name, mass in words["masses"].items()},
        resemblance=None if words["resemblance"] is None else _resemblance(words["resemblance"], arrays, T, p),
        directions=directions,
    )


def _resemblance(words: Mapping[str, Any], arrays: Mapping[str, np.ndarray], T: int, described: int) -> Resemblance:
    names, used = tuple(map(_text, words["names"])), words["used"]
    known = arrays["metafeatures"]
    require(known.shape == (T, len(names)) and known.dtype == np.float64, "meta-features are not those of its lessons")
    require(not np.isinf(known).any(), "a meta-feature is infinite")
    require(type(used) is bool and described == used * len(names), "its lessons are described by other meta-features")
    numbers = {name: float(words[name]) for name in _RESEMBLANCE}
    require(all(map(math.isfinite, numbers.values())) and numbers["error"] >= 0, "its likeness is no number")
    return Resemblance(names=names, known=known, used=used, **numbers)


def _lesson(words: Mapping[str, Any]) -> LessonInfo:
    require(set(words) == set(_LESSON), "a lesson has other parts")
    require(all(type(words[name]) is kind for name, kind in _LESSON.items()), "a part of a lesson is of another kind")
    metafeatures = {_text(name): float(value) for name, value in words["metafeatures"].items()}
    winners = tuple(dict(choices) for choices in words["winners"])
    values = [value for choices in winners for value in choices.values()]
    require(bool(winners) and all(isinstance(v, str | int | float | None) for v in values), "a lesson has no winner")
    return LessonInfo(**{**words, "metafeatures": metafeatures, "winners": winners})


def _floats(arrays: Mapping[str, np.ndarray], name: str, *shape: int | None) -> np.ndarray:
    """The named array of finite float64; None in its shape is any length."""
    found = arrays[name]
    fits = found.ndim == len(shape) and all(want in (None, n) for want, n in zip(shape, found.shape, strict=True))
    require(fits and found.dtype == np.float64, f"{name} has the shape {found.shape}")
    require(bool(np.isfinite(found).all()), f"{name} is not finite")
    return found


def _text(value: object) -> str:
    require(isinstance(value, str), "a name is none")
    return str(value)


def _positive(value: Any) -> float:
    require(isinstance(value, float) and 0 < value < LARGEST, "a variance is none")
    return float(value)


def _share(value: Any) -> float:
    require(isinstance(value, int | float) and 0 <= value <= 1, "a mass is none")
    return float(value)


def _thin(folder: Path) -> None:
    """Removes all but the latest ``KEPT``."""
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        path.unlink(missing_ok=True)
        path.with_suffix(".safetensors").unlink(missing_ok=True)
