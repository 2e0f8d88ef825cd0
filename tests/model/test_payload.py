import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.model.errors import InvalidInput
from treadle.model.payload import MAX_DEPTH, _strict_loads, check_json, check_metadata

Loads = Callable[[bytes], Any]

both_parsers = pytest.mark.parametrize("loads", [_strict_loads, orjson.loads], ids=["standard", "orjson"])

GOOD = {
    "object": b'{"a": 1}',
    "blanks": b' {"a": 1.5e300} ',
    "escaped backslash before u0000": rb'"\\u0000"',
    "surrogate pair": rb'"\ud83d\ude00"',
    "deepest": b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
    "wide": b"[" + b"{}," * 500 + b"{}]",
    "brackets in a text": b'"' + b"[" * 500 + b'"',
    "escaped quote before brackets": rb'["\"' + b"[" * 500 + b'"]',
    "large number": b"123456789012345678901234567890",
}
BAD = {
    "nothing": (b"", "is empty"),
    "cut off": (b"{", "not valid JSON"),
    "comma": (b"[1,]", "not valid JSON"),
    "leading zero": (b"01", "not valid JSON"),
    "single quotes": (b"'a'", "not valid JSON"),
    "line feed in a text": (b'"a\nb"', "not valid JSON"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not valid JSON"),
    "NaN": (b"NaN", "not valid JSON"),
    "Infinity": (b"[Infinity]", "not valid JSON"),
    "-Infinity": (b"-Infinity", "not valid JSON"),
    "NUL byte in a text": (b'"\x00"', "NUL"),
    "NUL byte after": (b"{}\x00", "NUL"),
    "NUL escape": (rb'"\u0000"', "NUL"),
    "NUL escape after a backslash": (rb'"\\\u0000"', "NUL"),
    "NUL escape in a key": (rb'{"\u0000": 1}', "NUL"),
    "high surrogate": (rb'"\ud800"', "surrogate|JSON"),
    "low surrogate": (rb'"\uDC00x"', "surrogate|JSON"),
    "surrogate as bytes": (b'"\xed\xa0\x80"', "UTF-8"),
    "not UTF-8": (b"\xff", "UTF-8"),
    "UTF-16": ("{}".encode("utf-16"), "UTF-8|NUL"),
    "too deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper than 128"),
    "too deep in objects": (b'{"a":' * 129 + b"1" + b"}" * 129, "deeper than 128"),
    "far too deep": (b"[" * 100_000 + b"]" * 100_000, "deeper than 128|JSON"),
    "digits without end": (b"9" * 5000 + b".x", "not valid JSON"),
}


@both_parsers
@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD.keys())
def test_good_payloads_are_returned_as_they_are(data: bytes, loads: Loads) -> None:
    assert check_json(data, "input", object_only=False, max_bytes=10_000, loads=loads) is data


@both_parsers
@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_bad_payloads_are_refused_by_field(data: bytes, message: str, loads: Loads) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        check_json(data, "runs[3].input", object_only=False, max_bytes=10**6, loads=loads)
    assert caught.value.field == "runs[3].input"
    assert len(str(caught.value)) < 300


@both_parsers
@pytest.mark.parametrize("text", ["[]", "1", '"a"', "null", "true"])
def test_an_object_can_be_asked_for(text: str, loads: Loads) -> None:
    assert check_json(text, "output", object_only=False, max_bytes=100, loads=loads) == text.encode()
    with pytest.raises(InvalidInput, match="must be a JSON object, not "):
        check_json(text, "input", object_only=True, max_bytes=100, loads=loads)


def test_the_limit_counts_bytes() -> None:
    assert check_json('"é"', "input", object_only=False, max_bytes=4) == '"é"'.encode()
    with pytest.raises(InvalidInput, match="4 bytes long; at most 3"):
        check_json('"é"', "input", object_only=False, max_bytes=3)


def test_half_a_character_in_a_python_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        check_json('"\ud800"', "input", object_only=False, max_bytes=100)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_holds_nul(part) for part in value)
    return isinstance(value, str) and "\0" in value


@both_parsers
@given(value=_json)
def test_whatever_python_writes_passes_unless_it_holds_nul(value: Any, loads: Loads) -> None:
    for data in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        if _holds_nul(value):
            with pytest.raises(InvalidInput, match="NUL"):
                check_json(data, "input", object_only=False, max_bytes=10**6, loads=loads)
        else:
            check_json(data, "input", object_only=False, max_bytes=10**6, loads=loads)


@given(data=st.binary(max_size=60) | st.text('[]{}"\\u0dD8,:1.eE+-truefalsn \0', max_size=40).map(str.encode))
def test_both_parsers_agree_on_what_is_json(data: bytes) -> None:
    def accepts(loads: Loads) -> bool:
        try:
            check_json(data, "input", object_only=False, max_bytes=1000, loads=loads)
        except InvalidInput:
            return False
        return True

    assert accepts(_strict_loads) == accepts(orjson.loads)


@pytest.mark.parametrize("text", ["", "null", " null ", " "])
def test_no_metadata_is_written_in_several_ways(text: str) -> None:
    assert check_metadata(text, "metadata") == ""


def test_metadata_is_an_object_and_kept_as_given() -> None:
    assert check_metadata('{ "a" : 1 }', "metadata", loads=orjson.loads) == '{ "a" : 1 }'
    for text in ("[]", "1", "x", "{"):
        with pytest.raises(InvalidInput, match="metadata: "):
            check_metadata(text, "metadata")
