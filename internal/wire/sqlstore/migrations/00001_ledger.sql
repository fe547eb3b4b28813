-- SPDX-License-Identifier: Apache-2.0
--
-- Times are microseconds since 1970 in UTC; 0 is no time. What is never asked
-- for stands in the JSON column data.

-- +goose Up

-- message is the ledger. file names the bytes in the spool; NULL while they
-- stand in body. alone is since when no delivery and no unrouted entry needs
-- the row, for a message that never had one.
CREATE TABLE message (
	n     INTEGER PRIMARY KEY,
	id    TEXT NOT NULL UNIQUE,
	file  TEXT,
	alone INTEGER,
	data  TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX message_file ON message (file) WHERE file IS NOT NULL;
CREATE INDEX message_alone ON message (alone) WHERE alone IS NOT NULL;

CREATE TABLE body (
	n     INTEGER PRIMARY KEY,
	bytes BLOB NOT NULL
) STRICT;

-- delivery is the queue. rests is since when the row is held or final; NULL
-- while it waits. Each row stands in either the waiting or the resting
-- indexes, so that the hot path writes no more of them than it must.
CREATE TABLE delivery (
	id          TEXT PRIMARY KEY,
	message     TEXT NOT NULL,
	destination TEXT NOT NULL,
	server      TEXT NOT NULL,
	state       TEXT NOT NULL,
	due         INTEGER NOT NULL,
	expires     INTEGER NOT NULL,
	rests       INTEGER,
	data        TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_message ON delivery (message);
CREATE INDEX delivery_due ON delivery (destination, due) WHERE rests IS NULL;
CREATE INDEX delivery_expires ON delivery (destination, expires, state) WHERE rests IS NULL;
CREATE INDEX delivery_rests ON delivery (state, rests) WHERE rests IS NOT NULL;

-- unrouted is the unrouted box.
CREATE TABLE unrouted (
	message TEXT PRIMARY KEY,
	at      INTEGER NOT NULL,
	dropped INTEGER NOT NULL,
	data    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX unrouted_at ON unrouted (at);

-- record and hit are what facts are checked on.
CREATE TABLE record (
	key     BLOB PRIMARY KEY,
	version INTEGER NOT NULL,
	expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX record_expires ON record (expires) WHERE expires > 0;

CREATE TABLE hit (
	n       INTEGER PRIMARY KEY,
	key     BLOB NOT NULL,
	at      INTEGER NOT NULL,
	expires INTEGER NOT NULL
) STRICT;
CREATE INDEX hit_key ON hit (key, at);
CREATE INDEX hit_expires ON hit (expires) WHERE expires > 0;

-- probe is written by the test whether there is room again.
CREATE TABLE probe (
	n     INTEGER PRIMARY KEY,
	bytes BLOB NOT NULL
) STRICT;

-- +goose Down
DROP TABLE probe;
DROP TABLE hit;
DROP TABLE record;
DROP TABLE unrouted;
DROP TABLE delivery;
DROP TABLE body;
DROP TABLE message;
