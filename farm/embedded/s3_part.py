"""The embedded S3 server: `rclone serve s3` over a folder. SigV4, presigned URLs with expiry, Range, multipart."""

from pathlib import Path

from farm.embedded.binaries import rclone


def command(folder: Path, port: int, access_key: str, secret_key: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *(str(rclone()), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"),
        *("--auth-key", f"{access_key},{secret_key}", "--config", "/dev/null", "--vfs-cache-mode", "off"),
    ]
