"""The schema that editors use says what the parser says, as far as a schema can."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from ruamel.yaml import YAML

from harness.topology.schema import schema_text, topology_schema
from tests.harness.topologies import HEAD, PAIR, mistakes_in, written

ROOT: Final = Path(__file__).parents[3]
CONFIGS: Final = sorted((ROOT / "configs").rglob("*.imclab.yaml"))
SCHEMA: Final = topology_schema()
VALIDATOR: Final = jsonschema.Draft202012Validator(SCHEMA)


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema in `schema` that names keys, with where it is."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield path, schema
        for key, inner in schema.items():
            if key != "examples":
                yield from objects(inner, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, inner in enumerate(schema):
            yield from objects(inner, f"{path}/{index}")


KEYS: Final = [
    (f"{path}/{key}", inner) for path, found in objects(SCHEMA) for key, inner in found["properties"].items()
]


def test_the_copy_for_editors_is_the_schema() -> None:
    assert (ROOT / "configs" / "topology.schema.json").read_text(encoding="utf-8") == schema_text(), (
        "imclab schema >configs/topology.schema.json"
    )


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert len(KEYS) > 100


@pytest.mark.parametrize(("path", "key"), KEYS, ids=[path for path, _ in KEYS])
def test_every_key_has_a_description_and_examples_that_are_right(path: str, key: dict[str, Any]) -> None:
    assert key["description"].endswith((".", ")")), path
    assert key["examples"], path
    for example in key["examples"]:
        errors = list(VALIDATOR.evolve(schema={**key, "$defs": SCHEMA["$defs"]}).iter_errors(example))
        assert errors == [], (path, example)


@pytest.mark.parametrize("file", CONFIGS, ids=[file.name for file in CONFIGS])
def test_every_config_is_right_and_says_where_its_schema_is(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    VALIDATOR.validate(YAML(typ="safe", pure=True).load(text))
    schema = os.path.relpath(ROOT / "configs" / "topology.schema.json", file.parent)
    assert f"# yaml-language-server: $schema={schema}\n" in text


@pytest.mark.parametrize(
    "text",
    [
        f"{PAIR}zoo: 1\n",
        f"{PAIR}within: 5\n",
        f"{PAIR}within: soon\n",
        f"{PAIR}routes: [{{grant: a}}]\n",
        f"{PAIR}routes: [{{grant: a, to: b, as: 1st}}]\n",
        f"{PAIR}routes: [{{grant: a, to: b, pair: yes}}]\n",
        f"{PAIR}channels: [{{between: [a.8]}}]\n",
        f"{PAIR}defaults: {{protocol: steam}}\n",
        f"{PAIR}defaults: {{limits: {{cpu: 1}}}}\n",
        f"{PAIR}defaults: {{replicas: 2}}\n",
        f"{PAIR}kinds: {{a b: {{}}}}\n",
        f"{PAIR}scenario: [{{at: a, do: conect}}]\n",
        f"{PAIR}scenario: [{{at: a, do: accept, address: b}}]\n",
        f"{PAIR}scenario: [{{at: a, do: connect}}]\n",
        f"{PAIR}scenario: [{{kill: [a]}}]\n",
        f"{PAIR}scenario: [{{repeat: 3}}]\n",
        f"{PAIR}scenario: [{{repeat: 3, steps: [{{at: a}}]}}]\n",
        f"{PAIR}scenario: [{{parallel: [{{kill: a}}, [{{kil: b}}]]}}]\n",
        f"{PAIR}scenario: [{{wait: 1s, within: 2s}}]\n",
        f"{PAIR}scenario: [{{expect: {{exit: {{a: 300}}}}}}]\n",
        f"{PAIR}scenario: [{{at: a, do: accept, expect: {{error: EIOO}}}}]\n",
        HEAD,
        f"{HEAD}workers: {{}}\n",
    ],
)
def test_what_the_parser_refuses_as_such_the_schema_refuses_too(text: str, tmp_path: Path) -> None:
    assert mistakes_in(written(tmp_path, text))
    assert not VALIDATOR.is_valid(YAML(typ="safe", pure=True).load(text))


@pytest.mark.parametrize(
    "text",
    [
        f"{PAIR}vars: {{n: 5s}}\nwithin: '{{{{n}}}}'\n",
        f"{PAIR}within: ${{SOME_TIME:-5s}}\n",
        f"{PAIR}scenario: [{{at: a, do: accept, as: c}}, {{at: a, do: sendmsg, socket: c, data: {{size: 3}}}}]\n",
        f"{PAIR}scenario: [{{parallel: [{{kill: a}}, [{{at: b, do: socketpair}}, {{barrier: x}}]]}}]\n",
        f"{PAIR}scenario: [{{wait: {{exit: a, report: {{b: [x, y]}}}}, within: 1s}}, {{wait: 1ms}}]\n",
        f"{PAIR}scenario: [{{expect: {{report: {{a: {{n: '>=5', l: [1, {{}}]}}}}}}}}]\n",
    ],
)
def test_what_the_parser_takes_the_schema_takes_too(text: str, tmp_path: Path) -> None:
    assert mistakes_in(written(tmp_path, text)) == []
    VALIDATOR.validate(YAML(typ="safe", pure=True).load(text))
