"""Settings that could not work are refused when they are read."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from farm.config import PoolSettings, Settings, WorkerSettings


@pytest.mark.parametrize("changes", [{"worker": WorkerSettings(pool="intake")}, {"pools": {"intake": PoolSettings()}}])
def test_no_pool_may_be_called_as_the_one_where_jobs_wait_for_their_inputs(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="intake"):
        Settings(**changes)  # type: ignore[arg-type]


def test_a_secret_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-the-file\n")
    monkeypatch.setenv("WANFARM_S3__SECRET_KEY_FILE", str(secret))
    monkeypatch.setenv("WANFARM_S3__BUCKET", "clips")
    monkeypatch.setenv("WANFARM_STATE_DIR", "/var/lib/wanfarm")
    settings = Settings()
    assert (settings.s3.secret_key, settings.s3.bucket) == ("from-the-file", "clips")
    assert settings.state_dir == Path("/var/lib/wanfarm")


def test_a_secret_that_is_not_there_or_given_twice_is_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANFARM_SECRETS__KEY_FILE", "/nowhere/key")
    with pytest.raises(ValueError, match="WANFARM_SECRETS__KEY_FILE=/nowhere/key: No such file"):
        Settings()
    monkeypatch.setenv("WANFARM_SECRETS__KEY", "k")
    with pytest.raises(ValueError, match="both set"):
        Settings()
