"""JSON as nobody should send it, and as nobody usually does."""

BAD_JSON = {
    "cut off": '{"a": ',
    "no JSON": "certainly not",
    "two values": "{} {}",
    "an array": "[1, 2]",
    "a string": '"text"',
    "null": "null",
    "NUL raw": '{"a": "x\x00y"}',
    "NUL escaped": '{"a": "x\\u0000y"}',
    "NUL in a key": '{"x\\u0000y": 1}',
    "NUL behind escaped backslashes": '{"a": "x\\\\\\u0000y"}',
    "a lone surrogate": '{"a": "\\ud800"}',
    "surrogates swapped": '{"a": "\\udc00\\ud800"}',
    "NaN": '{"a": NaN}',
    "Infinity": '{"a": -Infinity}',
    "too deep": '{"a": ' + "[" * 5000 + "]" * 5000 + "}",
    "a comment": '{"a": 1 /* one */}',
}
GOOD_JSON = {
    "empty": "{}",
    "escaped backslash before u0000": '{"a": "\\\\u0000"}',
    "a surrogate pair": '{"a": "\\ud83e\\uddf5"}',
    "big numbers": '{"a": 123456789012345678901234567890, "b": 1e300, "c": -0.0}',
    "the same key twice": '{"a": 1, "a": 2}',
    "spaces": ' \n{ "a" : [ ] }\t',
}
