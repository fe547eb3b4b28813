-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- value is what the gateway keeps for itself, such as keys and tokens.
CREATE TABLE value (
	key     BLOB PRIMARY KEY,
	version INTEGER NOT NULL,
	data    BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Hits of one window at one time are one row with their number, since a limit
-- of 100,000 in a day would be as many rows.
CREATE TABLE hits (
	key     BLOB NOT NULL,
	at      INTEGER NOT NULL,
	count   INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	PRIMARY KEY (key, at)
) STRICT, WITHOUT ROWID;
INSERT INTO hits (key, at, count, expires)
	SELECT key, at, count(*), iif(min(expires) = 0, 0, max(expires)) FROM hit GROUP BY key, at;
DROP TABLE hit;
ALTER TABLE hits RENAME TO hit;
CREATE INDEX hit_expires ON hit (expires) WHERE expires > 0;

-- lane is the queue within the destination. What waits from before has the
-- empty one.
ALTER TABLE delivery ADD COLUMN lane TEXT NOT NULL DEFAULT '';
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (destination, lane, due) WHERE rests IS NULL;

-- +goose Down
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (destination, due) WHERE rests IS NULL;
ALTER TABLE delivery DROP COLUMN lane;
CREATE TABLE hits (
	n       INTEGER PRIMARY KEY,
	key     BLOB NOT NULL,
	at      INTEGER NOT NULL,
	expires INTEGER NOT NULL
) STRICT;
WITH RECURSIVE each (key, at, expires, count) AS (
	SELECT key, at, expires, count FROM hit
	UNION ALL SELECT key, at, expires, count - 1 FROM each WHERE count > 1
)
INSERT INTO hits (key, at, expires) SELECT key, at, expires FROM each;
DROP TABLE hit;
ALTER TABLE hits RENAME TO hit;
CREATE INDEX hit_key ON hit (key, at);
CREATE INDEX hit_expires ON hit (expires) WHERE expires > 0;
DROP TABLE value;
