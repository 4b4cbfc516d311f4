import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import IntakeSettings
from farm.guard import Guard
from farm.guard.addresses import is_public, unwrapped
from farm.guard.names import Target, system_resolver, target
from farm.jobs.errors import AddressRefused, AddressUnreachable

PUBLIC = ["93.184.215.14", "8.8.8.8", "1.1.1.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450:4001:82a::200e"]
NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1"),
    *("192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:53aa:64c::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0"),
    *("fec0::1", "ff02::1", "4000::1"),
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text: str) -> None:
    assert is_public(unwrapped(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_not_public(text: str) -> None:
    assert not is_public(unwrapped(text))


def test_a_mapped_address_is_judged_and_dialled_as_what_it_is() -> None:
    assert str(unwrapped("::ffff:8.8.8.8")) == "8.8.8.8"
    assert is_public(unwrapped("::ffff:8.8.8.8"))


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://example.com/x", "gopher://example.com", "//example.com/x", "example.com/x", ""),
        *("http:///x", "http://", "javascript:alert(1)", "data:image/png;base64,AAAA", "http:example.com"),
        *("http://user@example.com/", "http://user:pw@example.com/", "http://example.com\\@127.0.0.1/"),
        *("http://exa mple.com/", "http://example.com/\r\nX: y", "http://example.com/\x00", " http://example.com/"),
        *("http://example.com:0/", "http://example.com:99999/", "http://example.com:-1/", "http://example.com:x/"),
        *("http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://017700000001/", "http://127.1/"),
        *(
            "http://0177.0.0.1/",
            "http://127.0.0.0x1/",
            "http://1.2.3.4.5/",
            "http://256.1.1.1/",
            "http://１２７.0.0.1/",
        ),
        *("http://ex%61mple.com/", "http://exam_ple..com/", "http://[::1/", "http://[fe80::1%25lo]x/", "http://*.com/"),
        *("http://" + "a" * 64 + ".com/", "http://example.com/" + "x" * 5000, "http://" + "a." * 127 + "com/"),
    ],
)
def test_what_is_not_a_plain_url_is_refused_before_any_lookup(url: str) -> None:
    with pytest.raises(AddressRefused):
        target(url)


def test_one_parser_decides_what_is_dialled() -> None:
    seen = target("HTTPS://Bücher.Example.:8443/a/../b%20c?q=ü#part")
    assert (seen.scheme, seen.host, seen.port, seen.literal) == ("https", "xn--bcher-kva.example", 8443, False)
    assert seen.path == b"/b%20c?q=%C3%BC"
    assert seen.url == "https://xn--bcher-kva.example:8443/b%20c?q=%C3%BC"
    literal = target("http://[2001:4860:4860::8888]/")
    assert (literal.literal, literal.authority) == (True, "[2001:4860:4860::8888]")
    assert target("http://127.0.0.1./").literal


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://127.0.0.1./", "http://127。0。0。1/", "http://localhost/", "http://localhost./"),
        *("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[fe80::1%25lo]/"),
        *("http://169.254.169.254/latest/meta-data/", "http://[64:ff9b::7f00:1]/", "http://0.0.0.0/"),
        *("http://10.0.0.1:8080/", "https://192.168.0.1/", "http://LOCALHOST/"),
    ],
)
def test_private_addresses_are_refused_however_written(url: str) -> None:
    with pytest.raises(AddressRefused):
        Guard(IntakeSettings()).vet(url)


def test_one_bad_address_among_many_refuses_the_name() -> None:
    guard = Guard(IntakeSettings(), resolver=lambda name, seconds: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(AddressRefused, match="not public"):
        guard.vet("http://example.com/")
    Guard(IntakeSettings(allow_networks=("10.0.0.0/8",)), resolver=lambda n, s: ["8.8.8.8", "10.0.0.1"]).vet(
        "http://example.com/"
    )


def test_ports_are_few_outside_the_allowed_networks() -> None:
    guard = Guard(IntakeSettings(allow_networks=("127.0.0.0/8",)), resolver=lambda name, seconds: ["8.8.8.8"])
    guard.vet("http://example.com:8080/")
    guard.vet("http://127.0.0.1:6379/")
    for one in (guard, Guard(IntakeSettings(), resolver=lambda name, seconds: ["8.8.8.8"])):
        with pytest.raises(AddressRefused, match="port 25 is not dialled"):
            one.vet("http://example.com:25/")


def test_webhooks_are_https_except_at_home() -> None:
    guard = Guard(IntakeSettings(allow_networks=("127.0.0.0/8",)), resolver=lambda name, seconds: ["8.8.8.8"])
    guard.vet("https://example.com/hook", webhook=True)
    guard.vet("http://127.0.0.1:9999/hook", webhook=True)
    with pytest.raises(AddressRefused, match="https"):
        guard.vet("http://example.com/hook", webhook=True)
    with pytest.raises(AddressRefused, match="port 80"):
        guard.vet("https://example.com:80/hook", webhook=True)


def test_a_name_that_does_not_resolve_is_unreachable_never_waved_through() -> None:
    with pytest.raises(AddressUnreachable, match=r"nowhere\.invalid does not resolve"):
        Guard(IntakeSettings(), resolver=lambda name, seconds: []).vet("http://nowhere.invalid/")

    def broken(name: str, seconds: float) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    with pytest.raises(AddressUnreachable) as raised:
        Guard(IntakeSettings(), resolver=broken).vet("http://example.com/")
    assert raised.value.passing


def test_the_system_resolver_gives_all_addresses_and_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "127.0.0.1" in system_resolver("localhost", 5)
    with pytest.raises(OSError, match=r".+"):
        system_resolver("a" * 70, 5)
    # a name server that hangs, as far as the caller can tell
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(1) or [])
    with pytest.raises(TimeoutError):
        system_resolver("slow.example.com", 0.05)


def test_without_a_look_up_only_the_form_and_literals_are_judged() -> None:
    def asked(name: str, seconds: float) -> list[str]:
        pytest.fail("nobody was to be asked")

    guard = Guard(IntakeSettings(), resolver=asked)
    guard.vet("http://example.com/", resolve=False)
    for url in ("http://10.0.0.1/", "ftp://example.com/", "http://8.8.8.8:22/"):
        with pytest.raises(AddressRefused):
            guard.vet(url, resolve=False)


_PIECES = st.sampled_from(
    [
        "http://",
        "https://",
        "@",
        ":",
        "/",
        "\\",
        "?",
        "#",
        "[",
        "]",
        "%",
        ".",
        "127.0.0.1",
        "::1",
        "a.com",
        "0x7f",
        "。",
    ]
)


@given(st.lists(_PIECES | st.text(max_size=3), max_size=8).map("".join))
def test_any_text_is_a_target_that_reads_the_same_again_or_is_refused(text: str) -> None:
    try:
        where = target(text)
    except AddressRefused:
        return
    assert isinstance(where, Target)
    assert target(where.url) == where
