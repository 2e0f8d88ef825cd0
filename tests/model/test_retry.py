import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.model.retry import MAX_BACKOFF_SECONDS, backoff_ms


def test_without_a_factor_the_retry_is_immediate() -> None:
    assert backoff_ms(factor=None, max_seconds=10, retry=5) == 0


@pytest.mark.parametrize(
    ("factor", "max_seconds", "retry", "ms"),
    [
        (2.0, None, 1, 2000),
        (2.0, None, 4, 16_000),
        (2.0, 10, 4, 10_000),
        (1.0, 60, 9, 1000),
        (1.5, None, 2, 2250),
        (2.0, None, 17, 86_400_000),
        (1.0, 1, 1, 1000),
        (1000.0, None, 2**31, 86_400_000),
    ],
)
def test_the_wait_grows_by_the_factor_up_to_the_cap(
    factor: float, max_seconds: int | None, retry: int, ms: int
) -> None:
    assert backoff_ms(factor=factor, max_seconds=max_seconds, retry=retry) == ms


_factors = st.floats(1, 1000)
_caps = st.none() | st.integers(1, MAX_BACKOFF_SECONDS)


@given(factor=_factors, max_seconds=_caps, retry=st.integers(1, 2**31))
def test_it_lies_between_one_second_and_the_cap(factor: float, max_seconds: int | None, retry: int) -> None:
    wait = backoff_ms(factor=factor, max_seconds=max_seconds, retry=retry)
    assert 1000 <= wait <= 1000 * (max_seconds or MAX_BACKOFF_SECONDS)


@given(factor=_factors, max_seconds=_caps, retry=st.integers(1, 10_000))
def test_it_never_shrinks_from_retry_to_retry(factor: float, max_seconds: int | None, retry: int) -> None:
    first = backoff_ms(factor=factor, max_seconds=max_seconds, retry=retry)
    assert first <= backoff_ms(factor=factor, max_seconds=max_seconds, retry=retry + 1)


@given(factor=_factors, max_seconds=st.integers(1, MAX_BACKOFF_SECONDS), retry=st.integers(1, 40))
def test_it_is_the_formula(factor: float, max_seconds: int, retry: int) -> None:
    exact = min(max_seconds, factor**retry) * 1000
    assert abs(backoff_ms(factor=factor, max_seconds=max_seconds, retry=retry) - exact) <= 1
