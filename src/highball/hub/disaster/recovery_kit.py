"""Recovery kits: pages to print, by which a tired person gets the data back without Highball.

One for each repository, with its address, its password and the plain restic commands; one for the hub, with the
key that opens its vault. A page is Markdown whose blocks can be typed or pasted into any shell as they stand. It
is made of secrets: whoever makes one decides where it goes, and it is never recorded.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from highball import __version__
from highball.engine.restic.location import (
    Access,
    ResticRepository,
    access,
    address,
    secrets_of,
)
from highball.engine.tags import job_tag, set_tag_list
from highball.errors import NotAllowed, SecretUnavailable
from highball.hub.retention.adoption import HUB as HUB_JOB
from highball.secret import SecretValue
from highball.source.base import FILES_SET

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

    access: Access
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Kept:
    """A job whose snapshots lie in a repository, with the first path that it reads."""

    job: str
    path: bytes


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


def demand_makeable(key: str, repository: ResticRepository, *, from_file: bool) -> None:
    """Raise NotAllowed where a hub may not make this page: it would read what whoever asks could point it at.

    What a configuration file of this machine declares may name files and variables here; what was declared over
    the hub only what is sealed in it. Commands run on agents, never in the hub.
    """
    references = [reference for _, reference in secrets_of(repository)]
    sealed = all(reference.sealed for reference in references)
    reads = any(getattr(repository, field) is not None for field in _FILES)
    if any(reference.command for reference in references) or not (from_file or (sealed and not reads)):
        raise NotAllowed(
            f"the page for {key} can only be made on the machine that its secrets lie on",
            code="kit_not_here",
            hint=f"there: highball recovery-kit {key} --out FILE",
        )


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
        f"- Password: {_for_people(reach.access.password)}",
        *([f"- restic's id of it: `{identity}`"] if identity else []),
        *([f"- {_MORE[scheme]}"] if scheme in _MORE else []),
    ]
    parts = [
        f"# Recovery kit: the repository {title}",
        _preamble(now, "Whoever has this page can read every backup in this repository."),
        "\n".join(facts),
        "## 1. Get restic",
        "Any restic from 0.14 on: from your system (`apt install restic`), or from https://restic.net."
        " Highball is not needed.",
        "## 2. Say where the repository is",
        f"In a shell. This makes the folder `{FOLDER}` and stays in it; do it again in every new shell."
        + (" The repository is a folder of this path: mount its disk first." if scheme[:1] == "/" else ""),
        _block(_way_in(reach)),
        "## 3. See what there is",
        _block(["restic snapshots"]),
        f"The first column is a snapshot's ID. Highball's tags (`{job_tag('…')}`) say whose data it holds.",
        "## 4. Bring everything back",
        "Below, `latest` is the newest snapshot; for an older one put its ID instead, and leave out `--tag …`."
        " Nothing is overwritten: it goes into new folders here, and from there to where you want it.",
        _block([f"{_restore(one)} --target {_word(_folder(one))}" for one in kept] or [_restore_any()]),
        *_one_path(kept),
        "## If something is in the way",
        "- *repository is already locked*: a machine died while it worked. When nothing runs any more:"
        " `restic unlock`\n"
        "- *Is it sound?* `restic check --read-data` reads all of it; that takes as long as a download.\n"
        "- More: `restic help restore`, https://restic.readthedocs.io",
        "When you are done, remove the folder: the password lies in it.",
    ]
    return "\n\n".join(parts) + "\n"


def _way_in(reach: Reach) -> list[str]:
    way = reach.access
    lines = ["umask 077", f"mkdir -p {FOLDER}", f"cd {FOLDER}"]
    for name, content in {"password": way.password.reveal(), **reach.files}.items():
        lines.append(f"printf '%s' {_word(content)} > {name}")
    lines.append('export RESTIC_PASSWORD_FILE="$PWD/password"')
    lines.append(f"export RESTIC_REPOSITORY={_word(way.location.reveal())}")
    for variable, value in way.files.items():
        lines.append(f"printf '%s' {_word(value.reveal())} > {variable.lower()}")
        lines.append(f'export {variable}="$PWD/{variable.lower()}"')
    for variable, told in way.environment.items():
        content = told.reveal() if isinstance(told, SecretValue) else told.encode()
        lines.append(f"export {variable}={_word(content)}")
    options = [f"-o {_word(option)}" for option in way.options]
    if way.certificate is not None:
        options.append(f"--cacert {_word(str(way.certificate))}")
    if options:
        lines.append(f'restic() {{ command restic {" ".join(options)} "$@"; }}')
    return lines


def _restore(one: Kept) -> str:
    return f"restic restore latest --tag {_word(set_tag_list(one.job, FILES_SET))}"


def _restore_any() -> str:
    return "restic restore latest --target restored"


def _folder(one: Kept) -> str:
    return f"restored-{one.job}"


def _one_path(kept: Sequence[Kept]) -> list[str]:
    """How to bring one file or folder back, on an example that is there."""
    if not kept:
        return []
    one = kept[0]
    tag = _word(set_tag_list(one.job, FILES_SET))
    return [
        "## 5. Or only one file or folder",
        "List the paths, then name one, whole and from the beginning `/` (before `* ? [ ] \\` in it put a `\\`):",
        _block(
            [
                f"restic ls latest --tag {tag} > paths.txt",
                f"{_restore(one)} --target restored-part --include {_word(_literal(one.path))}",
            ]
        ),
    ]


def _literal(path: bytes) -> bytes:
    """A path as a pattern that matches nothing else."""
    return re.sub(rb"([*?\[\]\\])", rb"\\\1", path)


# --- the hub -------------------------------------------------------------------------------------


def hub_kit(
    *,
    key: bytes | None,
    key_file: Path,
    configuration: Path | None,
    state: Path,
    database: str,
    newest_backup: Path | None,
    repositories: Mapping[str, str],
    now: datetime,
) -> str:
    """The page for the hub; `repositories` are keys with their addresses. Without a file its state names it."""
    here = ["highball", "-c", str(configuration)]
    if configuration is None:
        here = ["env", f"HIGHBALL_STATE={state}", "highball"]
    restore = [*here, "hub", "restore-backup", *([str(newest_backup)] if newest_backup else [])]
    where = f"Configuration: `{configuration}`" if configuration else f"State: `{state}` (there is no file)"
    parts = [
        "# Recovery kit: the hub",
        _preamble(now, "Whoever has this page and a backup of the hub can open every secret in it."),
        f"- {where}\n- Database: {database}\n"
        f"- Its newest backup when this was made: {f'`{newest_backup}`' if newest_backup else 'none yet'}",
        "## 1. Install Highball" + (", and put the configuration where it was" if configuration else ""),
        *_key_parts(key, key_file),
        "## 3. Bring the database back",
        "From the newest file you still have: it lies beside the database, and where the settings name a"
        f" repository, as its newest snapshot with the tag `{job_tag(HUB_JOB)}`.",
        _block([" ".join(map(_word, restore))]),
        "Without any backup, begin from the repositories; nothing is deleted until you confirm what was found:",
        _block([" ".join(map(_word, [*here, "hub", "rebuild"]))]),
        "## The repositories",
        "Each has a recovery kit of its own, by which data comes back without the hub:\n\n"
        + ("\n".join(f"- {name}: `{shown}`" for name, shown in repositories.items()) or "- none yet"),
    ]
    return "\n\n".join(parts) + "\n"


def _key_parts(key: bytes | None, key_file: Path) -> list[str]:
    if key is None:
        return [
            "## 2. The key",
            "The vault has no key yet: nothing is sealed in it. Make this page anew later.",
        ]
    path = _word(str(key_file))
    text = _as_text(key, newlines=True)
    if text is not None:
        write = f"printf '%s' {shlex.quote(text)} > {path}"
    else:
        write = f"printf '%s' {base64.b64encode(key).decode()} | base64 -d > {path}"
    folder = _word(str(key_file.parent))
    return [
        "## 2. Put the key back",
        _block(["umask 077", f"mkdir -p {folder}", write]),
    ]


# --- words ---------------------------------------------------------------------------------------


def _preamble(now: datetime, warning: str) -> str:
    made = f"Made {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC by Highball {__version__}."
    return f"{made} Print it, and keep it away from the machines that it is about. **{warning}**"


def _block(lines: Sequence[str]) -> str:
    return "\n".join(["```sh", *lines, "```"])


def _for_people(password: SecretValue) -> str:
    text = _as_text(password.reveal())
    if text is None or "`" in text:
        return "(as below: it holds characters that cannot be shown)"
    return f"`{text}`"


def _word(value: str | bytes) -> str:
    """One word of a shell, whatever it holds."""
    content = value.encode() if isinstance(value, str) else value
    text = _as_text(content, newlines=True)
    if text is not None:
        return shlex.quote(text)
    return "\"$(printf '" + "".join(f"\\{byte:03o}" for byte in content) + "')\""


def _as_text(content: bytes, *, newlines: bool = False) -> str | None:
    """The text that these bytes spell, if a person can read and type it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if (text.replace("\n", "") if newlines else text).isprintable() else None
