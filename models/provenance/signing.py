"""Content credentials (C2PA): a finished video signed with the operator's certificate. Knows no tenant; told a policy.

The manifest says that the clip was made by a trained model, which one, and the hash of its frames.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from models.planning.request import RenderFault

#: what made the clip, in the IPTC's words
_TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_RECIPE = "wanfarm.recipe"
#: the fields of the recipe in the signature; the prompt belongs to its owner and is left out
_TOLD = ("model", "task", "seed", "frames_sha256")


class SigningPolicy(StrEnum):
    """OFF signs nothing; ON signs when it can; REQUIRED makes an unsigned result a failure."""

    OFF = "off"
    ON = "on"
    REQUIRED = "required"


@dataclass(frozen=True)
class Credentials:
    """certificate: PEM, the signing one first, then its issuers; key: its private key, PEM (PKCS 8).

    algorithm       es256, es384, es512, ps256, ps384, ps512 or ed25519, as the key is
    timestamp_url   an RFC 3161 authority, so that the signature outlives the certificate
    """

    certificate: Path
    key: Path
    algorithm: str = "es256"
    timestamp_url: str | None = None


@dataclass(frozen=True)
class SignedFile:
    """What a signed file says. state: "Valid" (whole, signer unknown here), "Trusted" or "Invalid"."""

    state: str
    issuer: str | None
    source_type: str | None
    recipe: Mapping[str, Any]


class SigningError(Exception):
    """The file could not be signed; the text says why, for operators."""


def follow(
    policy: SigningPolicy, credentials: Credentials | None, video: Path, recipe: Mapping[str, Any]
) -> str | None:
    """Sign the video in place as the policy says; None when it is signed or need not be, else why it is not.

    RenderFault provenance_required when it has to be signed and cannot; the video is then as it was.
    """
    if policy is SigningPolicy.OFF:
        return None
    try:
        if credentials is None:
            raise SigningError("the operator has configured no certificate")
        sign(video, credentials, recipe)
    except SigningError as error:
        if policy is SigningPolicy.REQUIRED:
            raise RenderFault(
                "provenance_required", "the result must carry content credentials and could not be signed"
            ) from error
        return str(error)
    return None


def sign(video: Path, credentials: Credentials, recipe: Mapping[str, Any]) -> None:
    """Replace the MP4 by a signed one. The picture and the recipe inside it stay. SigningError leaves it as it was."""
    try:
        import c2pa
    except ImportError as error:
        raise SigningError("c2pa-python is not installed (pip install 'wanfarm[c2pa]')") from error
    draft = video.with_suffix(".signed.mp4")
    try:
        info = c2pa.C2paSignerInfo(
            credentials.algorithm,
            credentials.certificate.read_bytes(),
            credentials.key.read_bytes(),
            credentials.timestamp_url,
        )
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(_manifest(recipe))) as builder:
            builder.sign_file(video, draft, signer)
        seen = read(draft)
        if seen is None or seen.state == "Invalid":
            raise SigningError(
                "the signature does not hold: is the certificate one for signing content, and valid now?"
            )
        os.replace(draft, video)
    except (c2pa.C2paError, OSError, ValueError) as error:
        raise SigningError(f"{type(error).__name__}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def read(video: Path, anchors: str | None = None) -> SignedFile | None:
    """The file's credentials, checked against its bytes; None without credentials.

    anchors     PEM of the roots that are trusted
    """
    import c2pa

    settings = {"verify": {"verify_trust": anchors is not None}}
    if anchors is not None:
        settings["trust"] = {"trust_anchors": anchors}  # type: ignore[dict-item]
    try:
        with c2pa.Context.from_dict(settings) as context, c2pa.Reader(video, context=context) as reader:
            told = json.loads(reader.json())
    except c2pa.C2paError as error:
        if "ManifestNotFound" in f"{type(error).__name__} {error}":
            return None
        raise SigningError(str(error)) from error
    manifest = told["manifests"][told["active_manifest"]]
    said = {one["label"]: one["data"] for one in manifest["assertions"]}
    actions: list[dict[str, Any]] = next(
        (data["actions"] for label, data in said.items() if label.startswith("c2pa.actions")), [{}]
    )
    return SignedFile(
        state=told.get("validation_state", "Invalid"),
        issuer=manifest.get("signature_info", {}).get("issuer"),
        source_type=actions[0].get("digitalSourceType"),
        recipe=said.get(_RECIPE, {}),
    )


def _manifest(recipe: Mapping[str, Any]) -> dict[str, Any]:
    made = {"action": "c2pa.created", "digitalSourceType": _TRAINED, "softwareAgent": {"name": "Wanfarm"}}
    return {
        "claim_generator_info": [{"name": "Wanfarm"}],
        "format": "video/mp4",
        "title": "video.mp4",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [made]}},
            {"label": _RECIPE, "data": {name: recipe[name] for name in _TOLD if name in recipe}},
        ],
    }
