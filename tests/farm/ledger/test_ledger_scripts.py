"""The scripts as texts: every name in them has its one home."""

import re
from importlib import resources

import pytest

from farm.config import Settings
from farm.jobs.errors import FaultCode
from farm.jobs.states import TRANSITIONS, HoldReason, Phase, State
from farm.ledger import CancelOutcome, CommitOutcome, FailOutcome, HoldOutcome, StatementKind, Verdict
from farm.ledger.keys import TEMPLATES, WEBHOOKS, Keys
from farm.ledger.nested import nested
from farm.ledger.scripts import lua_settings, source
from farm.ledger.unused import without_unused

LUA = resources.files("farm.ledger") / "lua"
SCRIPTS = sorted(file.name.removesuffix(".lua") for file in LUA.iterdir() if file.name.endswith(".lua"))
LIBRARIES = sorted(file.name for file in (LUA / "lib").iterdir())
TEXTS = {name: (LUA / f"{name}.lua").read_text() for name in SCRIPTS}
TEXTS |= {f"lib/{name}": (LUA / "lib" / name).read_text() for name in LIBRARIES}


def text(name: str) -> str:
    return source(name, "wf", tuple(lua_settings(Settings()).items()))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_opens_with_its_call(name: str) -> None:
    assert TEXTS[name].startswith(f"-- {name}(")


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_name_was_filled_in(name: str) -> None:
    kinds = "State|Phase|Fault|Verdict|Commit|Fail|Cancel|Hold|HoldReason|Statement|Setting|Table|Text|Key"
    assert re.findall(rf"\b(?:{kinds})\.\w+", text(name)) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_calls_was_not_left_out(name: str) -> None:
    code = re.sub(r"'[^']*'", "''", text(name))
    defined = set(re.findall(r"local function (\w+)", code)) | {"function", "unpack", "tonumber", "tostring", "ipairs"}
    defined |= {"pairs", "error", "and", "or", "not", "if", "return", "in", "elseif", "while"}
    assert set(re.findall(r"(?<![\w.])([a-z_]+)\(", code)) - defined == set()


def test_of_a_library_only_what_is_used_is_sent() -> None:
    library = "local function a()\n  return 1\nend\nlocal T = {\n  1,\n}\nlocal function b() return a() end\nf()"
    assert without_unused([library], "return 2") == ["f()", "return 2"]
    kept = library.replace("local T = {\n  1,\n}\n", "")
    assert "\n".join(without_unused([library], "return b()")) == f"{kept}\nreturn b()"


def test_what_only_a_seldom_called_function_needs_is_made_in_it() -> None:
    helper = "local function helper(x)\n  return x\nend"
    middle = "local function middle(x)\n  return helper(x)\nend"
    rare = "local function rare(x)\n  return middle(x)\nend"
    often = "local function often(x)\n  return helper(x)\nend"
    within = "local function rare(x)\n  local function helper(x)\n    return x\n  end\n"
    within += "  local function middle(x)\n    return helper(x)\n  end\n  return middle(x)\nend"
    assert nested([helper, middle, rare, "return rare(1)"], {"rare"}) == [within, "return rare(1)"]
    assert nested([helper, middle, rare, "return rare(1)"], ()) == [helper, middle, rare, "return rare(1)"]
    shared = nested([helper, middle, rare, often, "return rare(1) + often(2)"], {"rare"})
    assert shared[0] == helper, "another function needs it, too"
    assert nested([helper, rare, "return middle(1)"], {"rare"})[0] == helper, "nothing names it"
    hidden = [helper.replace("return x", "return y + x"), "local function rare(y)\n  return helper(y)\nend"]
    assert nested(["local y = 1", *hidden], {"rare"}) == ["local y = 1", *hidden], "its y would be another there"
    again = ["local y = 1", hidden[0], "local y = 2", "local function rare(z)\n  return helper(z)\nend"]
    assert nested(again, {"rare"}) == again


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_what_a_text_calls_seldom_is_a_function_of_it(name: str) -> None:
    seldom = {
        function for line in re.findall(r"^-- seldom: (.+)$", TEXTS[name], re.MULTILINE) for function in line.split()
    }
    assert seldom <= set(re.findall(r"^local function (\w+)\(", TEXTS[name], re.MULTILINE))


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_word_of_the_vocabulary_is_spelled_in_lua(name: str) -> None:
    spelled = set(re.findall(r"'([a-z_]+)'", re.sub(r"--.*", "", TEXTS[name])))
    # of records, names of drifts, and an operator's act
    fields = {"hold", "held", "lease", "index", "queue", "cancelling", "settle"}
    outcomes = (Verdict, CommitOutcome, FailOutcome, CancelOutcome, HoldOutcome)
    words = {word for kind in (State, Phase, FaultCode, HoldReason, *outcomes) for word in kind}
    assert spelled & (words | set(StatementKind)) - fields == set()


def test_a_name_that_does_not_exist_is_an_error_at_once(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.ledger.scripts._with_libraries", lambda *_: ["return State.LOST_IN_SPACE"])
    with pytest.raises(KeyError):
        source("unknown", "wf", ())


def test_every_transition_of_the_table_is_in_the_scripts() -> None:
    ways = {(a, b) for a, b in re.findall(r"(\w+)>(\w+)(?= )", text("commit"))}
    assert ways == {(str(a), str(b)) for a, targets in TRANSITIONS.items() for b in targets}


def test_every_key_is_used_and_no_two_can_collide() -> None:
    python = "".join(file.read_text() for file in (LUA / "..").iterdir() if file.name.endswith(".py"))
    webhooks = "".join(file.read_text() for file in (resources.files("farm.webhooks") / "lua").iterdir())
    used = set(re.findall(r"Key\.([a-z_]+)\(", "".join(TEXTS.values()))) | set(re.findall(r'_keys\("(\w+)"', python))
    assert used == set(TEMPLATES)
    assert set(re.findall(r"Key\.(hook\w*)\(", webhooks)) == set(WEBHOOKS)
    keys = Keys("wf")
    assert keys("queue", "gpu", "acme") == "wf:queue:gpu:acme"
    assert keys("label", "acme", "queued", "a:{b}") == "wf:label:acme:queued:a:{b}"
    heads = [template.partition("{")[0] for template in (TEMPLATES | WEBHOOKS).values()]
    assert len(set(heads)) == len(heads)
