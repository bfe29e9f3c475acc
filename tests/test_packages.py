"""Every folder of modules is a package: the contracts about imports see no other."""

from __future__ import annotations

from pathlib import Path

import highball

SOURCE = Path(highball.__file__).parent
LOADED_BY_ALEMBIC = SOURCE / "hub/storage/migrations/versions"


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in SOURCE.rglob("*.py")} - {LOADED_BY_ALEMBIC}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
