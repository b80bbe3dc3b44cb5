"""What connects a BI tool to gold in BigQuery: Power BI's data source file, and Looker Studio's link.

What belongs here: making the two, purely, from names. What does not: reading settings, writing files, the names of
gold's tables (`orchestration.served`), and how to go on from there (docs/bi.md). Neither holds credentials: each tool
asks its user for them.
"""

import json
from typing import Literal
from urllib.parse import quote, urlencode

from lake.settings import GcpTarget

GOLD = "gold"
LOOKER_STUDIO = "https://lookerstudio.google.com/reporting/create"

Mode = Literal["Import", "DirectQuery"]


def pbids(project: str, mode: Mode = "Import") -> str:
    """Power BI's data source file for BigQuery: opened, it asks for credentials, then for tables.

    Its form is that of https://learn.microsoft.com/power-bi/connect-data/desktop-data-sources#use-pbids-files-to-get-data:
    `version`, one connection with `details` (`protocol`, `address`), `options` and `mode`; no credentials, no tables.

    Microsoft lists no protocol for BigQuery, there or in the specification of data source references it points to. So
    what follows is by analogy with connectors whose source is public (Databricks: `databricks-sql`), and was not tried
    in Power BI Desktop: the protocol; the address, empty because `GoogleBigQuery.Database` takes nothing but options;
    the option, by its name in M (https://learn.microsoft.com/power-query/connectors/google-bigquery). docs/bi.md says
    what to do if Desktop refuses the file.

    Args:
        project: id of the project that holds gold; queries run in it, and are billed to it.
        mode: copy the tables into the model, or ask BigQuery whenever somebody looks.

    Returns:
        The text of the file, JSON.
    """
    details = {"protocol": "google-bigquery", "address": {}}
    connection = {"details": details, "options": {"BillingProject": project}, "mode": mode}
    return json.dumps({"version": "0.1", "connections": [connection]}, indent=2) + "\n"


def looker_studio_url(target: GcpTarget, table: str) -> str:
    """A link that opens a new report on a table of gold in Looker Studio.

    By its Linking API, https://developers.google.com/looker-studio/integrate/linking-api. Without a template the report
    is Looker Studio's default one, which has a single data source: hence a table a link, and parameters without an
    alias. `billingProjectId` is left out, for it is `projectId` then; so is `isPartitioned`, which would make the month
    that a row is filed under the report's date.

    Args:
        target: where gold is.
        table: its name in the dataset `gold`.

    Returns:
        The URL; it holds names, and no credentials.
    """
    parameters = {
        "c.mode": "edit",
        "r.reportName": table,
        "ds.datasourceName": f"{GOLD}.{table}",
        "ds.connector": "bigQuery",
        "ds.type": "TABLE",
        "ds.projectId": target.project,
        "ds.datasetId": GOLD,
        "ds.tableId": table,
    }
    return f"{LOOKER_STUDIO}?{urlencode(parameters, quote_via=quote)}"
