"""A LoRA as its tenant owns it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: patterns of a LoRA's name and of its file's hash
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
SHA256 = r"[0-9a-f]{64}"

#: finds one of a tenant's LoRAs by name or id
LoraLookup = Callable[[str], "StoredLora | None"]


@dataclass(frozen=True)
class StoredLora:
    """A LoRA that was checked and may be used.

    upload      the upload that it came from: taking that over once more answers with this LoRA
    rank, modules, ignored, fits    models.weights.lora_file.Anatomy; modules is their number
    deleted_ms  its owner wants it gone: nobody finds it any more, open jobs keep it
    """

    id: str
    name: str
    sha256: str
    size: int
    upload: str
    rank: int
    modules: int
    ignored: int
    fits: tuple[str, ...]
    created_ms: int
    deleted_ms: int | None = None

    @property
    def there(self) -> bool:
        """Whether its owner still has it."""
        return self.deleted_ms is None


def find(listed: Sequence[StoredLora], name_or_id: str) -> StoredLora | None:
    """The LoRA with that name or id; None when there is none."""
    return next((one for one in listed if name_or_id in (one.name, one.id)), None)
