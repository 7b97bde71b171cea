/* SPDX-License-Identifier: MIT */
/*
 * inlined.c - owns the question whose a program's stores are.
 *
 * Right because addr2line is asked, which names each function that an instruction was inlined from. Where it knows none, because the
 * program has nothing for a debugger, none of the header's would count, and nobody would see it: so that ends the run.
 */
#include "inlined.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER "/include/heapd"

static void ask(const struct text *program, FILE *answer)
{
	char command[512];
	FILE *question;

	snprintf(command, sizeof(command), "addr2line -i -a -e '%s' >/dev/fd/%d", program->path,
		 fileno(answer));
	question = popen(command, "we");
	if (!question)
		err(1, "addr2line");
	for (size_t i = 0; i < program->ninstructions; i++)
		if (program->instructions[i].writes)
			fprintf(question, "%" PRIx64 "\n", program->instructions[i].at - program->bias);
	if (pclose(question) != 0)
		errx(1, "addr2line %s", program->path);
}

/* An address, then the lines that it stands in, the innermost function's first. Returns how many stay. */
static size_t take(const struct text *program, FILE *answer)
{
	struct instruction *in = NULL;
	size_t room = 0, stay = 0;
	char *line = NULL;

	while (getline(&line, &room, answer) > 0) {
		if (strncmp(line, "0x", 2) == 0) {
			in = text_find(program, strtoull(line, NULL, 16) + program->bias);
			if (in)
				in->writes = false;
		} else if (in && !in->writes && strstr(line, HEADER)) {
			in->writes = true;
			stay++;
		}
	}
	free(line);
	return stay;
}

void inlined_only(const struct text *program)
{
	FILE *answer = tmpfile();

	if (!answer)
		err(1, "tmpfile");
	ask(program, answer);
	rewind(answer);
	if (!take(program, answer))
		errx(1, "no store of the library's header is found in %s: is it built with -g?",
		     program->path);
	fclose(answer);
}
