"""Reading YAML so that text settings keep what is written: `include: [1_1]` is no number."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import yaml

from denoiseq.settings.kinds import kinds

TYPED = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool")}
TEXT, MAPPING = "tag:yaml.org,2002:str", "tag:yaml.org,2002:map"


def read_text_as_written(schemas: Iterable[type]) -> None:
    """From now on the text settings of `schemas`, and items of their lists, are text in YAML.

    Null stays null. A key is known by its last part. Holds for PyYAML's SafeLoader in this process,
    whose constructors OmegaConf's loader inherits.
    """
    known = [item for schema in schemas for item in kinds(schema).items()]
    names = {key.rpartition(".")[2] for key, kind in known if kind.text}

    def construct(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Generator[Any, None, None]:
        for key, value in node.value:
            if key.value in names:
                for item in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    item.tag = TEXT if item.tag in TYPED else item.tag
        yield from yaml.SafeLoader.construct_yaml_map(loader, node)

    yaml.SafeLoader.add_constructor(MAPPING, construct)
