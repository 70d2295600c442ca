"""What people see: terminal tables, plots, one self-contained page."""

from policyrank.report.page import html
from policyrank.report.plots import ratings
from policyrank.report.terminal import comparison_text, markdown, text

__all__ = ["comparison_text", "html", "markdown", "ratings", "text"]
