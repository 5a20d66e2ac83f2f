"""How far back the retention reaches."""

from datetime import UTC, datetime

import pytest

from consult.removing import years_before


@pytest.mark.parametrize(
    ("years", "expected"), [(1, "2027-02-28"), (4, "2024-02-29"), (30, "1998-02-28"), (32, "1996-02-29")]
)
def test_the_retention_is_counted_in_calendar_years(years, expected):
    assert years_before(datetime(2028, 2, 29, 12, tzinfo=UTC), years).date().isoformat() == expected
