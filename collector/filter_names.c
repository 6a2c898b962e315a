/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "collector/filter_names.h"

#define WORD_SIZE	64

/* pcap-filter(7)'s own words, but those that begin with "icmp" or "tcp". */
static const char *const own_words[] = {
	"dst", "src", "and", "or", "not", "link", "ether", "ppp", "slip", "fddi", "tr", "wlan", "arp", "rarp", "ip", "ip6", "sctp",
	"udp", "igmp", "igrp", "pim", "vrrp", "carp", "radio", "ah", "esp", "atalk", "aarp", "decnet", "lat", "sca", "moprc",
	"mopdl", "iso", "esis", "es-is", "isis", "is-is", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "clnp", "stp", "ipx",
	"netbeui", "host", "net", "mask", "gateway", "address1", "addr1", "address2", "addr2", "address3", "addr3", "address4",
	"addr4", "ra", "ta", "less", "greater", "byte", "broadcast", "multicast", "len", "length", "inbound", "outbound", "ifindex",
	"vlan", "mpls", "pppoed", "pppoes", "geneve", "vxlan", "lane", "llc", "metac", "bcc", "oam", "oamf4", "oamf4ec", "oamf4sc",
	"sc", "ilmic", "vpi", "vci", "connectmsg", "metaconnect", "fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu", "sio",
	"opc", "dpc", "sls", "hsio", "hopc", "hdpc", "hsls"
};
/* What stands behind these is looked up in files, or is a word again. */
static const char *const naming_words[] = { "port", "portrange", "proto", "protochain", "type", "subtype", "dir", "direction", "on",
    "ifname", "rset", "ruleset", "reason", "action" };
static const char *const joining_words[] = { "and", "or", "not" };

#define IS_ONE_OF(word, list)	is_one_of(word, list, sizeof(list) / sizeof((list)[0]))

static bool
is_one_of(const char *word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(word, list[i]) == 0)
			return true;
	return false;
}

/* Digits, an address of IPv6 or Ethernet: no name, or none that is found. */
static bool
is_number(const char *word)
{
	return strchr(word, ':') != NULL || strspn(word, "0123456789./-") == strlen(word) ||
	    (word[0] == '0' && tolower((unsigned char)word[1]) == 'x' && strchr(word, '.') == NULL);
}

static bool
is_own(const char *word)
{
	bool family = strncmp(word, "icmp", 4) == 0 || strncmp(word, "tcp", 3) == 0;

	return (family && strchr(word, '.') == NULL) || IS_ONE_OF(word, own_words) || IS_ONE_OF(word, naming_words);
}

bool
filter_has_names(const char *filter)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-\\";
	char word[WORD_SIZE];
	bool naming = false;
	size_t len;

	for (filter += strcspn(filter, letters); *filter != '\0'; filter += strcspn(filter, letters)) {
		len = strspn(filter, letters);
		if (len >= sizeof(word))
			return true;
		memcpy(word, filter, len);
		word[len] = '\0';
		filter += len;
		if (is_own(word))
			naming = IS_ONE_OF(word, naming_words) || (naming && IS_ONE_OF(word, joining_words));
		else if (!naming && !is_number(word))
			return true;
	}
	return false;
}
