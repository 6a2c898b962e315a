/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <netinet/in.h>
#include <crypt.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/link.h"
#include "agent/rpcap_server.h"
#include "common/log.h"

/* The passwords file: a line "USER:HASH" each, as "openssl passwd -6" or mkpasswd(1) make HASH. */

#define FILE_MAX	(1u << 20)
#define USER_MAX	255u

struct password {
	const char	*user, *hash;	/* into the text */
};

struct rpcap_passwords {
	char		*text;
	size_t		 text_len;
	struct password	*list;
	size_t		 count;
};

bool
rpcap_auth_host(const struct rpcap *r, const struct sockaddr_storage *address)
{
	return rpcap_allow_has(&r->allow, address);
}

/* --- who guesses --- */

/* All of an IPv6 network of 64 bits are one's. */
static bool
same_guesser(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return memcmp(&a6->sin6_addr, &b6->sin6_addr, 8) == 0;
}

static uint64_t
later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t
rpcap_auth_wait_ns(const struct rpcap_client *client, uint64_t now_ns)
{
	const struct rpcap *r = client->server;
	uint64_t until_ns = later(client->guess_ns, r->hash_ns);
	size_t i;

	for (i = 0; i < RPCAP_GUESSERS_MAX; i++)
		if (r->guesser[i].until_ns > until_ns && same_guesser(&r->guesser[i].address, &client->address))
			until_ns = r->guesser[i].until_ns;
	return until_ns > now_ns ? until_ns - now_ns : 0;
}

/* Others of its host have their turn before it. */
void
rpcap_auth_wrong(struct rpcap_client *client, uint64_t now_ns, uint64_t took_ns)
{
	struct rpcap *r = client->server;
	struct rpcap_guesser *guesser = &r->guesser[0];
	size_t i;

	for (i = 1; i < RPCAP_GUESSERS_MAX; i++)
		if (r->guesser[i].until_ns < guesser->until_ns)
			guesser = &r->guesser[i];
	guesser->address = client->address;
	guesser->until_ns = now_ns + RPCAP_WRONG_MS * LINK_MS;
	client->guess_ns = guesser->until_ns + RPCAP_HASH_MS * LINK_MS;
	r->hash_ns = now_ns + later(RPCAP_HASH_MS * LINK_MS, took_ns * RPCAP_HASH_TIMES);
}

/* --- the file --- */

static int
read_text(struct rpcap_passwords *p, int fd)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) == -1)
		return -1;
	if (st.st_size < 0 || st.st_size > (off_t)FILE_MAX) {
		errno = EFBIG;
		return -1;
	}
	p->text_len = (size_t)st.st_size;
	if ((p->text = calloc(1, p->text_len + 1)) == NULL)
		return -1;
	if ((n = pread(fd, p->text, p->text_len, 0)) == -1)
		return -1;
	p->text[n] = '\0';
	return 0;
}

static size_t
count_lines(const char *text)
{
	size_t count = 1;

	for (; (text = strchr(text, '\n')) != NULL; text++)
		count++;
	return count;
}

/* NULL, or what is wrong with it. crypt(3)'s first method, DES, has no '$': anybody tries all of its passwords. */
static const char *
parse_line(char *line, struct password *password)
{
	char *hash = strchr(line, ':');

	if (hash == NULL || hash == line)
		return "it must be USER:HASH";
	*hash++ = '\0';
	if (strlen(line) > USER_MAX)
		return "the user's name is too long";
	if (hash[0] != '$' || strlen(hash) >= CRYPT_OUTPUT_SIZE || strpbrk(hash, ":*! \t") != NULL)
		return "the hash must be one that begins with $, such as \"openssl passwd -6\" makes";
	*password = (struct password){ .user = line, .hash = hash };
	return NULL;
}

static int
parse_text(struct rpcap_passwords *p, const char *name)
{
	char *line, *rest = p->text;
	const char *wrong;
	unsigned number;

	for (number = 1; (line = strsep(&rest, "\n")) != NULL; number++) {
		line[strcspn(line, "\r")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if ((wrong = parse_line(line, &p->list[p->count])) != NULL) {
			log_error("%s:%u: %s", name, number, wrong);
			return -1;
		}
		p->count++;
	}
	return 0;
}

struct rpcap_passwords *
rpcap_passwords_read(int fd, const char *name)
{
	struct rpcap_passwords *p = calloc(1, sizeof(*p));

	if (p == NULL || read_text(p, fd) == -1 || (p->list = calloc(count_lines(p->text), sizeof(*p->list))) == NULL) {
		log_error("%s: cannot be read: %s", name, strerror(errno));
		rpcap_passwords_free(p);
		return NULL;
	}
	if (parse_text(p, name) == 0)
		return p;
	rpcap_passwords_free(p);
	return NULL;
}

void
rpcap_passwords_free(struct rpcap_passwords *p)
{
	if (p == NULL)
		return;
	if (p->text != NULL)
		explicit_bzero(p->text, p->text_len);
	free(p->text);
	free(p->list);
	free(p);
}

/* --- a user --- */

static const struct password *
find_user(const struct rpcap_passwords *p, const char *user, size_t len)
{
	size_t i;

	for (i = 0; i < p->count; i++)
		if (strlen(p->list[i].user) == len && memcmp(p->list[i].user, user, len) == 0)
			return &p->list[i];
	return NULL;
}

/* In a time that does not tell where they differ. */
static bool
same_text(const char *a, const char *b)
{
	size_t i, len = strlen(a);
	unsigned differ = 0;

	if (strlen(b) != len)
		return false;
	for (i = 0; i < len; i++)
		differ |= (unsigned)(a[i] ^ b[i]);
	return differ == 0;
}

static bool
hash_matches(const char *hash, const char *password, size_t len)
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	char text[CRYPT_MAX_PASSPHRASE_SIZE];
	const char *made;
	bool matches;

	if (data == NULL)
		return false;
	memcpy(text, password, len);
	text[len] = '\0';
	made = crypt_r(text, hash, data);
	matches = made != NULL && made[0] == '$' && same_text(made, hash);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(data, sizeof(*data));
	free(data);
	return matches;
}

/* Who is not there is looked at as long as the first one who is. */
bool
rpcap_passwords_match(const struct rpcap_passwords *p, const char *user, size_t user_len, const char *password, size_t password_len)
{
	const struct password *found;

	if (p == NULL || p->count == 0 || password_len >= CRYPT_MAX_PASSPHRASE_SIZE || memchr(password, '\0', password_len) != NULL)
		return false;
	found = find_user(p, user, user_len);
	return hash_matches(found != NULL ? found->hash : p->list[0].hash, password, password_len) && found != NULL;
}
