"""Damage to valid inputs, as files of others have it: seeded, one random fault at a time."""

import gzip
import io
import json
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import polars as pl

DEEP = "policyrank-deep"
"""A text that is written as 100,000 opening brackets."""

ODD = (
    *(True, False, None, 0, 1, -1, 0.5, 2**62, -(2**63), 10**400, 1e308, 1e999, float("nan")),
    *("", " ", "1", "NaN", "true", "1e999", "=1+1", "é\n", "\ud83d", "a" * 100_000, "a,b|c\td"),
    *([], {}, [[]], [None], {"": None}, ["1", 2, None], {"a": {"b": [1]}}, [[1, 2], [3]], DEEP),
)
"""Values that stand where others belong."""

ODD_CELLS = (
    *("", " ", "true", "null", "nan", "inf", "-1", "0.5", "1e999", str(2**62), str(10**400)),
    *(
        "é",
        "x" * 100_000,
        "=1+1",
        '"',
        '""',
        "'",
        "1,5",
        "85%",
        "1.5 ± 2",
        "[1, 2]",
        "\x00",
        "\u2028",
    ),
    *("2024-01-01", "ant", "tie", "+4/-3", "<b>x</b>", "total", "\r", "9" * 30, "-0", "1_000"),
)

ODD_NAMES = (
    *("a b.csv", "ä.json", "=1.csv", "x.CSV", "-x.csv", "x.csv.gz", "x", ".csv", "x.parquet"),
    *("new\nline.csv", "a[1].csv", "x.npz", "x.eval", "x.cat", "x.soi", "x.pgn", "x.md", "x.zst"),
)


@dataclass(frozen=True)
class Damaged:
    """An input with a fault.

    Attributes
    ----------
    what
        was done to it
    files
        path -> content
    rows
        how many rows of results it holds still; None: the damage does not say
    """

    what: str
    files: dict[str, bytes]
    rows: int | None = None


def damaged(rng, seed):
    """The files of a seed after one or two random faults of a kind that fits them."""
    content = seed.files[seed.first]
    kinds = [_bytes, _container_of_bytes]
    if _values_of(content) is not None:
        kinds = [_json] * 6 + kinds
    elif _is_text(content):
        kinds = [_cells] * 4 + [_layout] * 2 + kinds
    if _is_plain_table(seed):
        kinds += [_typed] * 3
    kind = kinds[rng.integers(len(kinds))]
    what, name, changed, rows = kind(rng, seed.first, content)
    files = {name: changed} | {path: seed.files[path] for path in list(seed.files)[1:]}
    return Damaged(f"{seed.name}: {what}", files, rows)


def _is_text(content):
    try:
        return bool(content.decode())
    except UnicodeDecodeError:
        return False


def _is_plain_table(seed):
    return seed.first.endswith(".csv") and len(seed.files) == 1


def _pick(rng, among):
    return among[int(rng.integers(len(among)))]


# JSON.


def _values_of(content):
    """The JSON values of a file, one a line or one in all; None: it holds none."""
    for parts in ([content], content.splitlines()):
        try:
            values = [json.loads(part) for part in parts if part.strip()]
        except (ValueError, RecursionError):
            continue
        if values and all(isinstance(value, (dict, list)) for value in values):
            return values
    return None


def _json(rng, name, content):
    values = _values_of(content)
    what = []
    for _ in range(int(rng.integers(1, 3))):
        place = int(rng.integers(len(values)))
        spots = list(_spots(values[place]))
        fault = _pick(rng, (_odd_value, _odd_value, _removed, _repeated, _renamed))
        if not spots:
            break
        what.append(fault(rng, *_pick(rng, spots)))
    text = "\n".join(json.dumps(value) for value in values)
    text = text.replace(json.dumps(DEEP), "[" * 100_000)
    return " and ".join(what), name, text.encode(), _records(values)


def _records(values):
    """How many entries JSON lines hold, or the one list."""
    one = values[0]
    return len(one) if len(values) == 1 and isinstance(one, list) else len(values)


def _spots(value):
    """Every (container, key) of a JSON value."""
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _spots(value[key])
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield value, place
            yield from _spots(inner)


def _odd_value(rng, container, key):
    odd = deepcopy(_pick(rng, ODD))
    container[key] = odd
    return f"{key!r} becomes {str(odd)[:40]!r}"


def _removed(rng, container, key):
    del container[key]
    return f"{key!r} is gone"


def _repeated(rng, container, key):
    if isinstance(container, list):
        container.append(deepcopy(container[key]))
    else:
        container[f"{key} "] = deepcopy(container[key])
    return f"{key!r} stands twice"


def _renamed(rng, container, key):
    if isinstance(container, list):
        container[key] = [container[key]]
    else:
        container[str(_pick(rng, ODD_CELLS))] = container.pop(key)
    return f"{key!r} is called otherwise"


# Text.


def _grid(content):
    """Lines of a text cut at its most frequent separator."""
    lines = content.decode().splitlines()
    separator = max(",\t;| :", key=lambda sign: sum(line.count(sign) for line in lines))
    return [line.split(separator) for line in lines], separator


def _joined(grid, separator):
    return "".join(separator.join(row) + "\n" for row in grid).encode()


def _cells(rng, name, content):
    """One cell is odd, or two are swapped: the rows stay as many."""
    grid, separator = _grid(content)
    rows = range(1, len(grid)) if len(grid) > 1 else range(len(grid))
    what = []
    for _ in range(int(rng.integers(1, 3))):
        row = _pick(rng, rows)
        column = int(rng.integers(len(grid[row])))
        if rng.random() < 0.4:
            other = _pick(rng, rows)
            place = int(rng.integers(len(grid[other])))
            grid[row][column], grid[other][place] = grid[other][place], grid[row][column]
            what.append(f"cells {row},{column} and {other},{place} are swapped")
            continue
        odd = _pick(rng, ODD_CELLS)
        grid[row][column] = odd
        what.append(f"cell {row},{column} becomes {odd[:40]!r}")
    kept = '"' not in "".join(map("".join, grid)) and not any(
        sign in cell for row in grid for cell in row for sign in (separator, "\r", "\n", "\u2028")
    )
    return " and ".join(what), name, _joined(grid, separator), len(grid) - 1 if kept else None


def _layout(rng, name, content):
    """Rows and columns are cut, repeated or empty."""
    grid, separator = _grid(content)
    row = int(rng.integers(len(grid)))
    faults = {
        "a row is cut": lambda: grid.__setitem__(row, grid[row][: len(grid[row]) // 2]),
        "a row is longer": lambda: grid[row].append("more"),
        "a row is gone": lambda: grid.pop(row),
        "a row stands twice": lambda: grid.insert(row, list(grid[row])),
        "a blank row": lambda: grid.insert(max(row, 1), [""] * len(grid[0])),
        "an empty line": lambda: grid.insert(row, []),
        "only a header": lambda: grid.__delitem__(slice(1, None)),
        "no header": lambda: grid.pop(0),
        "the header stands twice": lambda: grid.insert(0, list(grid[0])),
        "a column stands twice": lambda: [one.append(one[0] if one else "") for one in grid],
        "a name stands twice": lambda: grid[0].__setitem__(-1, grid[0][0]),
        "an odd header": lambda: grid[0].__setitem__(-1, _pick(rng, ODD_CELLS)),
        "a column is gone": lambda: [one and one.pop() for one in grid],
        "other separators": lambda: None,
    }
    what = _pick(rng, list(faults))
    faults[what]()
    separator = _pick(rng, ",;\t| ") if what == "other separators" else separator
    return what, name, _joined(grid, separator), None


# Bytes.


def _bytes(rng, name, content):
    place = int(rng.integers(max(len(content), 1)))
    flipped = bytearray(content or b"x")
    flipped[place] ^= int(rng.integers(1, 256))
    faults = {
        "a byte is another": bytes(flipped),
        "cut off": content[:place],
        "its start is gone": content[place:],
        "a byte too many": content[:place] + bytes([int(rng.integers(256))]) + content[place:],
        "NUL": content[:place] + b"\x00" + content[place:],
        "Latin-1": content[:place] + b"\xe9" + content[place:],
        "empty": b"",
        "white": b" \n\n",
        "brackets": b"[" * 100_000,
        "braces": b'{"a":' * 50_000,
        "twice": content + content,
        "noise": rng.bytes(200),
        "a mark": b"\xef\xbb\xbf" + content,
        "half of UTF-16": b"\xff\xfe" + content,
        "a zip that is none": b"PK\x03\x04" + content,
        "a gzip that is none": b"\x1f\x8b" + content,
        "a parquet that is none": b"PAR1" + content + b"PAR1",
        "an Arrow file that is none": b"ARROW1" + content,
    }
    what = _pick(rng, list(faults))
    return what, name, faults[what], None


def _container_of_bytes(rng, name, content):
    """Other encodings, packed and perhaps cut, under other names."""
    text = content.decode("latin-1")
    packed = gzip.compress(content, mtime=0)
    place = int(rng.integers(len(packed)))
    broken = bytearray(packed)
    broken[place] ^= 255
    faults = {
        "UTF-16": (name, text.encode("utf-16")),
        "UTF-16 without a mark": (name, text.encode("utf-16-be")),
        "UTF-32": (name, text.encode("utf-32")),
        "gzip": (f"{name}.gz", packed),
        "gzip inside gzip": (f"{name}.gz", gzip.compress(packed, mtime=0)),
        "gzip cut off": (f"{name}.gz", packed[:place]),
        "gzip damaged": (f"{name}.gz", bytes(broken)),
        "gzip under its name": (name, packed),
        "Windows' lines": (name, content.replace(b"\n", b"\r\n")),
        "another name": (_renamed_file(rng, name), content),
    }
    what = _pick(rng, list(faults))
    return what, *faults[what], None


def _renamed_file(rng, name):
    folder, slash, _ = name.rpartition("/")
    return folder + slash + _pick(rng, ODD_NAMES)


# Tables in other formats.


def _typed(rng, name, content):
    """A table as parquet, Arrow, JSON or Markdown, a cell of it odd, perhaps its bytes damaged."""
    grid, _ = _grid(content)
    header, *rows = grid
    cells = [[_number(cell) for cell in row[: len(header)]] for row in rows]
    what = "whole"
    if rng.random() < 0.7:
        row, column = int(rng.integers(len(cells))), int(rng.integers(len(header)))
        odd = _pick(rng, ODD[:-1])
        what = f"cell {row + 1},{column} becomes {str(odd)[:40]!r}"
        cells[row][column] = odd
    records = [dict(zip(header, row, strict=False)) for row in cells]
    kind = _pick(rng, list(_WRITERS))
    data = _WRITERS[kind](records)
    if rng.random() < 0.3:
        fault, _, data, _ = _bytes(rng, name, data)
        return f"{kind}, {what}, {fault}", f"x.{kind}", data, None
    countable = kind in ("json", "jsonl")
    return f"{kind}, {what}", f"x.{kind}", data, len(rows) if countable else None


def odd_columns(rng, seed):
    """A plain table as columns, of which a cell is odd, or one is no column of its length."""
    grid, _ = _grid(seed.files[seed.first])
    header, *rows = grid
    columns = {name: [_number(row[k]) for row in rows] for k, name in enumerate(header)}
    name, odd = _pick(rng, header), deepcopy(_pick(rng, ODD[:-1]))
    fault = rng.random()
    if fault < 0.7:
        columns[name][int(rng.integers(len(rows)))] = odd
    elif fault < 0.8:
        columns[name] = odd
    elif fault < 0.9:
        columns[name] = columns[name][:-1]
    return columns


def _number(cell):
    try:
        value = float(cell)
    except ValueError:
        return cell or None
    return int(value) if value.is_integer() else value


def _frame(records):
    columns = {}
    for name in records[0]:
        values = [record.get(name) for record in records]
        try:
            columns[name] = pl.Series(name, values)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            columns[name] = pl.Series(name, [ascii(value)[:99] for value in values])
    frame = pl.DataFrame(columns)
    empty = [name for name, kind in frame.schema.items() if kind == pl.Struct([])]
    return frame.drop(empty)


def _parquet(records):
    data = io.BytesIO()
    _frame(records).write_parquet(data)
    return data.getvalue()


def _arrow(records):
    data = io.BytesIO()
    _frame(records).write_ipc(data)
    return data.getvalue()


def _markdown(records):
    rows = [list(records[0]), ["---"] * len(records[0]), *(record.values() for record in records)]
    return "".join("|" + "|".join(map(_plain, row)) + "|\n" for row in rows).encode(
        "utf-8", "replace"
    )


def _plain(value):
    return str(value)[:1000]


_WRITERS = {
    "parquet": _parquet,
    "arrow": _arrow,
    "json": lambda records: json.dumps(records).encode(),
    "jsonl": lambda records: "\n".join(map(json.dumps, records)).encode(),
    "md": _markdown,
}


def generator(seed, number):
    """The generator of one input, by the seed's name and the input's number."""
    return np.random.default_rng([number, *seed.name.encode()])
