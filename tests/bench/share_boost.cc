/* SPDX-License-Identifier: MIT */
/*
 * share_boost.cc - the tree in Boost.Interprocess's managed_shared_memory, linked by its offset pointers.
 *
 * share_boost NODES. The segment is made large enough beforehand; its pages come as they are touched.
 */
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/offset_ptr.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

#include "share.h"

namespace bi = boost::interprocess;
using segment = bi::managed_shared_memory;

struct node {
	bi::offset_ptr<node> left, right;
	uint64_t key, payload[SHARE_PAYLOAD];
};

struct place {
	std::string name;
	segment *memory;
};

static place *place_of(struct share *s)
{
	return static_cast<place *>(s->arg);
}

static double used(struct share *s)
{
	segment *memory = place_of(s)->memory;

	return static_cast<double>(memory->get_size() - memory->get_free_memory());
}

static void begin(struct share *s, bool)
{
	place *p = place_of(s);

	p->memory = new segment(bi::open_or_create, p->name.c_str(), (s->nodes << 7) + (1 << 20));
	s->shared[0] = used(s);
}

static node *node_build(segment *memory, uint64_t i, uint64_t n)
{
	node *made = new (memory->allocate(sizeof(node))) node();

	made->key = share_key(i);
	if (2 * i + 1 < n)
		made->left = node_build(memory, 2 * i + 1, n);
	if (2 * i + 2 < n)
		made->right = node_build(memory, 2 * i + 2, n);
	return made;
}

static void build(struct share *s)
{
	place *p = place_of(s);

	p->memory->construct<bi::offset_ptr<node>>("tree")(node_build(p->memory, 0, s->nodes));
}

static void hand_over(struct share *s)
{
	share_tell(s);
	s->shared[1] = used(s);
}

static node *tree_of(struct share *s)
{
	return place_of(s)->memory->find<bi::offset_ptr<node>>("tree").first->get();
}

static uint64_t take(struct share *s)
{
	share_await(s);
	return tree_of(s)->key;
}

static uint64_t node_walk(const node *n)
{
	return n ? n->key + node_walk(n->left.get()) + node_walk(n->right.get()) : 0;
}

static uint64_t walk(struct share *s)
{
	return node_walk(tree_of(s));
}

int main(int argc, char **argv)
{
	static const struct share_way way = { "boost", begin, build, hand_over, take, walk };
	place p;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: share_boost NODES (share-run starts it)\n");
		return 2;
	}
	p.name = "heapd-bench-share-" + std::to_string(getpid());
	try {
		r = share_run(&way, strtoull(argv[1], nullptr, 10), &p);
	} catch (const bi::interprocess_exception &e) {
		fprintf(stderr, "bench: share: boost: %s\n", e.what());
		r = 1;
	}
	bi::shared_memory_object::remove(p.name.c_str());
	return r;
}
