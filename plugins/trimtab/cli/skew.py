"""`trimtab skew`: what the prediction service saw, beside what the batches say and what the model was trained on."""

from trimtab.domain.verdict import in_words
from trimtab.stages.skew_audit import ColumnSkew, ServedDistribution, SkewExample, SkewReport

HEADINGS = ("version", "feature", "rows", "differ", "share", "furthest apart")


def skew_table(report: SkewReport) -> str:
    """A line for each feature of each version, those with the most differences first, and what was compared."""
    sizes = f"{report.compared:,} of {report.served:,} served rows are in a batch by now; {report.differing:,} differ."
    sizes = "\n".join([sizes, *(line for one in report.distributions for line in _distribution(one))])
    if not report.columns:
        return sizes
    lines = [HEADINGS, *map(_line, report.columns)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*rows, "", sizes])


def _line(column: ColumnSkew) -> tuple[str, ...]:
    share = f"{column.differing / column.rows:.2%}"
    worst = _example(column.examples[0]) if column.examples else "-"
    return column.version, column.feature, f"{column.rows:,}", f"{column.differing:,}", share, worst


def _example(example: SkewExample) -> str:
    return f"{example.served!r}, batch {example.batch!r} (request {example.request_id}, row {example.key})"


def _distribution(found: ServedDistribution) -> list[str]:
    days = f"{found.days} day{'' if found.days == 1 else 's'}"
    where = f"Version {found.version}, served on {days}, against the days that it was trained on"
    if not found.comparisons:
        return [f"{where}: these are too few to tell what is ordinary."]
    if not found.beyond:
        return [f"{where}: nothing beyond its limit in {found.comparisons} comparisons."]
    return [f"{where}:", *(f"  {in_words(one)}" for one in found.beyond)]
