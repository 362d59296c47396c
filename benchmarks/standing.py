"""From runs to figures: regret by evaluation, how soon the best is found, who beats whom, and a picture of it.

Only arrays and tables here; who ran, and how, is ``benchmarks.transfer``. The unit of every comparison is a family,
whose tasks and seeds are averaged first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Table

MARKS = (1, 3, 5, 10, 20, 50, 100)
AREA = 50  # evaluations whose mean regret is the area under the curve
RESAMPLES = 10_000


@dataclass(frozen=True)
class Run:
    """The rows a controller evaluated, in order, and the milliseconds each took it."""

    rows: list[int]
    ms: list[float]


Runs = Mapping[str, Mapping[tuple[int, int], Run]]


def summary(table: Table, targets: Sequence[int], runs: Runs, history_free: Collection[str] = ()) -> dict[str, Any]:
    """Returns every figure as JSON: ``controllers`` one by one, ``pairs`` against the first of meta and the others.

    A pair is compared on the seeds that both have run.

    Args:
        table: What was searched.
        targets: The tasks that were.
        runs: Of every controller.
        history_free: Names of those that learn nothing from history; the best of them sets a goal for all.
    """
    curves = {name: curves_of(table, targets, found, table.val) for name, found in runs.items()}  # [tasks, seeds, n]
    families = [table.infos[t].family for t in targets]
    goals = _goals(targets, curves, history_free)
    result: dict[str, Any] = {"controllers": {}}
    for name, found in runs.items():
        result["controllers"][name] = _figures(table, targets, found, curves[name], goals)
    judged = "meta" if "meta" in runs else next(iter(runs))
    result["judged"], result["families"] = judged, len(set(families))
    result["pairs"] = {n: _pair(curves[judged], curves[n], families) for n in runs if n != judged}
    result["ranks"] = _ranks({name: _by_family(_area(np.minimum(c, 1.0)), families) for name, c in curves.items()})
    return result


def _goals(
    targets: Sequence[int], curves: Mapping[str, np.ndarray], history_free: Collection[str]
) -> dict[str, dict[int, float]]:
    """Returns the regret to be reached on each task, by the name of the goal: what others have at 100, on average."""
    last = {name: c[..., -1].mean(axis=1) for name, c in curves.items()}  # [tasks]
    found = {"TPE at 100": last["tpe"]} if "tpe" in last else {}
    free = [name for name in last if name in history_free]
    if free:
        found["best without history at 100"] = last[min(free, key=lambda name: last[name].mean())]
    return {goal: dict(zip(targets, map(float, regret), strict=True)) for goal, regret in found.items()}


def _area(curves: np.ndarray) -> np.ndarray:
    """[tasks] mean regret over evaluations 1 to 50, and over seeds."""
    return curves[..., :AREA].mean(axis=(1, 2))


def curves_of(
    table: Table, targets: Sequence[int], found: Mapping[tuple[int, int], Run], scores: np.ndarray
) -> np.ndarray:
    """Returns the regret by ``scores`` of the incumbent by validation, [tasks, seeds, evaluations].

    Runs that ended because a task has fewer rows stay at their last value.
    """
    longest = max(len(run.rows) for run in found.values())
    seeds = sorted({seed for _, seed in found})
    curves = np.empty((len(targets), len(seeds), longest))
    for i, target in enumerate(targets):
        known = scores[table.measured(target), target]
        best, median = np.nanmax(known), np.nanmedian(known)
        for j, seed in enumerate(seeds):
            rows = np.array(found[target, seed].rows)
            values = table.val[rows, target]
            incumbent = rows[[int(np.argmax(values[: k + 1])) for k in range(len(rows))]]
            regret = (best - scores[incumbent, target]) / max(best - median, 1e-12)
            curves[i, j] = np.concatenate([regret, np.full(longest - len(regret), regret[-1])])
    return curves


def _figures(
    table: Table,
    targets: Sequence[int],
    found: Mapping[tuple[int, int], Run],
    curves: np.ndarray,
    goals: Mapping[str, Mapping[int, float]],
) -> dict[str, Any]:
    marks = [m for m in MARKS if m <= curves.shape[-1]]
    ranks = _rank_percentiles(table, targets, found, curves.shape[:2], marks)
    area = curves[..., :AREA].mean(axis=2)  # [tasks, seeds]
    first = [run.ms[0] for run in found.values()]
    ms = np.concatenate([run.ms for run in found.values()])
    figures: dict[str, Any] = {
        "regret": {str(m): float(curves[..., m - 1].mean()) for m in marks},
        "auc50": float(area.mean()),
        "auc50_interval": over_seeds(area.mean(axis=0)),
        "auc50c": float(np.minimum(curves, 1.0)[..., :AREA].mean()),
        "spread": float(area.mean(axis=0).std(ddof=1)) if area.shape[1] > 1 else None,
        "n": {"tasks": area.shape[0], "seeds": area.shape[1]},
        "rank_percentile": {str(m): float(ranks[m].mean()) for m in (10, 50) if m in ranks},
        "evaluations_to": _evaluations_to(table, targets, found, curves, goals),
        "per_task": {
            table.infos[t].name: {
                "family": table.infos[t].family,
                "auc50": float(area[i].mean()),
                "auc50c": float(np.minimum(curves[i], 1.0)[:, :AREA].mean()),
                "last": float(curves[i, :, -1].mean()),
            }
            for i, t in enumerate(targets)
        },
        "ask_ms": {
            "median": float(np.median(ms)), "p99": float(np.percentile(ms, 99)), "first": float(np.median(first))
        },
    }  # fmt: skip
    if table.test is not None:
        test = curves_of(table, targets, found, table.test)
        figures["test_regret"] = {str(m): float(np.nanmean(test[..., m - 1])) for m in marks}
    return figures


def _rank_percentiles(
    table: Table,
    targets: Sequence[int],
    found: Mapping[tuple[int, int], Run],
    shape: tuple[int, ...],
    marks: Sequence[int],
) -> dict[int, np.ndarray]:
    """Returns the share of the table that is better than the incumbent, in percent, [tasks, seeds] at each mark."""
    ranks = {m: np.empty(shape) for m in marks}
    for (target, seed), run in found.items():
        known = np.sort(table.val[table.measured(target), target])
        for m in marks:
            incumbent = table.val[run.rows[:m], target].max()
            better = len(known) - np.searchsorted(known, incumbent, side="right")
            ranks[m][targets.index(target), seed] = 100.0 * better / len(known)
    return ranks


def _evaluations_to(
    table: Table,
    targets: Sequence[int],
    found: Mapping[tuple[int, int], Run],
    curves: np.ndarray,
    goals: Mapping[str, Mapping[int, float]],
) -> dict[str, Any]:
    """Returns the median evaluation by which each goal was reached (None: by fewer than half), and who never did."""
    taken: dict[str, list[float]] = {goal: [] for goal in ("optimum", "top 0.1 %", "top 1 %", *goals)}
    for (target, seed), run in found.items():
        known = -np.sort(-table.val[table.measured(target), target])
        values = table.val[run.rows, target]
        for name, share in (("optimum", 0.0), ("top 0.1 %", 0.001), ("top 1 %", 0.01)):
            taken[name].append(_first(values >= known[max(math.ceil(share * len(known)), 1) - 1]))
        for goal, regret in goals.items():
            taken[goal].append(_first(curves[targets.index(target), seed] <= regret[target]))
    return {
        name: {
            "median": float(np.median(all_)) if np.isfinite(np.median(all_)) else None,
            "censored": float(np.mean(np.isinf(all_))),
        }
        for name, all_ in taken.items()
    }


def _first(reached: np.ndarray) -> float:
    return float(np.argmax(reached)) + 1.0 if reached.any() else math.inf


# ---- who beats whom --------------------------------------------------------------------------------------------------


def _by_family(values: np.ndarray, families: Sequence[str]) -> np.ndarray:
    names = sorted(set(families))
    return np.array([values[[i for i, f in enumerate(families) if f == name]].mean() for name in names])


def _pair(first: np.ndarray, other: np.ndarray, families: Sequence[str]) -> dict[str, Any]:
    """Returns how much lower the first's mean regret is, with 95 % intervals, and Wilcoxon's p over families.

    Intervals are over families, whoever they are; ``over_seeds`` is for these tasks, whatever is drawn.
    """
    from scipy.stats import wilcoxon

    seeds = min(first.shape[1], other.shape[1])
    first, other = first[:, :seeds], other[:, :seeds]
    raw = _by_family(_area(other) - _area(first), families)
    gain = _by_family(_area(np.minimum(other, 1.0)) - _area(np.minimum(first, 1.0)), families)
    p = float(wilcoxon(gain).pvalue) if np.any(gain) and len(gain) > 1 else 1.0
    by_seed = (other[..., :AREA].mean(axis=2) - first[..., :AREA].mean(axis=2)).mean(axis=0)
    wins = {"wins": int((gain > 0).sum()), "ties": int((gain == 0).sum()), "losses": int((gain < 0).sum())}
    by_family = dict(zip(sorted(set(families)), map(float, gain), strict=True))
    paired = {
        "by_family": by_family,
        "gain_auc50": interval(raw),
        "gain_auc50c": interval(gain),
        "over_seeds": over_seeds(by_seed),
    }
    return paired | {"seeds": seeds, "wilcoxon_p": p, **wins}


def over_seeds(values: np.ndarray) -> dict[str, float | None]:
    """Returns the mean of ``values`` [seeds] and Student's 95 % interval of it; of one seed there is none."""
    from scipy.stats import t

    n = len(values)
    reach = float(t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    mean = float(values.mean())
    return {
        "mean": mean,
        "low": None if reach is None else mean - reach,
        "high": None if reach is None else mean + reach,
    }


def interval(values: np.ndarray) -> dict[str, float]:
    """Returns the mean and its 95 % bootstrap interval over the entries of ``values`` [n]."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high), "n": len(values)}


def _ranks(area: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the mean rank of each over families and Nemenyi's critical difference (Demsar 2006, section 3.2.2)."""
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    names, values = list(area), np.array(list(area.values()))  # [k, N]
    k, n = values.shape
    mean = rankdata(values, axis=0).mean(axis=1)
    friedman = float(friedmanchisquare(*values).pvalue) if k > 2 and n > 1 else None
    difference = float(studentized_range.ppf(0.95, max(k, 2), 1e6)) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))
    ranks = {name: float(rank) for name, rank in sorted(zip(names, mean, strict=True), key=lambda pair: pair[1])}
    return {"mean": ranks, "critical_difference": difference, "friedman_p": friedman}


# ---- for the eye -----------------------------------------------------------------------------------------------------


def printed(result: Mapping[str, Any]) -> str:
    """Returns the table a reader wants: one line a controller, best first; then gains of the judged one."""
    controllers = result["controllers"]
    marks = list(next(iter(controllers.values()))["regret"])
    head = "".join(f"{'@' + m:>7}" for m in marks)
    lines = [f"{'regret':14}{head}  auc50 auc50c spread  rank%@50  top1%   ms p50    p99   first"]
    for name, c in sorted(controllers.items(), key=lambda item: item[1]["auc50c"]):
        row = "".join(f"{c['regret'][m]:7.3f}" for m in marks)
        spread = "     -" if c["spread"] is None else f"{c['spread']:6.3f}"
        rank = c["rank_percentile"].get("50", math.nan)
        top = c["evaluations_to"]["top 1 %"]["median"]
        ms = c["ask_ms"]
        lines.append(
            f"{name:14}{row} {c['auc50']:6.3f} {c['auc50c']:6.3f} {spread} {rank:9.2f} {top or math.inf:6.0f} "
            f"{ms['median']:8.1f} {ms['p99']:6.0f} {ms['first']:7.0f}"
        )
    n = next(iter(controllers.values()))["n"]
    seeds = [c["n"]["seeds"] for c in controllers.values()]
    many = f"{max(seeds)} seeds" if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)} seeds"
    lines.append(f"{n['tasks']} tasks of {result['families']} families, {many}; spread is over seeds")
    for name, pair in result["pairs"].items():
        gain = pair["gain_auc50c"]
        lines.append(
            f"{result['judged']} against {name:14} auc50c lower by {gain['mean']:+.3f} "
            f"[{gain['low']:+.3f}, {gain['high']:+.3f}]  "
            f"families won {pair['wins']}, lost {pair['losses']}  Wilcoxon p = {pair['wilcoxon_p']:.2g}"
        )
    return "\n".join(lines)


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draws the mean ranks on a line; a bar joins those that Nemenyi's test does not tell apart."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ranks, difference = result["ranks"]["mean"], result["ranks"]["critical_difference"]
    names, values = list(ranks), list(ranks.values())
    groups = _cliques(values, difference)
    plt.rcParams.update({"svg.hashsalt": "nas", "font.size": 10})
    below = 0.4 * len(groups) + 0.4  # where the names begin, beneath the bars
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.3 * len(names)), layout="constrained")
    for level, (name, value) in enumerate(zip(names, values, strict=True)):
        y, weight = -below - level, "bold" if name == result["judged"] else "normal"
        axes.plot([value, value, len(names) + 0.6], [0.0, y, y], color="#444", lw=0.8)
        axes.text(len(names) + 0.7, y, f"{name}  {value:.2f}", va="center", weight=weight)
    for level, (low, high) in enumerate(groups):
        y = -0.4 - 0.4 * level
        axes.plot([values[low] - 0.04, values[high] + 0.04], [y, y], color="#c8553d", lw=3)
    axes.set(xlim=(0.8, len(names) + 3), ylim=(-below - len(names), 0), yticks=[], xticks=range(1, len(names) + 1))
    axes.xaxis.tick_top()
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    what = f"mean rank by auc50c over {result['families']} families; critical difference {difference:.2f}"
    axes.set_title(f"{what} (Nemenyi, 95 %)", loc="left")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    print(f"drew {path}")


def _cliques(values: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """Returns the longest runs (first, last) of ascending values that lie within ``difference``."""
    ends = [max(j for j in range(i, len(values)) if values[j] - values[i] <= difference) for i in range(len(values))]
    return [(i, e) for i, e in enumerate(ends) if e > i and (i == 0 or ends[i - 1] < e)]
