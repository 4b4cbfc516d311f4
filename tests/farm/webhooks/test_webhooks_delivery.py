"""Terminal events reach their receivers: at least once, signed, past failures, and past each other."""

from collections.abc import Callable

from receiver import Receiver
from standardwebhooks.webhooks import Webhook
from webhooks_parts import Office

from farm.jobs.states import State
from farm.storage.store import Store
from farm.tenants import vault
from farm.tenants.vault import Vault
from farm.webhooks.postman import Postman
from farm.wire import apixo, crun, kie, task_ids, wiro_task

Receivers = Callable[..., Receiver]


def test_the_farms_own_event_is_signed_and_says_how_the_job_ended(office: Office, receivers: Receivers) -> None:
    receiver = receivers()
    good, bad = office.end_job(receiver.url), office.end_job(receiver.url, fail=True)
    office.until(lambda: len(receiver.posts) == 2, "both events")
    secret = Vault(office.redis, office.settings).get("acme", vault.WEBHOOK)
    assert secret is not None
    events = {post.json["data"]["id"]: Webhook(secret).verify(post.body, post.headers) for post in receiver.posts}
    assert events[good]["type"] == "job.succeeded"
    assert events[good]["data"]["result"]["video_url"].startswith("http")
    assert events[bad]["type"] == "job.failed"
    assert events[bad]["data"]["error"] == {"code": "invalid_input", "message": "not a picture"}
    assert {post.headers["webhook-id"] for post in receiver.posts} == {f"msg_{good}", f"msg_{bad}"}
    office.until(lambda: not office.postman.deliveries.pending(), "an empty desk")
    assert office.ledger.outbox_size() == 0


def test_each_dialect_is_told_in_its_own_words(office: Office, receivers: Receivers) -> None:
    Vault(office.redis, office.settings).set("acme", "kie", "hook-key")
    told = {name: receivers() for name in ("kie", "apixo", "crun", "wiro")}
    data = {"model": "wan/2-2-animate-move", "tail": "abcdefgh", "request": {"model": "m"}}
    jobs = {name: office.end_job(r.url, dialect=name, **data) for name, r in told.items()}
    office.until(lambda: all(r.posts for r in told.values()), "four callbacks")
    parse = {"kie": kie.parse_callback, "apixo": apixo.parse_callback, "crun": crun.parse_callback}
    parse["wiro"] = wiro_task.parse_callback
    for name, receiver in told.items():
        report = parse[name](receiver.posts[0].json)
        assert (report.id, report.state) == (task_ids.task_id(name, jobs[name]), State.SUCCEEDED)
        assert "results/v.mp4" in report.urls[0]
    post = told["kie"].posts[0]
    assert post.json["data"]["task_id"] == post.json["data"]["taskId"]
    stamp = int(post.headers["x-webhook-timestamp"])
    assert kie.verify("hook-key", post.json["data"]["taskId"], post.headers, stamp)
    assert "x-webhook-signature" not in told["crun"].posts[0].headers


def test_a_receiver_that_fails_hangs_and_recovers_gets_every_event_and_delays_nobody(
    office, receivers: Receivers
) -> None:
    sick, well = receivers(status=0), receivers()
    lost = [office.end_job(sick.url) for _ in range(12)]
    office.until(lambda: sick.posts, "the hanging receiver to be tried")
    healthy = [office.end_job(well.url, tenant="other") for _ in range(20)]
    office.until(lambda: len(well.posts) == len(healthy), "the other tenant's events")
    assert len(sick.posts) <= office.settings.webhooks.per_receiver, "the sick one holds a few posts, all still hanging"
    sick.status = 500
    sick.release()
    office.until(lambda: len(sick.posts) > 6, "retries")
    sick.status = 200
    seen_before = len(sick.posts)
    office.until(lambda: not office.postman.deliveries.pending(), "everything delivered")
    recovered = {post.json["data"]["id"] for post in sick.posts[seen_before:]}
    assert recovered == set(lost)
    secret = Vault(office.redis, office.settings).get("acme", vault.WEBHOOK)
    for post in sick.posts:
        Webhook(str(secret)).verify(post.body, post.headers)


def test_apixo_gives_up_after_three_retries_and_can_be_replayed(office: Office, receivers: Receivers) -> None:
    receiver = receivers(status=500)
    job = office.end_job(receiver.url, dialect="apixo")
    office.until(lambda: office.postman.deliveries.dead("acme"), "a dead letter")
    assert len(receiver.posts) == 4
    (letter,) = office.postman.deliveries.dead("acme")
    assert (letter.job, letter.status, letter.error) == (job, 500, "the receiver answered 500")
    assert office.postman.deliveries.pending() == []
    receiver.status = 200
    assert not office.postman.deliveries.replay("other", letter.id), "a tenant replays its own letters alone"
    assert office.postman.deliveries.replay("acme", letter.id)
    assert not office.postman.deliveries.replay("acme", letter.id)
    office.until(lambda: len(receiver.posts) == 5, "the replay")
    assert receiver.posts[4].headers["webhook-id"] == receiver.posts[0].headers["webhook-id"]
    office.until(lambda: office.postman.deliveries.get(letter.id) is None, "nothing left of it")
    assert office.postman.deliveries.dead("acme") == []


def test_a_receiver_that_is_gone_or_redirects(office: Office, receivers: Receivers) -> None:
    gone, elsewhere = receivers(status=410), receivers()
    moved = receivers(status=302, headers={"Location": elsewhere.url})
    office.end_job(gone.url)
    office.end_job(moved.url, dialect="apixo")
    office.until(lambda: len(office.postman.deliveries.dead("acme")) == 2, "both to be given up")
    assert len(gone.posts) == 1
    assert elsewhere.posts == [], "redirects are not followed"


def test_a_private_address_is_not_dialled(office: Office, receivers: Receivers) -> None:
    receiver = receivers()
    office.end_job(receiver.url)
    closed = office.settings.intake.model_copy(update={"allow_networks": ()})
    strict = office.settings.model_copy(update={"intake": closed})
    postman = Postman(strict, office.redis, office.ledger, Store(strict.s3))
    postman.look()
    postman.close()  # waits for the post under way
    assert receiver.posts == []
    assert "https" in postman.deliveries.dead("acme")[0].error or "public" in postman.deliveries.dead("acme")[0].error


def test_what_a_dead_postman_had_is_taken_by_the_next(office: Office, receivers: Receivers) -> None:
    receiver = receivers()
    job = office.end_job(receiver.url)
    deliveries = office.postman.deliveries
    # a postman that read the outbox, and one that took the delivery, both killed before they said so
    office.ledger.outbox_read("dead")
    assert office.ledger.outbox_read("alive") == []
    (entry,) = office.ledger.outbox_read("alive", stale_ms=0)
    office.postman._schedule(entry)
    (taken,) = deliveries.take(5, suspects=5, lease_s=0.3)
    assert taken.job == job
    assert deliveries.take(5, suspects=5, lease_s=0.3) == []
    office.until(lambda: receiver.posts, "the lease to run out and the letter to go out")
    assert not deliveries.delivered("msg_unknown")


def test_a_secret_is_unreadable_in_redis(office: Office) -> None:
    secrets = Vault(office.redis, office.settings)
    secrets.set("acme", "kie", "hook-key")
    raw = office.redis.hget("wf:secrets:acme", "kie")
    assert "hook-key" not in raw
    assert Vault(office.redis, office.settings).get("acme", "kie") == "hook-key", "another process, same key file"
    assert secrets.names("acme") == ["kie"]
    assert secrets.delete("acme", "kie")
    assert secrets.get("acme", "kie") is None
