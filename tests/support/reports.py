"""What tests ask reports of verified products and datasets."""

from alos2tut.products.verify.report import Report

#: the line that says whether a product opens
OPENING = "reading: open_product"


def wrong(report: Report) -> set[str]:
    """Subject and name of all that differs or cannot be read."""
    return {f"{c.subject}: {c.name}" for c in report.checks if c.verdict in ("differs", "unreadable")}


def check_of(report: Report, name: str):
    """The one check of that name."""
    (found,) = [check for check in report.checks if check.name == name]
    return found
