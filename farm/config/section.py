"""One section of the settings file."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings. A name that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
