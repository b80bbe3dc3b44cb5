"""What has to be done to a declared object, and doing it.

What belongs here: the state of an object as StarRocks tells it, the pure decision on what to do, and applying that.
What does not: the statements' text (`ddl`), and whether what is served is right (`probe`).

A new snapshot changes a table's path alone: drop and create follow each other on one connection, and the view above
names the table anew at each query. Who asks in the moment between gets an error, not old rows. Nothing shows that the
new table works before the old one is dropped: if it does not, readers get its error until it does. A copy whose columns
change is made anew without rows, and readers get none until it is refreshed.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from infra_assets.starrocks import ddl
from infra_assets.starrocks.client import Session, UnknownObjectError
from lake.errors import LakeError

Action = Literal["create", "unchanged", "recreate"]

_PATH = re.compile(r'"path"\s*=\s*"((?:[^"\\]|\\.)*)"')


class ForeignObjectError(LakeError):
    """An object of the wanted name is there that we did not make, and do not touch."""


@dataclass(frozen=True)
class State:
    """An object as it stands.

    Attributes:
        comment: with the hash, if it is ours.
        columns: names and types, in order; none for a catalog.
        path: of a table of files; None if it is none, or is not told.
        kind: of a declaration; None: that of the one it was read for.
    """

    comment: str
    columns: tuple[ddl.Column, ...] = ()
    path: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, and why.

    Attributes:
        action: `create`, `unchanged` or `recreate`.
        declared: what is wanted.
        reasons: for `recreate`, what differs.
        drift: those of the reasons that are columns.
        there: the kind of what is made anew; None: the declared one.
    """

    action: Action
    declared: ddl.Declared
    reasons: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    there: str | None = None

    def statements(self, *, reveal: bool = False) -> tuple[str, ...]:
        """What `apply` sends, for people to read: secrets are *** unless revealed."""
        if self.action == "unchanged":
            return ()
        if isinstance(self.declared, ddl.Catalog):
            return (self.declared.create(reveal=reveal),)
        database = ddl.create_database(self.declared.database)
        if self.action == "create":
            return (database, self.declared.create(reveal=reveal))
        return (database, *ddl.replace(self.declared, self.there, reveal=reveal))


# -- reading -------------------------------------------------------------------------------------------------


def read(session: Session, declared: ddl.Declared) -> State | None:
    """The object of the declared name as it stands; None: there is none.

    Raises:
        LakeError: StarRocks does not answer, or not to us.
    """
    if isinstance(declared, ddl.Catalog):
        found = [row for row in session.query("SHOW CATALOGS") if row[0] == declared.name]
        return State(str(found[0][2] or "")) if found else None
    where = f"TABLE_SCHEMA = {ddl.literal(declared.database)} AND TABLE_NAME = {ddl.literal(declared.name)}"
    tables = session.query(f"SELECT TABLE_TYPE, TABLE_COMMENT FROM information_schema.tables WHERE {where}")  # noqa: S608
    if not tables:
        return None
    kind = _kind(session, str(tables[0][0]), where)
    columns = session.query(
        f"SELECT COLUMN_NAME, COLUMN_TYPE FROM information_schema.columns WHERE {where} ORDER BY ORDINAL_POSITION"  # noqa: S608
    )
    path = _path(session, declared) if isinstance(declared, ddl.ExternalTable) and kind == declared.kind else None
    return State(
        str(tables[0][1] or ""), tuple(ddl.Column(str(name), str(type_)) for name, type_ in columns), path, kind
    )


def _kind(session: Session, table_type: str, where: str) -> str:
    """StarRocks calls a materialised view a view, and lists it in a table of its own."""
    if session.query(f"SELECT TABLE_NAME FROM information_schema.materialized_views WHERE {where}"):  # noqa: S608
        return ddl.MaterialisedView.kind
    return ddl.View.kind if table_type == "VIEW" else ddl.ExternalTable.kind


def _path(session: Session, table: ddl.ExternalTable) -> str | None:
    try:
        rows = session.query(f"SHOW CREATE TABLE {ddl.qualified(table.database, table.name)}")
    except UnknownObjectError:  # dropped meanwhile
        return None
    match = _PATH.search(str(rows[0][1])) if rows else None
    return re.sub(r"\\(.)", r"\1", match[1]) if match else None


# -- deciding ------------------------------------------------------------------------------------------------


def decide(declared: ddl.Declared, state: State | None) -> Decision:
    """What to do about a declared object, given how it stands; pure.

    Raises:
        ForeignObjectError: what stands there is not ours: its comment carries no hash of ours.
        LakeError: a catalog of ours differs; everything in it is somebody's, so it is left to a person.
    """
    if state is None:
        return Decision("create", declared)
    name = _name(declared)
    digest = ddl.hash_of(state.comment)
    if digest is None:
        raise ForeignObjectError(
            f"StarRocks: {state.kind or declared.kind} {name} is there and was not made by lakegraph (its comment "
            "has no [lakegraph:…]); drop it, or choose another name"
        )
    if state.kind not in {None, declared.kind}:
        return Decision("recreate", declared, (f"is a {state.kind}, not a {declared.kind}",), there=state.kind)
    drifted = _drift(declared, state)
    reasons = (*_moved(declared, state), *drifted)
    if digest != declared.hash and not reasons:
        reasons = (f"its comment, properties or source changed (hash {digest} → {declared.hash})",)
    if reasons and isinstance(declared, ddl.Catalog):
        raise LakeError(f"StarRocks: catalog {name} differs from its declaration; ALTER CATALOG or drop it by hand")
    return Decision("recreate", declared, reasons, drifted) if reasons else Decision("unchanged", declared)


def _moved(declared: ddl.Declared, state: State) -> tuple[str, ...]:
    """How the path differs, in words."""
    if isinstance(declared, ddl.ExternalTable) and state.path not in {None, declared.path}:
        return (f"path changed: {state.path} → {declared.path}",)
    return ()


def _drift(declared: ddl.Declared, state: State) -> tuple[str, ...]:
    """How the columns differ both ways, in words; types of a view are its source's."""
    if isinstance(declared, ddl.Catalog):
        return ()
    same = ddl.same_type if isinstance(declared, ddl.ExternalTable) else None
    return drift(declared.columns, state.columns, same=same)


def drift(
    wanted: Sequence[ddl.Column],
    found: Sequence[ddl.Column],
    *,
    same: Callable[[str, str], bool] | None = ddl.same_type,
) -> tuple[str, ...]:
    """How columns differ both ways, in words; names are compared without case.

    Args:
        wanted: of the declaration.
        found: of StarRocks.
        same: whether two types are one; None: types do not matter.
    """
    there = {column.name.lower(): column for column in found}
    here = {column.name.lower(): column for column in wanted}
    lacks = [column.name for name, column in here.items() if name not in there]
    extra = [column.name for name, column in there.items() if name not in here]
    other = [
        f"{column.name} is {there[name].type}, not {column.type}"
        for name, column in here.items()
        if same and name in there and not same(there[name].type, column.type)
    ]
    told = (("lacks columns", lacks), ("has columns too many", extra), ("has other types", other))
    return tuple(f"{what}: {', '.join(names)}" for what, names in told if names)


def _name(declared: ddl.Declared) -> str:
    return declared.name if isinstance(declared, ddl.Catalog) else f"{declared.database}.{declared.name}"


# -- applying ------------------------------------------------------------------------------------------------


def plan(session: Session, declared: ddl.Declared) -> Decision:
    """What has to be done to a declared object; reads only. Raises as `read` and `decide` do."""
    return decide(declared, read(session, declared))


def apply(session: Session, decision: Decision) -> None:
    """Do it, and see that it is done.

    Raises:
        LakeError: StarRocks refuses, or what is there afterwards is another's, made in the same moment.
    """
    declared = decision.declared
    hide = _secrets(declared)
    for statement in decision.statements(reveal=True):
        session.execute(statement, hide=hide)
    if decision.action != "unchanged":
        now = plan(session, declared)
        if now.action != "unchanged":
            why = "; ".join(now.reasons) or "it is not there, or we may not see it"
            raise LakeError(
                f"StarRocks: {declared.kind} {_name(declared)} is not as it was made: {why}; does another process "
                "register it too?"
            )


def _secrets(declared: ddl.Declared) -> tuple[SecretStr, ...]:
    return ddl.secrets_of(declared.properties) if isinstance(declared, ddl.ExternalTable | ddl.Catalog) else ()


def look_anew(session: Session, declared: ddl.Declared) -> None:
    """Before a view is made or read: have StarRocks forget what it knows of a table of another catalog behind it."""
    if isinstance(declared, ddl.View | ddl.MaterialisedView) and declared.source.catalog != ddl.OWN_CATALOG:
        session.execute(declared.source.refresh())


def refresh(session: Session, declared: ddl.Declared) -> None:
    """Have StarRocks look at the files, or copy the rows, again; nothing for a catalog and a view."""
    if isinstance(declared, ddl.ExternalTable):
        session.execute(declared.refresh())
    if isinstance(declared, ddl.MaterialisedView):
        session.execute_at_length(declared.refresh())
