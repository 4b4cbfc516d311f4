"""What the client does when things go wrong: real servers that misbehave, no waiting for real failures."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from bad_servers import Serve, Server, page

from farm.client import Client, UnexpectedAnswer, Unreachable
from farm.client.transport import Transport
from farm.embedded.ports import free_port
from farm.jobs.errors import FarmError, InvalidRequest, NotFound, RequestError, TooMany, Unauthorized, Unavailable

JOB = {
    "id": "01890000-0000-7000-8000-000000000000",
    "state": "queued",
    "steps": 4,
    "model": "m",
    "task": "t2v",
    "prompt": "p",
    "width": 64,
    "height": 64,
    "frames": 5,
    "fps": 8,
    "duration_s": 0.6,
    "guidance": 1.0,
    "shift": 1.0,
    "seed": 1,
    "created_at": "2026-11-20T10:00:00Z",
}
Script = Callable[[socket.socket, bytes], None]


def answer(status: str, body: object, **headers: str) -> Script:
    text = json.dumps(body).encode()
    return page(text, status, Content_Length=str(len(text)), Connection="close", **headers)


def problem(status: int, slug: str, **more: object) -> Script:
    body = {"type": f"urn:wanfarm:{slug}", "title": slug, "status": status, "detail": f"about {slug}", **more}
    return answer(f"{status} X", body, **({"Retry-After": "0"} if status in (429, 503) else {}))


def hang_up(peer: socket.socket, _head: bytes) -> None:
    peer.close()


def in_turn(*scripts: Script) -> Script:
    """The n-th connection gets the n-th script, later ones the last."""
    turns = iter(scripts)
    last = [scripts[-1]]

    def script(peer: socket.socket, head: bytes) -> None:
        last[0] = next(turns, last[0])
        last[0](peer, head)

    return script


@pytest.fixture
def client() -> Iterator[Callable[[Server], Client]]:
    made: list[Client] = []

    def make(server: Server) -> Client:
        made.append(Client(server.url().rstrip("/"), "wf_live_x", patience_s=5.0, timeout_s=3.0))
        return made[-1]

    yield make
    for one in made:
        one.close()


def keys_of(server: Server) -> list[str]:
    return [match[1].decode() for head in server.requests if (match := re.search(rb"(?i)idempotency-key: (\S+)", head))]


@pytest.mark.parametrize(
    "trouble", [hang_up, problem(503, "unavailable"), problem(429, "too-many"), answer("502 X", {})]
)
def test_a_create_is_sent_again_under_the_same_key(
    serve: Serve, client: Callable[[Server], Client], trouble: Script
) -> None:
    server = serve(in_turn(trouble, trouble, answer("201 Created", JOB)))
    assert client(server).jobs.create("p").id == JOB["id"]
    assert len(server.requests) == 3
    assert len(set(keys_of(server))) == 1
    client(server).jobs.create("p")
    assert len(set(keys_of(server))) == 2


def test_what_has_no_key_is_not_sent_again_when_it_may_have_happened(
    serve: Serve, client: Callable[[Server], Client]
) -> None:
    server = serve(in_turn(hang_up, answer("200 OK", JOB)))
    with pytest.raises(Unreachable):
        client(server).jobs.cancel(str(JOB["id"]))
    assert len(server.requests) == 1
    # but an answer that says "not now" is no cancel
    server = serve(in_turn(problem(503, "unavailable"), answer("200 OK", JOB)))
    client(server).jobs.cancel(str(JOB["id"]))
    assert len(server.requests) == 2


def test_a_refusal_is_final(serve: Serve, client: Callable[[Server], Client]) -> None:
    server = serve(problem(422, "invalid-request", field="frames"))
    with pytest.raises(InvalidRequest) as caught:
        client(server).jobs.create("p")
    assert (caught.value.field, caught.value.detail) == ("frames", "about invalid-request")
    assert len(server.requests) == 1


def test_a_farm_that_asks_to_wait_longer_than_anybody_would_is_an_error_at_once(
    serve: Serve, client: Callable[[Server], Client]
) -> None:
    server = serve(answer("429 X", {"type": "urn:wanfarm:too-many", "detail": "later"}, Retry_After="3600"))
    began = time.monotonic()
    with pytest.raises(TooMany) as caught:
        client(server).jobs.create("p")
    assert caught.value.retry_after_s == 3600
    assert len(server.requests) == 1
    assert time.monotonic() - began < 3600


def test_nobody_there_is_said_with_a_remedy() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", "k", patience_s=0.3) as client, pytest.raises(Unreachable) as caught:
        client.models()
    assert "wanfarm up" in str(caught.value)
    assert isinstance(caught.value, Unavailable)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("401 X", {"type": "urn:wanfarm:unauthorized", "detail": "no"}, Unauthorized),
        ("404 X", {}, NotFound),
        ("418 X", {}, UnexpectedAnswer),
        ("400 X", {"type": "something-newer"}, RequestError),
        ("404 X", [], NotFound),
        ("500 X", {"detail": "logged as 12"}, UnexpectedAnswer),
    ],
)
def test_problems_become_errors_by_type_then_by_status(
    serve: Serve, client: Callable[[Server], Client], status: str, body: object, kind: type[FarmError]
) -> None:
    with pytest.raises(kind):
        client(serve(answer(status, body))).models()


def test_something_that_is_no_farm_is_called_that(serve: Serve, client: Callable[[Server], Client]) -> None:
    html = page(b"<html>hello</html>", Content_Length="18", Content_Type="text/html", Connection="close")
    with pytest.raises(UnexpectedAnswer, match="not as a farm does"):
        client(serve(html)).models()


def frames(*events: tuple[str, str]) -> bytes:
    return b"".join(
        f'id: {id_}\nevent: state\ndata: {{"job": "j", "state": "{state}"}}\n\n'.encode() for id_, state in events
    )


def stream(body: bytes) -> Script:
    return page(body, Content_Type="text/event-stream", Connection="close")


def test_a_broken_stream_goes_on_after_the_last_event(serve: Serve) -> None:
    server = serve(
        in_turn(
            # breaks off in the middle of the second event
            stream(frames(("1-0", "queued"), ("2-0", "running"))[:-20]),
            hang_up,
            problem(503, "unavailable"),
            stream(b": alive\n\n" + frames(("2-0", "running"), ("3-0", "succeeded"))),
        )
    )
    transport = Transport(server.url().rstrip("/"), "k", timeout_s=3.0, patience_s=5.0)
    seen = []
    for message in transport.messages("/events", None, lambda: len(seen) == 3):
        seen.append(message.id)
    assert seen == ["1-0", "2-0", "3-0"]
    asked = [match[1] if (match := re.search(rb"(?i)last-event-id: (\S+)", head)) else None for head in server.requests]
    assert asked == [None, b"1-0", b"1-0", b"1-0"]
    transport.close()


def test_a_stream_that_is_over_ends(serve: Serve) -> None:
    server = serve(in_turn(stream(frames(("1-0", "succeeded"))), page(b"", "204 No Content")))
    transport = Transport(server.url().rstrip("/"), "k", timeout_s=3.0, patience_s=5.0)
    assert [message.id for message in transport.messages("/events", None, lambda: False)] == ["1-0"]
    transport.close()


def test_a_stream_that_nobody_serves_any_more_is_an_error(serve: Serve) -> None:
    server = serve(hang_up)
    transport = Transport(server.url().rstrip("/"), "k", timeout_s=3.0, patience_s=0.5)
    with pytest.raises(Unreachable):
        list(transport.messages("/events", "5-0", lambda: False))
    transport.close()
