/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "collector/hint_rule.h"

#define WORD_SIZE	64

enum word_kind {
	WORD_END,
	WORD_PUNCTUATION,	/* ( ) ! && || */
	WORD_TEXT,
	WORD_OTHER		/* anything else, and what is too long */
};

/* Words that say the same at both ends; behind the last three a name may stand. */
static const char *const known_words[] = { "and", "or", "not", "host", "net", "mask", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp",
    "icmp", "icmp6", "igmp", "igrp", "pim", "ah", "esp", "vrrp", "carp", "port", "portrange", "proto" };
static const char *const naming_words[] = { "port", "portrange", "proto" };
static const char *const end_words[] = { "src", "dst" };	/* of a packet the same at both ends; but a stream has both directions */

static bool
is_one_of(const char *word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(word, list[i]) == 0)
			return true;
	return false;
}

static enum word_kind
next_word(const char **text, char word[WORD_SIZE])
{
	const char *p = *text + strspn(*text, " \t\r\n");
	size_t len = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-\\");

	word[0] = '\0';
	*text = p + 1;
	if (*p == '\0')
		return WORD_END;
	if (*p == '(' || *p == ')' || (*p == '!' && p[1] != '='))
		return WORD_PUNCTUATION;
	if ((*p == '&' || *p == '|') && p[1] == *p) {
		*text = p + 2;
		return WORD_PUNCTUATION;
	}
	if (len == 0 || len >= WORD_SIZE)
		return WORD_OTHER;
	memcpy(word, p, len);
	word[len] = '\0';
	*text = p + len;
	return WORD_TEXT;
}

/* "10", "0x10", "10.1", "10.1.2.3", "1000-2000": of hosts, nets and ports; MAC addresses have colons. */
static bool
is_number(const char *word)
{
	bool hex = word[0] == '0' && (word[1] == 'x' || word[1] == 'X');

	if (hex)
		return word[2] != '\0' && strspn(word + 2, "0123456789abcdefABCDEF") == strlen(word + 2);
	return isdigit((unsigned char)word[0]) && strspn(word, "0123456789.-") == strlen(word);
}

static bool
is_address(char *word)
{
	uint8_t address[16];
	char *slash = strchr(word, '/');

	if (slash != NULL && (slash[1] == '\0' || strspn(slash + 1, "0123456789") != strlen(slash + 1)))
		return false;
	if (slash != NULL)
		*slash = '\0';
	return is_number(word) || inet_pton(AF_INET6, word, address) == 1;
}

static bool
is_name(const char *word)
{
	return isalpha((unsigned char)word[word[0] == '\\']) && strpbrk(word, ":/.") == NULL;
}

/* Of len bytes. */
static bool
is_decidable(const char *filter, size_t len, bool ends)
{
	const char *end = filter + len;
	char word[WORD_SIZE];
	bool naming = false;
	enum word_kind kind;

	while (filter < end && (kind = next_word(&filter, word)) != WORD_END) {
		if (kind == WORD_OTHER)
			return false;
		if (kind == WORD_TEXT && !is_one_of(word, known_words, sizeof(known_words) / sizeof(known_words[0])) &&
		    !(ends && is_one_of(word, end_words, sizeof(end_words) / sizeof(end_words[0]))) &&
		    !(naming && is_name(word)) && !is_address(word))
			return false;
		naming = is_one_of(word, naming_words, sizeof(naming_words) / sizeof(naming_words[0]));
	}
	return true;
}

bool
hint_filter_decidable(const char *filter)
{
	return is_decidable(filter, strlen(filter), false);
}

/* What the agent has put at the end if it captures only what arrives is no matter of the packet. */
static size_t
length_without_direction(const char *filter)
{
	static const char end[] = ") and inbound";
	size_t len = strlen(filter), n = sizeof(end) - 1;

	if (strcmp(filter, "inbound") == 0)
		return 0;
	return len >= n && strcmp(filter + len - n, end) == 0 ? len - n + 1 : len;
}

/* One that was cut short in its description ends in dots. */
static bool
is_whole(const char *filter)
{
	size_t len = strlen(filter);

	return len < 3 || strcmp(filter + len - 3, "...") != 0;
}

bool
hint_filter_covers(const char *sender, const char *receiver)
{
	if (!is_whole(sender) || !is_whole(receiver))
		return false;
	if (sender[0] == '\0')
		return is_decidable(receiver, length_without_direction(receiver), true);
	return strcmp(sender, receiver) == 0 && hint_filter_decidable(sender);
}
