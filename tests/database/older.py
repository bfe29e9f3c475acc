"""A database as an older Highball left it: the oldest one that can still be upgraded."""

from pathlib import Path

from highball.hub.storage.dialects import WRITING, open_engine
from highball.hub.storage.schema import schema_version

OLDEST = "0006"
TOO_OLD = ("0001", "0005")

_STORED = Path(__file__).with_name("schema-0006.sql")


def make_older(place: Path | str, revision: str = OLDEST) -> None:
    """Make it where nothing is; of an earlier revision it bears no more than the number."""
    engine = open_engine(place)
    blob = "BYTEA" if engine.dialect.name == "postgresql" else "BLOB"
    with engine.execution_options(**WRITING).begin() as connection:
        for statement in _STORED.read_text().replace("BLOB", blob).split(";\n")[:-1]:
            connection.exec_driver_sql(statement)
        connection.execute(schema_version.update().values(version_num=revision))
    engine.dispose()
