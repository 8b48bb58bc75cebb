"""Settings from TOML: what is wrong with them is said in one line."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from isthmus.errors import ConfigError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        ConfigError: no such file (the message asks for ``what``), or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the TOML of {what}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None


def told(error: ValidationError) -> str:
    """The first finding of pydantic in one line: the key, what was expected, what was found."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{more}"
    text = str(first["msg"]).removeprefix("Value error, ")
    found = "" if first["type"] in ("missing", "value_error") else f", found {first['input']!r}"
    return f"{key or 'it'}: {text}{found}{more}"
