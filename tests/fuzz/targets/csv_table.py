"""Tables as spreadsheets save them, and files of settings."""

from __future__ import annotations

from scarseg_runtime.csv_table import cell_text, read_csv
from scarseg_runtime.edited_text import decoded_text

MAX_LEN = 4_096
DICTIONARY = (
    "sep=;\n",
    "study",
    "gap_days",
    ";",
    "\t",
    "|",
    '"',
    "\r\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
)
_TEXT = "study;ecg;gap_days;\nMüller/mri;a.xml;3,5;\n;;;\nb;NA;;\n"


def seeds() -> dict[str, bytes]:
    found = {name: _TEXT.encode(name) for name in ("utf-8", "utf-8-sig", "utf-16", "cp1252")}
    found["told"] = ("sep=;\n" + _TEXT).encode()
    found["capitals"] = _TEXT.replace("\n", "\r").encode()
    found["dates"] = b"study;ecg;gap_days\na;b;2024-02-28\nc;d;1.234,5\ne;f;45350\n"
    found["quoted"] = b'study,ecg\n"a,b","c\nd"\n'
    return found


def one(data: bytes) -> None:
    for read in (decoded_text, read_csv):
        try:
            found = read(data)
        except ValueError as error:
            assert str(error)
            continue
        if isinstance(found, str):
            continue
        for row in (found.head, *found.rows):
            for cell in row:
                assert cell_text(cell) == cell_text(cell_text(cell))
