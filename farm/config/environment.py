"""WANFARM_* variables, and files in their place: `WANFARM_S3__SECRET_KEY_FILE=/run/secrets/s3` is what that file says.

So secrets of Docker, Kubernetes and systemd need not stand in an environment, which child processes and crash reports
see. A file that is named and not there is an error, never a default.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic_settings import EnvSettingsSource

_FILE = "_file"


class EnvironmentWithFiles(EnvSettingsSource):
    """Raises ValueError for a file that cannot be read, and for a setting that is given both ways."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # each field looks through all that is left here
        prefix = self.env_prefix.lower()
        found = {name: value for name, value in super()._load_env_vars().items() if name.startswith(prefix)}
        for name in [name for name in found if name.endswith(_FILE)]:
            path, setting = found.pop(name), name.removesuffix(_FILE)
            if setting in found:
                raise ValueError(f"{name.upper()} and {setting.upper()} are both set")
            try:
                found[setting] = Path(path or "").read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ValueError(f"{name.upper()}={path}: {error.strerror}") from error
        return found
