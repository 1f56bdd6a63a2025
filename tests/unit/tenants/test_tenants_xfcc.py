"""x-forwarded-client-cert: the nearest hop's one URI, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.tenants.xfcc import MAX_CHARS, spiffe_id

APP = "spiffe://acme.test/ns/prod/sa/app"
OTHER = "spiffe://evil.test/other"
HASH = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688"


@pytest.mark.parametrize(
    "header",
    [
        f"URI={APP}",
        f"uri={APP}",
        f'URI="{APP}"',
        # From Envoy's documentation, with our names.
        f"By=spiffe://acme.test/router;Hash={HASH};URI={APP}",
        f'By=http://frontend.lyft.com;Hash={HASH};Subject="/C=US/L=San Francisco/CN=Test Client";URI={APP}',
        f'Hash={HASH};Cert="-----BEGIN%20CERTIFICATE-----%0A...";Subject="CN=a,O=b;=";URI={APP};DNS=a;DNS=b',
        f"By=spiffe://x/y;URI={OTHER},By=spiffe://x/z;URI={APP}",
        f"By=spiffe://x/y;URI={OTHER}, By=spiffe://x/z;URI={APP}",
        f'Subject="CN=\\"quoted\\", URI={OTHER}";URI={APP}',
        f"By=;URI={APP};Subject=",
    ],
)
def test_the_last_elements_uri_is_the_identity(header: str) -> None:
    assert spiffe_id(header) == APP


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "   ",
        APP,
        "URI=",
        "URI=https://acme.test/app",
        "URI=spiffe://ACME.test/app",
        f"URI={APP}?query",
        f"URI={APP}/",
        f"By={APP};Hash={HASH}",
        f"URI={APP};URI={OTHER}",  # no SPIFFE certificate has two
        f"URI={APP};URI={APP}",
        f"URI={APP},By=spiffe://x/z",  # the nearest hop has verified nobody
        f"URI={APP},",
        f",URI={APP}",
        f"URI={APP};",
        f"URI={APP};;Hash=1",
        f'URI="{APP}',
        f'URI={APP}"',
        f'Subject="CN=a"b;URI={APP}',
        f'Subject="a;URI={APP}',
        # A backslash and a quote in the subject, as Envoy writes them: not to be read as the end of the value.
        f'Subject="CN=a\\\\";URI={APP};X="b"',
        f"URI ={APP}",
        f"URI={APP}\n",
        f"URI={APP}\x00",
        f"Hash={'a' * MAX_CHARS};URI={APP}",
    ],
)  # fmt: skip
def test_whatever_could_be_something_else_is_nobody(header: str | None) -> None:
    assert spiffe_id(header) is None


@given(st.text(alphabet='abURIuri=;,"\\ /:.\n\x00', max_size=60) | st.text(max_size=60))
def test_hostile_text_never_breaks_it(text: str) -> None:
    """Nor gives anything but a SPIFFE id that stands in the text."""
    found = spiffe_id(text)
    assert found is None or (found in text and found.startswith("spiffe://"))


values = st.text(alphabet='abc,;="\\ /CN', max_size=12)


@given(subject=values, dns=st.text(alphabet="abc.-", max_size=8), before=values)
def test_names_that_a_client_chose_cannot_become_an_identity(subject: str, dns: str, before: str) -> None:
    """Written as Envoy does it: quotes escaped, nothing else; in every place that a client's certificate fills."""

    def quoted(value: str) -> str:
        return '"' + value.replace('"', '\\"') + '"'

    for injected in (
        subject,
        f'{subject}";URI={OTHER};X="',
        f'{subject}\\";URI={OTHER};X="',
        f'",URI={OTHER},B="',
    ):
        for first in (f"Subject={quoted(before)};URI={APP},", ""):
            header = f"{first}By=x;Hash={HASH};Subject={quoted(injected)};URI={APP};DNS={dns}"
            assert spiffe_id(header) in {APP, None}


def test_it_takes_linear_time() -> None:
    """No text makes the search go back and forth."""
    for text in (
        'a="' + "\\a" * (MAX_CHARS // 2 - 4),
        "a=b;" * (MAX_CHARS // 4 - 1),
        "a=" * (MAX_CHARS // 2),
    ):
        assert spiffe_id(text[:MAX_CHARS]) is None
