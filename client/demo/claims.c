/* SPDX-License-Identifier: MIT */
/*
 * claims.c - owns the distribution of work, and the rule that makes a killed worker's file come out right.
 *
 * Files are read in rounds: the first builds the index, each later one reads every file again and replaces what
 * was found in it. Each worker's try at a file in a round is an object, an attempt. Two pointers of the file
 * tell all there is to know:
 *
 *   claim   the last attempt that began: it works at the file, or did when its worker was killed
 *   winner  the attempt of the latest round that has finished
 *
 * A worker makes an attempt and swaps it into a file's `claim`, in place of one of an earlier round: the file is
 * its own. It reads the file and counts its words privately, adds one posting for each word to the index, each
 * pointing to the attempt, and last swaps the attempt into `winner`, in place of one of an earlier round. A
 * posting counts if and only if
 *
 *   posting->attempt->file->winner == posting->attempt
 *
 * so one compare-and-swap makes all postings of the new reading count and all of the old one count no more,
 * however many there are, and no posting of a reading that is half done ever counts. Who walks along a chain of
 * postings while that happens may have passed the new one already and find that the old one no longer
 * counts: it misses the file, but never meets it twice.
 *
 * The winner's round only grows. So an attempt that is not the winner, of a round that is not later than the
 * winner's, never counts again: it is obsolete for good. postings.c rests on that.
 *
 * A worker may be killed at any instruction. Before its claim: the file is free for the next one who looks.
 * After its claim, before it won: what it had published never counts, because no swap of its attempt can
 * happen any more; what was found in an earlier round counts on. After it won: the file is done. The file of the
 * middle case is redone by the process that replaces the dead one: it has the same slot and a later life, and
 * before it takes new files it looks through the table for claims of its slot's earlier lives without a winner
 * of their round, and swaps its own attempt into them. It may be killed in turn, even before it has done so: the next
 * life finds the same claims. Only one process of a slot lives at a time (the coordinator starts the next when
 * the kernel has told it of the end of the last), so a claim of an earlier life is a dead one's. And if that were
 * not so, two attempts might do the work, but only one wins a round: a file never counts twice.
 *
 * Nothing here waits: no lock is held, so none can be held by the dead. Nothing is freed: an attempt leads
 * to its file only, so once the file's two pointers and all postings have left it, it is garbage.
 */
#include "claims.h"

#include <errno.h>

static struct file *new_file(const struct schema *schema, heapd_heap *heap, const struct corpus_file *from,
			     uint32_t number)
{
	struct file *file = heapd_new(schema->file, struct file);
	char *path = heapd_strdup(heap, from->path);

	if (!file || !path)
		return NULL;
	heapd_init(&file->path, path);
	file->size = from->stamp.size;
	file->number = number;
	return file;
}

struct table *claims_new(const struct schema *schema, heapd_heap *heap, const struct corpus *corpus)
{
	struct table *table = heapd_new_flex(schema->table, struct table, files, corpus->nfiles);

	if (!table)
		return NULL;
	table->nfiles = corpus->nfiles;
	table->bytes = corpus->bytes;
	table->rounds = 1;
	for (uint32_t i = 0; i < corpus->nfiles; i++) {
		struct file *file = new_file(schema, heap, &corpus->files[i], i);

		if (!file)
			return NULL;
		heapd_init(&table->files[i], file);
	}
	return table;
}

void claims_set_rounds(struct table *table, uint64_t rounds)
{
	__atomic_store_n(&table->rounds, rounds, __ATOMIC_RELAXED);
}

uint64_t claims_turn(const struct table *table)
{
	return __atomic_load_n(&table->hint, __ATOMIC_RELAXED);
}

static uint64_t round_of(const struct attempt *attempt)
{
	return attempt ? attempt->round : 0;
}

static struct attempt *new_attempt(const struct schema *schema, struct claimant who)
{
	struct attempt *attempt = heapd_new(schema->attempt, struct attempt);

	if (attempt) {
		attempt->slot = who.slot;
		attempt->life = who.life;
	}
	return attempt;
}

/* Who sees the claim sees all of the attempt: heapd_cas() releases what was written before it. */
static bool claim(struct file *file, struct attempt *instead_of, struct attempt *attempt, uint64_t round)
{
	attempt->round = round;
	heapd_store(&attempt->file, file);
	return heapd_cas(&file->claim, &instead_of, attempt);
}

/*
 * The hint saves looking at files that are claimed. Late or lost, it costs time only: it is set by who has seen
 * that all turns before it are claimed, and a claimed turn stays claimed.
 */
static void move_hint(struct table *table, uint64_t turn)
{
	if (claims_turn(table) < turn)
		__atomic_store_n(&table->hint, turn, __ATOMIC_RELAXED);
}

static bool is_left(const struct table *table, uint64_t turn)
{
	return turn / table->nfiles < __atomic_load_n(&table->rounds, __ATOMIC_RELAXED);
}

int claims_next(struct table *table, const struct schema *schema, struct claimant who,
		struct attempt **attempt)
{
	struct attempt *mine = new_attempt(schema, who);
	uint64_t turn;

	if (!mine)
		return -errno;
	for (turn = claims_turn(table); is_left(table, turn); turn++) {
		struct file *file = table->files[turn % table->nfiles];
		struct attempt *last = heapd_load(&file->claim);
		uint64_t round = turn / table->nfiles + 1;

		if (round_of(last) >= round || !claim(file, last, mine, round))
			continue;
		move_hint(table, turn + 1);
		*attempt = mine;
		return 1;
	}
	move_hint(table, turn);
	return 0;
}

static bool left_by_earlier_life(const struct file *file, const struct attempt *last, struct claimant who)
{
	return last && last->slot == who.slot && last->life < who.life &&
	       round_of(heapd_load(&file->winner)) < last->round;
}

/* Whoever was killed at the file is dead by now, so what it published does not grow any more. */
static void count_left(struct table *table, const struct attempt *dead)
{
	__atomic_fetch_add(&table->left_files, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&table->left_postings, dead->postings, __ATOMIC_RELAXED);
	__atomic_fetch_add(&table->left_bytes, dead->bytes, __ATOMIC_RELAXED);
}

int claims_inherit(struct table *table, const struct schema *schema, struct claimant who, uint64_t *from,
		   struct attempt **attempt)
{
	for (uint64_t i = *from; i < table->nfiles; i++) {
		struct file *file = table->files[i];
		struct attempt *last = heapd_load(&file->claim), *mine;

		if (!left_by_earlier_life(file, last, who))
			continue;
		mine = new_attempt(schema, who);
		if (!mine)
			return -errno;
		*from = i + 1;
		if (!claim(file, last, mine, last->round))
			continue;
		count_left(table, last);
		*attempt = mine;
		return 1;
	}
	return 0;
}

void claims_finish(struct attempt *attempt, const struct corpus_finding *finding)
{
	struct file *file = attempt->file;
	struct attempt *winner = heapd_load(&file->winner);

	attempt->kind = finding->kind;
	attempt->stamp = finding->stamp;
	while (round_of(winner) < attempt->round && !heapd_cas(&file->winner, &winner, attempt))
		;
}

bool claims_won(const struct attempt *attempt)
{
	return heapd_load(&attempt->file->winner) == attempt;
}

bool claims_obsolete(const struct attempt *attempt)
{
	const struct attempt *winner = heapd_load(&attempt->file->winner);

	return winner != attempt && round_of(winner) >= attempt->round;
}

bool claims_counts(const struct attempt *attempt)
{
	return claims_won(attempt) && !__atomic_load_n(&attempt->changed, __ATOMIC_RELAXED);
}

uint64_t claims_mark_changed(struct table *table)
{
	uint64_t marked = 0;

	for (uint64_t i = 0; i < table->nfiles; i++) {
		struct file *file = table->files[i];
		struct attempt *winner = heapd_load(&file->winner);

		if (!winner || winner->kind != CORPUS_TEXT || winner->changed ||
		    !corpus_changed(file->path, &winner->stamp))
			continue;
		__atomic_store_n(&winner->changed, 1, __ATOMIC_RELAXED);
		marked++;
	}
	return marked;
}

static void count_kind(struct claims_census *census, const struct attempt *winner, uint64_t rounds)
{
	switch (round_of(winner) < rounds ? 0 : winner->kind) {
	case CORPUS_TEXT:
		census->text++;
		census->changed += winner->changed;
		census->bytes += winner->stamp.size;
		break;
	case CORPUS_BINARY:
		census->binary++;
		break;
	case CORPUS_TOO_LARGE:
		census->too_large++;
		break;
	case CORPUS_UNREADABLE:
		census->unreadable++;
		break;
	default:
		census->unfinished++;
	}
}

void claims_count(const struct table *table, struct claims_census *census)
{
	*census = (struct claims_census){
		.objects = 1,
		.bytes_held = heapd_size(table),
		.left_files = table->left_files,
		.left_postings = table->left_postings,
		.left_bytes = table->left_bytes,
	};
	for (uint64_t i = 0; i < table->nfiles; i++) {
		const struct file *file = table->files[i];
		const struct attempt *winner = heapd_load(&file->winner);

		count_kind(census, winner, table->rounds);
		census->objects += winner ? 3 : 2;
		census->bytes_held += heapd_size(file) + heapd_size(file->path);
		census->bytes_held += winner ? heapd_size(winner) : 0;
	}
}
