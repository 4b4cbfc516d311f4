"""The embedded S3 server: `rclone serve s3` over a folder. SigV4, presigned URLs with expiry, Range, multipart."""

from pathlib import Path

from farm.embedded.binaries import rclone


def command(folder: Path, port: int, *, host: str = "127.0.0.1") -> list[str]:
    """Arguments to serve the subfolders of `folder` as buckets. Run it with `environment` in its environment."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *(str(rclone()), "serve", "s3", str(folder), "--addr", f"{host}:{port}"),
        *("--config", "/dev/null", "--vfs-cache-mode", "off"),
    ]


def environment(access_key: str, secret_key: str) -> dict[str, str]:
    """The keys, where `ps` does not show them. (rclone reads the pair as one field of CSV: hence the quotes.)"""
    return {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}
