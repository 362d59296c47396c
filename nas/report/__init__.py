"""One search as one HTML file: readable anywhere, without a server, a script or another file.

``content`` is what it says, ``account`` what a search says of itself beside its records, ``page`` and ``charts`` how it
looks. Reports read; nothing is trained, asked or stored here.
"""

from nas.report.account import Account, Voices, account_at_end, account_at_start, candidate, versions
from nas.report.content import Content
from nas.report.write import content_of, of_result, write

__all__ = [
    "Account",
    "Content",
    "Voices",
    "account_at_end",
    "account_at_start",
    "candidate",
    "content_of",
    "of_result",
    "versions",
    "write",
]
