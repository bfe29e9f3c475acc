"""restic as a kind of engine: what it is called, what is declared of it, and a repository of it opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from highball.engine.base import DeclaredRepository, EngineWords, Kept, Repair, Sample, Setting
from highball.engine.form import RepositoryFields
from highball.engine.restic.access import access, check_certificate
from highball.engine.restic.commands import Restic
from highball.engine.restic.declaration import ResticRepository
from highball.engine.restic.location import Location, address
from highball.engine.restic.open_repository import WORDS, OpenResticRepository
from highball.engine.restic.program import ResticBinary, find_restic
from highball.engine.restic.repair_steps import ResticRepair
from highball.engine.restic.repository_kit import reach_of, repository_kit
from highball.engine.restic.restic_form import RESTIC_FIELDS
from highball.engine.restic.ssh import check_identity
from highball.engine.restic.url import take_apart
from highball.place.base import Place
from highball.secret import SecretValue

SAMPLE = Sample(
    needed={"url": "/mnt/nas/restic", "password": {"file": "/etc/highball/nas.key"}},
    besides={"admin": {"url": "/mnt/nas-admin/restic"}},
)


@dataclass(frozen=True)
class ResticEngine:
    """Deduplicated and encrypted, by restic from 0.14 on."""

    words: EngineWords = WORDS
    declared: type[DeclaredRepository] = ResticRepository
    program: str | None = "the restic program of this machine; without one, the first on the PATH"
    form: RepositoryFields = RESTIC_FIELDS
    sample: Sample = SAMPLE
    rehearses: bool = True
    keeps_keys: bool = True

    repair: Repair = field(default_factory=ResticRepair)

    def spell_address(self, fields: Mapping[str, Any]) -> str:
        """The location that these fields come to."""
        return address(Location.model_construct(**fields))

    def read_address(self, text: str) -> dict[str, str | int]:
        """The kind and fields that stand for a location, or its url alone."""
        return take_apart(text)

    def recovery_page(
        self,
        key: str,
        repository: DeclaredRepository,
        kept: Sequence[Kept],
        now: datetime,
        *,
        identity: str | None = None,
        sealed: Mapping[str, SecretValue] | None = None,
    ) -> str:
        """Its address, its password and plain restic commands."""
        assert isinstance(repository, ResticRepository)
        return repository_kit(
            key, repository, reach_of(repository, sealed=sealed), kept, now, identity=identity
        )

    def demand_program(self, named: Path | None, cache: Path, place: Place) -> str:
        """The version of the restic to use here."""
        return _find(named, cache, place).text

    def open(
        self,
        repository: DeclaredRepository,
        setting: Setting,
        *,
        admin: bool = False,
        environment: Mapping[str, str] | None = None,
        sealed: Mapping[str, SecretValue] | None = None,
    ) -> OpenResticRepository:
        """restic, ready on the repository."""
        assert isinstance(repository, ResticRepository)
        way = access(repository, admin=admin, environment=environment, sealed=sealed)
        if way.certificate is not None:
            check_certificate(way.certificate)
        if way.identity_file is not None:
            check_identity(way.identity_file)
        return OpenResticRepository(
            Restic(
                binary=_find(setting.program, setting.memory, setting.place),
                repository=setting.key,
                access=way,
                cache=setting.cache / "restic",
                scratch=setting.scratch,
                marker=setting.marker,
                timezone=setting.timezone,
                listener=setting.listener,
                stop=setting.stop,
                answer_within=repository.answer_within,
                place=setting.place,
            )
        )


def _find(named: Path | None, memory: Path, place: Place) -> ResticBinary:
    return find_restic(named, memory / "restic-versions.json", place)


RESTIC = ResticEngine()
