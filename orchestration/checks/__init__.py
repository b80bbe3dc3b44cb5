"""Asset checks that read committed state. dbt's tests become checks by themselves, drift checks stand with
their resources.
"""
