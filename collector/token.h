/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COLLECTOR_TOKEN_H
#define VMTAP_COLLECTOR_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/identity.h"

#include "collector/catalog.h"

struct sqlite3;

/*
 * Tokens let VMs enrol (PROTOCOL 7.15). A token is "vmtap1-" and 43 characters base64url of 32 random bytes, which whoever made it is
 * told once; the catalog has its SHA-256. It belongs to the first keys that use it, as many as it has uses.
 * Each function is one transaction, durable when it returns.
 */
#define TOKEN_TEXT_SIZE		51
#define TOKEN_ID_SIZE		9	/* 8 hex digits, for people */
#define TOKEN_HASH_SIZE		32	/* SHA-256: of the text; of a key's SubjectPublicKeyInfo */
#define TOKEN_USES_MAX		100000u
#define TOKEN_TTL_MAX_S		(366u * 86400)
#define TOKEN_TENANT_MAX	10000u	/* of a tenant, in force */
#define TOKEN_VMS_MAX		100000u	/* of a tenant, by whatever tokens */
#define TOKEN_KEEP_S		(7u * 86400)	/* so long an expired one is known as that */

struct token {
	char		id[TOKEN_ID_SIZE];
	uint8_t		hash[TOKEN_HASH_SIZE];
	char		tenant[IDENTITY_NAME_SIZE];
	char		name[IDENTITY_NAME_SIZE];	/* of the VM; "": as it wishes */
	char		labels[CATALOG_LABELS_SIZE];
	uint64_t	uses, used;
	uint64_t	created_ns, expires_ns;
	bool		revoked;
};

/* 1 if it looks like a token; nothing else is worth looking up. */
int	token_text_valid(const char *text);
void	token_hash(const char *text, uint8_t hash[TOKEN_HASH_SIZE]);
/* "k=v,web" or "": NAME or NAME=NAME each, no key twice. 0, or -1 with a line for people. */
int	token_check_labels(const char *labels, char *error, size_t error_size);

/*
 * Makes one of the tenant, name, labels, uses and expires_ns given, and fills in the rest and its text. Those that expired long ago
 * are forgotten. 0, or -1 with a line for people.
 */
int	token_create(struct sqlite3 *, struct token *, uint64_t now_ns, char text[TOKEN_TEXT_SIZE], char *error, size_t error_size);
/* Each, of the tenant unless that is NULL, the newest last. */
int	token_each(struct sqlite3 *, const char *tenant, void (*each)(const struct token *, void *), void *arg, char *error,
	    size_t error_size);
/* Fills the token in. -1 with a line also if there is none of this id (of the tenant, unless that is NULL). */
int	token_revoke(struct sqlite3 *, const char *id, const char *tenant, uint64_t now_ns, struct token *, char *error,
	    size_t error_size);

enum token_verdict {
	TOKEN_GOOD,		/* the key may have a certificate */
	TOKEN_AGAIN,		/* it has one, which is there again */
	TOKEN_UNKNOWN,
	TOKEN_EXPIRED,
	TOKEN_REVOKED,
	TOKEN_USED_UP,		/* by other keys */
	TOKEN_VM_REVOKED,	/* the one that the key has enrolled */
	TOKEN_TENANT_FULL,	/* TOKEN_VMS_MAX; token_bind() alone says it */
	TOKEN_FAILED,		/* with a line for people */
};

/* A key comes with a token. */
struct token_use {
	uint8_t		hash[TOKEN_HASH_SIZE], key[TOKEN_HASH_SIZE];
	/* Out: of any but an unknown token. */
	struct token	token;
	char		uuid[IDENTITY_UUID_SIZE];	/* AGAIN, VM_REVOKED */
	uint8_t		*certificate;			/* AGAIN: heap, token_use_clear() */
	size_t		 certificate_len;
};
enum token_verdict token_look(struct sqlite3 *, struct token_use *, uint64_t now_ns, char *error, size_t error_size);
void	token_use_clear(struct token_use *);

/* What such a VM would be called that wishes for it ("": nothing): another VM of the tenant has no such name. 0, or -1 with a line. */
int	token_name(struct sqlite3 *, const struct token *, const char *wish, const char *uuid, char name[IDENTITY_NAME_SIZE], char *error,
	    size_t error_size);

/*
 * The certificate is the key's: if the token is still good, the binding and the VM are in the catalog. Else as token_look() says, of
 * which TOKEN_AGAIN is one with another certificate. TOKEN_GOOD with taken set: meanwhile another VM of the tenant got that name, and
 * nothing was done.
 */
struct token_vm {
	char		uuid[IDENTITY_UUID_SIZE];
	char		name[IDENTITY_NAME_SIZE];
	const uint8_t	*certificate;
	size_t		 certificate_len;
	uint64_t	 not_after_ns;
};
enum token_verdict token_bind(struct sqlite3 *, struct token_use *, const struct token_vm *, uint64_t now_ns, bool *taken, char *error,
	    size_t error_size);

#endif
