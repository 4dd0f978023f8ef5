#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""A ledger in SQLite: money moves between accounts and none is made or lost.

    ledger.py make FILE           a hundred accounts
    ledger.py transfer FILE       transfers until the end of the world, each acknowledged
    ledger.py verify FILE ACKED   is all there that was acknowledged, and does it add up?
"""

import os
import random
import sqlite3
import sys

ACCOUNTS = 100
EACH = 1000


def open_ledger(path):
    db = sqlite3.connect(path, isolation_level=None)
    # As SQLite is delivered: a rollback journal, synced before each commit.
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA synchronous = FULL")
    return db


def sound(db):
    return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def make(path):
    db = open_ledger(path)
    db.execute("BEGIN")
    db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
    db.execute(
        "CREATE TABLE transfer (n INTEGER PRIMARY KEY, source INTEGER NOT NULL,"
        " target INTEGER NOT NULL, amount INTEGER NOT NULL, note TEXT NOT NULL)"
    )
    db.execute("CREATE INDEX by_source ON transfer (source, n)")
    db.executemany("INSERT INTO account VALUES (?, ?)", [(i, EACH) for i in range(ACCOUNTS)])
    db.execute("COMMIT")
    if not sound(db):
        sys.exit("PRAGMA integrity_check finds damage")


def move(db, n):
    source, target = random.sample(range(ACCOUNTS), 2)
    amount = random.randrange(1, 50)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, source))
    db.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, target))
    note = "transfer %d " % n * random.randrange(1, 20)
    db.execute("INSERT INTO transfer VALUES (?, ?, ?, ?, ?)", (n, source, target, amount, note))
    db.execute("COMMIT")


def transfer(path):
    db = open_ledger(path)
    n = 0
    while True:
        n += 1
        move(db, n)
        if os.environ["FS"] != "ferrox":
            os.sync()
        print("@ack sqlite", n, flush=True)


def verify(path, acked):
    db = open_ledger(path)
    if not sound(db):
        sys.exit("PRAGMA integrity_check finds damage")
    count, last = db.execute("SELECT count(*), max(n) FROM transfer").fetchone()
    if count != last:
        sys.exit(f"{count} transfers, numbered to {last}")
    # More may have been committed, and the host not have heard of it yet.
    if last < acked:
        sys.exit(f"{acked} transfers were acknowledged, {last} are here")
    balance = dict.fromkeys(range(ACCOUNTS), EACH)
    for source, target, amount in db.execute("SELECT source, target, amount FROM transfer"):
        balance[source] -= amount
        balance[target] += amount
    if dict(db.execute("SELECT id, balance FROM account")) != balance:
        sys.exit("the balances are not what the transfers make of them")
    if sum(balance.values()) != ACCOUNTS * EACH:
        sys.exit("money was made or lost")
    # And the work goes on.
    move(db, last + 1)
    if not sound(db):
        sys.exit("PRAGMA integrity_check finds damage after another transfer")
    print(f"{last} transfers here, {acked} acknowledged; integrity_check ok, the books balance")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", path]:
            make(path)
        case ["transfer", path]:
            transfer(path)
        case ["verify", path, acked]:
            verify(path, int(acked))
        case _:
            sys.exit(__doc__)
