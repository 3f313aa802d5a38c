"""``json.loads`` decides; orjson may only say yes where it would."""

import json
import subprocess
import sys
from typing import Final

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.core.well_formed import MOST_BRACKETS, is_json, orjson_loads, takes

TEXTS: Final = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        st.integers(min_value=-(10**400), max_value=10**400),
        st.text(st.characters(categories=["Cs", "Cc", "Ll"])),
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
).map(lambda document: json.dumps(document, ensure_ascii=False))

BODIES: Final = st.one_of(
    TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    TEXTS.map(lambda text: text.encode("utf-8-sig", "surrogatepass")),
    TEXTS.map(lambda text: text.encode("utf-16", "surrogatepass")),
    TEXTS.flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end].encode("utf-8", "surrogatepass"))),
    st.text('0123456789.eE+-[]{},:"\\u nulNaI\t', max_size=30).map(str.encode),
    st.binary(max_size=40),
)


@given(BODIES)
@settings(max_examples=1000, deadline=None)
@example(b"NaN")
@example(b"[Infinity]")
@example(b"1e999")
@example(b"1" * 5000)
@example(b"1" * 5000 + b"e-4900")
@example(b"[" * 1001 + b"]" * 1001)
@example(b"[" * 1020 + b"]" * 1020)
@example(b'"\\ud800"')
@example(b'"\xed\xa0\x80"')
@example(b'"\x00"')
@example(b"\xef\xbb\xbf{}")
@example("[1]".encode("utf-16"))
@example(b'{"a": 1, "a": 2}')
@example(b"")
def test_a_body_is_json_where_the_standard_library_says_so(body: bytes) -> None:
    """With orjson installed, a payment whose answer json.loads can read would be called unreadable, or the reverse."""
    assert orjson_loads() is orjson.loads

    assert is_json(body) is takes(json.loads, body)


@pytest.mark.parametrize("levels", [MOST_BRACKETS, MOST_BRACKETS + 1, 700, 1020, 5000])
def test_a_deep_body_is_json_where_the_standard_library_says_so(levels: int) -> None:
    """An answer that orjson can read, and json.loads cannot, would depend on what is installed."""
    body = b'{"a":' * levels + b"1" + b"}" * levels

    assert is_json(body) is takes(json.loads, body)


def test_orjson_spares_the_standard_library_the_work() -> None:
    """The extra would be installed and never used."""
    code = (
        "import json; json.loads = None\n"
        "from holdfast.core.well_formed import is_json\n"
        'print(is_json(b\'{"id": "TR1"}\'))'
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "True\n"


def test_without_orjson_the_answer_is_the_same() -> None:
    """A user without the extra would lose verdicts, or the import."""
    code = (
        "import sys; sys.modules['orjson'] = None\n"
        "from holdfast.core.well_formed import is_json, orjson_loads\n"
        "print(orjson_loads(), is_json(b'{\"id\": \"TR1\"}'), is_json(b'[NaN]'), is_json(b'{\"id\": '))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "None True True False\n"
