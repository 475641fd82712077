import inspect

import pytest

from blursynth import errors


def test_every_error_has_an_exit_code_of_the_command_line() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, errors.BlursynthError)
        assert error.exit_code in {1, 2, 3, 4, 5}
        assert name in (inspect.getdoc(errors) or ""), f"{name} is missing in the drawing"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(errors.SettingsError, ValueError), (errors.VideoError, OSError), (errors.OutputError, OSError)],
)
def test_errors_can_be_caught_by_the_built_in(error: type[Exception], builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="what to do"):
        raise error("what to do")
