"""The part of the io worker that looks after batches, put together: it admits those that were asked for by a file."""

from redis import Redis

from farm.batches.admission import BatchAdmission
from farm.batches.asked import AskedBatches
from farm.batches.files import RequestsFiles
from farm.batches.keeper import Keeper
from farm.billing.prices import PriceBook
from farm.claiming.permits import Permits
from farm.config import Settings
from farm.ledger import Ledger
from farm.loras.loras import TenantLoras
from farm.storage.store import Store
from farm.storage.uploads import UploadStore
from farm.submission.submit import Submissions


def keeper_of(settings: Settings, redis: Redis, ledger: Ledger, store: Store, permits: Permits) -> Keeper:
    """What a gateway has to admit jobs, without the HTTP."""
    uploads = UploadStore(redis, store, settings)
    submissions = Submissions(
        settings,
        ledger,
        store,
        permits,
        price=PriceBook(settings.prices).hold,
        loras=TenantLoras(redis, store, settings),
        quota=uploads.quota,
    )
    admission = BatchAdmission(settings, ledger, submissions, permits)
    files = RequestsFiles(redis, store, uploads, settings)
    return Keeper(settings, ledger, permits, AskedBatches(settings, ledger, submissions, admission, files))
