"""A report with tables of its own kind beside the rows that have goals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.report import Report


@dataclass
class Table:
    """Named columns of figures, one row a name."""

    title: str
    columns: Sequence[str]
    rows: dict[str, Sequence[float]] = field(default_factory=dict)

    def text(self) -> str:
        """Return the table as Markdown."""
        cells = [["", *self.columns], ["---", *("---:" for _ in self.columns)]]
        cells += [[name, *(f"{value:.4g}" for value in row)] for name, row in self.rows.items()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([f"## {self.title}", *(f"| {line} |" for line in lines), ""])


class Suite(Report):
    """A benchmark of several tables; `about` tells what was measured on."""

    def __init__(self, name: str, about: Mapping[str, object]) -> None:
        super().__init__(name)
        self.tables: list[Table] = []
        self._about = dict(about)

    def table(self) -> str:
        """Return all tables, the goals last."""
        return "\n".join([*(table.text() for table in self.tables), super().table()])

    def as_json(self) -> dict[str, object]:
        """Return the rows, what they were measured on, and the tables."""
        tables = [
            {
                "title": table.title,
                "rows": [
                    {"name": name, **dict(zip(table.columns, row, strict=True))}
                    for name, row in table.rows.items()
                ],
            }
            for table in self.tables
        ]
        return {**super().as_json(), "about": self._about, "tables": tables}
