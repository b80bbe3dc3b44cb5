"""Superset's own configuration: what differs from its defaults. Superset loads it by SUPERSET_CONFIG_PATH.

What belongs here: settings of the server. What does not: what is shown (`dashboards/`) and where gold is
(`infra_assets.superset`), which are imported into the running server.

State is under SUPERSET_HOME, which Superset itself reads too. Nothing leaves the machine: no usage statistics, no
images or fonts from elsewhere.
"""

import logging
import os
from pathlib import Path

import pymysql
from superset.utils.log import AbstractEventLogger

pymysql.install_as_MySQLdb()  # 6.1 imports MySQLdb for StarRocks; mysqlclient has no wheel

_HOME = Path(os.environ["SUPERSET_HOME"])

SECRET_KEY = (_HOME / "secret_key").read_text().strip()
GLOBAL_ASYNC_QUERIES_JWT_SECRET = GUEST_TOKEN_JWT_SECRET = SECRET_KEY  # both are off, and have public defaults
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_HOME / 'metadata.db'}?check_same_thread=false&timeout=60"


class _NoEvents(AbstractEventLogger):
    """Superset writes a row for each click and query into its metadata; SQLite has one writer."""

    def log(self, *_args, **_options):
        """Write nothing."""


EVENT_LOGGER = _NoEvents()
SUPERSET_LOG_VIEW = False
LOG_LEVEL = logging.WARNING

# In memory: one process. Query results are not kept, or a published table would be seen late.
_MEMORY = {"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 86_400, "CACHE_THRESHOLD": 1_000}
CACHE_CONFIG = {**_MEMORY, "CACHE_KEY_PREFIX": "superset_"}
FILTER_STATE_CACHE_CONFIG = {**_MEMORY, "CACHE_KEY_PREFIX": "filter_", "REFRESH_TIMEOUT_ON_RETRIEVAL": True}
EXPLORE_FORM_DATA_CACHE_CONFIG = {**_MEMORY, "CACHE_KEY_PREFIX": "explore_", "REFRESH_TIMEOUT_ON_RETRIEVAL": True}
DATA_CACHE_CONFIG = {"CACHE_TYPE": "NullCache"}
ENABLE_CORS = False
RATELIMIT_STORAGE_URI = "memory://"

SESSION_COOKIE_NAME = "lakegraph_superset"  # cookies know no port: another Superset on loopback would overwrite ours
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'", "data:"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,
    "session_cookie_secure": False,
}
