/* SPDX-License-Identifier: MIT */
/*
 * configcheck.c - owns what options must be to each other once all are known.
 *
 * Right because it runs after the last file and the last override, and looks only at what is in force then: a
 * drop-in may well repair what the file before it got wrong.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "heapd/geometry.h"

struct checker {
	const struct config *cfg;
	config_report report;
	void *arg;
	int result;
};

static void complain(struct checker *c, const struct config_place *place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void complain(struct checker *c, const struct config_place *place, const char *format, ...)
{
	struct config_error err;
	va_list args;

	va_start(args, format);
	vsnprintf(err.text, sizeof(err.text), format, args);
	va_end(args);
	c->report(c->arg, LOG_ERR, place->file, place->line, err.text);
	c->result = -EINVAL;
}

static const struct config_place *place_of(const struct config_heap *heap, const char *key)
{
	const struct config_option *o;
	size_t i = 0;

	while ((o = config_option_at(i)) && (o->section != CONFIG_HEAP || strcmp(o->key, key) != 0))
		i++;
	return &heap->set[i];
}

static uint64_t machine_memory(void)
{
	struct sysinfo info;

	return sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : 0;
}

static uint64_t chunks_below(uint64_t bytes)
{
	return bytes < HEAPD_CHUNK_SIZE ? HEAPD_CHUNK_SIZE : bytes / HEAPD_CHUNK_SIZE * HEAPD_CHUNK_SIZE;
}

/* A share of the machine is a wish and is cut to what the heap can hold; bytes are an order. */
static void resolve_limit(struct config_heap *heap, uint64_t memory)
{
	uint64_t share;

	if (!heap->limit_percent)
		return;
	share = chunks_below(memory / 100 * heap->limit_percent);
	heap->limit = share < heap->size ? share : heap->size;
}

static void check_limit(struct checker *c, const struct config_heap *heap)
{
	if (heap->limit > heap->size)
		complain(
			c, place_of(heap, "Limit"),
			"Limit=%s of [Heap %s]: more than the heap's Size=%s; lower the one or raise the other",
			value_size_text(heap->limit).text, heap->name, value_size_text(heap->size).text);
}

static void resolve_memory_limit(struct config_heap *heap)
{
	if (heap->memory_limit_percent)
		heap->memory_limit = chunks_below(heap->limit * heap->memory_limit_percent / 100);
}

static void check_memory_limit(struct checker *c, const struct config_heap *heap)
{
	if (heap->memory_limit > heap->limit)
		complain(c, place_of(heap, "MemoryLimit"),
			 "MemoryLimit=%s of [Heap %s]: more than the heap's Limit=%s; lower the one or raise "
			 "the other",
			 value_size_text(heap->memory_limit).text, heap->name,
			 value_size_text(heap->limit).text);
}

static void check_free(struct checker *c, const struct config_heap *heap)
{
	if (heap->free_mode == CONFIG_FREE_CHECKED && !heap->gc_percent)
		complain(
			c, place_of(heap, "Free"),
			"Free=checked of [Heap %s]: with GCPercent=off nothing freed would ever be given out "
			"again; write Free=prompt or set GCPercent=",
			heap->name);
}

/* Not "is it root": a service's capabilities may be fewer than its user's. */
static bool may_kill(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective >> CAP_KILL & 1);
}

bool config_may_evict(const struct config_heap *heap)
{
	return !config_others_may_write(heap) || may_kill();
}

static void check_stall_action(struct checker *c, const struct config_heap *heap)
{
	if (heap->stall_action == CONFIG_STALL_EVICT && !config_may_evict(heap))
		complain(
			c, place_of(heap, "StallAction"),
			"StallAction=evict of [Heap %s]: AllowUsers=, AllowGroups= or Mode= let in processes of "
			"other users, and ending those needs CAP_KILL, which user %u has not here",
			heap->name, geteuid());
}

/* The shared tables lie behind the heap in every process, so they count. */
static uint64_t end_of(const struct config_heap *heap)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct heapd_geometry g;

	if (!heapd_geometry_compute(&g, heap->size, cpus > 0 ? (uint64_t)cpus : 1))
		return heap->base + heap->size;
	return heap->base + g.total;
}

static void check_end(struct checker *c, const struct config_heap *heap)
{
	if (end_of(heap) > CONFIG_USER_END)
		complain(c, place_of(heap, "Base"),
			 "Base=0x%" PRIx64
			 " of [Heap %s]: with Size=%s the heap and its tables would end beyond 0x%" PRIx64,
			 heap->base, heap->name, value_size_text(heap->size).text, CONFIG_USER_END);
}

static bool overlap(const struct config_heap *a, const struct config_heap *b)
{
	return a->base && b->base && a->base < end_of(b) && b->base < end_of(a);
}

static void tell_overlap(struct checker *c, const struct config_heap *heap, const struct config_heap *other)
{
	const struct config_place *there = place_of(other, "Base");
	char line[16] = "";

	if (there->line)
		snprintf(line, sizeof(line), ":%u", there->line);
	complain(c, place_of(heap, "Base"),
		 "Base=0x%" PRIx64 " of [Heap %s]: overlaps [Heap %s], which has 0x%" PRIx64 " to 0x%" PRIx64
		 " with its tables (%s%s)",
		 heap->base, heap->name, other->name, other->base, end_of(other), there->file, line);
}

static void check_overlap(struct checker *c, const struct config_heap *heap)
{
	for (const struct config_heap *other = c->cfg->heaps; other < heap; other++) {
		if (overlap(heap, other))
			tell_overlap(c, heap, other);
	}
}

int config_check(struct config *cfg, config_report report, void *arg)
{
	struct checker c = { .cfg = cfg, .report = report, .arg = arg };
	uint64_t memory = machine_memory();

	if (cfg->nheaps == 0 && config_make_heap(cfg, "default") < 0)
		return -ENOMEM;
	for (struct config_heap *heap = cfg->heaps; heap < cfg->heaps + cfg->nheaps; heap++) {
		resolve_limit(heap, memory);
		resolve_memory_limit(heap);
		check_limit(&c, heap);
		check_memory_limit(&c, heap);
		check_free(&c, heap);
		check_stall_action(&c, heap);
		check_end(&c, heap);
		check_overlap(&c, heap);
	}
	return c.result;
}
