/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/spool_internal.h"

struct spool_layout {
	size_t	producer, consumer, counters, streams, index, idb, data, total;
};

static size_t
spool_page_up(size_t size)
{
	return (size + SPOOL_PAGE - 1) / SPOOL_PAGE * SPOOL_PAGE;
}

static void
spool_layout(size_t data_size, size_t index_count, struct spool_layout *layout)
{
	layout->producer = SPOOL_PAGE;
	layout->consumer = layout->producer + spool_page_up(sizeof(struct spool_producer_words));
	layout->counters = layout->consumer + spool_page_up(sizeof(struct spool_consumer_words));
	layout->streams = layout->counters + spool_page_up((MSG_INTERFACES_MAX + 1) * COUNTER_MAX * sizeof(spool_word));
	layout->index = layout->streams + spool_page_up(MSG_STREAMS_MAX * sizeof(struct spool_stream_words));
	layout->idb = layout->index + spool_page_up(index_count * sizeof(struct spool_entry_words));
	layout->data = layout->idb + MSG_STREAMS_MAX * SPOOL_IDB_SPACE;
	layout->total = layout->data + data_size;
}

static int
spool_format(int fd, size_t data_size, size_t index_count, const struct spool_layout *layout)
{
	struct spool_header *header;
	struct spool_consumer_words *consumer;
	uint8_t *map;

	if ((map = mmap(NULL, layout->counters, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
		return -1;
	header = (struct spool_header *)map;
	header->magic = SPOOL_MAGIC;
	header->version = SPOOL_VERSION;
	header->data_size = data_size;
	header->index_count = index_count;
	header->total_size = layout->total;
	consumer = (struct spool_consumer_words *)(map + layout->consumer);
	spool_store(consumer->hold, SPOOL_NONE);
	return munmap(map, layout->counters);
}

int
spool_create(const char *name, size_t size)
{
	struct spool_layout layout;
	size_t data_size, index_count;
	int fd, saved;

	if (size == 0 || size > SIZE_MAX / 4) {
		errno = EINVAL;
		return -1;
	}
	data_size = spool_page_up(size);
	index_count = data_size / 1024;
	if (index_count < SPOOL_INDEX_MIN)
		index_count = SPOOL_INDEX_MIN;
	if (index_count > SPOOL_INDEX_MAX)
		index_count = SPOOL_INDEX_MAX;
	spool_layout(data_size, index_count, &layout);
	if ((fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)) == -1)
		return -1;
	if (ftruncate(fd, (off_t)layout.total) == 0 && spool_format(fd, data_size, index_count, &layout) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* The size must be one that spool_create() makes and that cannot change any more. */
static int
spool_check(int fd, struct spool_header *header, struct spool_layout *layout)
{
	struct stat st;
	int seals;

	if ((seals = fcntl(fd, F_GET_SEALS)) == -1 || fstat(fd, &st) == -1 || (seals & F_SEAL_SHRINK) == 0 ||
	    pread(fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header) ||
	    header->magic != SPOOL_MAGIC || header->version != SPOOL_VERSION ||
	    header->data_size == 0 || header->data_size > SIZE_MAX / 4 || header->data_size % SPOOL_PAGE != 0 ||
	    header->index_count < SPOOL_INDEX_MIN || header->index_count > SPOOL_INDEX_MAX)
		return -1;
	spool_layout(header->data_size, header->index_count, layout);
	return st.st_size >= 0 && (uint64_t)st.st_size == layout->total ? 0 : -1;
}

static void
spool_point(struct spool *spool, const struct spool_layout *layout)
{
	spool->producer = (struct spool_producer_words *)(spool->map + layout->producer);
	spool->consumer = (struct spool_consumer_words *)(spool->map + layout->consumer);
	spool->counters = (spool_word *)(spool->map + layout->counters);
	spool->streams = (struct spool_stream_words *)(spool->map + layout->streams);
	spool->index = (struct spool_entry_words *)(spool->map + layout->index);
	spool->idb = spool->map + layout->idb;
	spool->data = spool->map + layout->data;
}

struct spool *
spool_attach(int fd, enum spool_side side)
{
	struct spool_header header;
	struct spool_layout layout;
	struct spool *spool;

	if (spool_check(fd, &header, &layout) == -1) {
		errno = EBADMSG;
		return NULL;
	}
	if ((spool = calloc(1, sizeof(*spool))) == NULL)
		return NULL;
	spool->side = side;
	spool->wake_fd = -1;
	spool->data_size = header.data_size;
	spool->index_count = header.index_count;
	spool->total_size = layout.total;
	spool->map = mmap(NULL, layout.total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (spool->map == MAP_FAILED) {
		free(spool);
		return NULL;
	}
	spool_point(spool, &layout);
	if (side == SPOOL_OBSERVER || (side == SPOOL_PRODUCER ? spool_producer_attach(spool) : spool_consumer_attach(spool)) == 0)
		return spool;
	spool_detach(spool);
	errno = EBADMSG;
	return NULL;
}

void
spool_detach(struct spool *spool)
{
	if (spool == NULL)
		return;
	if (spool->side == SPOOL_CONSUMER)
		spool_release(spool);
	munmap(spool->map, spool->total_size);
	free(spool);
}

struct spool_sum
spool_sum_load(const struct spool_sum_words *words)
{
	struct spool_sum sum;

	sum.packets = spool_load(words->packets);
	sum.bytes = spool_load(words->bytes);
	sum.stored = spool_load(words->stored);
	return sum;
}

void
spool_sum_store(struct spool_sum_words *words, const struct spool_sum *sum)
{
	spool_store(words->packets, sum->packets);
	spool_store(words->bytes, sum->bytes);
	spool_store(words->stored, sum->stored);
}

uint64_t
spool_tail(const struct spool *spool)
{
	return spool->side == SPOOL_PRODUCER ? spool->p.tail : spool_load(spool->producer->tail);
}

static void
spool_record_check(const struct spool *spool, uint64_t position, struct spool_record *record)
{
	bool fits;

	fits = record->data_len <= MSG_BLOCK_MAX && record->data < spool->data_size && record->data % SPOOL_ALIGN == 0 &&
	    record->data_len <= spool->data_size - record->data;
	if (record->position == position && (record->place != SPOOL_PLACE_BLOCK || fits))
		return;
	record->position = position;
	record->place = GAP_SPOOL;
	record->data = 0;
	record->data_len = 0;
}

bool
spool_record_read(const struct spool *spool, uint64_t position, struct spool_record *record)
{
	const struct spool_entry_words *entry = &spool->index[position % spool->index_count];
	uint64_t lengths, kind, tail;

	record->position = spool_load(entry->position);
	record->data = spool_load(entry->data);
	lengths = spool_load(entry->lengths);
	kind = spool_load(entry->kind);
	record->bytes = spool_load(entry->bytes);
	record->first_ns = spool_load(entry->first_ns);
	record->last_ns = spool_load(entry->last_ns);
	record->sum = spool_sum_load(&entry->sum);
	/* Only now is it known that nothing of it was overwritten meanwhile. */
	tail = spool_tail(spool);
	if (position >= tail || tail - position >= spool->index_count)
		return false;
	record->raw_len = (uint32_t)(lengths >> 32);
	record->data_len = (uint32_t)lengths;
	record->packets = (uint32_t)(kind >> 32);
	record->flags = (uint8_t)(kind >> 16);
	record->codec = (uint8_t)(kind >> 8);
	record->place = (uint8_t)kind;
	spool_record_check(spool, position, record);
	return true;
}

bool
spool_stream_read(const struct spool *spool, uint64_t sequence, struct spool_stream_record *record)
{
	const struct spool_stream_words *stream = &spool->streams[sequence % MSG_STREAMS_MAX];

	record->sequence = spool_load(stream->sequence);
	record->id[0] = spool_load(stream->id[0]);
	record->id[1] = spool_load(stream->id[1]);
	record->started_ns = spool_load(stream->started_ns);
	record->first = spool_load(stream->first);
	record->first_sum = spool_sum_load(&stream->first_sum);
	record->end = spool_load(stream->end);
	record->end_ns = spool_load(stream->end_ns);
	record->cut = spool_load(stream->cut) != 0;
	record->end_sum = spool_sum_load(&stream->end_sum);
	record->interface_count = spool_load(stream->interface_count);
	if (record->end >= spool_tail(spool) || record->end < record->first)
		record->end = SPOOL_NONE;
	return sequence != 0 && record->sequence == sequence && spool_load(stream->sequence) == sequence;
}

void
spool_extent_get(const struct spool *spool, uint64_t word, size_t *start, size_t *end)
{
	*start = (size_t)(word >> 32) * SPOOL_ALIGN;
	*end = *start + (size_t)(word & UINT32_MAX) * SPOOL_ALIGN;
	if (*end > spool->data_size)
		*end = spool->data_size;
	if (*start > *end)
		*start = *end;
}

void
spool_wake(const struct spool *spool)
{
	const uint64_t one = 1;
	ssize_t n;

	if (spool->wake_fd == -1)
		return;
	/* EAGAIN: the counter is at its end, so the consumer will wake up anyway. */
	n = write(spool->wake_fd, &one, sizeof(one));
	(void)n;
}

void
spool_set_wake_fd(struct spool *spool, int fd)
{
	spool->wake_fd = fd;
}

size_t
spool_size(const struct spool *spool)
{
	return spool->data_size;
}

static uint64_t
spool_ack(const struct spool *spool)
{
	return spool->side == SPOOL_CONSUMER ? spool->c.ack_mark.position : spool_load(spool->consumer->ack);
}

bool
spool_empty(const struct spool *spool)
{
	return spool_ack(spool) >= spool_tail(spool);
}

/* From the descriptions; when the oldest one is gone, there is more than fits. */
size_t
spool_used(const struct spool *spool)
{
	struct spool_record first, last;
	uint64_t ack = spool_ack(spool), tail = spool_tail(spool), used;

	if (ack >= tail)
		return 0;
	if (!spool_record_read(spool, ack, &first) || !spool_record_read(spool, tail - 1, &last))
		return spool->data_size;
	used = last.sum.stored - first.sum.stored + first.data_len;
	return used < spool->data_size ? used : spool->data_size;
}

static spool_word *
spool_counter(const struct spool *spool, enum counter counter, uint32_t interface)
{
	if (interface == STATS_AGENT)
		interface = MSG_INTERFACES_MAX;
	if ((unsigned)counter >= COUNTER_MAX || interface > MSG_INTERFACES_MAX)
		return NULL;
	return &spool->counters[interface * COUNTER_MAX + (unsigned)counter];
}

void
spool_count_set(struct spool *spool, enum counter counter, uint32_t interface, uint64_t value)
{
	spool_word *word = spool_counter(spool, counter, interface);

	if (word != NULL)
		atomic_store_explicit(word, value, memory_order_relaxed);
}

void
spool_count_add(struct spool *spool, enum counter counter, uint32_t interface, uint64_t value)
{
	spool_word *word = spool_counter(spool, counter, interface);

	/* One writer each, so no read-modify-write is needed. */
	if (word != NULL)
		atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + value, memory_order_relaxed);
}

uint64_t
spool_count_get(const struct spool *spool, enum counter counter, uint32_t interface)
{
	spool_word *word = spool_counter(spool, counter, interface);

	return word != NULL ? atomic_load_explicit(word, memory_order_relaxed) : 0;
}
