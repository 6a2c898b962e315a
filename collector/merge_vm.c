/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "proto/slice.h"

#include "merge_internal.h"
#include "pcapng_out.h"
#include "store_read.h"

#define LIST_MAX	8	/* tenants named in an error */

int
merge_fail(struct merge *merge, const char *what, const char *why)
{
	snprintf(merge->error, sizeof(merge->error), "%s: %s", what, why);
	return -1;
}

/* --- tenants --- */

/* How many fit; the first is name, list names them. -1: SQL error. */
static int
list_tenants(sqlite3 *db, const char *sql, const char *text, char *name, char *list, size_t list_size)
{
	sqlite3_stmt *statement;
	const char *found;
	size_t used = 0;
	int n = 0, rc;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		return -1;
	sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		if ((found = (const char *)sqlite3_column_text(statement, 0)) == NULL)
			continue;
		if (n++ == 0)
			snprintf(name, IDENTITY_NAME_SIZE, "%s", found);
		if (n <= LIST_MAX && used < list_size)
			used += (size_t)snprintf(list + used, list_size - used, "%s%s", n > 1 ? ", " : "", found);
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? n : -1;
}

int
merge_find_tenant(struct sqlite3 *db, const char *text, char *name, char *error, size_t error_size)
{
	char list[LIST_MAX * (IDENTITY_NAME_SIZE + 2)] = "";
	int n;

	n = list_tenants(db, "SELECT DISTINCT tenant FROM vm WHERE tenant = ?1", text, name, list, sizeof(list));
	if (n == 0 && text[0] != '\0')
		n = list_tenants(db, "SELECT DISTINCT tenant FROM vm WHERE substr(tenant, 1, length(?1)) = ?1 ORDER BY tenant", text, name,
		    list, sizeof(list));
	if (n == 1)
		return 0;
	if (n == -1)
		snprintf(error, error_size, "catalog: %s", sqlite3_errmsg(db));
	else if (n == 0)
		snprintf(error, error_size, "no tenant is called \"%s\", nor begins so", text);
	else
		snprintf(error, error_size, "\"%s\" is ambiguous, it could be %s%s", text, list, n > LIST_MAX ? ", ..." : "");
	return -1;
}

/* --- VMs --- */

static uint64_t
less(uint64_t ns, uint64_t by)
{
	return ns > by ? ns - by : 0;
}

/* Of a peer of the one that is read whole only what lies in its spans. */
static void
narrow_window(const struct merge_vm *vm, uint64_t *from_ns, uint64_t *to_ns)
{
	uint64_t first = UINT64_MAX, last = 0;

	for (size_t i = 0; i < vm->span_count; i++) {
		first = vm->span[i].from_ns < first ? vm->span[i].from_ns : first;
		last = vm->span[i].to_ns > last ? vm->span[i].to_ns : last;
	}
	if (vm->span_count > 0 && first > *from_ns)
		*from_ns = first;
	if (vm->span_count > 0 && last < *to_ns)
		*to_ns = last;
}

/* What may match a packet of the window lies around it. Clocks are asked for the widest that they were off by. */
static int
open_cursor(struct merge *merge, struct merge_vm *vm)
{
	const struct merge_settings *settings = &merge->settings;
	uint64_t from_ns = less(settings->from_ns, settings->window_ns);
	uint64_t to_ns = UINT64_MAX - settings->to_ns > settings->window_ns ? settings->to_ns + settings->window_ns : UINT64_MAX;

	narrow_window(vm, &from_ns, &to_ns);
	struct store_cursor_settings cursor = { .db = settings->db, .store = settings->store, .uuid = vm->uuid,
	    .from_ns = clock_track_earliest(&vm->clock, from_ns),
	    .to_ns = to_ns == UINT64_MAX ? to_ns : clock_track_latest(&vm->clock, to_ns), .follow = settings->follow,
	    .warning = settings->warning, .arg = settings->arg };

	return (vm->cursor = store_cursor_new(&cursor)) != NULL ? 0 : merge_fail(merge, vm->name, "out of memory");
}

static struct merge_vm *
find_vm(const struct merge *merge, const char *uuid)
{
	for (size_t i = 0; i < merge->vm_count; i++)
		if (strcmp(merge->vm[i]->uuid, uuid) == 0)
			return merge->vm[i];
	return NULL;
}

static struct merge_vm *
add_vm(struct merge *merge, const char *uuid, const char *name, bool alone)
{
	struct merge_vm **grown, *vm;

	if ((grown = realloc(merge->vm, (merge->vm_count + 1) * sizeof(struct merge_vm *))) == NULL)
		return NULL;
	merge->vm = grown;
	if ((vm = calloc(1, sizeof(*vm))) == NULL)
		return NULL;
	snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
	snprintf(vm->name, sizeof(vm->name), alone ? "%s" : "%s.%.8s", name, uuid);
	vm->number = (uint32_t)merge->vm_count;
	grown[merge->vm_count++] = vm;
	return vm;
}

static int
take_vm(struct merge *merge, sqlite3_stmt *statement)
{
	const char *uuid = (const char *)sqlite3_column_text(statement, 0), *name = (const char *)sqlite3_column_text(statement, 1);
	struct merge_vm *vm;

	if (uuid == NULL || name == NULL)
		return merge_fail(merge, "catalog", "damaged VM row");
	if ((vm = find_vm(merge, uuid)) == NULL && (vm = add_vm(merge, uuid, name, sqlite3_column_int(statement, 2) == 1)) == NULL)
		return merge_fail(merge, name, "out of memory");
	if (clock_track_load(&vm->clock, merge->settings.db, vm->uuid) == -1)
		return merge_fail(merge, name, "its clock cannot be read from the catalog");
	if (merge->settings.vm != NULL)
		merge_whole_know(merge, vm);
	if (vm->cursor != NULL || (merge->settings.vm != NULL && !vm->own && vm->span_count == 0))
		return 0;	/* it is read already, or delivered nothing within the time that is asked for */
	return open_cursor(merge, vm);
}

int
merge_list_vms(struct merge *merge)
{
	static const char select[] = "SELECT uuid, name, (SELECT count(*) FROM vm AS v WHERE v.tenant = vm.tenant AND v.name = vm.name)"
	    " FROM vm WHERE ", all[] = "tenant = ?1 ORDER BY name, uuid",
	    whole[] = "uuid = ?1 OR uuid IN (SELECT peer FROM withheld WHERE vm = ?1) ORDER BY uuid <> ?1, name, uuid";
	const char *vm = merge->settings.vm;
	char sql[sizeof(select) + sizeof(whole)];
	sqlite3 *db = merge->settings.db;
	sqlite3_stmt *statement;
	int rc;

	snprintf(sql, sizeof(sql), "%s%s", select, vm != NULL ? whole : all);
	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		return merge_fail(merge, "catalog", sqlite3_errmsg(db));
	sqlite3_bind_text(statement, 1, vm != NULL ? vm : merge->settings.tenant, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
		if (take_vm(merge, statement) == -1)
			break;
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		merge_fail(merge, "catalog", sqlite3_errmsg(db));
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? 0 : -1;
}

static void
free_source(struct merge_source *source)
{
	pcap_freecode(&source->filter[0]);
	pcap_freecode(&source->filter[1]);
	free(source);
}

void
merge_free_vms(struct merge *merge)
{
	for (size_t i = 0; i < merge->vm_count; i++) {
		store_cursor_free(merge->vm[i]->cursor);
		clock_track_clear(&merge->vm[i]->clock);
		for (size_t k = 0; k < merge->vm[i]->source_count; k++)
			free_source(merge->vm[i]->source[k]);
		free(merge->vm[i]->source);
		free(merge->vm[i]);
	}
	for (uint32_t i = 0; i < merge->network_count; i++)
		free(merge->network[i]);
	free(merge->vm);
	free(merge->source);
	free(merge->network);
}

/* --- their interfaces --- */

/* The number of a network's name; UINT32_MAX: ENOMEM. */
static uint32_t
network_number(struct merge *merge, const char *name)
{
	char **grown;

	for (uint32_t i = 0; i < merge->network_count; i++)
		if (strcmp(merge->network[i], name) == 0)
			return i;
	if ((grown = realloc(merge->network, (merge->network_count + 1) * sizeof(char *))) == NULL)
		return UINT32_MAX;
	merge->network = grown;
	if ((grown[merge->network_count] = strdup(name)) == NULL)
		return UINT32_MAX;
	return merge->network_count++;
}

/* As VM/NAME; where the room is short, the VM's is. */
static void
rename_interface(struct pcapng_interface *interface, const struct merge_vm *vm)
{
	size_t own = strlen(interface->name), vms = strlen(vm->name), room = sizeof(interface->name) - 2;

	if (own > room)
		return;
	if (vms > room - own)
		vms = room - own;
	memmove(interface->name + vms + 1, interface->name, own + 1);
	memcpy(interface->name, vm->name, vms);
	interface->name[vms] = '/';
}

static int
describe(struct merge *merge, struct merge_source *source)
{
	char network[STORE_NETWORK_SIZE];
	struct pcapng_interface interface;
	uint8_t idb[MSG_IDB_MAX];
	int len;

	if ((len = store_read_interface(merge->settings.db, source->stream, source->id, idb)) == -1 ||
	    pcapng_parse_idb(idb, (size_t)len, &interface) == -1 ||
	    store_read_network(merge->settings.db, source->stream, source->id, network) == -1)
		return merge_fail(merge, source->vm->name, "a packet of an interface that the catalog does not describe");
	source->linktype = interface.linktype;
	source->masked = strstr(interface.description, SLICE_ZEROES_TEXT) != NULL;
	if ((source->network = network_number(merge, network)) == UINT32_MAX)
		return merge_fail(merge, source->vm->name, "out of memory");
	if (merge->whole == NULL)
		rename_interface(&interface, source->vm);
	else if (!source->vm->own && merge_whole_describe(merge, source, &interface) == -1)
		return -1;
	snprintf(source->name, sizeof(source->name), "%s", interface.name);
	merge->scratch.len = 0;
	if (pcapng_put_idb(&merge->scratch, &interface) == -1 || (source->number = dedup_add_source(merge->dedup, source->vm->number,
	    source->network, interface.linktype)) == DEDUP_UNKNOWN)
		return merge_fail(merge, source->vm->name, "out of memory");
	if (source->vm->own) {
		dedup_keep(merge->dedup, source->number);
		return pcapng_out_interface(merge->settings.out, source->stream, source->id, idb, (size_t)len);
	}
	return pcapng_out_interface(merge->settings.out, source->stream, source->id, merge->scratch.data, merge->scratch.len);
}

/* Into the list of its VM, and by its number into that of all. */
static int
list_source(struct merge *merge, struct merge_vm *vm, struct merge_source *source)
{
	const struct merge_source **all = realloc(merge->source, (source->number + 1) * sizeof(struct merge_source *));
	struct merge_source **own;

	if (all == NULL)
		return merge_fail(merge, vm->name, "out of memory");
	merge->source = all;
	all[source->number] = source;
	if ((own = realloc(vm->source, (vm->source_count + 1) * sizeof(struct merge_source *))) == NULL)
		return merge_fail(merge, vm->name, "out of memory");
	vm->source = own;
	own[vm->source_count] = source;
	vm->last = vm->source_count++;
	return 0;
}

static const struct merge_source *
add_source(struct merge *merge, struct merge_vm *vm, const uint8_t *stream, uint32_t id)
{
	struct merge_source *source = calloc(1, sizeof(*source));

	if (source == NULL) {
		merge_fail(merge, vm->name, "out of memory");
		return NULL;
	}
	memcpy(source->stream, stream, MSG_ID_SIZE);
	source->id = id;
	source->vm = vm;
	if (describe(merge, source) == 0 && list_source(merge, vm, source) == 0)
		return source;
	free_source(source);
	return NULL;
}

const struct merge_source *
merge_source_of(struct merge *merge, struct merge_vm *vm, const uint8_t *stream, uint32_t id)
{
	for (size_t i = 0; i < vm->source_count; i++) {
		size_t at = (vm->last + i) % vm->source_count;

		if (vm->source[at]->id == id && memcmp(vm->source[at]->stream, stream, MSG_ID_SIZE) == 0) {
			vm->last = at;
			return vm->source[at];
		}
	}
	return add_source(merge, vm, stream, id);
}
