"""The source systems: for each a dlt source that yields good rows and rejected rows of a `TableSpec`.

What belongs here: reading. What does not: storing (`lake`) and Dagster; a notebook can use these sources as
they are. A source is a factory `(LoadRequest, SourceReport, **params) -> DltSource`; the parameters come from
the table's YAML.
"""
