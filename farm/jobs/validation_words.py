"""What a validation library finds, in our own words. Pure; for requests and for settings."""

from collections.abc import Mapping
from typing import Any

_OBJECT = "must be an object with names and values"
_WORDS = {
    "missing": "required",
    "extra_forbidden": "unknown",
    "finite_number": "must be a number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be a text (a string)",
    "string_sub_type": "must be a text (a string)",
    "string_unicode": "must be a text (a string)",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "path_type": "must be a path",
}
#: with the name of a number or a word in the entry's context
_WITH = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "string_too_long": "must not be longer than {max_length}",
    "too_long": "must not be longer than {max_length}",
    "string_too_short": "must not be shorter than {min_length}",
    "too_short": "must not be shorter than {min_length}",
}
#: by the beginning of a kind
_FAMILIES = {
    "int_": "must be a whole number (an integer)",
    "datetime_": "must be a time with its zone, like 2030-01-31T12:00:00Z",
    "timezone_": "must be a time with its zone, like 2030-01-31T12:00:00Z",
}


def sentence(found: Mapping[str, Any]) -> str:
    """One entry of pydantic's `errors(include_url=False, include_input=False)`."""
    kind, context = str(found["type"]), found.get("ctx", {})
    family = next((words for start, words in _FAMILIES.items() if kind.startswith(start)), None)
    if context.get("min_length") == 1:
        return "must not be empty"
    words = _WORDS.get(kind) or family
    if words is None and kind in _WITH:
        words = _WITH[kind].format(**context)
    return words or str(found["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
