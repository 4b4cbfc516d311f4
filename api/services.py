"""What every view works with: one set per process, made with the app, found in the app's extensions."""

from dataclasses import dataclass
from typing import cast

from flask import current_app
from redis import Redis

from api.downloads import Downloads
from api.forecasts import RecentForecasts
from api.streams import Streams
from farm.billing.prices import PriceBook
from farm.claiming.permits import Permits
from farm.config import Settings
from farm.jobs.worker_status import LiveWorker
from farm.ledger import INTAKE_POOL, Ledger, connect
from farm.loras.loras import TenantLoras
from farm.storage.store import Store
from farm.storage.uploads import UploadStore
from farm.submission.submit import Submissions
from farm.tenants.tenants import Tenants
from farm.tenants.vault import Vault

EXTENSION = "wanfarm"


@dataclass(frozen=True)
class Services:
    settings: Settings
    redis: Redis
    ledger: Ledger
    permits: Permits
    store: Store
    tenants: Tenants
    submissions: Submissions
    streams: Streams
    downloads: Downloads
    secrets: Vault
    prices: PriceBook
    uploads: UploadStore
    loras: TenantLoras
    forecasts: RecentForecasts


def make_services(settings: Settings) -> Services:
    """Connects to nothing yet: a gateway starts before its Redis and its store do."""
    redis, store = connect(settings.redis), Store(settings.s3)
    ledger, permits, prices = Ledger(redis, settings), Permits(settings), PriceBook(settings.prices)
    loras, uploads = TenantLoras(redis, store, settings), UploadStore(redis, store, settings)
    return Services(
        settings=settings,
        redis=redis,
        ledger=ledger,
        permits=permits,
        store=store,
        tenants=Tenants(redis, settings),
        submissions=Submissions(settings, ledger, store, permits, price=prices.hold, loras=loras, quota=uploads.quota),
        streams=Streams(settings.gateway.max_streams, settings.gateway.max_streams_each),
        downloads=Downloads(settings.gateway.max_downloads),
        secrets=Vault(redis, settings),
        prices=prices,
        uploads=uploads,
        loras=loras,
        forecasts=RecentForecasts(ledger.forecast),
    )


def services() -> Services:
    """The parts that views of this app work with."""
    return cast(Services, current_app.extensions[EXTENSION])


def renderers() -> list[LiveWorker]:
    """What the live workers that render last said of themselves; the io worker is none of them."""
    return [worker for worker in services().ledger.workers() if worker.pool != INTAKE_POOL]


def offered_models() -> frozenset[str]:
    """Ids of the models that a live worker renders now."""
    return services().submissions.pools.rendered_now()
