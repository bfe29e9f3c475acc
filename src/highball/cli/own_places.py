"""Where this machine's configuration lies, and where its state, its database and the hub's key do by that."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from highball.config.document import Document
from highball.errors import ConfigurationInvalid

SYSTEM_CONFIGURATION = Path("/etc/highball")
SYSTEM_STATE = Path("/var/lib/highball")
FILE_NAMES = ("highball.toml", "highball.yaml", "highball.yml")


def find_configuration(named: Path | None) -> Path:
    """Which file holds the configuration."""
    told = named or (Path(os.environ["HIGHBALL_CONFIG"]) if os.environ.get("HIGHBALL_CONFIG") else None)
    if told is not None:
        return told
    found = next((path for path in _default_files() if path.exists()), None)
    if found is None:
        places = ", ".join(str(path) for path in _default_files() if path.suffix == ".toml")
        raise ConfigurationInvalid(
            f"there is no configuration file: none of {places} exists",
            code="configuration_missing",
            hint="name one with -c FILE or HIGHBALL_CONFIG",
        )
    return found


def find_state(path: Path | None, document: Document) -> Path:
    """Where the state of this configuration lies, or of a hub that has none."""
    told = os.environ.get("HIGHBALL_STATE")
    if told:
        return Path(told).absolute()
    if document.settings.state is not None:
        return document.settings.state
    if path is None:
        return SYSTEM_STATE if os.geteuid() == 0 else _user_state()
    real = path.resolve()
    base = SYSTEM_STATE if real.is_relative_to(SYSTEM_CONFIGURATION) else _user_state()
    if real in {default.resolve() for default in _default_files()}:
        return base
    return base / f"at-{hashlib.sha256(os.fsencode(real)).hexdigest()[:12]}"


def find_key_folder(path: Path | None) -> Path:
    """Where the hub's key lies: beside the configuration, or where that would be."""
    if path is not None:
        return path.resolve().parent
    home = _own_folder("XDG_CONFIG_HOME", ".config") / "highball"
    if os.geteuid() != 0:
        return home
    # root's key lies in the system's folder, but where its environment names another and none lies there yet
    is_named = bool(os.environ.get("XDG_CONFIG_HOME"))
    is_used = (SYSTEM_CONFIGURATION / "hub.key").exists() and not (home / "hub.key").exists()
    return home if is_named and not is_used else SYSTEM_CONFIGURATION


def find_database(state: Path) -> Path | str:
    """Where the database of this state lies: in its folder, or where HIGHBALL_DATABASE says (`postgresql://…`)."""
    return os.environ.get("HIGHBALL_DATABASE") or state / "highball.db"


def _default_files() -> list[Path]:
    home = _own_folder("XDG_CONFIG_HOME", ".config")
    return [folder / name for folder in (home / "highball", SYSTEM_CONFIGURATION) for name in FILE_NAMES]


def _user_state() -> Path:
    return _own_folder("XDG_STATE_HOME", ".local/state") / "highball"


def _own_folder(variable: str, usual: str) -> Path:
    """A folder of this user as XDG names it; a relative one there does not count.

    A service that is started without HOME finds the same one as its user's shell.
    """
    named, home = Path(os.environ.get(variable, "")), Path(os.environ.get("HOME", ""))
    if named.is_absolute():
        return named
    return (home if home.is_absolute() else _home_of_user()) / usual


def _home_of_user() -> Path:
    import pwd

    try:
        return Path("/", pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # a container's user without a name
        return Path("/")
