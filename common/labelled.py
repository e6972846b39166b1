"""Read labelled sentences from a file: a CSV or TSV file, or the film reviews as their archive has them."""

import csv
import io
import tarfile
import zlib
from collections import Counter
from pathlib import Path

from common import cli, formats

ARCHIVE, FILES = "rt-polaritydata.tar.gz", ("rt-polarity.neg", "rt-polarity.pos")
LARGEST = 2**29  # bytes of a file


def read(path):
    """Return the sentences in a file or folder, with their labels, as two lists of str.

    A .csv or .tsv file has two columns, label and text, in either order, with or without a header row, in UTF-8. The
    film reviews come as Cornell's archive, or as its two files, in one folder.

    Raises cli.UserError, naming the file and what is wrong with it.
    """
    try:
        if path.is_dir() or path.name in (ARCHIVE, *FILES):
            negative, positive = _read_reviews(path.parent if path.name in FILES else path)
            rows = [("negative", line) for line in negative] + [("positive", line) for line in positive]
        else:
            rows = _read_table(path)
    except (OSError, EOFError, ValueError, csv.Error, tarfile.TarError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnicodeDecodeError):
            reason = f"not in UTF-8 (its byte {error.start + 1:,}); save it as UTF-8"
        raise cli.UserError(f"{cli.relative(path)}: {reason}") from None
    return [text for _, text in rows], [label for label, _ in rows]


def _read_reviews(path):
    """Return the lines of the negative and of the positive file in a folder or in Cornell's archive."""
    if path.is_dir():
        if missing := [name for name in FILES if not (path / name).exists()]:
            raise ValueError(f"lacks {' and '.join(missing)}; other sentences come in a .csv or .tsv file")
        contents = [(path / name).read_bytes() for name in FILES if formats.size(path / name, LARGEST)]
    else:
        formats.size(path, LARGEST)
        with tarfile.open(path) as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile()}
            if not {*FILES} <= {*members} or max(members[name].size for name in FILES) > LARGEST:
                raise ValueError(f"lacks {' or '.join(FILES)}")
            contents = [archive.extractfile(members[name]).read() for name in FILES]
    pair = [[" ".join(line.split()) for line in _decode(content).split("\n") if line.strip()] for content in contents]
    if len(pair) < 2 or not all(pair):
        raise ValueError(f"{' or '.join(FILES)} is empty")
    return pair


def _decode(content):
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # Latin-1 with quotation marks and dashes


def _read_table(path):
    """Return (label, text) of each row. Raises ValueError where there are not two columns and two labels."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".tsv"):
        raise ValueError("expected a .csv or .tsv file with label and text")
    if not formats.size(path, LARGEST):
        raise ValueError("is empty")
    text = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    table = csv.reader(text, delimiter=",", strict=True) if kind == ".csv" else csv.reader(
        text, delimiter="\t", quoting=csv.QUOTE_NONE)  # fmt: skip
    rows = []
    for row in table:
        if row and len(row) != 2:
            raise ValueError(f"line {table.line_num} does not have two columns, label and text, but {len(row)}; in a "
                             ".csv file a text with commas needs quotes")  # fmt: skip
        rows += [[field.strip() for field in row]] if row else []
    counts = [Counter(row[column] for row in rows[1:]) for column in (0, 1)]
    for label, found in enumerate(counts):
        if len(found) == 2 and "" not in found:
            rows = rows if rows[0][label] in found else rows[1:]  # the first was a header
            return [(row[label], row[1 - label]) for row in rows]
    raise ValueError(f"expected a column with two different labels; its two columns have {len(counts[0]):,} and "
                     f"{len(counts[1]):,} different values")  # fmt: skip
