"""Reading YAML so that text settings keep what is written: `include: [1_1]` is no number."""

from __future__ import annotations

from collections.abc import Collection, Generator
from typing import Any

import yaml

TYPED = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool")}
TEXT, MAPPING = "tag:yaml.org,2002:str", "tag:yaml.org,2002:map"


def read_text_as_written(names: Collection[str]) -> None:
    """From now on YAML values of the keys `names`, and items of their lists, are text or null.

    Holds for PyYAML's SafeLoader in this process, whose constructors OmegaConf's loader inherits.
    """

    def construct(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Generator[Any, None, None]:
        for key, value in node.value:
            if key.value in names:
                for item in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    item.tag = TEXT if item.tag in TYPED else item.tag
        yield from yaml.SafeLoader.construct_yaml_map(loader, node)

    yaml.SafeLoader.add_constructor(MAPPING, construct)
