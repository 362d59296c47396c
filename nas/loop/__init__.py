"""The loop: ask, train, record, tell; the one place where all rooms meet.

Here belong the calls a user makes (``entry``), one search over its life (``running``), what is checked before it begins
(``arguments``), how long it will take (``estimate``) and may (``limit``), which candidates are next (``proposals``),
where they are trained (``place``), what stops them early (``stopping``) and who is trained again (``finalists``).
``meta_training`` and ``meta_testing`` ask history what it teaches and what that is worth (``replay``, ``worth``).
Nothing is trained, proposed or stored here that another room could do.
"""

from nas.loop.entry import Suggestion, search, suggest
from nas.loop.limit import Limit
from nas.loop.meta_testing import meta_test
from nas.loop.meta_training import meta_train
from nas.loop.running import Search

__all__ = ["Limit", "Search", "Suggestion", "meta_test", "meta_train", "search", "suggest"]
