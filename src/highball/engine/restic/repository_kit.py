"""The recovery kit of a repository: a page by which a tired person gets the data back by plain restic commands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from highball.engine.base import Kept
from highball.engine.printed import block, for_people, preamble, word
from highball.engine.restic.access import RepositoryAccess, access
from highball.engine.restic.declaration import ResticRepository
from highball.engine.restic.location import address
from highball.engine.tags import job_tag, set_tag_list
from highball.errors import SecretUnavailable
from highball.model.snapshot import FILES_SET
from highball.secret import SecretValue

FOLDER = "highball-recovery"

_FILES = {"identity_file": "ssh-key", "known_hosts": "ssh-known-hosts", "certificate": "certificates.pem"}
"""What a repository's access reads from files of this machine, and their names in the kit's folder."""

_MORE = {
    "rclone": "It is reached by rclone, whose own configuration (rclone.conf) is needed as well.",
    "gs": "The file that GOOGLE_APPLICATION_CREDENTIALS names is needed as well.",
}


@dataclass(frozen=True)
class Reach:
    """All that reaches a repository from anywhere: its access, and the content of the files that it needs."""

    access: RepositoryAccess
    files: Mapping[str, bytes]


def reach_of(
    repository: ResticRepository,
    environment: Mapping[str, str] | None = None,
    sealed: Mapping[str, SecretValue] | None = None,
) -> Reach:
    """Resolve the everyday access and read its files, here; raises SecretUnavailable."""
    files = {}
    named: dict[str, Path] = {}
    for field, name in _FILES.items():
        path: Path | None = getattr(repository, field)
        if path is not None:
            files[name] = _read(path)
            named[field] = Path(name)
    placed = repository.model_copy(update=named)
    return Reach(access(placed, environment=environment, sealed=sealed), files)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SecretUnavailable(f"the file {path} cannot be read: {error.strerror}") from None


# --- a repository --------------------------------------------------------------------------------


def repository_kit(
    key: str,
    repository: ResticRepository,
    reach: Reach,
    kept: Sequence[Kept],
    now: datetime,
    *,
    identity: str | None = None,
) -> str:
    """The page for a repository."""
    title = f"{key} ({repository.title})" if repository.title else key
    scheme = address(repository).partition(":")[0]
    facts = [
        f"- Address: `{address(repository)}`",
        f"- Password: {for_people(reach.access.password)}",
        *([f"- restic repository ID: `{identity}`"] if identity else []),
        *([f"- {_MORE[scheme]}"] if scheme in _MORE else []),
    ]
    parts = [
        f"# Recovery kit: the repository {title}",
        preamble(now, "Anyone who has this page can read every backup in this repository."),
        "\n".join(facts),
        "## 1. Get restic",
        "Any version from 0.14: from your system (`apt install restic`), or from https://restic.net."
        " Highball is not needed.",
        "## 2. Open the repository",
        f"In a shell. This creates the folder `{FOLDER}` and changes into it; repeat it in every new shell."
        + (" The repository is a folder with this path: mount its disk first." if scheme[:1] == "/" else ""),
        block(_way_in(reach)),
        "## 3. List the snapshots",
        block(["restic snapshots"]),
        f"The first column is a snapshot's ID. Highball's tags (`{job_tag('…')}`) show which job created it.",
        "## 4. Restore everything",
        "`latest` is the newest snapshot; for an older one, use its ID instead and omit `--tag …`."
        " Nothing is overwritten: files are restored into new folders here, from where you can move them.",
        block([f"{_restore(one)} --target {word(_folder(one))}" for one in kept] or [_restore_any()]),
        *_one_path(kept),
        "## Troubleshooting",
        "- *repository is already locked*: a machine crashed during an operation. Once nothing is running:"
        " `restic unlock`\n"
        "- *Is it intact?* `restic check --read-data` reads all data, which takes as long as a download.\n"
        "- More: `restic help restore`, https://restic.readthedocs.io",
        "When you are done, delete the folder: it contains the password.",
    ]
    return "\n\n".join(parts) + "\n"


def _way_in(reach: Reach) -> list[str]:
    way = reach.access
    lines = ["umask 077", f"mkdir -p {FOLDER}", f"cd {FOLDER}"]
    for name, content in {"password": way.password.reveal(), **reach.files}.items():
        lines.append(f"printf '%s' {word(content)} > {name}")
    lines.append('export RESTIC_PASSWORD_FILE="$PWD/password"')
    lines.append(f"export RESTIC_REPOSITORY={word(way.location.reveal())}")
    for variable, value in way.files.items():
        lines.append(f"printf '%s' {word(value.reveal())} > {variable.lower()}")
        lines.append(f'export {variable}="$PWD/{variable.lower()}"')
    for variable, told in way.environment.items():
        content = told.reveal() if isinstance(told, SecretValue) else told.encode()
        lines.append(f"export {variable}={word(content)}")
    options = [f"-o {word(option)}" for option in way.options]
    if way.certificate is not None:
        options.append(f"--cacert {word(str(way.certificate))}")
    if options:
        lines.append(f'restic() {{ command restic {" ".join(options)} "$@"; }}')
    return lines


def _restore(one: Kept) -> str:
    return f"restic restore latest --tag {word(set_tag_list(one.job, one.set))}"


def _restore_any() -> str:
    return "restic restore latest --target restored"


def _folder(one: Kept) -> str:
    return f"restored-{one.job}" if one.set == FILES_SET else f"restored-{one.job}-{one.set}"


def _one_path(kept: Sequence[Kept]) -> list[str]:
    """How to bring one file or folder back, on an example that is there."""
    if not kept:
        return []
    one = kept[0]
    tag = word(set_tag_list(one.job, one.set))
    return [
        "## 5. Restore one file or folder",
        "List the paths, then give one in full, starting with `/` (put a `\\` before each `* ? [ ] \\` in it):",
        block(
            [
                f"restic ls latest --tag {tag} > paths.txt",
                f"{_restore(one)} --target restored-part --include {word(_literal(one.path))}",
            ]
        ),
    ]


def _literal(path: bytes) -> bytes:
    """A path as a pattern that matches nothing else."""
    return re.sub(rb"([*?\[\]\\])", rb"\\\1", path)
