"""Files of numbers: IDX, in which MNIST and its like come, and CSV. Both may be compressed by gzip."""

import csv
import gzip
import io
import math
import operator
import os
import zlib
from typing import NamedTuple

import numpy as np

__all__ = ["Table", "read_csv", "read_idx"]

MOST_AXES = 64  # of an array of NumPy
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _read(path):
    """Return the bytes of a file, those within it if it is compressed."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{os.fspath(path)} is compressed, and damaged: {error}") from None


def read_idx(path):
    """Return the array in an IDX file.

    Parameters
    ----------
    path : str or path
        Compressed by gzip or not.

    Returns
    -------
    ndarray
        Of uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    ValueError
        If it is no IDX file, or not a whole one.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastnn.data import read_idx
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "labels-idx1-ubyte")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 9, 0, 4]))
    ...     read_idx(path)
    array([9, 0, 4], dtype=uint8)
    """
    content = _read(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise ValueError(f"{os.fspath(path)} is not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}")
    dtype, axes = np.dtype(IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    if axes > MOST_AXES:
        raise ValueError(f"{os.fspath(path)} has {axes} axes, expected at most {MOST_AXES}")
    if len(content) < start:
        raise ValueError(f"{os.fspath(path)} has {len(content)} bytes, expected {start} for the heading alone")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    expected = start + dtype.itemsize * math.prod(shape)
    if len(content) != expected:
        raise ValueError(
            f"{os.fspath(path)} has {len(content)} bytes, expected {expected} for {dtype.name} of shape {shape}"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


class Table(NamedTuple):
    """What `read_csv` returns."""

    x: np.ndarray
    target: np.ndarray | None
    names: list
    classes: list | None


def read_csv(
    path, *, target=None, labels=False, columns=None, header=True, delimiter=",", missing=None, dtype=np.float32
):
    r"""Return the numbers in a CSV file.

    Parameters
    ----------
    path : str or path
        In UTF-8, compressed by gzip or not. Fields may be quoted, empty lines are left out.
    target : str or int, optional
        The column to predict, by its name in the heading or its number from 0.
    labels : bool
        Whether the target holds names or numbers of classes, which become indices from 0, rather than quantities.
    columns : sequence of str or int, optional
        The columns of x; all but the target, if None.
    header : bool
        Whether the first line has the names.
    delimiter : str
    missing : float, optional
        What an empty field of x stands for, such as nan; if None it is an error.
    dtype : float32 or float64

    Returns
    -------
    x : ndarray (rows, columns)
    target : ndarray (rows,), or None
        Of dtype, or of int64 for labels.
    names : list of str
        Those of the columns of x, their numbers without a header.
    classes : list, or None
        What the labels stand for: the distinct numbers, or texts if they are not all numbers, in order.

    Raises
    ------
    ValueError
        If a field is not a number, or none that dtype can hold, or a row is too long or short, which names the line; if
        a label or a closing quote is missing; if there is no row, no such column, or more than one of that name.
    TypeError
        If dtype is another.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fastnn.data import read_csv
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "iris.csv")
    ...     _ = path.write_text("length,width,kind\n5.1,3.5,setosa\n7.0,3.2,versicolor\n4.9,3.0,setosa\n")
    ...     x, target, names, classes = read_csv(path, target="kind", labels=True)
    >>> x
    array([[5.1, 3.5],
           [7. , 3.2],
           [4.9, 3. ]], dtype=float32)
    >>> target, names, classes
    (array([0, 1, 0]), ['length', 'width'], ['setosa', 'versicolor'])
    """
    path, dtype = os.fspath(path), np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"dtype is {dtype}, expected float32 or float64")
    if labels and target is None:
        raise ValueError("labels is True, but target is None, expected the column that holds them")
    try:
        text = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV in line {reader.line_num}: {error}") from None
    first = rows[0][1] if rows else []
    names = [name.strip() for name in first] if header else [str(i) for i in range(len(first))]
    rows = rows[1:] if header else rows
    if not rows:
        raise ValueError(f"{path} has no row of numbers, expected at least one")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"{path} has {len(row)} fields in line {line}, expected {len(names)}")
    at = None if target is None else _column(names, target, path)
    if columns is None:
        chosen = [i for i in range(len(names)) if i != at]
    else:
        chosen = [_column(names, column, path) for column in columns]
    x = np.empty((len(rows), len(chosen)), dtype)
    for i, column in enumerate(chosen):
        x[:, i] = _numbers(rows, column, names, path, missing, dtype)
    values = classes = None
    if at is not None and labels:
        missing = next((line for line, row in rows if not row[at].strip()), None)
        if missing is not None:
            raise ValueError(f"{path} has no label in line {missing}, column {names[at]}")
        classes, values = _classes([row[at].strip() for _, row in rows])
    elif at is not None:
        values = _numbers(rows, at, names, path, None, dtype)
    return Table(x, values, [names[i] for i in chosen], classes)


def _column(names, column, path):
    """Return the number of a column."""
    if isinstance(column, str):
        if names.count(column) > 1:
            raise ValueError(f"{path} has {names.count(column)} columns {column!r}, expected the number of one of them")
        if column in names:
            return names.index(column)
    elif hasattr(column, "__index__") and 0 <= column < len(names):
        return operator.index(column)
    raise ValueError(f"{path} has no column {column!r}, expected one of {', '.join(names)}")


def _numbers(rows, column, names, path, missing, dtype):
    """Return a column as an array."""
    fields = [row[column] for _, row in rows]
    try:
        values = np.array(fields, np.float64)  # NumPy reads them as float() does, the quicker way
    except ValueError:
        values = []
        for (line, _), field in zip(rows, fields, strict=True):
            try:
                values.append(missing if missing is not None and not field.strip() else float(field))
            except ValueError:
                raise ValueError(
                    f"{path} has {field!r} in line {line}, column {names[column]}, expected a number"
                ) from None
    with np.errstate(all="ignore"):
        numbers = np.asarray(values, np.float64).astype(dtype)
    for i in np.flatnonzero(np.isinf(numbers) & np.isfinite(values)):
        where = f"line {rows[i][0]}, column {names[column]}"
        raise ValueError(f"{path} has {fields[i]!r} in {where}, which {dtype} cannot hold")
    return numbers


def _classes(fields):
    """Return the distinct classes and their indices."""
    try:
        fields = [float(field) for field in fields]
        fields = [int(field) if field.is_integer() else field for field in fields]
    except ValueError:
        pass
    classes = sorted(set(fields))
    number = {name: i for i, name in enumerate(classes)}
    return classes, np.array([number[field] for field in fields], np.int64)
