from minio import Minio
from redis import Redis

from farm.config import Settings


def test_the_real_parts_answer(redis: Redis, settings: Settings) -> None:
    assert redis.ping()
    s3 = settings.s3
    client = Minio(s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key, secure=False, region=s3.region)
    assert client.bucket_exists(s3.bucket)
