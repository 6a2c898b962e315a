/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_CATALOG_H
#define VMTAP_COLLECTOR_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/identity.h"
#include "proto/msg.h"

struct sqlite3;

/* How a stream ended, in stream.cut: orderly; by the death of what captured it, with packets in no counter; or somewhere else, its
 * agent living on, with another store having the rest. */
enum stream_cut { STREAM_WHOLE, STREAM_CUT, STREAM_ELSEWHERE };

/*
 * The catalog: STORE/catalog.sqlite, SQLite in WAL mode, synchronous=FULL, one schema for the collector (which writes it) and the
 * vmtap command (which opens it read-only). What is in it is durable; what a file holds beyond file.length is not yet.
 * Times are nanoseconds since 1970 UTC; blobs are 16-byte stream ids.
 */
#define CATALOG_NAME	"catalog.sqlite"
#define CATALOG_ADDRESS_SIZE	46	/* INET6_ADDRSTRLEN */
#define CATALOG_OWN_SIZE	(CATALOG_ADDRESS_SIZE * MSG_ADDRESSES_MAX)
#define CATALOG_LABELS_SIZE	512	/* of a VM: "k=v,web" */
#define CATALOG_VERSION	4	/* PRAGMA user_version; a newer one is refused, an older one migrated by the collector */

/* What the ledger asks about a stream when its files may be gone. */
#define CATALOG_STREAM_LEDGER \
	" packets INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,"	/* of all blocks ever taken */		\
	" packets_block INTEGER NOT NULL DEFAULT 0,"	/* the last block taken that has packets */				\
	" first_ns INTEGER, last_ns INTEGER,"		/* smallest and largest time of their packets */			\
	" stats_ns INTEGER,"				/* guest's time of the last STATS */					\
	" cut INTEGER NOT NULL DEFAULT 0,"		/* enum stream_cut */							\
	" instance BLOB"				/* the agent process that spoke of it last */
#define CATALOG_EVENT \
	"CREATE TABLE event (id INTEGER PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, stream BLOB NOT NULL, block INTEGER NOT NULL,"	\
	" at_ns INTEGER NOT NULL, text TEXT NOT NULL);"		/* what an agent's comment on a packet told */			\
	"CREATE INDEX event_vm ON event (vm);"

#define CATALOG_DEDUP \
	"CREATE TABLE clock (vm TEXT NOT NULL REFERENCES vm, at_ns INTEGER NOT NULL, offset_ns INTEGER NOT NULL,"	/* from then on */ \
	" rtt_ns INTEGER NOT NULL, PRIMARY KEY (vm, at_ns)) WITHOUT ROWID;"	/* at_ns by the guest's clock; offset_ns: it minus ours */ \
	"CREATE TABLE withheld (id INTEGER PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, peer TEXT NOT NULL REFERENCES vm,"	\
	" address TEXT NOT NULL, own TEXT NOT NULL,"	/* the peer's; those that the VM had then, comma-separated */			\
	" network TEXT NOT NULL, balanced INTEGER NOT NULL,"	/* that of both; HINTS' flag */						\
	" from_ns INTEGER NOT NULL, to_ns INTEGER,"	/* by the collector's clock, rather too wide; NULL: still so */			\
	" UNIQUE (vm, peer, address, network, from_ns));"									\
	"CREATE INDEX withheld_peer ON withheld (peer);"									\
	"CREATE TABLE tenant (name TEXT PRIMARY KEY, secret BLOB NOT NULL);"	/* the key of its digests */

/* Enrolment (token.h); uuid is a VM's, which has a row in vm from then on. */
#define CATALOG_ENROL \
	"CREATE TABLE token (id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE,"	/* SHA-256 of its text, which is nowhere */	\
	" tenant TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL, uses INTEGER NOT NULL,"				\
	" created_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL, revoked_ns INTEGER);"					\
	"CREATE TABLE enrolled (token TEXT NOT NULL REFERENCES token,"								\
	" key BLOB NOT NULL,"			/* SHA-256 of its SubjectPublicKeyInfo */					\
	" uuid TEXT NOT NULL, at_ns INTEGER NOT NULL,"										\
	" certificate BLOB NOT NULL,"		/* DER, and the intermediates' behind it */					\
	" PRIMARY KEY (token, key)) WITHOUT ROWID;"										\
	"CREATE TABLE revoked (uuid TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) WITHOUT ROWID;"

#define CATALOG_SCHEMA \
	"CREATE TABLE vm (uuid TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL,"					\
	" software TEXT, os TEXT, hardware TEXT, address TEXT,"	/* of the last session */					\
	" connected INTEGER NOT NULL DEFAULT 0, since_ns INTEGER, seen_ns INTEGER,"						\
	" clock_offset_ns INTEGER,"		/* guest's wall clock minus the collector's */					\
	" policy_version INTEGER, policy_state TEXT, policy_text TEXT, policy_reason TEXT,"	/* accepted refused pending none */ \
	" labels TEXT NOT NULL DEFAULT '',"	/* of the token with which it enrolled: "k=v,web" */				\
	" not_after_ns INTEGER);"		/* of the certificate that it showed, or got, last */				\
	"CREATE TABLE stream (id BLOB PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, started_ns INTEGER NOT NULL,"		\
	" last_block INTEGER NOT NULL DEFAULT 0,"	/* durable, gaps included: what WELCOME tells */			\
	" ended INTEGER NOT NULL DEFAULT 0," CATALOG_STREAM_LEDGER ");"								\
	"CREATE INDEX stream_vm ON stream (vm);"	/* rowids: the order in which a VM's streams became known */		\
	"CREATE TABLE interface (stream BLOB NOT NULL REFERENCES stream, id INTEGER NOT NULL, name TEXT, mac TEXT,"		\
	" linktype INTEGER NOT NULL, filter TEXT, idb BLOB NOT NULL, network TEXT NOT NULL DEFAULT '',"	/* the policy's label */ \
	" PRIMARY KEY (stream, id));"												\
	"CREATE TABLE file (id INTEGER PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, stream BLOB NOT NULL REFERENCES stream,"	\
	" path TEXT NOT NULL UNIQUE,"		/* TENANT/VM/name, below STORE; while hidden the last part has a '.' before it */ \
	" hidden INTEGER NOT NULL DEFAULT 1,"	/* 1 until renamed to its final name */						\
	" codec TEXT NOT NULL, live INTEGER NOT NULL DEFAULT 1, created_ns INTEGER NOT NULL,"					\
	" length INTEGER NOT NULL,"		/* bytes durable */								\
	" raw INTEGER NOT NULL DEFAULT 0, packets INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,"		\
	" first_block INTEGER, last_block INTEGER, first_ns INTEGER, last_ns INTEGER);"						\
	"CREATE INDEX file_vm_time ON file (vm, first_ns);"									\
	"CREATE TABLE point (file INTEGER NOT NULL REFERENCES file, block INTEGER NOT NULL, offset INTEGER NOT NULL,"		\
	" first_ns INTEGER NOT NULL, PRIMARY KEY (file, block)) WITHOUT ROWID;"	/* sparse index: every 4 MiB or 10 s */		\
		/* offset is that of a unit; interfaces described between the file's begin and it are in the table interface; */ \
		/* first_ns is 0 when the block has no packet */								\
	"CREATE TABLE loss (id INTEGER PRIMARY KEY, vm TEXT NOT NULL REFERENCES vm, stream BLOB NOT NULL, place TEXT NOT NULL,"	\
	" first_block INTEGER, last_block INTEGER, packets INTEGER NOT NULL, bytes INTEGER NOT NULL,"				\
	" first_ns INTEGER, last_ns INTEGER, recorded_ns INTEGER NOT NULL,"							\
	" approximate INTEGER NOT NULL DEFAULT 0);"	/* 1: packets and bytes are an upper bound; 2: there is none, ever so many */ \
	"CREATE INDEX loss_vm ON loss (vm, stream);"										\
	"CREATE TABLE stat (vm TEXT NOT NULL REFERENCES vm, stream BLOB NOT NULL, interface INTEGER NOT NULL,"	/* -1: agent */	\
	" counter TEXT NOT NULL, value INTEGER NOT NULL, updated_ns INTEGER NOT NULL,"						\
	" since_ns INTEGER,"	/* guest's time of the STATS before the one in which it was above 0; NULL: it never was */	\
	" changed_ns INTEGER,"	/* guest's time of the STATS in which it last changed; of version 1: NULL, and since_ns too */	\
	" PRIMARY KEY (vm, stream, interface, counter)) WITHOUT ROWID;"								\
	CATALOG_EVENT														\
	CATALOG_DEDUP														\
	CATALOG_ENROL														\
	"CREATE TABLE policy (scope TEXT PRIMARY KEY, text TEXT NOT NULL);"	/* "vm web1": what vmtap policy set has set */

/*
 * What peer ?1 lacks from ?2 to ?3, by its clock, others may lack, too, that left it to the peer: ?4 packets, as approximate as ?5 says
 * (at least an upper bound), known at ?6. Times of before a VM's oldest file are nobody's. One of a VM that was told within the last
 * minute of the time is made longer, so that there are never more than so many. ?7: only those that were not told of that time.
 */
#define CATALOG_LOSS_OF_PEER \
	"INSERT INTO loss (id, vm, stream, place, packets, bytes, first_ns, last_ns, recorded_ns, approximate)"			\
	" SELECT (SELECT max(l.id) FROM loss l WHERE l.vm = g.vm AND l.place = 'withheld' AND l.first_ns <= g.last + 60000000000"	\
	" AND l.last_ns >= g.first - 60000000000), g.vm, s.id, 'withheld', ?4, 0, g.first, g.last, ?6, max(?5, 1)"			\
	" FROM (SELECT w.vm AS vm, max(max(min(w.from_ns), ?2 - o.ns) + coalesce(v.clock_offset_ns, 0),"				\
	" coalesce((SELECT min(f.first_ns) FROM file f WHERE f.vm = w.vm), 0)) AS first,"					\
	" min(max(coalesce(w.to_ns, 9223372036854775807)), ?3 - o.ns) + coalesce(v.clock_offset_ns, 0) AS last"			\
	" FROM withheld w JOIN vm v ON v.uuid = w.vm, (SELECT coalesce(max(clock_offset_ns), 0) AS ns FROM vm WHERE uuid = ?1) o"	\
	" WHERE w.peer = ?1 AND w.from_ns <= ?3 - o.ns AND coalesce(w.to_ns, 9223372036854775807) >= ?2 - o.ns GROUP BY w.vm) g"	\
	" JOIN stream s ON s.rowid = (SELECT max(rowid) FROM stream WHERE vm = g.vm) WHERE g.first <= g.last AND NOT (?7 AND EXISTS"	\
	" (SELECT 1 FROM loss l WHERE l.vm = g.vm AND l.place = 'withheld' AND l.first_ns <= g.last AND l.last_ns >= g.first))"	\
	" ON CONFLICT (id) DO UPDATE SET packets = min(packets, 9223372036854775807 - excluded.packets) + excluded.packets,"	\
	" first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns), recorded_ns = excluded.recorded_ns,"	\
	" approximate = max(approximate, excluded.approximate)"

/* Opens for writing: makes file and schema if there are none, migrates an older schema in one transaction. NULL with a line for people: newer version, damaged, no rights. */
struct sqlite3	*catalog_open(const char *store, char *error, size_t error_size);
/* Ends a transaction: COMMIT if good; else, or if that fails, ROLLBACK, and error has what SQLite had said before. 0 / -1. */
int		 catalog_end(struct sqlite3 *, bool good, char *error, size_t error_size);
/* Read-only, never makes anything; waits up to 5 s for a busy writer. */
struct sqlite3	*catalog_open_read_only(const char *store, char *error, size_t error_size);

/* A VM by name, UUID or unique prefix of either; 0, or -1 with a line: none, or the list of those that match. */
struct catalog_vm {
	char	uuid[IDENTITY_UUID_SIZE];
	char	tenant[IDENTITY_NAME_SIZE];
	char	name[IDENTITY_NAME_SIZE];
};
/* tenant NULL: of all, else only its VMs are looked at. */
int	catalog_find_vm_of(struct sqlite3 *, const char *tenant, const char *text, struct catalog_vm *, char *error, size_t error_size);
int	catalog_find_vm(struct sqlite3 *, const char *text, struct catalog_vm *, char *error, size_t error_size);

#endif
