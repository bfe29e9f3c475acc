"""Every kind of channel, a line each; and reading one that is declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from highball.channel.base import DeclaredChannel
from highball.channel.webhook import Webhook
from highball.errors import ConfigurationInvalid, Problem

KINDS: tuple[type[DeclaredChannel], ...] = (Webhook,)


def read_channel(
    declared: Mapping[str, Any], kinds: Sequence[type[DeclaredChannel]] | None = None
) -> DeclaredChannel:
    """The channel that a table with `kind` declares; raises ConfigurationInvalid with every problem in it."""
    known = {kind.name: kind for kind in kinds or KINDS}
    kind = known.get(str(declared.get("kind")))
    if kind is None:
        hint = f"one of {', '.join(known)}"
        raise ConfigurationInvalid(
            "kind is none that is known", problems=[Problem("kind", "is none that is known", hint)]
        )
    fields = {name: value for name, value in declared.items() if name != "kind"}
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problems = [Problem(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()]
        raise ConfigurationInvalid(str(problems[0]), problems=problems) from None
