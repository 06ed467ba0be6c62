"""What the service keeps: generations, their ratings, and the sessions that they belong to, in SQLite or PostgreSQL.

Writing is off the request's path: `Store.record` puts a row into a bounded queue, and one thread writes it. The parts,
each knowing only those after it:

    store      the one object that the service starts, hands rows to, and asks
    writer     the queue, the thread, the retries, and an account of every row; knows no database
    sink       what a batch of writes means, as SQL
    reads      the questions that are asked of it
    database   connections and transactions, and what their errors mean
    migrate    brings a database to the schema that this program knows
    schema     the tables
    records    what goes in and comes out, without SQL

Knows nothing of HTTP or of the engine. SQLAlchemy is imported when a store starts, not before.
"""
