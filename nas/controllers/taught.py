"""What the learned policies learn from: lessons of the very space that is searched, one of each dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.controllers.lessons import ELSEWHERE, lessons

if TYPE_CHECKING:
    from nas.controllers.base import Problem
    from nas.controllers.lesson import Lesson


def taught(problem: Problem, used: bool = True) -> tuple[list[Lesson], dict[str, str]]:
    """Returns lessons of this space, one a name, and why other datasets teach nothing: all, where none is ``used``."""
    if not used:
        return [], {past.info.name: "history is not used" for past in problem.past}
    found, ignored = lessons(problem)
    here = {lesson.name: lesson for lesson in found if lesson.here}
    return list(here.values()), ignored | {lesson.name: ELSEWHERE for lesson in found if not lesson.here}
