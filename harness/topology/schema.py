"""The JSON schema of topology files, made from the model that parses them, for editors.

An editor knows no {{variables}}: where a file may refer to one, text that does so is right, whatever it stands for.
"""

import json
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from harness.topology.model import Topology
from harness.topology.steps import OPERATIONS
from harness.topology.values import REFERENCE_SCHEMA

TITLE: Final = "imclab topology"


class TopologySchema(GenerateJsonSchema):
    """As pydantic makes it, but that numbers and true or false may be a reference, and defaults are words."""

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """Return what may stand where a whole number is due."""
        return {"anyOf": [super().int_schema(schema), REFERENCE_SCHEMA]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        """Return what may stand where true or false is due."""
        return {"anyOf": [super().bool_schema(schema), REFERENCE_SCHEMA]}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return what may stand there: a key without a value is a mistake."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema without its default: what that is, the description says in the file's own words."""
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Return a map's schema, which says what its keys may be."""
        made: JsonSchemaValue = {"type": "object", "additionalProperties": self.generate_inner(schema["values_schema"])}
        names = self.generate_inner(schema["keys_schema"])
        if names != {"type": "string"}:
            made["propertyNames"] = names
        if "min_length" in schema:
            made["minProperties"] = schema["min_length"]
        return made

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - its name is pydantic's
        """Say that no key has a title: it would be the key once more."""
        return False


def topology_schema() -> dict[str, Any]:
    """Return the schema, ready for JSON."""
    schema = Topology.model_json_schema(schema_generator=TopologySchema)
    for name, step in OPERATIONS.items():
        # What the step does is what tells it from the others.
        schema["$defs"][step.__name__]["properties"]["do"] |= {"const": name, "examples": [name]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": TITLE}


def schema_text() -> str:
    """Return the schema as a file has it."""
    return json.dumps(topology_schema(), indent=1, ensure_ascii=False) + "\n"
