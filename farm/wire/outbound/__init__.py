"""Every dialect's client side (farm.wire.http.Outbound). A new dialect is a codec, a client, and a line in CLIENTS."""

from collections.abc import Mapping

from farm.wire.outbound.apixo import Apixo
from farm.wire.outbound.client import DialectClient
from farm.wire.outbound.crun import Crun
from farm.wire.outbound.kie import Kie
from farm.wire.outbound.openai import OpenAi
from farm.wire.outbound.own import Own
from farm.wire.outbound.selfhosted import SelfHosted
from farm.wire.outbound.wiro import Wiro

__all__ = ["CLIENTS", "DialectClient"]

CLIENTS: Mapping[str, type[DialectClient]] = {
    client.dialect: client for client in (Apixo, Crun, Kie, OpenAi, Own, SelfHosted, Wiro)
}
