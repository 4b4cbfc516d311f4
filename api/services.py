"""What every view works with: one set per process, made with the app, found in the app's extensions."""

from dataclasses import dataclass
from typing import cast

from flask import current_app
from redis import Redis

from api.downloads import Downloads
from api.forecasts import RecentForecasts
from api.live_changes import LiveChanges
from api.pauses import RecentPauses
from api.streams import Streams
from farm.batches.admission import BatchAdmission
from farm.batches.files import RequestsFiles
from farm.billing.prices import PriceBook
from farm.claiming.permits import Permits
from farm.config import Settings
from farm.ledger import INTAKE_POOL, Ledger, connect
from farm.loras.loras import TenantLoras
from farm.storage.store import Store
from farm.storage.uploads import UploadStore
from farm.submission.submit import Submissions
from farm.tenants.activity import Activity
from farm.tenants.sessions import ConsoleSessions
from farm.tenants.tenants import Tenants
from farm.tenants.vault import Vault

EXTENSION = "wanfarm"


@dataclass(frozen=True)
class Services:
    """What the requests of one process share. Threads may use all of it."""

    settings: Settings
    redis: Redis
    ledger: Ledger
    permits: Permits
    store: Store
    tenants: Tenants
    submissions: Submissions
    batches: BatchAdmission
    request_files: RequestsFiles
    streams: Streams
    downloads: Downloads
    secrets: Vault
    prices: PriceBook
    uploads: UploadStore
    loras: TenantLoras
    sessions: ConsoleSessions
    activity: Activity
    console_streams: Streams
    live: LiveChanges
    forecasts: RecentForecasts
    pauses: RecentPauses


def make_services(settings: Settings) -> Services:
    """Connects to nothing yet: a gateway starts before its Redis and its store do."""
    redis, store = connect(settings.redis), Store(settings.s3)
    ledger, permits, prices = Ledger(redis, settings), Permits(settings), PriceBook(settings.prices)
    loras, uploads = TenantLoras(redis, store, settings), UploadStore(redis, store, settings)
    pauses = RecentPauses(ledger)
    submissions = Submissions(settings, ledger, store, permits, price=prices.hold, loras=loras, quota=uploads.quota)
    return Services(
        settings=settings,
        redis=redis,
        ledger=ledger,
        permits=permits,
        store=store,
        tenants=Tenants(redis, settings),
        submissions=submissions,
        batches=BatchAdmission(settings, ledger, submissions, permits),
        request_files=RequestsFiles(redis, store, uploads, settings),
        streams=Streams(settings.gateway.max_streams, settings.gateway.max_streams_each),
        downloads=Downloads(settings.gateway.max_downloads),
        secrets=Vault(redis, settings),
        prices=prices,
        uploads=uploads,
        loras=loras,
        sessions=ConsoleSessions(redis, settings),
        activity=Activity(redis, settings),
        console_streams=Streams(settings.console.max_streams, settings.console.max_streams_each),
        live=LiveChanges(ledger, pauses),
        forecasts=RecentForecasts(ledger.forecast),
        pauses=pauses,
    )


def services() -> Services:
    """The parts that views of this app work with."""
    return cast(Services, current_app.extensions[EXTENSION])


def renderers() -> int:
    """How many live workers render; the io worker is none of them."""
    return sum(offer.workers for offer in services().ledger.offers() if offer.pool != INTAKE_POOL)


def offered_models() -> frozenset[str]:
    """Ids of the models that a live worker renders now."""
    return services().submissions.pools.rendered_now()
