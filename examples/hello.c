/* SPDX-License-Identifier: MIT
 * hello.c - the first program: three coroutines, a channel, and who waits for whom.
 */
#include <gmp.h>

#include <stdio.h>
#include <string.h>

struct greeter {
	gmp_chan *out;
	int number;
};

static void greet(void *arg)
{
	struct greeter *self = arg; /* our own copy, see gmp_spawn_copy */
	char line[64];

	gmp_sleep((4 - self->number) * 10 * GMP_MSEC); /* costs no thread: others run meanwhile */
	snprintf(line, sizeof line, "hello from coroutine %d", self->number);
	gmp_chan_send(self->out, line); /* until somebody has taken it */
}

static void run(void *arg)
{
	gmp_chan *lines = gmp_chan_new(64, 0); /* elements of 64 bytes, no buffer */
	char line[64];
	int running = 0;

	(void)arg;
	if (!lines)
		return;
	for (int i = 1; i <= 3; i++) {
		struct greeter g = {lines, i};
		int err = gmp_spawn_copy(greet, &g, sizeof g);
		if (err) /* every call says what went wrong as a negative errno */
			fprintf(stderr, "spawn: %s\n", strerror(-err));
		else
			running++;
	}
	while (running-- > 0 && gmp_chan_recv(lines, line) == 0)
		puts(line);
	gmp_chan_free(lines);
}

int main(void)
{
	int err = gmp_run(run, NULL, NULL); /* returns when the last coroutine has ended */

	if (err)
		fprintf(stderr, "gmp_run: %s\n", strerror(-err));
	return err ? 1 : 0;
}
