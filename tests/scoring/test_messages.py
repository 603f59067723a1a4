import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from actlab.scoring import messages
from actlab.scoring.messages import MAX_HEAD, MAX_SIDE, Malformed, pack, unpack

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def message(text, values=b""):
    return text.encode() + b"\n" + values


def shapes(*sides):
    return message(json.dumps({"head": {}, "shapes": [list(sides)]}))


def test_a_message_is_a_line_of_json_and_the_bytes_of_its_arrays():
    packed = pack({"a": 1}, [np.array([[1.0, 2.0]])])
    assert packed == b'{"head": {"a": 1}, "shapes": [[1, 2]]}\n' + np.array([1.0, 2.0]).tobytes()


@given(st.dictionaries(st.text(), PLAIN, max_size=4), st.lists(arrays(float, array_shapes(max_dims=4)), max_size=3))
def test_what_was_packed_is_unpacked_to_the_bit(head, parts):
    head_again, parts_again = unpack(pack(head, parts))
    assert head_again == head
    assert [part.tobytes() for part in parts_again] == [part.tobytes() for part in parts]
    assert [part.shape for part in parts_again] == [part.shape for part in parts]


def test_arrays_of_any_order_and_type_come_as_aligned_float64_that_may_be_written():
    given = [np.arange(6).reshape(2, 3).T, np.float32([0.5]), np.zeros((0, 3)), np.array(7.0)]
    _, came = unpack(pack({"odd": "x" * 3}, given))
    for before, after in zip(given, came, strict=True):
        np.testing.assert_array_equal(after, before)
        assert (after.dtype, after.shape) == (float, before.shape)
        assert after.flags.aligned
        assert after.flags.writeable


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_malformed(junk):
    with pytest.raises(Malformed):
        unpack(junk)


@given(st.data())
def test_a_message_that_was_cut_or_changed_is_malformed_or_another_message(data):
    whole = bytearray(pack({"a": [1, 2.5, None]}, [np.arange(3.0)]))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        head, parts = unpack(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except Malformed:
        return
    assert isinstance(head, dict)
    assert all(part.dtype == float for part in parts)


@pytest.mark.parametrize(
    ("junk", "words"),
    [
        (b"", "wanted a line of at most"),
        (b"{}", "wanted a line of at most"),
        (b"x" * (MAX_HEAD + 1) + b"\n", "wanted a line of at most"),
        (b"\n", "wanted JSON"),
        (b"\xff\n", "wanted JSON"),
        (b"\0\n", "wanted JSON"),
        (pickle.dumps({"head": {}, "shapes": []}) + b"\n", "wanted JSON"),
        (message("[" * 100_000), "wanted JSON"),
        (message("[" * 100_000 + "]" * 100_000), "wanted JSON"),
        (message('{"a":' * 40_000 + "1" + "}" * 40_000), "wanted JSON"),
        (message("9" * 5000), "wanted JSON"),
        (message("[]"), "wanted an object"),
        (message("{}"), "wanted an object"),
        (message('{"head": [], "shapes": []}'), "wanted an object"),
        (message('{"head": {}, "shapes": {}}'), "wanted an object"),
        (message(json.dumps({"head": {}, "shapes": [[1]] * 65}), bytes(8 * 65)), "wanted an object"),
        (message('{"head": {}, "shapes": [1]}', bytes(8)), "wanted a shape"),
        (message('{"head": {}, "shapes": ["12"]}', bytes(8)), "wanted a shape"),
        (message('{"head": {}, "shapes": [[1.0]]}', bytes(8)), "wanted a shape"),
        (message('{"head": {}, "shapes": [[true]]}', bytes(8)), "wanted a shape"),
        (message('{"head": {}, "shapes": [[NaN]]}', bytes(8)), "wanted a shape"),
        (shapes(-1), "wanted a shape"),
        (shapes(-1, -1) + bytes(8), "wanted a shape"),
        (shapes(1, 1, 1, 1, 1) + bytes(8), "wanted a shape"),
        (shapes(MAX_SIDE + 1), "wanted a shape"),
        (shapes(0, 2**63), "wanted a shape"),
        (shapes(*[int("9" * 4000)] * 4), "wanted a shape"),
        (shapes(0, MAX_SIDE, MAX_SIDE), "wanted shapes that arrays can have"),
        (shapes(MAX_SIDE, MAX_SIDE, MAX_SIDE, MAX_SIDE), "bytes of values for these shapes; got 0"),
        (shapes(2) + bytes(15), "wanted 16 bytes of values for these shapes; got 15"),
        (shapes(2) + bytes(17), "wanted 16 bytes of values for these shapes; got 17"),
    ],
)
def test_what_is_no_message_is_told_in_a_short_line(junk, words):
    with pytest.raises(Malformed) as error:
        unpack(junk)
    assert words in str(error.value)
    assert len(str(error.value)) < 200


def test_a_head_that_is_too_long_is_not_sent():
    text = "x" * (MAX_HEAD - len(pack({"a": ""})) + 1)
    assert unpack(pack({"a": text}))[0] == {"a": text}
    with pytest.raises(messages.TooLong, match=f"wanted a head of at most {MAX_HEAD} bytes; got {MAX_HEAD + 1}"):
        pack({"a": text + "x"})


def test_the_longest_program_fits_however_its_characters_are_escaped():
    from actlab.candidates.program import MAX_CHARACTERS

    for character in ("x", "ф", "𐐀", "\0", '"'):
        assert unpack(pack({"source": character * MAX_CHARACTERS}))[0] == {"source": character * MAX_CHARACTERS}


def test_nothing_here_can_unpickle():
    assert not {"pickle", "marshal", "torch", "shelve"} & set(vars(messages))
