"""Superset's metadata: the tables, the roles and the administrator, made in the process that serves.

What belongs here: what `superset db upgrade`, `superset init` and `superset fab create-admin` do, which as three
commands load Superset three times. What does not: serving (`serve.py`), and dashboards (`infra_assets.superset`).

Done again, it changes nothing. A first start that was killed half-way leaves tables that no migration can go on from,
and nothing else: they are thrown away. The note of what was done is written last.
"""

import logging
from importlib.metadata import version
from pathlib import Path

import superset
from flask_migrate import upgrade
from superset.app import create_app
from werkzeug.security import check_password_hash


def bootstrap(home, user, password):
    """Superset as a Flask application whose metadata is complete.

    Args:
        home: SUPERSET_HOME.
        user: the administrator.
        password: the administrator's, whatever it was before.
    """
    done = home / f"bootstrapped-{version('apache-superset')}"
    if not any(home.glob("bootstrapped-*")):
        for half in home.glob("metadata.db*"):
            half.unlink()
    app = create_app()
    with app.app_context():
        if not done.exists():
            _migrate()
            superset.appbuilder.add_permissions(update_perms=True)
            superset.security_manager.sync_role_definitions()
        _administrator(superset.security_manager, user, password)
    done.touch()
    return app


def _migrate():
    """Make or change the tables; afterwards, what goes wrong is still logged: alembic silences all others' loggers."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
    root.setLevel(level)
    root.handlers[:] = handlers
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


def _administrator(manager, user, password):
    known = manager.find_user(user)
    if known is None:
        role = manager.find_role("Admin")
        manager.add_user(user, "Lakegraph", "Admin", "admin@lakegraph.example", role, password=password)
    elif not check_password_hash(known.password, password):
        manager.reset_password(known.id, password)
