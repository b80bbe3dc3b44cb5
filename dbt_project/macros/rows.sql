{#-
  Rows as the source gave them: their columns, their identity, their repetitions.

  Two rows are duplicates if they are equal in every source column, null being equal to null. Few are, so a pass over a cheap
  hash of a few columns finds the candidates first and only these are compared exactly: right even where hashes collide.
-#}

{#- Every column of the source in `relation`, as {name, type}, sorted by name. Not ours: `source_month` and names with a leading `_`. -#}
{% macro source_columns(relation) -%}
    {%- set columns = [] -%}
    {%- if execute -%}
        {%- for column in adapter.get_columns_in_relation(relation) -%}
            {%- if not column.name.startswith('_') and column.name | lower != 'source_month' -%}
                {%- do columns.append({'name': column.name, 'type': column.dtype | lower, 'sort': column.name | lower}) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if not columns -%}
            {{ exceptions.raise_compiler_error(relation ~ " has no column: is it built?") }}
        {%- endif -%}
    {%- endif -%}
    {{ return(columns | sort(attribute='sort')) }}
{%- endmacro %}

{% macro source_column_list(relation) -%}
    {%- set names = ['source_month'] -%}
    {%- for column in source_columns(relation) -%}{%- do names.append(adapter.quote(column.name)) -%}{%- endfor -%}
    {{ return(names | join(', ')) }}
{%- endmacro %}

{#- The hash of `keys` that tells candidates. -#}
{% macro key_hash(keys) -%}
    {{ quick_hash(['source_month'] + keys) }}
{%- endmacro %}

{#- One row for each set of equal rows of the window: source_month, key_hash, copies. -#}
{% macro repeated_rows(relation, keys) -%}
    {%- set columns = source_column_list(relation) -%}
    select source_month, key_hash, count(*) as copies
    from (
        select {{ columns }}, {{ key_hash(keys) }} as key_hash
        from {{ relation }}
        where {{ in_window() }}
    ) as hashed
    where key_hash in (
        select {{ key_hash(keys) }} as key_hash
        from {{ relation }}
        where {{ in_window() }}
        group by 1
        having count(*) > 1
    )
    group by key_hash, {{ columns }}
    having count(*) > 1
{%- endmacro %}

{#- Every row of the window once. `duplicates` holds what `repeated_rows` found in it. -#}
{% macro distinct_rows(relation, duplicates, keys) -%}
    {%- set columns = source_column_list(relation) -%}
    {%- set repeated -%}
        (select key_hash from {{ duplicates }} where {{ in_window() }})
    {%- endset -%}
    select {{ columns }}
    from {{ relation }}
    where {{ in_window() }} and {{ key_hash(keys) }} not in {{ repeated }}
    union all
    select distinct {{ columns }}
    from {{ relation }}
    where {{ in_window() }} and {{ key_hash(keys) }} in {{ repeated }}
{%- endmacro %}

{#-
  The identity of a row: MD5 of a text that holds each column that is not null as `<tag><value>|`, in the order of the names,
  then the row's ordinal among equal rows (1, for silver keeps one). The tag is the first four hex digits of the MD5 of the
  name in lower case. Texts carry their length, so no value can look like the next column. A column that appears later is
  null in older rows and leaves their identity as it is.
-#}
{% macro row_id(relation) -%}
    {%- set parts = [] -%}
    {%- for column in source_columns(relation) -%}
        {%- set name = adapter.quote(column.name) -%}
        {%- set tag = local_md5(column.name | lower)[:4] -%}
        {%- set type = column.type -%}
        {%- if type.startswith(('double', 'float', 'real')) -%}
            {%- do parts.append(tagged_double(tag, name)) -%}
        {%- elif type.startswith(('timestamp', 'datetime')) -%}
            {%- do parts.append("'" ~ tag ~ "' || cast(" ~ epoch_micros(name) ~ " as " ~ dbt.type_string() ~ ") || '|'") -%}
        {%- elif type.startswith(('varchar', 'string', 'text')) -%}
            {%- do parts.append("'" ~ tag ~ "' || cast(length(" ~ name ~ ") as " ~ dbt.type_string() ~ ") || ':' || " ~ name ~ " || '|'") -%}
        {%- else -%}
            {%- do parts.append("'" ~ tag ~ "' || cast(" ~ name ~ " as " ~ dbt.type_string() ~ ") || '|'") -%}
        {%- endif -%}
    {%- endfor -%}
    {{ md5_hex(concat_non_null(parts + ["'1'"])) }}
{%- endmacro %}
