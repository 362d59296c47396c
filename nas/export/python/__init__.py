"""A network as Python source that a person would write, with its weights beside it; it needs torch alone."""

from nas.export.python.file import export_python

__all__ = ["export_python"]
