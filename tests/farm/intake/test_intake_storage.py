import hashlib
import time

import pytest

from farm.config import SchedulingSettings, Settings
from farm.embedded import samples
from farm.intake.garbage import INPUT_RETENTIONS, UPLOADS_KEPT_S, InputGarbage
from farm.intake.intake import Content, Intake
from farm.jobs.draft import Source
from farm.jobs.errors import InvalidRequest, TooLarge
from farm.storage.object_keys import input_key, upload_key
from farm.storage.store import Store


@pytest.fixture
def store(settings: Settings) -> Store:
    store = Store(settings.s3)
    for prefix in ("uploads/", "inputs/"):
        store.delete_prefix(prefix)
    return store


def looked_at(intake: Intake) -> Content:
    return intake.look("ada", "image", Source(data=samples.picture()), field="image")


def test_the_same_bytes_are_stored_once_under_their_hash(settings: Settings, store: Store) -> None:
    intake = Intake(settings, store)
    content = looked_at(intake)
    ref = intake.keep("ada", content)
    first = store.stat(input_key("ada", content.kept_sha256))
    assert first is not None
    assert (ref.key, ref.kept_sha256, ref.size) == (first.key, content.kept_sha256, first.size)
    # and its owner's hash is that of the owner's file
    assert ref.sha256 == hashlib.sha256(samples.picture()).hexdigest()
    assert intake.keep("ada", looked_at(intake)) == ref
    assert store.stat(first.key) == first
    # another tenant's are another object: nobody learns what others have
    assert store.stat(input_key("bob", content.kept_sha256)) is None


def test_a_half_stored_input_is_stored_again(settings: Settings, store: Store) -> None:
    intake = Intake(settings, store)
    content = looked_at(intake)
    store.put_bytes(input_key("ada", content.kept_sha256), b"half", "image/jpeg")
    ref = intake.keep("ada", content)
    assert hashlib.sha256(store.get_bytes(ref.key or "", limit=10**6)).hexdigest() == ref.kept_sha256


def test_uploads_have_a_limit_and_wrong_kinds_a_name(settings: Settings, store: Store) -> None:
    small = settings.model_copy(update={"intake": settings.intake.model_copy(update={"max_image_bytes": 1000})})
    store.put_bytes(upload_key("ada", "big"), samples.picture(), "")
    with pytest.raises(TooLarge) as raised:
        Intake(small, store).look("ada", "image", Source(upload="big"), field="image.upload")
    assert raised.value.field == "image.upload"
    with pytest.raises(InvalidRequest, match="JPEG picture; send an MP4"):
        Intake(settings, store).look("ada", "video", Source(upload="big"), field="video")


def test_old_bytes_go_and_young_ones_stay(settings: Settings, store: Store) -> None:
    retention_s = settings.scheduling.retention_s
    store.put_bytes(upload_key("ada", "u"), b"x", "")
    store.put_bytes(input_key("ada", "0" * 64), b"x", "")

    def sweep(later_s: float) -> int:
        return InputGarbage(store, retention_s, lambda: time.time() + later_s).sweep()

    assert sweep(UPLOADS_KEPT_S - 60) == 0
    assert sweep(UPLOADS_KEPT_S + 60) == 1
    assert store.stat(upload_key("ada", "u")) is None
    assert sweep(INPUT_RETENTIONS * retention_s - 60) == 0
    assert sweep(INPUT_RETENTIONS * retention_s + 60) == 1


def test_an_input_that_a_new_job_uses_is_written_anew_when_it_is_old(settings: Settings, store: Store) -> None:
    content = looked_at(Intake(settings, store))
    key = input_key("ada", content.kept_sha256)
    # of the right size, and not the content: so it shows whether anything was written
    store.put_bytes(key, bytes(content.size), "image/jpeg")
    Intake(settings, store).keep("ada", content)
    assert store.get_bytes(key, limit=10**6) == bytes(content.size)
    forgetful = settings.model_copy(update={"scheduling": SchedulingSettings(retention_s=0)})
    Intake(forgetful, store).keep("ada", content)
    assert hashlib.sha256(store.get_bytes(key, limit=10**6)).hexdigest() == content.kept_sha256
