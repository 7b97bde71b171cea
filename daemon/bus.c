/* SPDX-License-Identifier: MIT */
/*
 * Owns the handler of SIGBUS, and what becomes of a page of objects that fails.
 *
 * Nothing that reads objects, the marker's inner loops least of all, knows of it. The handler puts something readable where the
 * page was mapped and returns, and the instruction that failed is done again:
 *
 *   - If the file can be read there by a fresh mapping, it is mapped anew: only this mapping had failed, nothing is lost.
 *   - Else what it held is lost for everybody, since the file is all there is of it: whoever touches it gets SIGBUS as well, now
 *     and, with bad memory, for ever. Zeroes are put there, which is what is known of it: no pointer of it can be followed by anybody.
 *     The page's bit is set in lost[], and then the count grows (release): quarantine.c goes by that.
 *
 * Right because of what it calls: mmap(), munmap() and madvise() are system calls and no more, and take no lock that the
 * interrupted thread could hold, since none of them is called with heap memory as their argument. Two threads that fail at one page map
 * the same twice. A SIGBUS that is about no heap, or that somebody has sent, or for which there is no mapping to be had, does what it did without
 * us: the daemon ends, and what it keeps is found again.
 *
 * The table of heaps is the one thing here that is no heap's: a handler is given nothing. The main thread alone changes it.
 */
#include "bus.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heapd/atomic.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#define BUS_HEAPS 256u
#define BUS_HUGE  (UINT64_C(2) << 20)

static struct bus *heaps[BUS_HEAPS]; /* NOLINT(cppcoreguidelines-avoid-non-const-global-variables) */

static void *address(uint64_t at)
{
	return (void *)(uintptr_t)at; /* NOLINT(performance-no-int-to-ptr) */
}

static struct bus *bus_of(uint64_t at)
{
	for (unsigned i = 0; i < BUS_HEAPS; i++) {
		struct bus *bus = HEAPD_LOAD_ACQUIRE(&heaps[i]);

		if (bus && at - bus->base < bus->size)
			return bus;
	}
	return NULL;
}

/* Asked of the kernel, by a mapping of its own: a load would be a SIGBUS within the handler. */
static bool file_is_readable(const struct bus *bus, uint64_t offset)
{
	void *fresh = mmap(NULL, bus->step, PROT_READ, MAP_SHARED | MAP_NORESERVE, bus->fd, (off_t)offset);
	bool readable;

	if (fresh == MAP_FAILED)
		return false;
	readable = madvise(fresh, bus->step, MADV_POPULATE_READ) == 0;
	munmap(fresh, bus->step);
	return readable;
}

static void lost_note(struct bus *bus, uint64_t offset)
{
	uint64_t page = offset / bus->step, bit = 1ull << (page % 64);

	if (!(__atomic_fetch_or(&bus->lost[page / 64], bit, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_add(&bus->nlost, 1, __ATOMIC_RELEASE);
}

/* False: nothing can be mapped there. */
static bool page_mend(struct bus *bus, uint64_t at)
{
	uint64_t offset = (at - bus->base) / bus->step * bus->step;
	bool readable = file_is_readable(bus, offset);
	int flags = readable ? MAP_SHARED | MAP_NORESERVE : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	if (mmap(address(bus->base + offset), bus->step, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
		 readable ? bus->fd : -1, readable ? (off_t)offset : 0) == MAP_FAILED)
		return false;
	if (readable)
		__atomic_fetch_add(&bus->repaired, 1, __ATOMIC_RELAXED);
	else
		lost_note(bus, offset);
	return true;
}

static void on_bus(int sig, siginfo_t *info, void *context)
{
	int error = errno;
	struct bus *bus = info->si_code > 0 ? bus_of((uint64_t)(uintptr_t)info->si_addr) : NULL;

	(void)context;
	if (!bus || !page_mend(bus, (uint64_t)(uintptr_t)info->si_addr)) {
		signal(sig, SIG_DFL);
		if (info->si_code <= 0)
			raise(sig);
	}
	errno = error;
}

int bus_init(void)
{
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

static uint64_t lost_bytes(const struct bus *bus)
{
	return (bus->size / bus->step + 63) / 64 * 8;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t size, int fd, bool hugetlb)
{
	unsigned i = 0;

	while (i < BUS_HEAPS && heaps[i])
		i++;
	if (i == BUS_HEAPS)
		return -E2BIG;
	*bus = (struct bus){ .base = base,
			     .size = size,
			     .step = hugetlb ? BUS_HUGE : (uint64_t)sysconf(_SC_PAGESIZE),
			     .fd = fd };
	/* Both tables in one. */
	bus->lost = mmap(NULL, 2 * lost_bytes(bus), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bus->lost == MAP_FAILED) {
		bus->lost = NULL;
		return -ENOMEM;
	}
	bus->told = bus->lost + lost_bytes(bus) / 8;
	HEAPD_STORE_RELEASE(&heaps[i], bus);
	return 0;
}

void bus_remove(struct bus *bus)
{
	if (!bus->lost)
		return;
	for (unsigned i = 0; i < BUS_HEAPS; i++)
		if (heaps[i] == bus)
			HEAPD_STORE_RELEASE(&heaps[i], NULL);
	munmap(bus->lost, 2 * lost_bytes(bus));
	bus->lost = NULL;
}
