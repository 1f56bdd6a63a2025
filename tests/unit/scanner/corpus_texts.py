"""How people write keys into texts (``FORMS``), what hides a key from a search (``HIDINGS``), and texts around."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from corpus import SOLIDUS, Piece, Planted, escaped

Write = Callable[[str], str]


def _as_is(text: str) -> str:
    return text


def _quoted(text: str) -> str:
    for char, escape in ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"):
        text = text.replace(char, escape)
    return text


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


@dataclass(frozen=True, slots=True)
class Form:
    """A text with a place for a key.

    ``before`` may hold ``NAME``, which becomes the name of the setting that usually holds such a key. ``quote`` is what
    the form does to line ends and quotation marks of a key that has some.
    """

    name: str
    before: str
    after: str
    quote: Write = _quoted


FORMS: Final = (
    Form("bare", "", "", _as_is),
    Form("prose", "Hello, my key is ", " and it does not work any more.", _as_is),
    Form("end of a sentence", "It says invalid key for ", ". What now?", _as_is),
    Form("in brackets", "We rotated the old one (", ") yesterday; the new one is in the vault.", _as_is),
    Form("after a colon", "NAME: ", "\nPlease keep it to yourself", _as_is),
    Form("Chinese", "我的密钥是", "，请帮我检查一下。", _as_is),
    Form("Russian", "Вот мой ключ «", "», почему он не работает?", _as_is),
    Form("Arabic", "هذا هو المفتاح ", "، شكرا", _as_is),
    Form("Hindi and emoji", "यह कुंजी है 🔑", "🙏🏽 धन्यवाद", _as_is),
    Form("Python", 'import os\n\nNAME = "', '"\nclient = Client(NAME)\n'),
    Form("Python bytes", "os.environ['NAME'] = b'", "'.decode()  # do not commit\n"),
    Form("JavaScript", "const client = new Client({ NAME: '", "', retries: 3 });"),
    Form("JavaScript template", "const NAME = `", "`;\nexport default NAME;\n", _as_is),
    Form("Go", '\tNAME := "', '" // TODO: read it from the vault\n'),
    Form("SQL", "INSERT INTO settings (name, value) VALUES ('NAME', '", "');", _as_is),
    Form("JSON", '{\n  "region": "eu-west-1",\n  "NAME": "', '",\n  "retries": 3\n}'),
    Form("compact JSON", '{"a":[1,2,{"NAME":"', '"}]}'),
    Form("YAML", "env:\n  NAME: ", "\n  REGION: eu-west-1\n", _indented),
    Form("YAML in quotes", 'env:\n  NAME: "', '"\n  REGION: eu-west-1\n'),
    Form(".env", "# local\nPORT=8080\nNAME=", "\nDEBUG=1\n"),
    Form(".env in quotes", 'PORT=8080\nNAME="', '"\nDEBUG=1\n'),
    Form("INI", "[default]\nregion = eu-west-1\nNAME = ", "\noutput = json\n"),
    Form("TOML", '[tool]\nNAME = "', '"\n'),
    Form("log", "2026-02-03T04:05:06.789Z ERROR [worker-7] request failed: NAME=", " status=401 took=12ms"),
    Form("log, JSON", '{"level":"error","msg":"refused","NAME":"', '","status":401}\n{"level":"info"}\n'),
    Form("shell export", "$ export NAME=", "\n$ ./run.sh\n"),
    Form("shell, one line", "NAME='", "' ./run.sh --verbose", _as_is),
    Form("PowerShell", '$env:NAME="', '"; python run.py'),
    Form("Dockerfile", "FROM python:3.12\nENV NAME=", "\nRUN pip install .\n"),
    Form("docker run", "docker run --rm -e NAME=", " -p 8080:8080 app:latest"),
    Form("curl, bearer", 'curl https://api.example.com/v1/x -H "Authorization: Bearer ', '" -d @body.json'),
    Form("curl, header", "curl -s https://api.example.com/v1/x -H 'x-api-key: ", "' | jq ."),
    Form("curl, user", "curl https://api.example.com/v1/charges -u ", ": -d amount=400"),
    Form("HTTP", "POST /v1/x HTTP/1.1\r\nHost: api.example.com\r\nX-NAME: ", "\r\nAccept: */*\r\n\r\n"),
    Form("URL query", "https://example.com/hook?id=7&NAME=", "&verbose=1"),
    Form("end of a URL", "See https://example.com/hook?NAME=", ""),
    Form("URL fragment", "https://example.com/cb#NAME=", "&state=xyz"),
    Form("Markdown code", "Set `NAME` to `", "` and try again."),
    Form("Markdown fence", "Run this:\n\n```sh\nexport NAME=", "\n```\n\nIt should print `ok`."),
    Form("Markdown table", "| name | value |\n| --- | --- |\n| NAME | ", " |\n| REGION | eu |\n"),
    Form("Markdown bold", "The key is **", "**, keep it safe."),
    Form("HTML", '<input type="hidden" name="NAME" value="', '"><br>\n'),
    Form("XML", "<add key='a' value='b'/>\n<NAME>", "</NAME>\n"),
    Form("diff", "--- a/.env\n+++ b/.env\n@@ -1,2 +1,3 @@\n PORT=8080\n+NAME=", "\n DEBUG=1\n"),
    Form("CSV", "id,NAME,owner\n17,", ",alice\n"),
    Form("tabs", "NAME\t", "\talice\n"),
    Form("quoted mail", "> Hi,\n> the key is ", "\n> best, A.\n", lambda text: text.replace("\n", "\n> ")),
)

Hide = Callable[[str, random.Random], str | None]
"""The key as it is written, or ``None`` where this way does not apply to it."""

_ACCESS_KEY_ID: Final = re.compile("(A[KSBC][IC]A[2-7A-Z]{16})")
_WIDTHLESS: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad"


def _inside(text: str, rng: random.Random) -> int:
    return rng.randrange(1, len(text))


def _insert(what: str) -> Hide:
    def hide(text: str, rng: random.Random) -> str | None:
        at = _inside(text, rng)
        return text[:at] + what + text[at:]

    return hide


def _one(change: Write) -> Hide:
    def hide(text: str, rng: random.Random) -> str | None:
        at = rng.randrange(len(text))
        return text[:at] + change(text[at]) + text[at + 1 :]

    return hide


def _first(change: Write) -> Hide:
    return lambda text, rng: change(text[0]) + text[1:]


def _last(change: Write) -> Hide:
    return lambda text, rng: text[:-1] + change(text[-1])


def _every(change: Write) -> Hide:
    return lambda text, rng: "".join(map(change, text))


def _percent(char: str) -> str:
    return f"%{ord(char):02X}"


def _percent_lower(char: str) -> str:
    return f"%{ord(char):02x}"


def _percent_twice(char: str) -> str:
    return f"%25{ord(char):02X}"


def _outer(char: str) -> str:
    return escaped(char, outer=True)


def _upper(char: str) -> str:
    return escaped(char, upper=True)


def _several_widthless(text: str, rng: random.Random) -> str | None:
    return text[0] + "".join(rng.choice(("", "", "", *_WIDTHLESS)) + char for char in text[1:])


def _solidus(text: str, rng: random.Random) -> str | None:
    return text.replace("/", SOLIDUS) if "/" in text else None


def _percent_reserved(text: str, rng: random.Random) -> str | None:
    """As a form or a query writes a value."""
    changed = "".join(char if char.isalnum() or char in "-_.~" else _percent(char) for char in text)
    return changed if changed != text else None


def _in_lines(text: str, rng: random.Random) -> str | None:
    return "\n".join(text[at : at + 19] for at in range(0, len(text), 19))


def _mixed(text: str, rng: random.Random) -> str | None:
    ways = (_as_is, _as_is, escaped, _upper, _percent, lambda char: char + "\u200b")
    return "".join(rng.choice(ways)(char) for char in text[:-1]) + text[-1]


HIDINGS: Final[dict[str, Hide]] = {
    "as it is": lambda text, rng: text,
    "first character escaped": _first(escaped),
    "one character escaped": _one(escaped),
    "last character escaped": _last(escaped),
    "every character escaped": _every(escaped),
    "every character escaped, capitals": _every(_upper),
    "one character escaped in the body": _one(_outer),
    "every character escaped in the body": _every(_outer),
    "solidus escaped": _solidus,
    "first character percent-encoded": _first(_percent),
    "one character percent-encoded": _one(_percent_lower),
    "every character percent-encoded": _every(_percent),
    "reserved characters percent-encoded": _percent_reserved,
    "one character percent-encoded twice": _one(_percent_twice),
    "every character percent-encoded twice": _every(_percent_twice),
    "percent sign escaped": _one(lambda char: escaped("%") + f"{ord(char):02X}"),
    **{f"U+{ord(char):04X} inside": _insert(char) for char in _WIDTHLESS},
    "several without width": _several_widthless,
    "mixed": _mixed,
}

WRAPS: Final[dict[str, Hide]] = {
    "line end inside": _insert("\n"),
    "CRLF inside": _insert("\r\n"),
    "line end and indentation inside": _insert("\n        "),
    "line end and tab inside": _insert("\n\t"),
    "quoted line end inside": _insert("\n> "),
    "continued line inside": _insert("\\\n"),
    "continued and indented line inside": _insert("\\\n    "),
    "lines of 19": _in_lines,
}

BEFORE: Final = (
    "", "Look:\n", "my token\n", "1) ", "Größe, naïve façade: ", "请看：\n\n", "“quoted” ", "\U0001f511 ",
    "C:\\temp\\new \"x\" → ", "a\tb\t", "https://example.com/?a=b&c=d ", "100% sure; ", "\\u0041 ",
    "{\"a\": \"b\\n\"}\n", "x\x00\x1f\x7f ",
)  # fmt: skip
AFTER: Final = (
    "", "\nThanks!", " (see above)", "\n\n— Zoë", "。谢谢", " \\n\\t", "\n\"end\"", " 50%", "\u2028next",
    "\r\n> ok",
)  # fmt: skip
"""Harmless texts around."""


def planted(kind: str, secret: bytes, form: Form, hide: Hide, rng: random.Random) -> Planted | None:
    """The key in writing, or ``None`` where it cannot be hidden like this."""
    quoted = form.quote(secret.decode())
    text = hide(quoted, rng)
    # Readers undo quotation; indentation stays.
    canonical = secret if form.quote is _quoted else quoted.encode()
    return None if text is None else Planted(kind, canonical, text)


def around(form: Form, kind: str, beside: tuple[bytes, bytes], piece: Planted) -> tuple[Piece, ...]:
    """The form filled in. ``beside``: what must stand right before and after a key of this kind."""
    name = kind.upper().replace("-", "_")
    before, after = (_with_ids(form.quote(each.decode())) for each in beside)
    return form.before.replace("NAME", name), *before, piece, *after, form.after.replace("NAME", name)


def _with_ids(text: str) -> tuple[Piece, ...]:
    """The access key ids that secret access keys stand beside are credentials themselves."""
    pieces = _ACCESS_KEY_ID.split(text)
    return tuple(
        Planted("aws-access-key", each.encode(), each) if at % 2 else each for at, each in enumerate(pieces)
    )
