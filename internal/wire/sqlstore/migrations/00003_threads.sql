-- SPDX-License-Identifier: Apache-2.0

-- +goose Up

-- ended is when an entry was dropped or routed.
ALTER TABLE unrouted RENAME COLUMN dropped TO ended;

-- thread is the threads; foreign_id is the application's ID. updated stands
-- here alone, not in data, since each post changes it.
CREATE TABLE thread (
	id         TEXT PRIMARY KEY,
	model      TEXT NOT NULL,
	foreign_id TEXT NOT NULL,
	state      TEXT NOT NULL,
	updated    INTEGER NOT NULL,
	data       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX thread_foreign ON thread (model, foreign_id) WHERE foreign_id <> '';
CREATE INDEX thread_updated ON thread (updated, id);

-- post is the posts. fresh is 1 while the digest of its message is missing,
-- else NULL.
CREATE TABLE post (
	id      TEXT PRIMARY KEY,
	thread  TEXT NOT NULL,
	message TEXT NOT NULL,
	fresh   INTEGER,
	data    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX post_thread ON post (thread, id);
CREATE INDEX post_message ON post (message) WHERE message <> '';
CREATE INDEX post_fresh ON post (id) WHERE fresh IS NOT NULL;

-- ref finds posts by what answers quote: hash is of a Message-Id or of another
-- name. The names themselves are compared with those of the post.
CREATE TABLE ref (
	hash INTEGER NOT NULL,
	post TEXT NOT NULL,
	PRIMARY KEY (hash, post)
) STRICT, WITHOUT ROWID;

-- document is what is searched: a post or, where that is empty, a thread's
-- name. Its words stand in words under the same number, and what is derived
-- of the post in digest.
CREATE TABLE document (
	n      INTEGER PRIMARY KEY,
	thread TEXT NOT NULL,
	post   TEXT NOT NULL,
	UNIQUE (thread, post)
) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (
	title, text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TABLE digest (
	n    INTEGER PRIMARY KEY,
	data TEXT NOT NULL
) STRICT;

-- contact is who is known, oldest first by number; mailbox their addresses.
CREATE TABLE contact (
	n    INTEGER PRIMARY KEY AUTOINCREMENT,
	id   TEXT NOT NULL UNIQUE,
	data TEXT NOT NULL
) STRICT;
CREATE TABLE mailbox (
	address TEXT NOT NULL,
	contact INTEGER NOT NULL,
	PRIMARY KEY (address, contact)
) STRICT, WITHOUT ROWID;
CREATE INDEX mailbox_contact ON mailbox (contact);

CREATE TABLE follower (
	thread  TEXT NOT NULL,
	contact TEXT NOT NULL,
	notes   INTEGER NOT NULL,
	PRIMARY KEY (thread, contact)
) STRICT, WITHOUT ROWID;
CREATE INDEX follower_contact ON follower (contact);

-- alias is the aliases. A version is never given twice, so that an alias that
-- is dropped and written again is not taken for the old one.
CREATE TABLE alias (
	version INTEGER PRIMARY KEY AUTOINCREMENT,
	address TEXT NOT NULL UNIQUE,
	local   TEXT NOT NULL,
	any_domain  INTEGER NOT NULL,
	data    TEXT NOT NULL
) STRICT;
CREATE INDEX alias_local ON alias (local) WHERE any_domain = 1;

-- +goose Down
DROP TABLE alias;
DROP TABLE follower;
DROP TABLE mailbox;
DROP TABLE contact;
DROP TABLE digest;
DROP TABLE words;
DROP TABLE document;
DROP TABLE ref;
DROP TABLE post;
DROP TABLE thread;
ALTER TABLE unrouted RENAME COLUMN ended TO dropped;
