import pytest

from treadle.model.crons import ALIASES, check_cron
from treadle.model.errors import InvalidInput


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "*/5 * * * *",
        "0 0 1 1 0",
        "59 23 31 12 7",
        "0,30 8-18 * * MON-FRI",
        "1-59/2 * * jan,dec *",
        "*/10 * * * * *",
        "0 5/15 * * * sun",
    ],
)
def test_good_expressions(cron: str) -> None:
    assert check_cron(cron, "cron_triggers[0]") == cron


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_aliases(alias: str) -> None:
    assert check_cron(alias.upper(), "cron") == alias


def test_surplus_blanks_are_dropped() -> None:
    assert check_cron("  * *\t* * * ", "cron") == "* * * * *"


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "*",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "*/60 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "* * * MON *",
        "1, * * * *",
        "-1 * * * *",
        "? * * * *",
        "* * L * *",
        "60 * * * * *",
        "@never",
        "1.5 * * * *",
        "* * * * MON#2",
        "٣ * * * *",
    ],
)
def test_bad_expressions_are_refused_by_field(cron: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_cron(cron, "cron_triggers[1]")
    assert caught.value.field == "cron_triggers[1]"
