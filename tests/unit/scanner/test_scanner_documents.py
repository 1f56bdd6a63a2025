"""Which base64 is opened, which is left alone, and how a document is written again."""

from __future__ import annotations

import base64
import codecs
import gzip
import json
import random
import struct
import time
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanner_fakes import ALL, hints_of

from sovereign_ext.scanner.documents import SHORTEST_LEFT_ALONE, Documents, find_documents
from sovereign_ext.scanner.engine import Engine
from sovereign_ext.scanner.hints import EXPRESSIONS

ENGINE = Engine(ALL, EXPRESSIONS)
TEXT = "PASSWORD=hunter2 # ünïcode\nsecond: line\t{\"json\": [1, '<ÿþ>']}\r\n" * 3
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=12, max_size=300)


def look(value: Any, **style: Any) -> tuple[bytes, Documents]:
    """What is found in the body of ``value``, which is the same by the engine's hints."""
    body = json.dumps(value, **style).encode()
    found = find_documents(body, hints_of(body))
    assert find_documents(body, ENGINE.intervals(body)[1]) == found
    return body, found


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def png(size: int = 600) -> bytes:
    """A picture that a viewer would open: grey noise."""
    rows = b"".join(b"\0" + random.Random(size).randbytes(size) for _ in range(4))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", size, 4, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


PNG = png()
NOISE = random.Random(6).randbytes(3000)


def replaced(body: bytes, found: Documents, text: bytes) -> bytes:
    """The body with each document saying ``text``."""
    for document in reversed(found.texts):
        body = body[: document.raw.start] + document.encoded(text) + body[document.raw.end :]
    return body


@pytest.mark.parametrize(
    "head",
    [
        "text/plain", "text/plain;charset=utf-8", "TEXT/CSV;name=a b.csv", "application/json", "application/ld+json",
        "application/xml", "image/svg+xml", "application/x-yaml", "application/x-sh", "text/javascript", "",
        "application/octet-stream", "application/x-unheard-of", "image/png",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["data:{};base64,", "DATA:{};BASE64,"])
def test_text_is_opened_whatever_its_type(head: str, scheme: str) -> None:
    """Also where no type is said, or one that does not tell, or a wrong one."""
    url = scheme.format(head)
    body, found = look({"file": {"filename": "a", "file_data": url + b64(TEXT)}})
    assert [document.text for document in found.texts] == [TEXT.encode()]
    assert found.left_alone == ()
    start, end = found.texts[0].raw
    assert body[:start].endswith(url.encode())
    assert base64.b64decode(body[start:end]) == TEXT.encode()


@pytest.mark.parametrize(
    "value",
    [
        {"type": "file", "file": {"file_data": b64(TEXT)}},
        {"type": "input_file", "file_data": b64(TEXT)},
        {"type": "image_url", "image_url": {"url": "data:text/plain;base64," + b64(TEXT)}},
        {"type": "image_url", "image_url": "data:text/plain;base64," + b64(TEXT)},
        {"type": "file", "source_type": "base64", "mime_type": "text/plain", "data": b64(TEXT)},
        {"content": "see ![x](data:text/plain;base64," + b64(TEXT) + ") there"},
        {"content": "see data:text/plain;base64," + b64(TEXT) + "\nghp_abc"},
        {"function": {"arguments": json.dumps({"url": "data:text/plain;base64," + b64(TEXT)})}},
        {"function": {"arguments": json.dumps({"file_data": b64(TEXT)}, indent=1)}},
        {"function": {"arguments": json.dumps(json.dumps({"file_data": b64(TEXT), "x": "y"}))}},
        {"data:text/plain;base64," + b64(TEXT): 1},
    ],
)  # fmt: skip
def test_documents_are_found_where_clients_put_them(value: Any) -> None:
    """As members of their own, as URLs, in the midst of text, and in JSON that stands in a string."""
    for indent in (None, 2):
        body, found = look(value, indent=indent)
        assert [document.text for document in found.texts] == [TEXT.encode()]
        assert body[slice(*found.texts[0].raw)].decode().strip("=") == b64(TEXT).strip("=")


@pytest.mark.parametrize(
    "value",
    [
        {"image_url": {"url": "data:image/png;base64," + b64(PNG)}},
        {"image_url": {"url": "data:image/png;base64," + base64.encodebytes(PNG).decode()}},
        {"content": "![x](data:image/png;base64," + b64(PNG) + ")"},
        {"content": "data:image/png;base64," + b64(PNG) + " key"},
        {"file": {"file_data": "data:application/pdf;base64," + b64(b"%PDF-1.4\n" + TEXT.encode() * 3)}},
        {"file": {"file_data": "data:application/octet-stream;base64," + b64(b"%PDF-1.4\n" + TEXT.encode() * 3)}},
        {"file": {"file_data": b64(NOISE)}},
        {"file": {"file_data": "data:text/plain;base64," + b64(gzip.compress(NOISE))}},
        {"input_audio": {"data": b64(NOISE), "format": "pcm16"}},
        {"input_audio": {"format": "wav", "data": b64(b"RIFF" + NOISE)}},
        {"input_audio": {"format": "pcm16", "data": b64("sounds like text, but is sound " * 9)}},
        {"mime_type": "image/png", "data": b64(PNG)},
    ],
)  # fmt: skip
def test_pictures_and_sound_are_left_alone(value: Any) -> None:
    """By what is said of them and by their first bytes. Exactly the base64: what stands around it is scanned."""
    body, found = look(value)
    assert found.texts == ()
    (raw,) = found.left_alone
    text = body[slice(*raw)].decode().replace("\\n", "")
    assert b64(base64.b64decode(text)) == text
    assert not (body[raw.end : raw.end + 1] + body[raw.start - 1 : raw.start]).isalnum()


@pytest.mark.parametrize(
    "value",
    [
        {"content": "no base64 at all", "metadata": {"a": "b"}},
        {"data": "AKIA" + "ABCDEFGHIJKLMNOP"},
        {"data": "a" * 5000},
        {"data": b64(NOISE)},
        {"file_data": "a" * (SHORTEST_LEFT_ALONE - 1)},
        {"file_data": "this is no base64 but just prose of letters " * 20},
        {"file_data": "two lines of\nletters and\nno base64 in them\nat all\n" * 20},
        {"file_data": "\n".join("A" * (30 + n % 3) for n in range(20))},
        {"file_data": "C:/a path.txt"},
        {"file_data": ""},
        {"url": "data:image/png;base64,"},
        {"url": "data:image/png;base64,AKIAABCDEFGHIJKLMNOP"},
        {"url": "data:text/plain,percent%20encoded%20is%20a%20string"},
        {"url": "data:text/plain;base64,A"},
        {"text": "grep ';base64,' in the data: files, please"},
        {"input_audio": {"format": "wav"}, "data": "ghp_" + "a" * 300},
    ],
)
def test_what_is_no_document_is_an_ordinary_string(value: Any) -> None:
    """Neither opened nor left alone, so that it is scanned as it stands. Too little is no picture."""
    _, found = look(value)
    assert found == Documents((), ())


def test_a_clean_body_has_no_hint() -> None:
    """Nothing is searched for then."""
    body = json.dumps({"messages": [{"role": "user", "content": TEXT}]}).encode()
    assert hints_of(body) == ENGINE.intervals(body)[1] == {}


@pytest.mark.parametrize("letter", range(9))
@pytest.mark.parametrize("form", ["{:04x}", "{:04X}"])
def test_escapes_in_the_name_hide_no_document(letter: int, form: str) -> None:
    """Every letter of ``file_data`` may be written as an escape."""
    name = "file_data"
    name = name[:letter] + "\\u" + form.format(ord(name[letter])) + name[letter + 1 :]
    body = f'{{"{name}":"{b64(TEXT)}"}}'.encode()
    for hints in (hints_of(body), ENGINE.intervals(body)[1]):
        assert [document.text for document in find_documents(body, hints).texts] == [TEXT.encode()]


@given(
    WORDS,
    WORDS,
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 20, 64, 76]),
    st.sampled_from(["\n", "\r\n", "\n  "]),
    st.booleans(),
    st.sampled_from(["plain", "php", ".net", "url"]),
    st.booleans(),
)
def test_a_document_is_written_in_the_hand_it_was_written_in(
    text: str,
    other: str,
    url_safe: bool,
    padded: bool,
    width: int | None,
    line_break: str,
    ends_in_break: bool,
    encoder: str,
    nested: bool,
) -> None:
    """What an encoder of that hand makes of the new text is what is written; unchanged, the bytes that were there.

    Where nothing shows whether there would be padding (or which alphabet), the usual one is taken.
    """

    def written(text: str) -> str:
        data = text.encode()
        encoded = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
        if not padded:
            encoded = encoded.rstrip("=")
        if width is not None:
            lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
            encoded = line_break.join(lines) + (line_break if ends_in_break else "")
        document = json.dumps({"url": "data:text/plain;base64," + encoded})
        if nested:
            document = json.dumps({"arguments": document})
        slashes = "\\\\\\/" if nested else "\\/"
        head, comma, tail = document.partition(";base64,")
        spelled = {
            "plain": {},
            "php": {"/": slashes},
            ".net": {"+": ("\\\\" if nested else "\\") + "u002B"},
            "url": {"+": "%2B", "/": "%2F", "=": "%3D", "-": "%2d", "_": "%5f"},
        }[encoder]
        return head + comma + "".join(spelled.get(character, character) for character in tail)

    body = written(text).encode()
    found = find_documents(body, hints_of(body))
    (document,) = found.texts
    assert document.text == text.encode()
    assert replaced(body, found, document.text) == body
    again = replaced(body, found, other.encode())
    json.loads(again)
    assert [each.text for each in find_documents(again, hints_of(again)).texts] == [other.encode()]
    plain = b64(text)
    shows = any(c in plain for c in "+/") and (padded or plain.endswith("="))
    spells = encoder == "plain" or all(c in plain for c in {"php": "/", ".net": "+", "url": "+/="}[encoder])
    wraps = width is None or len(plain.rstrip("=")) > width
    if shows and spells and wraps and (padded or plain.endswith("=")):
        assert again == written(other).encode()


@pytest.mark.parametrize(
    ("mark", "codec", "charset"),
    [
        (codecs.BOM_UTF16_LE, "utf-16-le", ""),
        (codecs.BOM_UTF16_BE, "utf-16-be", ";charset=utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32-le", ""),
        (codecs.BOM_UTF32_BE, "utf-32-be", ""),
        (b"", "utf-16-le", ";charset=utf-16le"),
        (b"", "utf-16-be", ";charset=UTF-16"),
        (b"", "utf-16-le", ";charset='utf-16-le'"),
        (b"", "utf-16-le", ""),
        (b"", "utf-16-be", ""),
    ],
)
def test_wide_characters_are_read_and_written(mark: bytes, codec: str, charset: str) -> None:
    """UTF-16 and UTF-32, told by their mark, their charset or their zeros; PowerShell writes files so."""
    url = f"data:text/plain{charset};base64,"
    body, found = look({"file_data": url + b64(mark + TEXT.encode(codec))})
    (document,) = found.texts
    assert document.text == TEXT.encode()
    assert replaced(body, found, document.text) == body
    changed = replaced(body, found, TEXT.replace("hunter2", "[x]").encode())
    assert json.loads(changed)["file_data"] == url + b64(mark + TEXT.replace("hunter2", "[x]").encode(codec))


def test_broken_wide_characters_are_no_document() -> None:
    """What cannot be written back is not opened."""
    _, found = look({"file_data": "data:text/plain;base64," + b64(codecs.BOM_UTF16_LE + b"\x00\xd8A\x00B")})
    assert found.texts == ()


def test_old_encodings_of_one_byte_are_scanned_as_they_are() -> None:
    """Latin-1 and its like: keys are ASCII there too, and the other bytes survive."""
    old = TEXT.encode("latin-1") + b"\x01"
    for url in ("data:text/plain;base64,", "data:text/plain;charset=iso-8859-1;base64,"):
        body, found = look({"file_data": url + b64(old)})
        (document,) = found.texts
        assert document.text == old
        assert json.loads(replaced(body, found, old[:-1]))["file_data"] == url + b64(old[:-1])


def test_several_are_told_apart_in_order() -> None:
    """Texts and pictures of one body, each with its own place."""
    url = "data:{};base64,{}".format
    saying = [f"the {nth} text of several" for nth in ("first", "second", "third", "fourth")]
    first, second, third, fourth = map(b64, saying)
    in_text = " ".join([url("text/x", second), url("image/png", b64(PNG)), url("", third)])
    parts = [
        {"image_url": {"url": url("image/png", b64(PNG))}},
        {"file": {"file_data": url("text/plain", first)}},
        {"text": in_text},
        {"file": {"file_data": fourth}},
    ]
    body, found = look({"messages": [{"role": "user", "content": parts}]})
    assert [document.text.decode() for document in found.texts] == saying
    assert [base64.b64decode(body[slice(*raw)]) for raw in found.left_alone] == [PNG, PNG]
    expected = body.decode()
    for each in (first, second, third, fourth):
        expected = expected.replace(each, b64("new"))
    assert replaced(body, found, b"new") == expected.encode()


def test_a_text_holds_documents_itself() -> None:
    """The text of a document can be asked in its turn."""
    inner = json.dumps({"file_data": "data:text/plain;base64," + b64(TEXT)}, indent=1)
    _, found = look({"file_data": b64(inner)})
    (outer,) = found.texts
    assert [document.text for document in find_documents(outer.text, hints_of(outer.text)).texts] == [
        TEXT.encode()
    ]


def test_what_is_found_is_not_shown() -> None:
    """A document's text may hold credentials: it is in no repr."""
    _, found = look({"file_data": b64(TEXT)})
    assert "hunter2" not in repr(found)
    assert b64(TEXT)[:20] not in repr(found)


@given(
    st.recursive(
        st.none() | st.text() | st.binary(min_size=12).map(b64),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["data", "file_data", "input_audio", "url"]) | st.text(), inner)
        ),
        max_leaves=20,
    ),
    st.booleans(),
)
def test_any_body_is_left_as_it_was(value: Any, ascii_only: bool) -> None:
    """Nothing fails, places do not overlap, and what is not changed is written as it was."""
    body, found = look(value, ensure_ascii=ascii_only)
    spans = sorted([document.raw for document in found.texts] + list(found.left_alone))
    assert all(before.end <= after.start for before, after in pairwise(spans))
    for document in found.texts:
        assert document.encoded(document.text) == body[slice(*document.raw)]


@given(st.text("data:;base64,\"\\/u002B%=-_\n AQq9{}[]", max_size=200))  # fmt: skip
def test_hostile_bytes_are_read_without_failure(text: str) -> None:
    """Also what is no JSON: the text of a document is asked too."""
    for value in (text, 'x"data:text/plain;base64,' + text + '"', '"file_data":"' + text + '"'):
        found = find_documents(value.encode(), hints_of(value.encode()))
        for document in found.texts:
            assert document.encoded(document.text) == value.encode()[slice(*document.raw)]
            document.encoded(b"[REDACTED:x:1]")


@pytest.mark.parametrize(
    "unit",
    [
        "data:",
        ";base64,",
        "data:;base64,",
        "data:;base64,QUJDQUJDQUJDQUJD",
        '\\"data\\":\\"QUJDQUJDQUJDQUJD',
        "QUJD\\n",
        "\\\\",
        "\\\\n",
        "\\u0041",
        "%41",
        "QUJD\\n    ",
        '","data":"',
        '","input_audio":{"data":"QUJDQUJDQUJDQUJD"},"a":"',
    ],
)
@pytest.mark.parametrize("head", ["", "data:text/plain;base64,", "data:image/png;base64,"])
def test_hostile_bodies_take_linear_time(head: str, unit: str) -> None:
    """150 kB of whatever makes expressions start over; quadratic would be minutes."""
    body = ('{"a\\u0061":0,"file_data":"' + head + unit * (150_000 // len(unit)) + '"}').encode()
    started = time.process_time()
    find_documents(body, hints_of(body))
    assert time.process_time() - started < 2
