"""The report of a run: one static page with its data beside it, opened from disk."""

from flows.report.build import write_report

__all__ = ["write_report"]
