"""Several results of ``benchmarks.transfer`` as one: what a controller is worth over tables, and where it does harm.

``python -m benchmarks.together A.json B.json ... [--out FILE.json]``

Of results with the past as it was: the area under the regret of the judged controller and its share of the best
other's on each table, their mean; the evaluations it needs for what others have at 100, geometric mean over tables of
at least 1,000 rows; and against each other, Wilcoxon's test over the families of all tables. Of results with a
corrupted, a short or another table's past: the share of the cold Gaussian process's area, clipped where the past was
corrupted. Of results with junk: the share of the same table's area without.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.standing import interval
from nas.errors import DataError

LARGE = 1000  # rows of a table whose evaluations are counted
COLD = "cold_gp"

Result = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="written by benchmarks.transfer")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    try:
        found = together([_read(path) for path in options.results])
    except DataError as error:
        raise SystemExit(f"together: {error}") from error
    print(printed(found))
    if options.out:
        write(options.out, found)


def together(results: Sequence[Result]) -> dict[str, Any]:
    """Returns every figure of the module's docstring, as JSON.

    Raises:
        DataError: Where two results with the past as it was are of one table: its families would count twice.
    """
    clean = [r for r in results if kind_of(r) == "as it was"]
    for table, number in Counter(r["table"] for r in clean).items():
        if number > 1:
            raise DataError(f"a table counts once, but {number} results with the past as it was are of {table}.")
    found: dict[str, Any] = {"tables": {r["table"]: _table(r) for r in clean}}
    shares = [t["share_of_best_other"] for t in found["tables"].values() if t["share_of_best_other"] is not None]
    found["mean_share_of_best_other"] = float(np.mean(shares)) if shares else None
    large = [r for r in clean if r["rows"] >= LARGE]
    found["evaluations_to"] = _evaluations(large) if large else {}
    found["against"] = _against(clean)
    found["other_pasts"] = [_harm(r, clean) for r in results if kind_of(r) != "as it was"]
    return found


def kind_of(result: Result) -> str:
    """Returns what was done to the past, in a word or two."""
    p = result["protocol"]
    words = [] if p["corrupt"] == "none" else [p["corrupt"]]
    words += [f"{p['history_tasks']} past tasks"] if p["history_tasks"] is not None else []
    words += [f"{p['junk']} junk"] if p["junk"] else []
    words += ["another table's"] if p["history_table"] != p["table"] else []
    return ", ".join(words) or "as it was"


def _table(result: Result) -> dict[str, Any]:
    judged = result["controllers"][result["judged"]]
    others = {name: c["auc50"] for name, c in result["controllers"].items() if name != result["judged"]}
    best = min(others, key=lambda name: others[name], default=None)
    return {
        "judged": result["judged"],
        "auc50": judged["auc50_interval"],
        "seeds": judged["n"]["seeds"],
        "best_other": best,
        "share_of_best_other": judged["auc50"] / max(others[best], 1e-12) if best else None,
    }


def _evaluations(results: Sequence[Result]) -> dict[str, float | None]:
    """Geometric means of the medians; None where more than half of a table's runs never got there."""
    found: dict[str, float | None] = {}
    for goal in ("TPE at 100", "best without history at 100"):
        reached = [r["controllers"][r["judged"]]["evaluations_to"].get(goal) for r in results]
        medians = [goal["median"] for goal in reached if goal is not None]
        known = [m for m in medians if m is not None]
        found[goal] = math.exp(np.mean(np.log(known))) if known and len(known) == len(medians) else None
    return found


def _against(results: Sequence[Result]) -> dict[str, Any]:
    """Per controller that every result has: the gain in auc50c over all families, and Wilcoxon's p."""
    from scipy.stats import wilcoxon

    names = set.intersection(*(set(r["pairs"]) for r in results)) if results else set()
    found = {}
    for name in sorted(names):
        gains = np.array([gain for r in results for gain in r["pairs"][name]["by_family"].values()])
        p = float(wilcoxon(gains).pvalue) if np.any(gains) and len(gains) > 1 else 1.0
        found[name] = {"gain_auc50c": interval(gains), "wilcoxon_p": p, "won": int((gains > 0).sum())}
    return found


def _harm(result: Result, clean: Sequence[Result]) -> dict[str, Any]:
    judged, kind = result["controllers"][result["judged"]], kind_of(result)
    clipped = "auc50c" if result["protocol"]["corrupt"] != "none" else "auc50"
    found = {"table": result["table"], "past": kind, "figure": clipped, "judged": judged[clipped]}
    if COLD in result["controllers"]:
        found["share_of_cold_gp"] = judged[clipped] / max(result["controllers"][COLD][clipped], 1e-12)
    same = [r for r in clean if r["table"] == result["table"]]
    if result["protocol"]["junk"] and same:
        found["share_of_without_junk"] = judged["auc50"] / max(same[0]["controllers"][result["judged"]]["auc50"], 1e-12)
    return found | {"seeds": judged["n"]["seeds"]}


def printed(found: Mapping[str, Any]) -> str:
    """Returns the figures as lines to be read."""
    lines = []
    for name, t in found["tables"].items():
        a = t["auc50"]
        between = "" if a["low"] is None else f" [{a['low']:.3f}, {a['high']:.3f}]"
        share = "" if t["best_other"] is None else f", {t['share_of_best_other']:.2f} of {t['best_other']}'s"
        lines.append(f"{name:20} auc50 of {t['judged']} {a['mean']:.3f}{between}, {t['seeds']} seeds{share}")
    if found["mean_share_of_best_other"] is not None:
        lines.append(f"mean share of the best other's auc50: {found['mean_share_of_best_other']:.2f}")
    for goal, number in found["evaluations_to"].items():
        lines.append(f"evaluations to {goal}: {'not reached' if number is None else f'{number:.1f}'} (geometric mean)")
    for name, pair in found["against"].items():
        g = pair["gain_auc50c"]
        lines.append(
            f"against {name:15} auc50c lower by {g['mean']:+.3f} [{g['low']:+.3f}, {g['high']:+.3f}], "
            f"{pair['won']} of {g['n']} families won, Wilcoxon p = {pair['wilcoxon_p']:.2g}"
        )
    for harm in found["other_pasts"]:
        shares = ""
        for key, whose in (("share_of_cold_gp", "the cold GP's"), ("share_of_without_junk", "without")):
            shares += f", {harm[key]:.2f} of {whose}" if key in harm else ""
        lines.append(
            f"{harm['table']:20} past: {harm['past']:16} {harm['figure']} {harm['judged']:.3f}"
            f"{shares}, {harm['seeds']} seeds"
        )
    return "\n".join(lines)


def _read(path: Path) -> Result:
    try:
        found = json.loads(path.read_text())
        if {"table", "rows", "protocol", "controllers", "pairs", "judged"} <= set(found):
            return found
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"a result of benchmarks.transfer is JSON, but {path} cannot be read: {error}.") from error
    raise DataError(f"a result is what benchmarks.transfer writes, but {path} is something else.")


if __name__ == "__main__":
    main()
