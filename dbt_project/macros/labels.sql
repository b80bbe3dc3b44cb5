{#- Who asks, as JSON: the model or test, the run, the months. BigQuery takes 63 lower-case letters, digits, `_` and `-` a label. -#}
{% macro job_labels(node) -%}
    {%- set labels = {
        'app': 'lakegraph',
        'asset': node.name if node else 'dbt',
        'run': env_var('LAKEGRAPH_RUN_ID', 'manual'),
        'partition': [var('from_month', none), var('to_month', none)] | select | join('_'),
    } -%}
    {%- set clean = {} -%}
    {%- for name, value in labels.items() -%}
        {%- do clean.update({name: modules.re.sub('[^a-z0-9_-]', '-', value | string | lower)[:63]}) -%}
    {%- endfor -%}
    {{- return(tojson(clean)) -}}
{%- endmacro %}
