"""Signatures against the standard's own library, and the arithmetic of retries."""

import base64
import secrets
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from farm.config import WebhookSettings
from farm.webhooks import signing
from farm.webhooks.policy import Outcome, RetryPolicy, next_pause_s, outcome_of, policy_of

BODY = '{"type":"job.succeeded","data":{"prompt":"füchse"}}'


def now_s() -> int:
    return int(datetime.now(UTC).timestamp())


def test_the_standards_library_accepts_our_signature_and_we_accept_its() -> None:
    secret = signing.new_secret()
    headers = signing.headers([secret], "msg_1", now_s(), BODY.encode())
    assert Webhook(secret).verify(BODY, headers) == {"type": "job.succeeded", "data": {"prompt": "füchse"}}
    theirs = Webhook(secret).sign("msg_1", datetime.fromtimestamp(now_s(), UTC), BODY)
    assert theirs in signing.headers([secret], "msg_1", now_s(), BODY.encode())["webhook-signature"]
    assert signing.verify(secret, headers, BODY.encode(), now_s())


def test_while_a_secret_is_changed_both_receivers_can_verify() -> None:
    new, old = signing.new_secret(), signing.new_secret()
    headers = signing.headers([new, old], "msg_1", now_s(), BODY.encode())
    for secret in (new, old):
        Webhook(secret).verify(BODY, headers)
        assert signing.verify(secret, headers, BODY.encode(), now_s())


def test_what_does_not_verify() -> None:
    secret = signing.new_secret()
    headers = signing.headers([secret], "msg_1", now_s(), BODY.encode())
    assert not signing.verify(signing.new_secret(), headers, BODY.encode(), now_s())
    assert not signing.verify(secret, headers, b"other", now_s())
    assert not signing.verify(secret, headers | {"webhook-id": "msg_2"}, BODY.encode(), now_s())
    assert not signing.verify(secret, headers, BODY.encode(), now_s() + 301)
    assert not signing.verify(secret, {}, BODY.encode(), now_s())
    assert not signing.verify(secret, headers | {"webhook-signature": "v1,ü v1a,x"}, BODY.encode(), now_s())
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(BODY, headers)


@pytest.mark.parametrize("secret", ["", "whsec_", "plain", "whsec_!!!", "whsec_" + base64.b64encode(b"short").decode()])
def test_secrets_that_are_none(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        signing.key_of(secret)


def test_a_new_secret_is_as_the_standard_wants() -> None:
    assert len(signing.key_of(signing.new_secret())) == 32
    assert signing.new_secret() != signing.new_secret()
    assert len(signing.key_of("whsec_" + base64.b64encode(secrets.token_bytes(24)).decode())) == 24


@given(st.integers(1, 500), st.floats(0, 0.999), st.floats(0, 80_000))
def test_pauses_grow_are_bounded_and_end(attempts: int, chance: float, elapsed_s: float) -> None:
    policy = policy_of("farm", WebhookSettings())
    pause = next_pause_s(policy, attempts=attempts, elapsed_s=elapsed_s, chance=chance)
    assert pause is not None
    assert min(policy.first_s * 2 ** (attempts - 1), policy.max_s) / 2 <= pause <= policy.max_s
    assert next_pause_s(policy, attempts=attempts, elapsed_s=policy.give_up_s, chance=chance) is None


def test_a_receiver_that_never_answers_is_tried_for_a_day() -> None:
    policy = policy_of("farm", WebhookSettings())
    elapsed, attempts = 0.0, 0
    while True:
        attempts += 1
        pause = next_pause_s(policy, attempts=attempts, elapsed_s=elapsed, chance=0.5)
        if pause is None:
            break
        elapsed += pause
    assert 22 * 3600 < elapsed <= 24 * 3600
    assert 20 < attempts < 60


def test_apixo_retries_three_times_the_first_after_thirty_seconds() -> None:
    policy = policy_of("apixo", WebhookSettings())
    pauses = [next_pause_s(policy, attempts=n, elapsed_s=0, chance=0) for n in (1, 2, 3, 4)]
    assert pauses == [30.0, 60.0, 120.0, None]


def test_a_receiver_may_ask_for_more_time_but_not_for_ever() -> None:
    policy = RetryPolicy(1, 10, 86400)
    assert next_pause_s(policy, attempts=1, elapsed_s=0, chance=0, retry_after_s=90) == 90
    assert next_pause_s(policy, attempts=1, elapsed_s=0, chance=0, retry_after_s=1e9) == 6 * 3600


def test_what_an_answer_means() -> None:
    assert [outcome_of(s) for s in (200, 204, 301, 400, 404, 410, 500)] == [
        *(Outcome.DELIVERED, Outcome.DELIVERED),
        *(Outcome.FAILED, Outcome.FAILED, Outcome.FAILED, Outcome.HOPELESS, Outcome.FAILED),
    ]
