"""``gtx-data curate``: a local web app in which people read, mend, accept and reject texts.

Layers, each knowing only those below it:

    command       the command line: checks, imports, serves
    server        waitress, its signals, where it listens
    app           Flask: guards before every request, errors as JSON, the built page
    routes        one function a route of the contract (docs/curation.md)
    decisions, drafts, leases, progress, listing, rows      what the routes do, each within one transaction
    importing, export      rows in and out, without a server
    database      SQLite: connections, transactions, numbered migrations

What people did is never overwritten: `versions` only grows.
"""
