"""Loopback stand-ins for the source systems and for StarRocks, and deterministic sample data for them to serve.

What belongs here: generators, the servers that play a system on 127.0.0.1, and their start and stop.
What does not: anything production needs. Only the command line and the tests import this package
(import-linter holds the rest to it), so that no pipeline can come to depend on made-up data.
"""
