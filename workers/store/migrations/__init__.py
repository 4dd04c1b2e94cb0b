"""The way from any older schema to the newest: Alembic, run from inside the installed package."""

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

# Alembic keeps the running migration in module globals.
_one_at_a_time = Lock()


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision, inside the caller's transaction: all of it or nothing."""
    config = _config()
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, "head")


def revisions() -> list[str]:
    """Return the names of all revisions, the oldest first."""
    walk = ScriptDirectory.from_config(_config()).walk_revisions()
    return [script.revision for script in walk][::-1]


def _config() -> Config:
    config = Config()
    # A per cent sign is Alembic's own escape in options.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
