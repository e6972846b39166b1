import io
import re
import tarfile

from common import cli, labelled

import pytest

GOOD, BAD = ["a café — and a good one .", "good , not bad ."], ["bad .", "« bad » , not good ..."]


def write_reviews(folder, encoding="utf-8"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(labelled.FILES, (BAD, GOOD), strict=True):
        (folder / name).write_bytes("".join(f"{line} \n" for line in lines).encode(encoding))
    return folder


def pack(folder):
    """Return Cornell's archive of the two files, made beside their folder."""
    with tarfile.open(folder.parent / labelled.ARCHIVE, "w:gz") as archive:
        archive.add(folder, "rt-polaritydata")
    return folder.parent / labelled.ARCHIVE


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("form", ["folder", "file", "archive"])
def test_the_reviews_are_the_same_in_every_form_and_encoding(form, encoding, tmp_path):
    folder = write_reviews(tmp_path / "reviews", encoding)
    path = {"folder": folder, "file": folder / labelled.FILES[1], "archive": pack(folder)}[form]
    assert labelled.read(path) == ([*BAD, *GOOD], ["negative", "negative", "positive", "positive"])


ROWS = [("1", "很好看\uff0c推荐\uff01"), ("0", 'so "bad", really'), ("0", "never\u2028again"), ("1", "good")]


@pytest.mark.parametrize("headline", [(), ("label", "text"), ("标签", "正文")])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("kind", "row"),
    [(".csv", lambda fields: ",".join('"' + field.replace('"', '""') + '"' for field in fields)), (".tsv", "\t".join)],
)
def test_a_table_is_read_with_and_without_a_headline_in_either_order(kind, row, order, headline, tmp_path):
    rows = [fields[::order] for fields in ([headline] if headline else []) + ROWS]
    path = tmp_path / f"reviews{kind}"
    path.write_text("\ufeff" + "".join(row(fields) + "\r\n" for fields in rows) + "\n", encoding="utf-8", newline="")
    assert labelled.read(path) == ([text for _, text in ROWS], [label for label, _ in ROWS])


def test_a_quoted_text_may_have_several_lines(tmp_path):
    (tmp_path / "some.csv").write_text('pos,"one\ntwo"\nneg,three\npos,four\n')
    assert labelled.read(tmp_path / "some.csv") == (["one\ntwo", "three", "four"], ["pos", "neg", "pos"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("some.csv", b"", "is empty"),
        ("some.csv", b"\n\n", "expected a column with two different labels"),
        ("some.csv", b"1,good\n0,so, so\n", "line 2 does not have two columns, label and text, but 3"),
        ("some.tsv", b"1,good\n0,bad\n", "line 1 does not have two columns, label and text, but 1"),
        ("some.csv", b"1,a\n2,b\n3,c\n1,d\n2,e\n", "two columns have 3 and 4 different values"),
        ("some.csv", b"1,a\n1,b\n1,c\n1,d\n", "two columns have 1 and 3 different values"),
        ("some.csv", b"1,a\n,b\n1,c\n,d\n", "expected a column with two different labels"),
        ("some.csv", b'1,"a\n0,b\n', "unexpected end of data"),
        ("some.csv", "1,café\n0,b\n".encode("latin-1"), "not in UTF-8 .its byte 6.; save it as UTF-8"),
        ("some.csv", "1,a\n0,b\n".encode("utf-16"), "not in UTF-8"),
        ("some.txt", b"1\ta\n0\tb\n", "expected a .csv or .tsv file with label and text"),
        ("rt-polaritydata.tar.gz", b"<html>", "not a gzip file|could not be opened"),
        ("rt-polarity.pos", b"good", "lacks rt-polarity.neg"),
        ("nowhere.csv", None, "No such file"),
    ],
)
def test_another_shape_encoding_or_emptiness_is_one_clear_line(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(cli.UserError, match=f"{re.escape(name)}: .*({message})"):
        labelled.read(tmp_path / name)


def test_a_folder_or_an_archive_without_both_files_is_refused(tmp_path):
    with pytest.raises(cli.UserError, match=r"lacks rt-polarity[.]neg and rt-polarity[.]pos; other sentences come in"):
        labelled.read(tmp_path)
    with tarfile.open(tmp_path / labelled.ARCHIVE, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("rt-polaritydata/README"), io.BytesIO())
    with pytest.raises(cli.UserError, match=r"lacks rt-polarity[.]neg or"):
        labelled.read(tmp_path / labelled.ARCHIVE)
    (write_reviews(tmp_path / "reviews") / labelled.FILES[0]).write_bytes(b"")
    with pytest.raises(cli.UserError, match=r"or rt-polarity[.]pos is empty"):
        labelled.read(tmp_path / "reviews")
