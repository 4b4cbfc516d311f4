"""The farm's own POST /v1/batches: whole or not at all, and in words."""

import csv
import io
import socket
import time
from contextlib import closing
from datetime import datetime
from typing import Any

import httpx
import pytest
from flask import Flask
from redis import Redis
from werkzeug.test import TestResponse

from api.services import Services
from farm.batches.admission import BatchAdmission
from farm.config import BatchSettings, Settings
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import BURST_POOL, SwitchKind
from tests.api.api_parts import POOL, Caller, Hand
from tests.api.batch_api_parts import CSV, NDJSON, SMALL, ndjson, send
from tests.api.gateway_thread import served
from tests.conftest import wait_until

#: shots of one manifest here
MOST = 1000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"batches": BatchSettings(max_shots=MOST)})


def faults(answer: TestResponse) -> list[tuple[int | None, str | None, str]]:
    assert answer.status_code == 422, answer.text
    assert answer.json is not None
    assert "nothing was admitted" in answer.json["detail"]
    return [(one.get("line"), one.get("field"), one["detail"]) for one in answer.json["errors"]]


def nothing(caller: Caller) -> bool:
    return bool(caller.get("/v1/jobs").json["data"] == [] and caller.get("/v1/batches").json["data"] == [])  # type: ignore[index]


class TestAdmitted:
    def test_a_manifest_becomes_jobs_in_its_order(self, alice: Caller) -> None:
        answer = send(
            alice, ndjson({"prompt": "one", "id": "a"}, {"prompt": "two", "seed": 7, "steps": 3}), name="scene 4"
        )
        assert answer.status_code == 201, answer.text
        made = answer.json
        assert made is not None
        assert (made["name"], made["jobs"], made["state"], made["counts"]["queued"]) == ("scene 4", 2, "open", 2)
        assert answer.headers["Location"] == f"/v1/batches/{made['id']}"
        jobs = alice.get(f"/v1/batches/{made['id']}/jobs").json["data"]  # type: ignore[index]
        assert [(job["prompt"], job["steps"], job["shot"]) for job in jobs] == [
            ("one", 2, {"line": 1, "id": "a"}),
            ("two", 3, {"line": 2}),
        ]
        assert jobs[1]["seed"] == 7
        assert {job["batch"] for job in jobs} == {made["id"]}

    def test_a_large_one_is_admitted_before_all_of_it_is_queued(self, alice: Caller, parts: Services) -> None:
        settings = parts.settings.model_copy(update={"batches": BatchSettings(chunk=2)})
        admission = BatchAdmission(settings, parts.ledger, parts.submissions, parts.permits, at_once_s=0.0)
        planned = admission.plan(
            "alice", io.BytesIO(ndjson(*({"prompt": f"{n}"} for n in range(40)))), NDJSON, SMALL, 1
        )
        with closing(planned.file):
            came = admission.admit("alice", planned)
        # it counts as a whole from now on, also where it is not placed yet
        made = alice.get(f"/v1/batches/{came.id}").json
        assert made is not None
        assert (made["jobs"], made["counts"]["queued"]) == (40, 40)
        wait_until(lambda: alice.get(f"/v1/batches/{came.id}").json["state"] == "open", what="all to be queued")  # type: ignore[index]
        assert parts.ledger.counts("alice")[State.QUEUED] == 40

    def test_takes_are_jobs_with_seeds_of_their_own(self, alice: Caller) -> None:
        made = send(alice, ndjson({"prompt": "one", "seed": 5}, {"prompt": "two", "takes": 1}), takes=3).json
        assert made is not None
        jobs = alice.get(f"/v1/batches/{made['id']}/jobs").json["data"]  # type: ignore[index]
        assert [job["seed"] for job in jobs[:3]] == [5, 6, 7]
        assert [job["shot"].get("take") for job in jobs] == [1, 2, 3, None]

    def test_csv_with_all_that_spreadsheets_do(self, alice: Caller) -> None:
        table = io.StringIO()
        rows = csv.writer(table, delimiter=";", lineterminator="\r\n")
        rows.writerow(["prompt", "seed", "metadata.scene", "options.lossy"])
        rows.writerow(['a fox;\nthen a "hare"', "7", "12a", ""])
        rows.writerow(["", "", "", ""])
        rows.writerow(["a hare", "", "", ""])
        answer = send(alice, b"\xef\xbb\xbf" + table.getvalue().encode(), CSV)
        assert answer.status_code == 201, answer.text
        jobs = alice.get(f"/v1/batches/{answer.json['id']}/jobs").json["data"]  # type: ignore[index]
        assert [(job["prompt"], job["metadata"], job["shot"]) for job in jobs] == [
            ('a fox;\nthen a "hare"', {"scene": "12a"}, {"line": 2}),
            ("a hare", {}, {"line": 5}),
        ]

    def test_empty_columns_beside_the_table_of_a_spreadsheet(self, alice: Caller) -> None:
        made = send(alice, b"prompt,seed,,\na fox,7,,\na hare,8,\nan owl\n", CSV)
        assert (made.status_code, made.json["jobs"]) == (201, 3), made.text  # type: ignore[index]

    def test_a_key_and_the_same_manifest_again_make_nothing_twice(self, alice: Caller) -> None:
        key, body = {"Idempotency-Key": "night 4"}, ndjson({"prompt": "one"})
        first, second = send(alice, body, headers=key), send(alice, body, headers=key)
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json["id"] == second.json["id"]  # type: ignore[index]
        assert send(alice, ndjson({"prompt": "two"}), headers=key).status_code == 409
        assert send(alice, ndjson({"prompt": "two"}), headers=key, dry_run="true").status_code == 200
        assert len(alice.get("/v1/jobs").json["data"]) == 1  # type: ignore[index]

    def test_a_dry_run_prices_it_and_keeps_nothing(self, alice: Caller) -> None:
        answer = send(alice, ndjson({"prompt": "one"}, {"prompt": "two"}), takes=2, dry_run="true")
        assert answer.status_code == 200, answer.text
        assert answer.json is not None
        assert (answer.json["shots"], answer.json["jobs"]) == (2, 4)
        assert answer.json["gpu_s"] > 0
        assert answer.json["finish_at"] is not None
        assert nothing(alice)

    def test_a_dry_run_counts_the_slots_and_the_queue_of_its_own_pool(
        self, alice: Caller, parts: Services, hand: Hand
    ) -> None:
        for pool in (BURST_POOL, "another"):
            parts.ledger.worker_seen(f"of {pool}", pool, WorkerStatus(models=("another",)), ttl_s=60, slots=1000)
        asked_s, quote = time.time(), send(alice, ndjson(*[{"prompt": "a"}] * 60), dry_run="true").json
        assert quote is not None
        # one worker renders one after the other
        finish_s = datetime.fromisoformat(quote["finish_at"]).timestamp()
        assert finish_s > asked_s + 0.9 * quote["gpu_s"]
        parts.ledger.pause(SwitchKind.POOL, POOL, who="x", why="x")
        assert send(alice, ndjson({"prompt": "a"}), dry_run="true").json["finish_at"] is None  # type: ignore[index]

    def test_only_the_first_run_until_the_rest_is_approved(self, alice: Caller) -> None:
        made = send(alice, ndjson(*({"prompt": f"shot {n}"} for n in range(5))), hold_after=2).json
        assert made is not None
        jobs = alice.get(f"/v1/batches/{made['id']}/jobs").json["data"]  # type: ignore[index]
        assert [job["held_for"] for job in jobs] == [[], [], ["approval"], ["approval"], ["approval"]]

    def test_a_sample_is_a_shot_with_all_of_its_takes(self, alice: Caller) -> None:
        made = send(alice, ndjson({"prompt": "a"}, {"prompt": "b"}), hold_after=1, takes=2).json
        assert made is not None
        jobs = alice.get(f"/v1/batches/{made['id']}/jobs").json["data"]  # type: ignore[index]
        assert [job["held_for"] for job in jobs] == [[], [], ["approval"], ["approval"]]

    def test_another_tenant_finds_nothing(self, alice: Caller, bob: Caller) -> None:
        made = send(alice, ndjson({"prompt": "one"})).json
        assert made is not None
        for path in (f"/v1/batches/{made['id']}", f"/v1/batches/{made['id']}/jobs"):
            assert bob.get(path).status_code == 404
        assert nothing(bob)


class TestRefused:
    def test_a_bad_line_names_itself_its_field_and_what_would_do(self, alice: Caller) -> None:
        shots: list[dict[str, Any]] = [{"prompt": f"shot {n}"} for n in range(40)]
        shots[36] = {"prompt": "ok", "steps": "many", "promt": "x"}
        shots[38] = {"prompt": " "}
        told = faults(send(alice, ndjson(*shots)))
        assert {(line, field) for line, field, _ in told} == {(37, "steps"), (37, "promt"), (39, "prompt")}
        assert any("did you mean prompt?" in detail for _, _, detail in told)
        assert nothing(alice)

    def test_a_thousand_bad_lines_are_counted_and_a_hundred_told(self, alice: Caller) -> None:
        answer = send(alice, ndjson(*({"prompt": f"shot {n}", "steps": 0} for n in range(1000))))
        assert len(faults(answer)) == 100
        assert answer.json["error_count"] == 1000  # type: ignore[index]

    @pytest.mark.parametrize(
        ("body", "media", "line", "words"),
        [
            (b"", NDJSON, None, "no shot"),
            (b"\n\n", NDJSON, None, "no shot"),
            (b"", CSV, None, "no shot"),
            (b"prompt,seed\n", CSV, None, "no shot"),
            (b'{"prompt": "a"}\n{"prompt": "b", ', NDJSON, 2, "not JSON"),
            (b'["prompt"]\n', NDJSON, 1, "JSON object"),
            (b"\x1f\x8b\x08\x00", NDJSON, None, "gzip"),
            ("prompt\na\n".encode("utf-16"), CSV, 1, "UTF-8"),
            ("prompt\ncaf\u00e9\n".encode("latin-1"), CSV, 2, "UTF-8"),
            (b"a fox,7\na hare,8\n", CSV, 1, "first line must name the columns"),
            (b"prompt,colour\na,red\n", CSV, 1, "unknown"),
            (b"prompt,prompt\na,b\n", CSV, 1, "two columns"),
            (b'prompt,seed\n"a fox,7\nnever ends', CSV, 2, "quoted text does not end"),
            (b"prompt,seed\na fox,7,8\n", CSV, 2, "3 cells"),
            (b"prompt,seed\na fox,x7\n", CSV, 2, "whole number"),
            (b"prompt,seed\na fox,1_000\n", CSV, 2, "whole number"),
            (b"prompt,guidance\na fox,1_0\n", CSV, 2, "a number, like 4.5"),
            (b"prompt,guidance\na fox,1e999\n", CSV, 2, "must be a number"),
            (b"prompt,seed\ra fox,7\ra hare,8\r", CSV, 1, "carriage return alone"),
            (b"prompt,seed\na fox,7\ra hare,8\n", CSV, 2, "carriage return alone"),
            (b'{"prompt": "a"}\r{"prompt": "b"}\r', NDJSON, 1, "carriage return alone"),
            (b"prompt," + b"x" * 200_000 + b"\n", CSV, 1, "a cell has more than"),
            (b"prompt\n" + b"x" * 200_000 + b"\n", CSV, 2, "a cell has more than"),
            (b'prompt,loras\na,"' + b"[" * 20_000 + b'"\n', CSV, 2, "not JSON"),
            (b'prompt,metadata\na,"' + b'{""a"":' * 20_000 + b'"\n', CSV, 2, "not JSON"),
            (b'prompt,metadata,metadata.scene\na,"""x""",12\n', CSV, 1, "metadata is a column too"),
            ("prompt,seed\na,1\n".encode("utf-16-le"), CSV, 1, "UTF-16"),
            (b"PK\x03\x04\x14\x00\x06\x00", CSV, None, "a spreadsheet: save it as CSV"),
            (b'[{"prompt": "a"},\n{"prompt": "b"}]\n', NDJSON, 1, "a JSON array"),
            (b"prompt,image\na,fox.png\n", CSV, 2, "an http(s) address"),
            (b"id,prompt,start_from\na,x,\nb,y,first frame of a\n", CSV, 3, '"last frame of ID"'),
            (b'{"prompt": "a", "start_from": ""}\n', NDJSON, 1, '"last frame of ID"'),
            (b'{"prompt": "a", "start_from": ["x"]}\n', NDJSON, 1, "a text"),
            (b'{"prompt": "a", "image": {"url": "http://169.254.169.254/x.png"}}\n', NDJSON, 1, "not public"),
            (b'{"prompt": "a", "webhook_url": "ftp://studio/told"}\n', NDJSON, 1, "http:// or https://"),
            (b'{"prompt": "a", "webhook_url": "http://93.184.216.34/told"}\n', NDJSON, 1, "https://"),
            (b"prompt,,seed\na fox,,7\n", CSV, 1, "column 2 has no name"),
            (b"prompt,seed,,\na fox,7,,8\n", CSV, 2, "4 cells"),
        ],
        ids=range(38),
    )
    def test_every_other_trouble_has_its_answer(
        self, alice: Caller, body: bytes, media: str, line: int | None, words: str
    ) -> None:
        told = faults(send(alice, body, media))
        assert told[0][0] == line
        assert words in told[0][2]
        assert len({(line, field) for line, field, _ in told}) == len(told)
        assert nothing(alice)

    def test_a_default_that_is_nested_too_deep(self, alice: Caller) -> None:
        answer = send(alice, b"prompt\na\n", CSV, metadata="[" * 8000)
        assert (answer.status_code, answer.json["field"]) == (422, "metadata")  # type: ignore[index]

    def test_takes_are_counted_before_they_are_made(self, alice: Caller) -> None:
        told = faults(send(alice, ndjson(*({"prompt": f"shot {n}"} for n in range(MOST))), takes=MOST - 1))
        assert [(line, field) for line, field, _ in told] == [(2, "takes")]
        assert f"more than {MOST} jobs, takes counted" in told[0][2]

    @pytest.mark.parametrize(("start", "media", "line"), [(b'{"prompt": "', NDJSON, 1), (b"prompt\n", CSV, 2)])
    def test_a_line_of_ten_megabytes(self, alice: Caller, start: bytes, media: str, line: int) -> None:
        told = faults(send(alice, start + b"x" * 10_000_000, media))
        assert told[0][0] == line
        assert "longer than" in told[0][2]

    def test_one_shot_too_many(self, alice: Caller) -> None:
        most = MOST
        told = faults(send(alice, b'{"prompt":"a"}\n' * (most + 1), dry_run="true"))
        assert told == [(most + 1, None, f"there are more than {most} shots: send them as several batches")]

    def test_of_another_type_or_packed(self, alice: Caller) -> None:
        body = ndjson({"prompt": "a"})
        assert send(alice, body, "text/plain").status_code == 415
        assert send(alice, body, headers={"Content-Encoding": "gzip"}).status_code == 415

    def test_too_little_credit_refuses_all_of_it(self, alice: Caller, parts: Services, redis: Redis) -> None:
        parts.ledger.topup(alice.tenant, 1)
        assert send(alice, ndjson({"prompt": "a"})).status_code == 402
        assert nothing(alice)
        account = parts.ledger.credit(alice.tenant)
        assert account is not None
        assert account.held == 0


class TestWire:
    def test_a_body_is_kept_on_disk_and_one_that_stops_halfway_admits_nothing(self, app: Flask, alice: Caller) -> None:
        body = ndjson(*({"prompt": f"shot {n}"} for n in range(MOST)))
        head = f"Authorization: Bearer {alice.key}\r\nHost: farm\r\nContent-Type: {NDJSON}\r\n"
        query = "&".join(f"{name}={value}" for name, value in SMALL.items())
        with served(app) as url:
            port = int(url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as half:
                request = f"POST /v1/batches?{query} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
                half.sendall(request.encode() + body[: len(body) // 2])
            with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {alice.key}"}) as client:
                assert client.get("/v1/batches").json()["data"] == []
                # in chunks, without a length
                blocks = (body[at : at + 5000] for at in range(0, len(body), 5000))
                whole = client.post(
                    f"/v1/batches?{query}", content=blocks, headers={"Content-Type": NDJSON}, timeout=60
                )
                assert whole.status_code == 201, whole.text
                assert whole.json()["jobs"] == MOST
                assert len(client.get("/v1/batches").json()["data"]) == 1


class TestChains:
    def test_shots_follow_each_other(self, alice: Caller, hand: Hand) -> None:
        made = send(alice, ndjson({"prompt": "b", "after": ["a"]}, {"prompt": "a", "id": "a"})).json
        assert made is not None
        claim = hand.claim()
        assert claim.job.spec.prompt == "a"
        hand.finish(claim)
        assert hand.claim().job.spec.prompt == "b"

    def test_a_start_from_that_is_null_is_none(self, alice: Caller, parts: Services) -> None:
        shots = [{"prompt": "a", "id": "a"}, {"prompt": "b", "start_from": "last frame of a"}, {"prompt": "c"}]
        batch = send(alice, ndjson(*({"start_from": None, **shot} for shot in shots))).json["id"]  # type: ignore[index]
        jobs = sorted(parts.ledger.page("alice", batch=batch, limit=9).jobs, key=lambda job: job.shot["line"])
        assert [(job.state, job.spec.task) for job in jobs] == [
            (State.QUEUED, "t2v"),
            (State.WAITING, "i2v"),
            (State.QUEUED, "t2v"),
        ]

    def test_a_circle_is_told_with_its_lines(self, alice: Caller) -> None:
        shots = [
            {"prompt": "a", "id": "a", "after": ["c"]},
            {"prompt": "b", "id": "b", "after": ["a"]},
            {"prompt": "x"},
            {"prompt": "c", "id": "c", "after": ["b"]},
        ]
        told = faults(send(alice, ndjson(*shots)))
        assert len(told) == 1
        assert "lines 1 -> 4 -> 2 -> 1" in told[0][2]

    def test_unknown_and_double_names(self, alice: Caller) -> None:
        told = faults(send(alice, ndjson({"prompt": "a", "id": "a"}, {"prompt": "b", "id": "a", "after": ["z"]})))
        assert [(line, field) for line, field, _ in told] == [(2, "id"), (2, "after")]

    def test_whoever_follows_a_faulty_line_is_told_nothing_about_that(self, alice: Caller) -> None:
        told = faults(send(alice, ndjson({"prompt": "a", "id": "a", "seed": "x"}, {"prompt": "b", "after": ["a"]})))
        assert [(line, field) for line, field, _ in told] == [(1, "seed")]

    def test_a_shot_that_starts_from_another_waits_for_its_last_frame(self, alice: Caller, parts: Services) -> None:
        shots = ndjson({"prompt": "a", "id": "a"}, {"prompt": "b", "start_from": "last frame of a"})
        made = send(alice, shots).json
        assert made is not None
        first, second = alice.get(f"/v1/batches/{made['id']}/jobs").json["data"]  # type: ignore[index]
        assert (second["state"], second["held_for"], second["after"]) == (State.WAITING, ["dependency"], [first["id"]])
        job = parts.ledger.find(second["id"])
        assert job is not None
        assert job.spec.inputs["image"].last_frame_of == first["id"]
