"""Price files: exact when good, every bad row named when not."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel_cli.demo import prices
from kestrel_cli.errors import USAGE, CommandFailed
from kestrel_domain.numbers import Number

HEADER = "date,symbol,open,high,low,close,volume"
GOOD = "2012-01-03,AAPL,400.12,402.5,399,401.3333,1000"


def _file(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_good_file_is_read_to_the_last_digit(tmp_path: Path) -> None:
    (bar,) = prices.read_bars(_file(tmp_path, GOOD))
    assert bar.day == date(2012, 1, 3)
    assert bar.close == Number(4013333, 4)
    message = bar.message()
    assert message.start_ns == 1_325_548_800_000_000_000
    assert message.instrument.tick_units == 100


@pytest.mark.parametrize(
    ("row", "column", "value", "rule"),
    [
        ("2012-13-03,AAPL,1,2,1,1,5", "date", "2012-13-03", "YYYY-MM-DD"),
        ("2012-1-3,AAPL,1,2,1,1,5", "date", "2012-1-3", "YYYY-MM-DD"),
        (",AAPL,1,2,1,1,5", "date", "", "YYYY-MM-DD"),
        ("2012-01-03,aapl,1,2,1,1,5", "symbol", "aapl", "upper case"),
        ("2012-01-03,A PL,1,2,1,1,5", "symbol", "A PL", "upper case"),
        ("2012-01-03,AAPL,,2,1,1,5", "open", "", "a plain decimal number"),
        ("2012-01-03,AAPL,1,nan,1,1,5", "high", "nan", "a plain decimal number"),
        ("2012-01-03,AAPL,1,2,1e0,1,5", "low", "1e0", "a plain decimal number"),
        ("2012-01-03,AAPL,1,2,1,1.00001,5", "close", "1.00001", "at most 4 decimals"),
        ("2012-01-03,AAPL,1,2,-1,1,5", "low", "-1", "more than zero"),
        ("2012-01-03,AAPL,0,2,1,1,5", "open", "0", "more than zero"),
        ("2012-01-03,AAPL,1,2,1,1,5.5", "volume", "5.5", "a whole number"),
        ("2012-01-03,AAPL,1,2,1,1,-5", "volume", "-5", "a whole number"),
        ("2012-01-03,AAPL,3,2,1,1,5", "high", "2.0000", "the highest"),
        ("2012-01-03,AAPL,1,2,1.5,2,5", "low", "1.5000", "the lowest"),
        ("2012-01-03,AAPL,1,2,1,1", "(all)", "6 columns", "7 columns"),
        ("2012-01-03,AAPL,99999999999999999,2,1,1,1", "open", "99999999999999999", "64-bit"),
    ],
)
def test_a_bad_row_is_named_with_row_column_value_and_rule(
    tmp_path: Path, row: str, column: str, value: str, rule: str
) -> None:
    with pytest.raises(prices.BadFile) as caught:
        prices.read_bars(_file(tmp_path, GOOD.replace("01-03", "01-02"), row))
    (bad,) = caught.value.rows
    assert (bad.row, bad.column, bad.value) == (3, column, value)
    assert rule in bad.rule
    assert "1 of 2 rows" in str(caught.value)
    assert caught.value.code == USAGE


def test_every_bad_row_is_named_and_a_day_comes_once_for_a_symbol(tmp_path: Path) -> None:
    with pytest.raises(prices.BadFile) as caught:
        prices.read_bars(_file(tmp_path, GOOD, GOOD, "x,y", GOOD.replace("AAPL", "")))
    assert [bad.row for bad in caught.value.rows] == [3, 4, 5]
    assert "first in row 2" in caught.value.rows[0].rule


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("date,symbol,open,high,low,close", "has no column volume"),
        (HEADER + ",Volume", "has column volume twice"),
        ("", "has no column date"),
    ],
)
def test_a_header_that_lacks_a_column_is_refused(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(CommandFailed, match=said):
        prices.read_bars(_file(tmp_path, GOOD, header=header))


def test_other_columns_are_allowed_and_ticker_is_a_symbol(tmp_path: Path) -> None:
    header = "Date,Ticker,Open,High,Low,Close,Volume,Adj Close"
    (bar,) = prices.read_bars(_file(tmp_path, GOOD + ",12.3456789", header=header))
    assert bar.symbol == "AAPL"


def test_files_that_are_none_are_refused_in_words(tmp_path: Path) -> None:
    binary = tmp_path / "x.csv"
    binary.write_bytes(b"date,\xff\xfe")
    empty = _file(tmp_path)
    broken = tmp_path / "x.parquet"
    broken.write_bytes(b"PAR1nonsense")
    for path, said in (
        (tmp_path / "missing.csv", "cannot be read"),
        (tmp_path, "is a folder"),
        (binary, "is not UTF-8"),
        (empty, "has no rows"),
        (broken, "is no Parquet file"),
    ):
        with pytest.raises(CommandFailed, match=said):
            prices.read_bars(path)


def test_parquet_is_read_as_exactly_as_text(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    table = pyarrow.table(
        {
            "date": [date(2012, 1, 3)],
            "symbol": ["AAPL"],
            "open": [400.12],
            "high": [402.5],
            "low": [399.0],
            "close": pyarrow.array([Decimal("401.3333")], pyarrow.decimal128(12, 4)),
            "volume": [1000],
        }
    )
    pyarrow.parquet.write_table(table, path)
    assert prices.read_bars(path) == [
        prices.DailyBar(
            date(2012, 1, 3), "AAPL", Number(4001200, 4), Number(4025, 1), Number(399, 0), Number(4013333, 4), 1000
        )
    ]


def test_a_bad_value_in_parquet_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    columns = {"date": ["2012-01-03"], "symbol": ["AAPL"], "open": [0.1 + 0.2], "high": [float("inf")]}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "low": [None], "close": [1.0], "volume": [1.0]}), path)
    with pytest.raises(prices.BadFile) as caught:
        prices.read_bars(path)
    assert [bad.column for bad in caught.value.rows] == ["open", "high", "low"]


def test_the_bundled_prices_are_whole_and_the_last_days_have_all_five_symbols() -> None:
    bars = prices.last_days(prices.bundled_bars(), 3)
    assert len(bars) == 15
    assert {bar.symbol for bar in bars} == {"AAPL", "FB", "GOOG", "IBM", "MSFT"}


@given(st.lists(st.text(max_size=12), min_size=7, max_size=7))
def test_no_row_whatever_is_in_it_gets_past_or_breaks_the_check(cells: list[str]) -> None:
    found = prices.parse_row(2, dict(zip(prices.COLUMNS, cells, strict=True)))
    if isinstance(found, prices.DailyBar):
        assert found.low <= min(found.open, found.close)
        assert found.high >= max(found.open, found.close)
    else:
        assert found
