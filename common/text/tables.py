"""Read labelled sentences from a file: a table with two columns, or the film reviews as Cornell publishes them."""

import csv
import tarfile

from common import cli

TABLES = {".csv": {"strict": True}, ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE}}
ARCHIVE = "rt-polaritydata.tar.gz"
FILES = {"negative": "rt-polarity.neg", "positive": "rt-polarity.pos"}


def read(path):
    """Return (label, sentence) for each line of `path` (pathlib.Path).

    A .csv or .tsv file has two columns, label and text, in either order, with or without a header, in UTF-8. The film
    reviews are the ARCHIVE, or a folder with the two FILES. Raises cli.UserError for other content.
    """
    try:
        return _read_table(path) if path.suffix.lower() in TABLES else _read_reviews(path)
    except UnicodeDecodeError:
        raise cli.UserError(f"{cli.relative(path)}: not in UTF-8; save it as UTF-8") from None
    except (OSError, EOFError, KeyError, ValueError, csv.Error, tarfile.TarError) as error:
        raise cli.UserError(f"{cli.relative(path)}: {error}") from None


def _read_table(path):
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.reader(file, **TABLES[path.suffix.lower()])
        for row in table:
            if len(row) not in (0, 2):
                raise ValueError(f"line {table.line_num} has {len(row)} columns, not 2; quote a text with commas")
            if row:
                rows.append([field.strip() for field in row])
    for label in (0, 1):
        labels = {row[label] for row in rows[1:]}  # without the first row, which may be a header
        if len(labels) == 2 and "" not in labels:
            return [(row[label], row[1 - label]) for row in rows if row[label] in labels]
    raise ValueError("neither of its two columns holds two different labels")


def _read_reviews(path):
    if path.name == ARCHIVE:
        with tarfile.open(path) as archive:
            contents = [archive.extractfile(f"rt-polaritydata/{name}").read() for name in FILES.values()]
    elif path.is_dir():
        contents = [(path / name).read_bytes() for name in FILES.values()]
    else:
        raise ValueError(f"expected a .csv or .tsv file, {ARCHIVE}, or a folder with {' and '.join(FILES.values())}")
    rows = []
    for label, content in zip(FILES, contents, strict=True):
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")  # Latin-1 with quotation marks and dashes
        rows += [(label, " ".join(line.split())) for line in text.split("\n") if line.strip()]
    return rows
