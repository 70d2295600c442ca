"""What people see: terminal tables, plots, one self-contained page."""

from policyrank.report.page import audit_html, html
from policyrank.report.plots import ratings
from policyrank.report.terminal import comparison_text, findings_text, markdown, text

__all__ = ["audit_html", "comparison_text", "findings_text", "html", "markdown", "ratings", "text"]
