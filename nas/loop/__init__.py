"""The loop: ask, train, record, tell; the one place where all rooms meet.

Here belong the calls a user makes (``entry``), one search over its life (``running``) and what is checked before it
begins (``arguments``). Nothing is trained, proposed or stored here that another room could do.
"""

from nas.loop.entry import Suggestion, search, suggest
from nas.loop.running import Search

__all__ = ["Search", "Suggestion", "search", "suggest"]
