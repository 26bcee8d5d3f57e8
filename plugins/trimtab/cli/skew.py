"""`trimtab skew`: what the prediction service saw, beside what the batches say."""

from trimtab.stages.skew_audit import ColumnSkew, SkewExample, SkewReport

HEADINGS = ("version", "feature", "rows", "differ", "share", "furthest apart")


def skew_table(report: SkewReport) -> str:
    """A line for each feature of each version, those with the most differences first, and what was compared."""
    sizes = f"{report.compared:,} of {report.served:,} served rows are in a batch by now; {report.differing:,} differ."
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
