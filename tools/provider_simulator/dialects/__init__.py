"""The dialects that are simulated."""

from tools.provider_simulator.dialects.apixo import SimulatedApixo
from tools.provider_simulator.dialects.base import SimulatedDialect
from tools.provider_simulator.dialects.crun import SimulatedCrun
from tools.provider_simulator.dialects.kie import SimulatedKie
from tools.provider_simulator.dialects.openai import SimulatedOpenAi
from tools.provider_simulator.dialects.selfhosted import SimulatedSelfHosted
from tools.provider_simulator.dialects.wiro import SimulatedWiro

__all__ = ["DIALECTS", "SimulatedDialect"]

DIALECTS: dict[str, SimulatedDialect] = {
    one.name: one
    for one in (
        *(SimulatedApixo(), SimulatedCrun(), SimulatedKie(), SimulatedOpenAi(), SimulatedSelfHosted()),
        SimulatedWiro(),
    )
}
