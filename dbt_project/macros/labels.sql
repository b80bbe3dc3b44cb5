{#-
  Who asks, as JSON: the table (`silver.…`) or the test, the run, the months and days. BigQuery takes 63 lower-case letters,
  digits, `_` and `-` a label; `lake.gcp.label` does the same for Python's jobs, which name bronze tables.
-#}
{% macro job_labels(node) -%}
    {%- set asset = 'dbt' -%}
    {%- if node and node.resource_type in ('model', 'seed', 'snapshot') -%}
        {%- set asset = node.schema ~ '.' ~ node.name -%}
    {%- elif node -%}
        {#- the alias of a test with a long name ends in a hash, so that it is told from others when it is cut -#}
        {%- set asset = node.alias or node.name -%}
    {%- endif -%}
    {%- set labels = {
        'app': 'lakegraph',
        'asset': asset,
        'run': env_var('LAKEGRAPH_RUN_ID', 'manual'),
        'partition': [
            var('from_month', none), var('to_month', none), var('from_day', none), var('to_day', none)
        ] | select | unique | join('_'),
    } -%}
    {%- set clean = {} -%}
    {%- for name, value in labels.items() -%}
        {%- do clean.update({name: modules.re.sub('[^a-z0-9_-]', '-', value | string | lower)[:63]}) -%}
    {%- endfor -%}
    {{- return(tojson(clean)) -}}
{%- endmacro %}
