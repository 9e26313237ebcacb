"""Daily bars: real ones that come with the demo, or the user's own CSV or Parquet file, read exactly.

A file with anything malformed in it is refused as a whole, and every malformed row is named: row, column, value, rule.
Nothing here imports pandas.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_cli.errors import USAGE, CommandFailed
from kestrel_cli.platform.config import PRICE_SCALE, VENUE
from kestrel_cli.platform.venues import CURRENCY
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_symbol
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, SECOND_NS

PRICES = ("open", "high", "low", "close")
COLUMNS = ("date", "symbol", *PRICES, "volume")
FILE_BYTES_MAX = 256 * 1024 * 1024
ROWS_MAX = 2_000_000
_TICK_UNITS = 100
_ALIASES = {"ticker": "symbol"}
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
_WHOLE = re.compile(r"\d{1,18}\Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class DailyBar:
    """One trading day of one symbol, exact."""

    day: date
    symbol: str
    open: Number
    high: Number
    low: Number
    close: Number
    volume: int

    def message(self) -> venue_pb2.Bar:
        """As the venue publishes it. A bar begins at midnight UTC of its day."""
        return venue_pb2.Bar(
            venue=VENUE,
            instrument=instrument(self.symbol),
            open=self.open.message(),
            high=self.high.message(),
            low=self.low.message(),
            close=self.close.message(),
            volume=common_pb2.Decimal(units=self.volume),
            start_ns=self.start_ns,
            interval_ns=DAY_NS,
        )

    @property
    def start_ns(self) -> int:
        return int(datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC).timestamp()) * SECOND_NS


@dataclass(frozen=True, slots=True)
class BadRow:
    """What is wrong with one row. Rows are counted as an editor counts lines: the header is row 1."""

    row: int
    column: str
    value: str
    rule: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column}, value {self.value!r}: {self.rule}"


class BadFile(CommandFailed):
    """A price file that is refused, with every malformed row."""

    def __init__(self, path: Path, rows: list[BadRow], row_count: int) -> None:
        self.rows = rows
        shown = [f"  {bad}" for bad in rows]
        count = len({bad.row for bad in rows})
        super().__init__(
            "\n".join([f"{path}: {count} of {row_count} rows are malformed; nothing was started", *shown]),
            next_step="correct or remove those rows, and run it again",
            code=USAGE,
        )


def instrument(symbol: str) -> common_pb2.Instrument:
    """A share of stock as the paper venue trades it: cents, whole shares."""
    return common_pb2.Instrument(
        symbol=symbol,
        version=1,
        currency=CURRENCY,
        price_scale=PRICE_SCALE,
        qty_scale=0,
        tick_units=_TICK_UNITS,
        lot_units=1,
        multiplier=1,
    )


def bundled_bars() -> list[DailyBar]:
    """AAPL, FB, GOOG, IBM and MSFT, 2000 to 2013, from the sample data's package."""
    spec = importlib.util.find_spec("bokeh_sampledata")
    if spec is None or not spec.submodule_search_locations:
        raise CommandFailed("the sample prices are not installed", next_step="run `make setup`, or give --data FILE")
    path = Path(spec.submodule_search_locations[0]) / "_data" / "stocks.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return _checked(path, _csv_rows(path, file))


def read_bars(path: Path) -> list[DailyBar]:
    """The bars of a CSV or Parquet file, in order of day and symbol. Raises BadFile, or CommandFailed."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}", next_step="check --data", code=USAGE) from error
    if path.is_dir() or size > FILE_BYTES_MAX:
        problem = "is a folder" if path.is_dir() else f"has {size} bytes; at most {FILE_BYTES_MAX} are read"
        raise CommandFailed(f"{path} {problem}", next_step="give a CSV or Parquet file of daily bars", code=USAGE)
    if path.suffix.lower() in (".parquet", ".pq"):
        return _checked(path, _parquet_rows(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandFailed(
            f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}",
            next_step="save it as UTF-8 CSV, or name a Parquet file .parquet",
            code=USAGE,
        ) from error
    return _checked(path, _csv_rows(path, io.StringIO(text, newline="")))


def last_days(bars: Iterable[DailyBar], day_count: int) -> list[DailyBar]:
    """The bars of the last so many days on which anything traded, in order."""
    ordered = sorted(bars)
    days = sorted({bar.day for bar in ordered})
    if not days:
        return []
    first = days[-min(day_count, len(days))]
    return [bar for bar in ordered if bar.day >= first]


def parse_row(number: int, values: Mapping[str, Any]) -> DailyBar | list[BadRow]:
    """One row as a bar, or everything that is wrong with it."""
    bad: list[BadRow] = []
    day = _day(number, values["date"], bad)
    symbol = _symbol(number, values["symbol"], bad)
    prices = {column: _price(number, column, values[column], bad) for column in PRICES}
    volume = _volume(number, values["volume"], bad)
    if not bad:
        _check_range(number, {name: price for name, price in prices.items() if price is not None}, bad)
    if bad:
        return bad
    assert day is not None
    assert symbol is not None
    assert volume is not None
    open_, high, low, close = (price for price in prices.values() if price is not None)
    return DailyBar(day, symbol, open_, high, low, close, volume)


def _checked(path: Path, rows: Iterator[tuple[int, Mapping[str, Any] | BadRow]]) -> list[DailyBar]:
    bars: list[DailyBar] = []
    bad: list[BadRow] = []
    first_rows: dict[tuple[date, str], int] = {}
    row_count = 0
    for number, values in rows:
        row_count += 1
        if row_count > ROWS_MAX:
            raise CommandFailed(f"{path} has more than {ROWS_MAX} rows", next_step="give a part of it", code=USAGE)
        found = [values] if isinstance(values, BadRow) else parse_row(number, values)
        if isinstance(found, list):
            bad += found
            continue
        first = first_rows.setdefault((found.day, found.symbol), number)
        if first != number:
            bad.append(
                BadRow(number, "date, symbol", f"{found.day} {found.symbol}", f"once only; first in row {first}")
            )
        bars.append(found)
    if bad:
        raise BadFile(path, bad, row_count)
    if not bars:
        raise CommandFailed(f"{path} has no rows", next_step="give a file with daily bars", code=USAGE)
    return sorted(bars)


def _csv_rows(path: Path, file: Any) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    reader = csv.reader(file, strict=True)
    try:
        header = _header(path, next(reader, []))
        for values in reader:
            if not values:
                continue
            number = reader.line_num
            if len(values) != len(header):
                rule = f"{len(header)} columns, as in the header"
                yield number, BadRow(number, "(all)", f"{len(values)} columns", rule)
            else:
                yield number, dict(zip(header, values, strict=True))
    except csv.Error as error:
        yield reader.line_num, BadRow(reader.line_num, "(all)", str(error), "well-formed CSV")


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise CommandFailed(
            f"{path} is no Parquet file: {str(error)[:160]}", next_step="check the file", code=USAGE
        ) from error
    header = _header(path, table.column_names)
    table = table.rename_columns(header).select(list(COLUMNS))
    number = 1
    for batch in table.to_batches(max_chunksize=4096):
        for values in batch.to_pylist():
            number += 1
            yield number, values


def _header(path: Path, names: list[str]) -> list[str]:
    """Column names in lower case; the needed ones must all be there, once. Others are allowed and not read."""
    header = [_ALIASES.get(name.strip().lower(), name.strip().lower()) for name in names]
    missing = [name for name in COLUMNS if name not in header]
    doubled = [name for name in COLUMNS if header.count(name) > 1]
    if missing or doubled:
        problem = f"has no column {', '.join(missing)}" if missing else f"has column {', '.join(doubled)} twice"
        raise CommandFailed(
            f"{path} row 1 {problem}; it has: {', '.join(names) or 'nothing'}",
            next_step="its header must name " + ",".join(COLUMNS),
            code=USAGE,
        )
    return header


def _day(row: int, value: Any, bad: list[BadRow]) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    text = str(value or "").strip()
    try:
        if _ISO_DATE.match(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    bad.append(BadRow(row, "date", text, "a day of the calendar as YYYY-MM-DD"))
    return None


def _symbol(row: int, value: Any, bad: list[BadRow]) -> str | None:
    text = str(value or "").strip()
    try:
        return checked_symbol("symbol", text)
    except InvalidRequest as error:
        bad.append(BadRow(row, "symbol", text, error.rule))
        return None


def _price(row: int, column: str, value: Any, bad: list[BadRow]) -> Number | None:
    text = "" if value is None else str(value).strip()
    try:
        price = Number.parse(text, scale=PRICE_SCALE, field=column)
    except InvalidRequest as error:
        bad.append(BadRow(row, column, text, error.rule))
        return None
    if price.units <= 0:
        bad.append(BadRow(row, column, text, "more than zero"))
        return None
    return price


def _volume(row: int, value: Any, bad: list[BadRow]) -> int | None:
    text = "" if value is None else str(value).strip()
    if isinstance(value, float) and value.is_integer():
        text = str(int(value))
    if not _WHOLE.match(text):
        bad.append(BadRow(row, "volume", text, "a whole number, zero or more"))
        return None
    return int(text)


def _check_range(row: int, prices: dict[str, Number], bad: list[BadRow]) -> None:
    if prices["high"] < max(prices.values()):
        bad.append(BadRow(row, "high", str(prices["high"]), "the highest of open, high, low and close"))
    if prices["low"] > min(prices.values()):
        bad.append(BadRow(row, "low", str(prices["low"]), "the lowest of open, high, low and close"))
