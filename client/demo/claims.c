/* SPDX-License-Identifier: MIT */
/*
 * claims.c - owns the distribution of work, and the rule that makes a killed worker's file come out right.
 *
 * Each worker's try at a file is an object, an attempt. Two pointers of the file tell all there is to know:
 *
 *   claim   the attempt that works at the file, or did when its worker was killed
 *   winner  the attempt that has finished it
 *
 * A worker makes an attempt and swaps it into a file's `claim`, in place of NULL: the file is its own. It
 * reads the file and counts its words privately, adds one posting for each word to the index, each pointing
 * to the attempt, and last swaps the attempt into `winner`, in place of NULL. A posting counts if and only if
 *
 *   posting->attempt->file->winner == posting->attempt
 *
 * so one compare-and-swap makes all postings of a file count at once, however many there are, and no posting of
 * a file that is half done ever does.
 *
 * A worker may be killed at any instruction. Before its claim: the file is free for the next one who looks.
 * After its claim, before it won: what it had published never counts, because no swap of its attempt can
 * happen any more. After it won: the file is done. The file of the middle case is redone by the process that
 * replaces the dead one: it has the same slot and a later life, and before it takes new files it looks through
 * the table for claims of its slot's earlier lives without a winner, and swaps its own attempt into them. It
 * may be killed in turn, even before it has done so: the next life finds the same claims. Only one process of
 * a slot lives at a time (the coordinator starts the next when the kernel has told it of the end of the
 * last), so a claim of an earlier life is a dead one's. And if that were not so, two attempts might do the
 * work, but `winner` is set once: a file never counts twice.
 *
 * Nothing here waits: no lock is held, so none can be held by the dead.
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
	file->stamp = from->stamp;
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
	for (uint32_t i = 0; i < corpus->nfiles; i++) {
		struct file *file = new_file(schema, heap, &corpus->files[i], i);

		if (!file)
			return NULL;
		heapd_init(&table->files[i], file);
	}
	return table;
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
static bool claim(struct file *file, struct attempt *instead_of, struct attempt *attempt)
{
	heapd_store(&attempt->file, file);
	return heapd_cas(&file->claim, &instead_of, attempt);
}

/*
 * The hint saves looking at files that are claimed. Late or lost, it costs time only: it is set by who has seen
 * that all files before it are claimed, and a claimed file stays claimed.
 */
int claims_next(struct table *table, const struct schema *schema, struct claimant who,
		struct attempt **attempt)
{
	struct attempt *mine = new_attempt(schema, who);

	if (!mine)
		return -errno;
	for (uint64_t i = __atomic_load_n(&table->hint, __ATOMIC_RELAXED); i < table->nfiles; i++) {
		struct file *file = table->files[i];

		if (heapd_load(&file->claim) || !claim(file, NULL, mine))
			continue;
		__atomic_store_n(&table->hint, i + 1, __ATOMIC_RELAXED);
		*attempt = mine;
		return 1;
	}
	__atomic_store_n(&table->hint, table->nfiles, __ATOMIC_RELAXED);
	heapd_free(mine); /* nobody has seen it */
	return 0;
}

static bool left_by_earlier_life(const struct file *file, const struct attempt *last, struct claimant who)
{
	return last && last->slot == who.slot && last->life < who.life && !heapd_load(&file->winner);
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
		if (!claim(file, last, mine))
			continue;
		*attempt = mine;
		return 1;
	}
	return 0;
}

void claims_finish(struct attempt *attempt, enum corpus_kind kind)
{
	struct attempt *none = NULL;

	attempt->kind = kind;
	heapd_cas(&attempt->file->winner, &none, attempt);
}

bool claims_won(const struct attempt *attempt)
{
	return heapd_load(&attempt->file->winner) == attempt;
}

bool claims_counts(const struct attempt *attempt)
{
	return claims_won(attempt) && !__atomic_load_n(&attempt->file->changed, __ATOMIC_RELAXED);
}

uint64_t claims_mark_changed(struct table *table)
{
	uint64_t marked = 0;

	for (uint64_t i = 0; i < table->nfiles; i++) {
		struct file *file = table->files[i];

		if (file->changed || !corpus_changed(file->path, &file->stamp))
			continue;
		__atomic_store_n(&file->changed, 1, __ATOMIC_RELAXED);
		marked++;
	}
	return marked;
}

static void count_kind(struct claims_census *census, const struct file *file, const struct attempt *winner)
{
	switch (winner ? winner->kind : 0) {
	case CORPUS_TEXT:
		census->text++;
		census->changed += file->changed;
		census->bytes += file->stamp.size;
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
	*census = (struct claims_census){ .objects = 1, .bytes_held = heapd_size(table) };
	for (uint64_t i = 0; i < table->nfiles; i++) {
		const struct file *file = table->files[i];
		const struct attempt *winner = heapd_load(&file->winner);

		count_kind(census, file, winner);
		census->objects += winner ? 3 : 2;
		census->bytes_held += heapd_size(file) + heapd_size(file->path);
		census->bytes_held += winner ? heapd_size(winner) : 0;
	}
}
