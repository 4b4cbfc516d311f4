import hashlib
import io
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from bad_servers import Serve, Server, page
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from farm.config import IntakeSettings
from farm.guard import Fetched, Guard
from farm.jobs.errors import AddressRefused, AddressUnreachable, TooLarge

HOME = IntakeSettings(allow_networks=("127.0.0.0/8",), connect_s=1.0, read_s=0.3, total_s=1.0)


def fetch(url: str, limit: int = 1000, guard: Guard | None = None) -> tuple[Fetched, bytes]:
    out = io.BytesIO()
    fetched = (guard or Guard(HOME)).fetch(url, out, limit=limit)
    return fetched, out.getvalue()


def test_bytes_arrive_with_their_hash(serve: Serve) -> None:
    server = serve(page(b"a picture", Content_Type="image/png", Content_Length="9"))
    fetched, body = fetch(server.url("/a b?x=1".replace(" ", "%20")))
    assert body == b"a picture"
    assert (fetched.size, fetched.content_type) == (9, "image/png")
    assert fetched.sha256 == hashlib.sha256(body).hexdigest()
    head = server.requests[0].decode().lower()
    assert head.startswith("get /a%20b?x=1 http/1.1\r\n")
    assert f"host: 127.0.0.1:{server.port}\r\n" in head
    assert "accept-encoding: identity\r\n" in head


def test_without_permission_the_loopback_is_private(serve: Serve) -> None:
    server = serve(page(b"secret"))
    with pytest.raises(AddressRefused, match="not public"):
        fetch(server.url(), guard=Guard(IntakeSettings()))
    assert server.requests == []


def test_redirects_are_followed_by_hand_and_not_for_ever(serve: Serve) -> None:
    end = serve(page(b"end"))
    hop = serve(page(b"", "302 Found", Location=end.url("/here")))
    fetched, body = fetch(hop.url())
    assert (body, fetched.url) == (b"end", end.url("/here"))
    loop = serve(page(b"", "301 Moved", Location="/again"))
    with pytest.raises(AddressUnreachable, match="more than 3 times"):
        fetch(loop.url())
    assert len(loop.requests) == HOME.max_redirects + 1


def test_a_key_goes_to_the_address_that_it_is_for_and_no_farther(serve: Serve) -> None:
    end = serve(page(b"end"))
    hop = serve(page(b"", "302 Found", Location=end.url("/here")))
    out = io.BytesIO()
    Guard(HOME).fetch(hop.url(), out, limit=1000, headers={"Authorization": "Bearer sk-1"})
    assert out.getvalue() == b"end"
    assert b"sk-1" in hop.requests[0]
    assert b"sk-1" not in end.requests[0]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/",
        "http://10.0.0.1/",
        "http://[::1]/",
        "file:///etc/passwd",
        "http://u@127.0.0.1/",
    ],
)
def test_redirects_into_private_networks_are_refused(serve: Serve, location: str) -> None:
    server = serve(page(b"", "307 Temporary Redirect", Location=location))
    with pytest.raises(AddressRefused):
        fetch(server.url())


def test_a_redirect_to_nowhere_is_unreachable(serve: Serve) -> None:
    with pytest.raises(AddressUnreachable, match="nowhere"):
        fetch(serve(page(b"", "302 Found")).url())
    with pytest.raises(AddressRefused):
        fetch(serve(page(b"", "302 Found", Location="http://[")).url())


def test_the_vetted_address_is_dialled_whatever_the_name_says_later(serve: Serve) -> None:
    """DNS rebinding: the second look-up would lead elsewhere, so there must be no second look-up."""
    good = serve(page(b"the vetted one"))
    asked: list[str] = []

    def rebinding(name: str, seconds: float) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    guard = Guard(HOME, resolver=rebinding)
    assert fetch(good.url(host="rebind.example.com"), guard=guard)[1] == b"the vetted one"
    assert asked == ["rebind.example.com"]
    assert f"host: rebind.example.com:{good.port}\r\n" in good.requests[0].decode().lower()
    # asked a second time, it is vetted a second time
    with pytest.raises(AddressRefused):
        fetch(good.url(host="rebind.example.com"), guard=guard)


def test_another_address_of_the_name_is_tried_when_the_first_is_dead(serve: Serve) -> None:
    server = serve(page(b"ok"))
    # nobody listens on 127.0.0.2 at that port
    guard = Guard(HOME, resolver=lambda name, seconds: ["127.0.0.2", "127.0.0.1"])
    assert fetch(server.url(host="two.example.com"), guard=guard)[1] == b"ok"


def test_limits_hold_while_reading(serve: Serve) -> None:
    assert fetch(serve(page(b"x" * 1000)).url(), limit=1000)[0].size == 1000
    claims = serve(page(b"x" * 1001, Content_Length="1001"))
    with pytest.raises(TooLarge, match="1000 bytes"):
        fetch(claims.url(), limit=1000)

    def for_ever(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.sendall(b"x" * 65536)

    def chunks_for_ever(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")

    for script in (for_ever, chunks_for_ever):
        with pytest.raises(TooLarge):
            fetch(serve(script).url(), limit=10_000)


def test_a_content_length_that_lies_is_found_out(serve: Serve) -> None:
    with pytest.raises(AddressUnreachable, match="broke off"):
        fetch(serve(page(b"short", Content_Length="500")).url())
    # longer than it says: the rest is not ours to read
    assert fetch(serve(page(b"longer", Content_Length="4")).url())[1] == b"long"


def test_compressed_bytes_are_refused(serve: Serve) -> None:
    with pytest.raises(AddressRefused, match="compressed"):
        fetch(serve(page(b"\x1f\x8b", Content_Encoding="gzip")).url())


def silent(peer: socket.socket, head: bytes) -> None:
    peer.recv(1)  # until the guard hangs up


def dripping_head(peer: socket.socket, head: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    drip(peer)


def dripping_body(peer: socket.socket, head: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    drip(peer)


def drip(peer: socket.socket) -> None:
    peer.settimeout(0.05)  # slower than a server should be, faster than the read timeout
    while True:
        peer.sendall(b"x")
        try:
            if not peer.recv(1):
                return
        except TimeoutError:
            continue


@pytest.mark.parametrize("script", [silent, dripping_head, dripping_body])
def test_time_runs_out_for_the_silent_and_the_slow(
    serve: Serve, script: Callable[[socket.socket, bytes], None]
) -> None:
    with pytest.raises(AddressUnreachable, match="in time") as raised:
        fetch(serve(script).url())
    assert raised.value.passing


def test_a_name_server_that_hangs_is_part_of_the_deadline() -> None:
    def hanging(name: str, seconds: float) -> list[str]:
        assert seconds <= HOME.connect_s
        raise TimeoutError

    with pytest.raises(AddressUnreachable, match="not resolved in time"):
        fetch("http://example.com/", guard=Guard(HOME, resolver=hanging))


@pytest.mark.parametrize(
    ("status", "passing"), [("404 Not Found", False), ("500 Oops", True), ("429 Slow", True), ("206 Partial", False)]
)
def test_other_answers_are_unreachable_and_their_bodies_stay_private(serve: Serve, status: str, passing: bool) -> None:
    with pytest.raises(AddressUnreachable, match=status.split(maxsplit=1)[0]) as raised:
        fetch(serve(page(b"internal detail", status)).url())
    assert raised.value.passing is passing
    assert "internal" not in str(raised.value)


def test_who_does_not_speak_http_is_unreachable(serve: Serve) -> None:
    def ssh(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"SSH-2.0-OpenSSH\r\n")

    with pytest.raises(AddressUnreachable):
        fetch(serve(ssh).url())
    with pytest.raises(AddressUnreachable, match="cannot be connected"):
        fetch("http://127.0.0.1:1/")


def test_the_environment_has_no_proxy_to_offer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = serve(page(b"from the proxy")), serve(page(b"direct"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    assert fetch(server.url())[1] == b"direct"


def test_posts_carry_their_bytes_and_follow_nothing(serve: Serve) -> None:
    bodies: list[bytes] = []

    def hook(peer: socket.socket, head: bytes) -> None:
        body = head.partition(b"\r\n\r\n")[2]
        while len(body) < 5:
            body += peer.recv(100)
        bodies.append(body)
        peer.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nRetry-After: 7\r\n\r\nsecret")

    server = serve(hook)
    answer = Guard(HOME).post(server.url("/hook"), b"hello", {"webhook-id": "1"})
    assert (answer.status, answer.headers["retry-after"]) == (302, "7")
    assert bodies == [b"hello"]
    assert b"webhook-id: 1\r\n" in server.requests[0]
    with pytest.raises(AddressRefused):
        Guard(IntakeSettings()).post(server.url("/hook"), b"hello", {})


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed one for farm.example.com, key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "farm.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("farm.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure(certificate: Path, serve: Serve) -> Iterator[tuple[Server, list[str | None]]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str | None] = []
    context.sni_callback = lambda sock, name, ctx: asked.append(name)
    server = Server(page(b"over TLS"), tls=context)
    yield server, asked
    server.close()


def test_tls_checks_the_name_while_the_vetted_address_is_dialled(
    secure: tuple[Server, list[str | None]], certificate: Path
) -> None:
    server, asked = secure
    trusting = ssl.create_default_context(cafile=str(certificate))
    guard = Guard(HOME, resolver=lambda name, seconds: ["127.0.0.1"], tls=trusting)
    assert fetch(f"https://farm.example.com:{server.port}/", guard=guard)[1] == b"over TLS"
    assert asked == ["farm.example.com"]
    with pytest.raises(AddressUnreachable, match="certificate"):
        fetch(f"https://other.example.com:{server.port}/", guard=guard)
    with pytest.raises(AddressUnreachable, match="certificate"):
        fetch(f"https://{ip_address('127.0.0.1')}:{server.port}/", guard=guard)
    with pytest.raises(AddressUnreachable, match="certificate"):
        fetch(
            f"https://farm.example.com:{server.port}/",
            guard=Guard(HOME, resolver=lambda name, seconds: ["127.0.0.1"]),
        )


def crumbs(count: int, size: int) -> bytes:
    """A chunked answer in `count` pieces."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + (b"%x\r\n" % size + b"x" * size + b"\r\n") * count + b"0\r\n\r\n"


def sends(answer: bytes) -> Callable[[socket.socket, bytes], None]:
    return lambda peer, _: peer.sendall(answer)


def test_bytes_in_crumbs_are_refused(serve: Serve) -> None:
    patient = IntakeSettings(allow_networks=("127.0.0.0/8",), total_s=20.0)
    with pytest.raises(AddressRefused, match="crumbs"):
        fetch(serve(sends(crumbs(200_000, 1))).url(), limit=10**6, guard=Guard(patient))
    _, body = fetch(serve(sends(crumbs(1_000, 1))).url(), limit=10**6, guard=Guard(patient))
    assert len(body) == 1_000
    _, body = fetch(serve(sends(crumbs(5_000, 200))).url(), limit=10**7, guard=Guard(patient))
    assert len(body) == 10**6


def test_the_deadline_counts_for_every_piece_of_what_was_read(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read of the network holds thousands of pieces: the time that they take counts as well."""
    now = [0.0]
    monkeypatch.setattr("farm.guard.dial.time.monotonic", lambda: now[0])

    class Slow(io.BytesIO):
        def write(self, data: object) -> int:
            now[0] += 0.1
            return 0

    with pytest.raises(AddressUnreachable, match="in time"):
        Guard(HOME).fetch(serve(sends(crumbs(200, 100))).url(), Slow(), limit=10**6)
