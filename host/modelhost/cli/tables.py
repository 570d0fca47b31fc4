"""Tables for people, and the same as JSON for programs."""

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print all that is known of them, as JSON.")

WIDE = 100_000
"""Columns of what is no terminal: programs want a line for each row, however long."""


def show_table(columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table; nothing in it is taken for markup. A terminal's width folds it, and nothing else does."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else WIDE).print(table)


def show_json(value: Any) -> None:
    """Print what a host tells, for programs."""
    click.echo(json.dumps(value, indent=2))
