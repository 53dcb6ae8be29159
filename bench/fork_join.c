/* SPDX-License-Identifier: MIT
 * fork_join.c - trees of coroutines, joined by channels, by handles and by waitgroups.
 *
 * A child's arguments and result live in a struct on its parent's stack: the parent outlives its children, so nothing
 * is allocated for them.
 */
#include "bench.h"

/* ---- skynet: ten children each, the leaves report their numbers -------------------------------------------------- */

enum { CHILDREN = 10 };

struct node {
	int64_t number, size;
	int64_t sum;    /* result of the join and waitgroup variants */
	gmp_chan *chan; /* where the channel variant reports */
};

/* Names the children of parent. False: it is a leaf. */
static bool divide(const struct node *parent, struct node *children)
{
	int64_t size = parent->size / CHILDREN;

	if (parent->size == 1)
		return false;
	for (int i = 0; i < CHILDREN; i++)
		children[i] = (struct node){.number = parent->number + i * size, .size = size};
	return true;
}

static int64_t sum_up(const struct node *children)
{
	int64_t sum = 0;

	for (int i = 0; i < CHILDREN; i++)
		sum += children[i].sum;
	return sum;
}

static void skynet_chan(void *arg)
{
	struct node *node = arg;
	struct node children[CHILDREN];
	int64_t sum = node->number;

	if (divide(node, children)) {
		gmp_chan *chan = must_chan(sizeof sum, 0);
		int64_t part;
		sum = 0;
		for (int i = 0; i < CHILDREN; i++) {
			children[i].chan = chan;
			must(gmp_spawn(skynet_chan, &children[i]));
		}
		for (int i = 0; i < CHILDREN; i++) {
			must(gmp_chan_recv(chan, &part));
			sum += part;
		}
		gmp_chan_free(chan);
	}
	must(gmp_chan_send(node->chan, &sum));
}

static void skynet_join(void *arg)
{
	struct node *node = arg;
	struct node children[CHILDREN];
	gmp_g *handles[CHILDREN];

	node->sum = node->number;
	if (!divide(node, children))
		return;
	for (int i = 0; i < CHILDREN; i++)
		must(gmp_spawn_attr(&handles[i], NULL, skynet_join, &children[i]));
	for (int i = 0; i < CHILDREN; i++)
		must(gmp_join(handles[i]));
	node->sum = sum_up(children);
}

static void skynet_wg(void *arg)
{
	struct node *node = arg;
	struct node children[CHILDREN];
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	node->sum = node->number;
	if (!divide(node, children))
		return;
	for (int i = 0; i < CHILDREN; i++)
		must(gmp_waitgroup_spawn(&wg, skynet_wg, &children[i]));
	must(gmp_waitgroup_wait(&wg));
	node->sum = sum_up(children);
}

static void check_skynet(struct result *r, const struct node *root)
{
	r->ops = 1;
	check(root->sum == root->size * (root->size - 1) / 2, "sum %lld", (long long)root->sum);
	result_number(r, "leaves", (double)root->size);
}

static struct node skynet_root(int64_t n)
{
	struct node root = {.size = 1};

	while (root.size * CHILDREN <= n)
		root.size *= CHILDREN;
	return root;
}

static void run_skynet(struct result *r, int64_t n)
{
	struct node root = skynet_root(n);

	root.chan = must_chan(sizeof root.sum, 0);
	int64_t start = now_ns();
	must(gmp_spawn(skynet_chan, &root));
	must(gmp_chan_recv(root.chan, &root.sum));
	r->ns = now_ns() - start;
	gmp_chan_free(root.chan);
	check_skynet(r, &root);
}

static void run_skynet_join(struct result *r, int64_t n)
{
	struct node root = skynet_root(n);

	int64_t start = now_ns();
	skynet_join(&root);
	r->ns = now_ns() - start;
	check_skynet(r, &root);
}

static void run_skynet_wg(struct result *r, int64_t n)
{
	struct node root = skynet_root(n);

	int64_t start = now_ns();
	skynet_wg(&root);
	r->ns = now_ns() - start;
	check_skynet(r, &root);
}

/* ---- fib: a child for fib(n-1), fib(n-2) in person --------------------------------------------------------------- */

struct fib {
	int64_t n, value;
	gmp_chan *chan;
};

static void fib_join(void *arg)
{
	struct fib *f = arg;
	gmp_g *handle;

	f->value = f->n;
	if (f->n < 2)
		return;
	struct fib child = {.n = f->n - 1}, own = {.n = f->n - 2};
	must(gmp_spawn_attr(&handle, NULL, fib_join, &child));
	fib_join(&own);
	must(gmp_join(handle));
	f->value = child.value + own.value;
}

static void fib_wg(void *arg)
{
	struct fib *f = arg;
	gmp_waitgroup wg = GMP_WAITGROUP_INIT;

	f->value = f->n;
	if (f->n < 2)
		return;
	struct fib child = {.n = f->n - 1}, own = {.n = f->n - 2};
	must(gmp_waitgroup_spawn(&wg, fib_wg, &child));
	fib_wg(&own);
	must(gmp_waitgroup_wait(&wg));
	f->value = child.value + own.value;
}

static int64_t fib_by_chan(int64_t n);

static void fib_chan_child(void *arg)
{
	struct fib *f = arg;
	int64_t value = fib_by_chan(f->n);

	must(gmp_chan_send(f->chan, &value));
}

static int64_t fib_by_chan(int64_t n)
{
	if (n < 2)
		return n;
	struct fib child = {.n = n - 1, .chan = must_chan(sizeof child.value, 1)};
	must(gmp_spawn(fib_chan_child, &child));
	int64_t own = fib_by_chan(n - 2);
	must(gmp_chan_recv(child.chan, &child.value));
	gmp_chan_free(child.chan);
	return child.value + own;
}

static void fib_chan(void *arg)
{
	struct fib *f = arg;

	f->value = fib_by_chan(f->n);
}

static int64_t fib_plain(int64_t n)
{
	int64_t a = 0, b = 1;

	for (; n > 0; n--) {
		int64_t sum = a + b;
		a = b;
		b = sum;
	}
	return a;
}

static void measure_fib(struct result *r, int64_t n, gmp_fn *fn)
{
	enum { LARGEST = 60 };
	struct fib f = {.n = n};

	check(n <= LARGEST, "fib(%lld) has too many coroutines", (long long)n);
	int64_t start = now_ns();
	fn(&f);
	r->ns = now_ns() - start;
	r->ops = n < 2 ? 1 : fib_plain(n + 1) - 1; /* a spawn for each call that is no leaf */
	check(f.value == fib_plain(n), "fib(%lld) = %lld", (long long)n, (long long)f.value);
	result_number(r, "spawns", (double)r->ops);
}

static void run_fib(struct result *r, int64_t n) { measure_fib(r, n, fib_join); }

static void run_fib_wg(struct result *r, int64_t n) { measure_fib(r, n, fib_wg); }

static void run_fib_chan(struct result *r, int64_t n) { measure_fib(r, n, fib_chan); }

const struct workload fork_join_workloads[] = {
	{"skynet", run_skynet, 1000000, WARM_TENTH, "whole run: 10^6 leaves, channels"},
	{"skynet_join", run_skynet_join, 1000000, WARM_TENTH, "the same, handles"},
	{"skynet_wg", run_skynet_wg, 1000000, WARM_TENTH, "the same, waitgroups"},
	{"fib", run_fib, 27, WARM_DEPTH, "one spawn of fork-join fib(n), handles"},
	{"fib_wg", run_fib_wg, 27, WARM_DEPTH, "the same, waitgroups"},
	{"fib_chan", run_fib_chan, 27, WARM_DEPTH, "the same, a channel each"},
	{0},
};
