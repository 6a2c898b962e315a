/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <sqlite3.h>

#include "collector/catalog_bind.h"
#include "collector/token.h"

#define TOKEN_PREFIX	"vmtap1-"
#define TOKEN_SECRET	32	/* random bytes */
#define BASE64URL	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#define NS_PER_S	UINT64_C(1000000000)
#define TOKEN_COLUMNS \
	"id, hash, tenant, name, labels, uses, (SELECT count(*) FROM enrolled WHERE enrolled.token = token.id), created_ns, expires_ns," \
	" revoked_ns IS NOT NULL"

int
token_text_valid(const char *text)
{
	size_t prefix = strlen(TOKEN_PREFIX);

	return strlen(text) == TOKEN_TEXT_SIZE - 1 && strncmp(text, TOKEN_PREFIX, prefix) == 0 &&
	    strspn(text + prefix, BASE64URL) == TOKEN_TEXT_SIZE - 1 - prefix;
}

void
token_hash(const char *text, uint8_t hash[TOKEN_HASH_SIZE])
{
	if (EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) != 1)
		abort();	/* OpenSSL without memory or SHA-256: nothing of it would work */
}

/* RFC 4648, 5, without padding. */
static void
token_encode(const uint8_t secret[TOKEN_SECRET], char text[TOKEN_TEXT_SIZE])
{
	char *p = stpcpy(text, TOKEN_PREFIX);
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < TOKEN_SECRET; i++) {
		bits = bits << 8 | secret[i];
		for (have += 8; have >= 6; have -= 6)
			*p++ = BASE64URL[bits >> (have - 6) & 0x3f];
	}
	*p++ = BASE64URL[bits << (6 - have) & 0x3f];
	*p = '\0';
}

static int
token_make(struct token *token, char text[TOKEN_TEXT_SIZE], char *error, size_t error_size)
{
	uint8_t secret[TOKEN_SECRET + 4];

	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret)) {
		snprintf(error, error_size, "getrandom: %s", strerror(errno));
		return -1;
	}
	token_encode(secret, text);
	snprintf(token->id, sizeof(token->id), "%02x%02x%02x%02x", secret[TOKEN_SECRET], secret[TOKEN_SECRET + 1],
	    secret[TOKEN_SECRET + 2], secret[TOKEN_SECRET + 3]);
	explicit_bzero(secret, sizeof(secret));
	token_hash(text, token->hash);
	return 0;
}

/* One label from the front of *rest, which moves behind it; its key. */
static int
token_take_label(const char **rest, char key[IDENTITY_NAME_SIZE])
{
	char item[2 * IDENTITY_NAME_SIZE], *value;
	size_t len = strcspn(*rest, ",");

	if (len >= sizeof(item))
		return -1;
	memcpy(item, *rest, len);
	item[len] = '\0';
	*rest += len + ((*rest)[len] == ',');
	if ((value = strchr(item, '=')) != NULL)
		*value++ = '\0';
	if (!identity_name_valid(item) || (value != NULL && !identity_name_valid(value)))
		return -1;
	memcpy(key, item, strlen(item) + 1);
	return 0;
}

static bool
token_has_key(const char *labels, const char *end, const char *key)
{
	char other[IDENTITY_NAME_SIZE];

	while (labels < end)
		if (token_take_label(&labels, other) == 0 && strcmp(other, key) == 0)
			return true;
	return false;
}

int
token_check_labels(const char *labels, char *error, size_t error_size)
{
	const char *rest = labels, *begin;
	char key[IDENTITY_NAME_SIZE];
	size_t len = strlen(labels);

	if (len >= CATALOG_LABELS_SIZE) {
		snprintf(error, error_size, "labels are longer than %d bytes", CATALOG_LABELS_SIZE - 1);
		return -1;
	}
	while (*(begin = rest) != '\0') {
		if (token_take_label(&rest, key) == -1) {
			snprintf(error, error_size, "\"%.*s\" is no label: NAME=VALUE is, or NAME, of A-Z a-z 0-9 . _ - each",
			    (int)strcspn(begin, ","), begin);
			return -1;
		}
		if (token_has_key(labels, begin, key)) {
			snprintf(error, error_size, "the label %s is there twice", key);
			return -1;
		}
	}
	if (len == 0 || labels[len - 1] != ',')
		return 0;
	snprintf(error, error_size, "labels end with a comma");
	return -1;
}

static int
token_prepare(struct sqlite3 *db, const char *sql, sqlite3_stmt **stmt)
{
	*stmt = NULL;
	return sqlite3_prepare_v2(db, sql, -1, stmt, NULL) == SQLITE_OK ? 0 : -1;
}

static int
bind_hash(sqlite3_stmt *stmt, int place, const uint8_t *hash)
{
	return sqlite3_bind_blob(stmt, place, hash, TOKEN_HASH_SIZE, SQLITE_STATIC);
}

/* Steps once; 0 if there is no row, 1 if there is one, -1. */
static int
token_step(sqlite3_stmt *stmt, int errs)
{
	int rc = errs == 0 ? sqlite3_step(stmt) : SQLITE_MISUSE;

	return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : -1;
}

static int
token_error(struct sqlite3 *db, char *error, size_t error_size)
{
	snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(db));
	return -1;
}

static void
column_text(sqlite3_stmt *stmt, int column, char *dst, size_t dst_size)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	snprintf(dst, dst_size, "%s", text != NULL ? (const char *)text : "");
}

/* Of TOKEN_COLUMNS. */
static void
token_read(sqlite3_stmt *stmt, struct token *token)
{
	const void *hash = sqlite3_column_blob(stmt, 1);

	memset(token, 0, sizeof(*token));
	column_text(stmt, 0, token->id, sizeof(token->id));
	if (hash != NULL && sqlite3_column_bytes(stmt, 1) == TOKEN_HASH_SIZE)
		memcpy(token->hash, hash, TOKEN_HASH_SIZE);
	column_text(stmt, 2, token->tenant, sizeof(token->tenant));
	column_text(stmt, 3, token->name, sizeof(token->name));
	column_text(stmt, 4, token->labels, sizeof(token->labels));
	token->uses = (uint64_t)sqlite3_column_int64(stmt, 5);
	token->used = (uint64_t)sqlite3_column_int64(stmt, 6);
	token->created_ns = (uint64_t)sqlite3_column_int64(stmt, 7);
	token->expires_ns = (uint64_t)sqlite3_column_int64(stmt, 8);
	token->revoked = sqlite3_column_int(stmt, 9) != 0;
}

/* --- made, listed, revoked --- */

static int
token_forget_old(struct sqlite3 *db, uint64_t now_ns)
{
	static const char *const sql[] = { "DELETE FROM enrolled WHERE token IN (SELECT id FROM token WHERE expires_ns < ?1)",
	    "DELETE FROM token WHERE expires_ns < ?1" };
	uint64_t keep_ns = TOKEN_KEEP_S * NS_PER_S, before_ns = now_ns > keep_ns ? now_ns - keep_ns : 0;
	sqlite3_stmt *stmt;
	int rc = 0;

	for (size_t i = 0; i < sizeof(sql) / sizeof(sql[0]) && rc == 0; i++) {
		if ((rc = token_prepare(db, sql[i], &stmt)) == 0)
			rc = token_step(stmt, bind_u64(stmt, 1, before_ns));
		sqlite3_finalize(stmt);
	}
	return rc;
}

/* 1: the tenant may have another one. Those that are over are rows until they are forgotten, however fast they are revoked. */
static int
token_has_room(struct sqlite3 *db, const char *tenant, uint64_t now_ns)
{
	sqlite3_stmt *stmt;
	int rc = token_prepare(db, "SELECT total(expires_ns > ?2 AND revoked_ns IS NULL) < ?3 AND count(*) < 10 * ?3 FROM token"
	    " WHERE tenant = ?1", &stmt);

	if (rc == 0 && (rc = token_step(stmt, bind_text(stmt, 1, tenant) + bind_u64(stmt, 2, now_ns) +
	    sqlite3_bind_int64(stmt, 3, TOKEN_TENANT_MAX))) == 1)
		rc = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return rc;
}

static int
token_insert(struct sqlite3 *db, const struct token *token)
{
	sqlite3_stmt *stmt;
	int errs, rc = token_prepare(db, "INSERT INTO token (id, hash, tenant, name, labels, uses, created_ns, expires_ns)"
	    " VALUES (?1,?2,?3,?4,?5,?6,?7,?8)", &stmt);

	if (rc == 0) {
		errs = bind_text(stmt, 1, token->id) + bind_hash(stmt, 2, token->hash) + bind_text(stmt, 3, token->tenant);
		errs += bind_text(stmt, 4, token->name) + bind_text(stmt, 5, token->labels) + bind_u64(stmt, 6, token->uses);
		errs += bind_u64(stmt, 7, token->created_ns) + bind_u64(stmt, 8, token->expires_ns);
		rc = token_step(stmt, errs);
	}
	sqlite3_finalize(stmt);
	return rc;
}

int
token_create(struct sqlite3 *db, struct token *token, uint64_t now_ns, char text[TOKEN_TEXT_SIZE], char *error, size_t error_size)
{
	int room = -1;
	bool good;

	token->created_ns = now_ns;
	token->used = 0;
	token->revoked = false;
	if (token_make(token, text, error, error_size) == -1)
		return -1;
	good = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK && token_forget_old(db, now_ns) == 0 &&
	    (room = token_has_room(db, token->tenant, now_ns)) == 1 && token_insert(db, token) == 0;
	if (catalog_end(db, good, error, error_size) == 0)
		return 0;
	explicit_bzero(text, TOKEN_TEXT_SIZE);
	if (room == 0)
		snprintf(error, error_size, "tenant %s has %u tokens in force, or ten times as many with those that are over: that is all that"
		    " there may be", token->tenant, TOKEN_TENANT_MAX);
	return -1;
}

int
token_each(struct sqlite3 *db, const char *tenant, void (*each)(const struct token *, void *), void *arg, char *error,
    size_t error_size)
{
	struct token token;
	sqlite3_stmt *stmt;
	int rc = token_prepare(db, "SELECT " TOKEN_COLUMNS " FROM token WHERE ?1 IS NULL OR tenant = ?1 ORDER BY created_ns, id", &stmt);

	if (rc == 0)
		rc = bind_text(stmt, 1, tenant) == SQLITE_OK ? 0 : -1;
	while (rc != -1 && (rc = token_step(stmt, 0)) == 1) {
		token_read(stmt, &token);
		each(&token, arg);
	}
	if (rc == -1)
		token_error(db, error, error_size);
	sqlite3_finalize(stmt);
	return rc;
}

int
token_revoke(struct sqlite3 *db, const char *id, const char *tenant, uint64_t now_ns, struct token *token, char *error,
    size_t error_size)
{
	sqlite3_stmt *stmt;
	int rc = token_prepare(db, "UPDATE token SET revoked_ns = coalesce(revoked_ns, ?3) WHERE id = lower(?1) AND"
	    " (?2 IS NULL OR tenant = ?2) RETURNING " TOKEN_COLUMNS, &stmt);

	if (rc == 0 && (rc = token_step(stmt, bind_text(stmt, 1, id) + bind_text(stmt, 2, tenant) + bind_u64(stmt, 3, now_ns))) == 1) {
		token_read(stmt, token);
		rc = token_step(stmt, 0);	/* to its end, which commits */
	} else if (rc == 0) {
		snprintf(error, error_size, "there is no token of this id");
		sqlite3_finalize(stmt);
		return -1;
	}
	if (rc == -1)
		token_error(db, error, error_size);
	sqlite3_finalize(stmt);
	return rc;
}

/* --- used --- */

static int
token_find(struct sqlite3 *db, const uint8_t *hash, struct token *token)
{
	sqlite3_stmt *stmt;
	int rc = token_prepare(db, "SELECT " TOKEN_COLUMNS " FROM token WHERE hash = ?1", &stmt);

	if (rc == 0 && (rc = token_step(stmt, bind_hash(stmt, 1, hash))) == 1)
		token_read(stmt, token);
	sqlite3_finalize(stmt);
	return rc;
}

static int
token_copy_certificate(sqlite3_stmt *stmt, int column, struct token_use *use)
{
	size_t len = (size_t)sqlite3_column_bytes(stmt, column);

	if (len == 0 || (use->certificate = malloc(len)) == NULL)
		return -1;
	memcpy(use->certificate, sqlite3_column_blob(stmt, column), len);
	use->certificate_len = len;
	return 0;
}

/* What the key has got with the token: 1, 0, -1. */
static int
token_find_key(struct sqlite3 *db, struct token_use *use, bool *revoked)
{
	sqlite3_stmt *stmt;
	int rc = token_prepare(db, "SELECT uuid, certificate, EXISTS (SELECT 1 FROM revoked WHERE revoked.uuid = enrolled.uuid)"
	    " FROM enrolled WHERE token = ?1 AND key = ?2", &stmt);

	if (rc == 0 && (rc = token_step(stmt, bind_text(stmt, 1, use->token.id) + bind_hash(stmt, 2, use->key))) == 1) {
		column_text(stmt, 0, use->uuid, sizeof(use->uuid));
		*revoked = sqlite3_column_int(stmt, 2) != 0;
		if (token_copy_certificate(stmt, 1, use) == -1)
			rc = -1;
	}
	sqlite3_finalize(stmt);
	return rc;
}

enum token_verdict
token_look(struct sqlite3 *db, struct token_use *use, uint64_t now_ns, char *error, size_t error_size)
{
	bool revoked = false;
	int rc;

	token_use_clear(use);
	if ((rc = token_find(db, use->hash, &use->token)) == 0)
		return TOKEN_UNKNOWN;
	if (rc == 1)
		rc = token_find_key(db, use, &revoked);
	if (rc == -1) {
		token_error(db, error, error_size);
		return TOKEN_FAILED;
	}
	if (revoked)
		return TOKEN_VM_REVOKED;
	if (use->token.revoked)
		return TOKEN_REVOKED;
	if (use->token.expires_ns <= now_ns)
		return TOKEN_EXPIRED;
	if (rc == 1)
		return TOKEN_AGAIN;
	return use->token.used < use->token.uses ? TOKEN_GOOD : TOKEN_USED_UP;
}

void
token_use_clear(struct token_use *use)
{
	free(use->certificate);
	use->certificate = NULL;
	use->certificate_len = 0;
	use->uuid[0] = '\0';
	memset(&use->token, 0, sizeof(use->token));
}

/* Has a VM of the tenant the name? 1, 0, -1. */
static int
token_name_taken(struct sqlite3 *db, const char *tenant, const char *name)
{
	sqlite3_stmt *stmt;
	int rc = token_prepare(db, "SELECT 1 FROM vm WHERE tenant = ?1 AND name = ?2", &stmt);

	if (rc == 0)
		rc = token_step(stmt, bind_text(stmt, 1, tenant) + bind_text(stmt, 2, name));
	sqlite3_finalize(stmt);
	return rc;
}

/* Has the tenant as many VMs as it may? 1, 0, -1. */
static int
token_tenant_full(struct sqlite3 *db, const char *tenant)
{
	sqlite3_stmt *stmt;
	int rc = token_prepare(db, "SELECT 1 FROM vm WHERE tenant = ?1 LIMIT 1 OFFSET ?2", &stmt);

	if (rc == 0)
		rc = token_step(stmt, bind_text(stmt, 1, tenant) + bind_u64(stmt, 2, TOKEN_VMS_MAX - 1));
	sqlite3_finalize(stmt);
	return rc;
}

/* The number after the largest one of NAME-number, of up to six digits; 2 if there is none. -1. */
static int
token_next_number(struct sqlite3 *db, const char *tenant, const char *base)
{
	sqlite3_stmt *stmt;
	int rc = token_prepare(db, "SELECT 1 + max(1, coalesce(max(CAST(substr(name, length(?2) + 2) AS INTEGER)), 1)) FROM vm"
	    " WHERE tenant = ?1 AND substr(name, 1, length(?2) + 1) = ?2 || '-' AND length(name) BETWEEN length(?2) + 2 AND"
	    " length(?2) + 7", &stmt);

	if (rc == 0 && (rc = token_step(stmt, bind_text(stmt, 1, tenant) + bind_text(stmt, 2, base))) == 1)
		rc = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return rc;
}

int
token_name(struct sqlite3 *db, const struct token *token, const char *wish, const char *uuid, char name[IDENTITY_NAME_SIZE],
    char *error, size_t error_size)
{
	char base[IDENTITY_NAME_SIZE], own[IDENTITY_NAME_SIZE];
	int taken, number;

	snprintf(own, sizeof(own), "vm-%.8s", uuid);
	snprintf(base, sizeof(base), "%s", token->name[0] != '\0' ? token->name : identity_name_valid(wish) ? wish : own);
	memcpy(name, base, sizeof(base));
	if ((taken = token_name_taken(db, token->tenant, name)) == 1) {
		base[IDENTITY_NAME_SIZE - 9] = '\0';	/* room for "-", seven digits and NUL */
		if ((number = token_next_number(db, token->tenant, base)) == -1)
			return token_error(db, error, error_size);
		snprintf(name, IDENTITY_NAME_SIZE, "%.*s-%u", IDENTITY_NAME_SIZE - 9, base, (unsigned)number % 10000000u);
		taken = token_name_taken(db, token->tenant, name);
	}
	if (taken == 1)
		snprintf(name, IDENTITY_NAME_SIZE, "vm-%s", uuid);
	return taken == -1 ? token_error(db, error, error_size) : 0;
}

static int
token_insert_enrolled(struct sqlite3 *db, const struct token_use *use, const struct token_vm *vm, uint64_t now_ns)
{
	sqlite3_stmt *stmt;
	int errs, rc = token_prepare(db, "INSERT INTO enrolled (token, key, uuid, at_ns, certificate) VALUES (?1,?2,?3,?4,?5)", &stmt);

	if (rc == 0) {
		errs = bind_text(stmt, 1, use->token.id) + bind_hash(stmt, 2, use->key) + bind_text(stmt, 3, vm->uuid);
		errs += bind_u64(stmt, 4, now_ns);
		errs += sqlite3_bind_blob64(stmt, 5, vm->certificate, vm->certificate_len, SQLITE_STATIC);
		rc = token_step(stmt, errs);
	}
	sqlite3_finalize(stmt);
	return rc;
}

static int
token_insert_vm(struct sqlite3 *db, const struct token *token, const struct token_vm *vm)
{
	sqlite3_stmt *stmt;
	int errs, rc = token_prepare(db, "INSERT INTO vm (uuid, tenant, name, labels, not_after_ns) VALUES (?1,?2,?3,?4,?5)", &stmt);

	if (rc == 0) {
		errs = bind_text(stmt, 1, vm->uuid) + bind_text(stmt, 2, token->tenant) + bind_text(stmt, 3, vm->name);
		errs += bind_text(stmt, 4, token->labels) + bind_u64(stmt, 5, vm->not_after_ns);
		rc = token_step(stmt, errs);
	}
	sqlite3_finalize(stmt);
	return rc;
}

enum token_verdict
token_bind(struct sqlite3 *db, struct token_use *use, const struct token_vm *vm, uint64_t now_ns, bool *taken, char *error,
    size_t error_size)
{
	enum token_verdict verdict = TOKEN_FAILED;
	bool good = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
	int rc;

	*taken = false;
	if (good && (verdict = token_look(db, use, now_ns, error, error_size)) == TOKEN_GOOD) {
		if ((rc = token_tenant_full(db, use->token.tenant)) == 1)
			verdict = TOKEN_TENANT_FULL;
		else if (rc == 0)
			*taken = (rc = token_name_taken(db, use->token.tenant, vm->name)) == 1;
		good = rc == 1 || (rc == 0 && token_insert_enrolled(db, use, vm, now_ns) == 0 &&
		    token_insert_vm(db, &use->token, vm) == 0);
	}
	good = good && verdict != TOKEN_FAILED;
	return catalog_end(db, good, error, error_size) == 0 ? verdict : TOKEN_FAILED;
}
