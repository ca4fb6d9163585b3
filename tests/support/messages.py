"""Error messages under test."""

import pytest

from jles.errors import InputError


def message_of(call, *arguments, **options) -> str:
    """The one line of the `InputError` that the call raises."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
