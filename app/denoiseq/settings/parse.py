"""`parse` checks every config; what it refuses is one sentence."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from denoiseq.errors import UserError
from denoiseq.settings.kinds import escape, expand_home, kinds
from denoiseq.settings.model import MODELS, DenoisingResNet
from denoiseq.settings.setting import check
from denoiseq.settings.train import Train

Schema = TypeVar("Schema")


def keys(schema: type) -> list[str]:
    """Every dotted key that `schema` accepts, those of its groups and of all models included."""
    return list(kinds(schema))


def unknown_key(key: str, schema: type) -> str:
    """The sentence for a key that `schema` does not have, with the nearest key that it has."""
    known = keys(schema)
    if key in known:
        return f"'{key}' is a setting of another model: choose the model with model=NAME"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown config key '{key}'" + (f": did you mean '{near[0]}'?" if near else "")


def parse(schema: type[Schema], values: DictConfig | dict[str, Any]) -> Schema:
    """`values` as the dataclass `schema`; UserError, one sentence, for the first that is wrong.

    `${…}` is filled in in a DictConfig; in a dict, as checkpoints keep it, it is text.
    """
    values = escape(values)  # a DictConfig stays as it is
    try:
        base = OmegaConf.structured(schema)
        if schema is Train:
            name = OmegaConf.select(OmegaConf.create(values), "model.name") or DenoisingResNet.name
            check(name in MODELS, f"model.name is {name!r}, expected one of {', '.join(MODELS)}")
            base.model = OmegaConf.structured(MODELS[name])  # it decides the other keys of `model`
        settings = cast(Schema, OmegaConf.to_object(OmegaConf.merge(base, values)))
        expand_home(settings)
        return settings
    except ConfigKeyError as error:
        raise UserError(unknown_key(error.full_key or str(error.key), schema)) from error
    except MissingMandatoryValue as error:
        key = error.full_key or error.key
        raise UserError(f"{key} is required: give {key}=…") from error
    except ValidationError as error:
        reason = str(error.msg or error).splitlines()[0]
        if "not a ListConfig" in reason:
            reason = f"expected a list, as in '{error.full_key}=[a,b]'"
        raise UserError(f"wrong value for {error.full_key}: {reason}") from error
    except InterpolationResolutionError as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    except OmegaConfBaseException as error:
        raise UserError(" ".join(str(error).split())) from error


def plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain dicts and lists, as checkpoints store it."""
    return asdict(settings)


def check_names(value: Any) -> None:
    """UnicodeEncodeError where a text in plain settings, such as a path, cannot be UTF-8.

    Python reads so a file name of another encoding, and in an ASCII locale every umlaut. Reports,
    logs and torch cannot write such names.
    """
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        check_names(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            check_names(item)


def to_yaml(settings: Any) -> str:
    """A settings dataclass as YAML text that Hydra reads."""
    return OmegaConf.to_yaml(OmegaConf.create(escape(plain(settings))))
