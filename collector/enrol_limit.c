/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/random.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#include "collector/budget.h"
#include "collector/enrol_limit.h"

#define ENROL_SLOTS	4096u		/* addresses share them by a keyed hash: who shares one is known less often, if not in force */
#define ENROL_SWEEP	1024u		/* tokens made until those that have expired are forgotten */
#define NS_PER_S	UINT64_C(1000000000)

struct known {
	uint8_t		hash[TOKEN_HASH_SIZE];
	char		tenant[IDENTITY_NAME_SIZE];
	char		id[TOKEN_ID_SIZE];
	uint64_t	uses, expires_ns;
	struct budget	tries;
};

struct enrol_limit {
	pthread_mutex_t	 mutex;
	void		*known;		/* tsearch(3) */
	unsigned	 added;
	uint64_t	 key;
	struct budget	 slot[ENROL_SLOTS], all;
};

static int
known_compare(const void *a, const void *b)
{
	return memcmp(((const struct known *)a)->hash, ((const struct known *)b)->hash, TOKEN_HASH_SIZE);
}

struct sweep {
	struct known	*expired[ENROL_SWEEP];
	size_t		 count;
	uint64_t	 now_ns;
};

static void
sweep_one(const void *node, VISIT visit, void *arg)
{
	struct known *known = *(struct known *const *)node;
	struct sweep *sweep = arg;

	if ((visit == postorder || visit == leaf) && known->expires_ns <= sweep->now_ns && sweep->count < ENROL_SWEEP)
		sweep->expired[sweep->count++] = known;
}

static void
sweep_expired(struct enrol_limit *limit)
{
	struct sweep sweep = { .now_ns = clock_wall_ns() };

	twalk_r(limit->known, sweep_one, &sweep);
	for (size_t i = 0; i < sweep.count; i++) {
		tdelete(sweep.expired[i], &limit->known, known_compare);
		free(sweep.expired[i]);
	}
}

/* Without memory its holders are strangers, whom the catalog knows all the same. */
void
enrol_limit_add(struct enrol_limit *limit, const struct token *token)
{
	struct known *known = calloc(1, sizeof(*known)), **found;

	if (known == NULL)
		return;
	memcpy(known->hash, token->hash, TOKEN_HASH_SIZE);
	memcpy(known->tenant, token->tenant, sizeof(known->tenant));
	memcpy(known->id, token->id, sizeof(known->id));
	known->uses = token->uses;
	known->expires_ns = token->expires_ns;
	pthread_mutex_lock(&limit->mutex);
	if (++limit->added % ENROL_SWEEP == 0)
		sweep_expired(limit);
	if ((found = tsearch(known, &limit->known, known_compare)) == NULL || *found != known)
		free(known);
	pthread_mutex_unlock(&limit->mutex);
}

void
enrol_limit_remove(struct enrol_limit *limit, const uint8_t hash[TOKEN_HASH_SIZE])
{
	struct known key, **found, *known;

	memcpy(key.hash, hash, TOKEN_HASH_SIZE);
	pthread_mutex_lock(&limit->mutex);
	if ((found = tfind(&key, &limit->known, known_compare)) != NULL) {
		known = *found;
		tdelete(known, &limit->known, known_compare);
		free(known);
	}
	pthread_mutex_unlock(&limit->mutex);
}

static void
add_one(const struct token *token, void *arg)
{
	if (!token->revoked && token->expires_ns > clock_wall_ns())
		enrol_limit_add(arg, token);
}

struct enrol_limit *
enrol_limit_new(struct sqlite3 *db, char *error, size_t error_size)
{
	struct enrol_limit *limit = calloc(1, sizeof(*limit));

	if (limit == NULL || getrandom(&limit->key, sizeof(limit->key), 0) != sizeof(limit->key)) {
		snprintf(error, error_size, limit == NULL ? "out of memory" : "no random numbers");
		free(limit);
		return NULL;
	}
	pthread_mutex_init(&limit->mutex, NULL);
	if (token_each(db, NULL, add_one, limit, error, error_size) == 0)
		return limit;
	enrol_limit_free(limit);
	return NULL;
}

void
enrol_limit_free(struct enrol_limit *limit)
{
	if (limit == NULL)
		return;
	tdestroy(limit->known, free);
	pthread_mutex_destroy(&limit->mutex);
	free(limit);
}

/* "192.0.2.1:8827", "[2001:db8::1]:8827": what a source is counted by. Anything else is one, too. */
static size_t
address_bytes(const char *address, uint8_t bytes[16])
{
	char host[INET6_ADDRSTRLEN] = "";
	const char *begin = address[0] == '[' ? address + 1 : address, *end = strrchr(address, address[0] == '[' ? ']' : ':');

	memset(bytes, 0, 16);
	if (end != NULL && end >= begin && (size_t)(end - begin) < sizeof(host)) {
		memcpy(host, begin, (size_t)(end - begin));
		host[end - begin] = '\0';
	}
	if (address[0] == '[' && inet_pton(AF_INET6, host, bytes) == 1)
		return 8;
	return inet_pton(AF_INET, host, bytes) == 1 ? 4 : 16;
}

static struct budget *
address_slot(struct enrol_limit *limit, const char *address)
{
	uint8_t bytes[16];
	size_t len = address_bytes(address, bytes);
	uint64_t hash = limit->key;

	for (size_t i = 0; i < len; i++) {
		hash = (hash ^ bytes[i]) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return &limit->slot[hash % ENROL_SLOTS];
}

static enum enrol_limit_verdict
take_known(struct known *known, char *tenant, char *id)
{
	const struct budget_rate rate = { .piece_ns = NS_PER_S, .burst = 2 * known->uses + ENROL_TOKEN_SPARE };

	memcpy(tenant, known->tenant, IDENTITY_NAME_SIZE);
	memcpy(id, known->id, TOKEN_ID_SIZE);
	return budget_take(&known->tries, &rate, 1) ? ENROL_LOOK : ENROL_AGAIN_LATER;
}

static enum enrol_limit_verdict
take_stranger(struct enrol_limit *limit, const char *address)
{
	static const struct budget_rate of_one = { .piece_ns = ENROL_ADDRESS_NS, .burst = ENROL_ADDRESS_BURST },
	    of_all = { .piece_ns = ENROL_ALL_NS, .burst = ENROL_ALL_BURST };

	return budget_take(address_slot(limit, address), &of_one, 1) && budget_take(&limit->all, &of_all, 1) ? ENROL_LOOK
	    : ENROL_STRANGER;
}

enum enrol_limit_verdict
enrol_limit_take(struct enrol_limit *limit, const uint8_t hash[TOKEN_HASH_SIZE], const char *address, uint64_t now_ns,
    char tenant[IDENTITY_NAME_SIZE], char id[TOKEN_ID_SIZE])
{
	enum enrol_limit_verdict verdict;
	struct known key, **found;

	tenant[0] = id[0] = '\0';
	memcpy(key.hash, hash, TOKEN_HASH_SIZE);
	pthread_mutex_lock(&limit->mutex);
	found = tfind(&key, &limit->known, known_compare);
	verdict = found != NULL && (*found)->expires_ns > now_ns ? take_known(*found, tenant, id) : take_stranger(limit, address);
	pthread_mutex_unlock(&limit->mutex);
	return verdict;
}
