/* SPDX-License-Identifier: MIT */
/*
 * options.c - owns how a process of ours comes to its heap: by the socket's and the heap's names.
 */
#include "options.h"

#include "say.h"

static const char *heap_name(const struct options *options)
{
	return options->heap ? options->heap : "default";
}

void options_pass(const struct options *options, struct child_args *args)
{
	if (options->socket) {
		child_arg(args, "--socket");
		child_arg(args, options->socket);
	}
	child_arg(args, "--heap");
	child_arg(args, heap_name(options));
}

/* Right, however loaded the machine: what is waited for is an answer, not speed. */
#define PATIENCE_MS 120000

int options_attach(const struct options *options, uint32_t flags, heapd_heap **heap)
{
	struct heapd_options how = heapd_options_default();
	int r;

	how.flags = flags;
	how.socket = options->socket;
	how.client = "heapd-demo";
	how.attach_timeout_ms = how.supply_timeout_ms = how.request_timeout_ms = PATIENCE_MS;
	r = heapd_attach(heap, heap_name(options), &how);
	return r < 0 ? say_heapd_error(r, "cannot attach to the heap \"%s\"", heap_name(options)) : 0;
}
