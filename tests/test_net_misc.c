/* SPDX-License-Identifier: MIT
 * test_net_misc.c - signals as events, files in blocking regions, readiness of other kinds of descriptors. */
#include "nettest.h"
#include "netpoll.h"
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static sigset_t set_of(int a, int b)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, a);
	if (b)
		sigaddset(&s, b);
	return s;
}

typedef struct SigCall {
	sigset_t set;
	int64_t deadline;
	int r;
} SigCall;

static void call_signal_wait(void *arg)
{
	SigCall *c = arg;
	c->r = gmp_signal_wait(&c->set, c->deadline);
}

static void signals_main(void *arg)
{
	(void)arg;
	sigset_t s = set_of(SIGUSR1, SIGUSR2), none;
	sigemptyset(&none);
	check_int(gmp_signal_wait(NULL, SOON), -EINVAL);
	check_int(gmp_signal_wait(&none, SOON), -EINVAL);
	sigset_t bad = set_of(SIGSEGV, SIGUSR1);
	check_int(gmp_signal_wait(&bad, SOON), -EINVAL);
	int64_t d = gmp_now() + GMP_MSEC;
	check_int(gmp_signal_wait(&s, d), -ETIMEDOUT);
	check(gmp_now() >= d);
	check_int(gmp_signal_wait(&s, 0), -ETIMEDOUT);
	check_int(kill(getpid(), SIGUSR1), 0); /* pending before anybody waits */
	check_int(gmp_signal_wait(&s, SOON), SIGUSR1);
	for (int k = 0; k < 20; k++) {
		SigCall c = {.set = s, .deadline = SOON};
		gmp_g *g = start(call_signal_wait, &c);
		until_waiting(1);
		int sig = k % 2 ? SIGUSR1 : SIGUSR2;
		check_int(kill(getpid(), sig), 0);
		finish(g);
		check_int(c.r, sig);
	}
	SigCall c = {.set = s, .deadline = GMP_FOREVER};
	gmp_g *g = start(call_signal_wait, &c);
	until_waiting(1);
	check_int(gmp_cancel(g), 0);
	finish(g);
	check_int(c.r, -ECANCELED);
	/* two waiters for two signals */
	SigCall c1 = {.set = set_of(SIGUSR1, 0), .deadline = SOON}, c2 = {.set = set_of(SIGUSR2, 0), .deadline = SOON};
	gmp_g *g1 = start(call_signal_wait, &c1), *g2 = start(call_signal_wait, &c2);
	until_waiting(2);
	check_int(kill(getpid(), SIGUSR2), 0);
	check_int(kill(getpid(), SIGUSR1), 0);
	finish(g1);
	finish(g2);
	check_int(c1.r, SIGUSR1);
	check_int(c2.r, SIGUSR2);
}
static void signals(void **state) { (void)state, run_on_all(signals_main, NULL); }

static int stop_thread[2];

static void *idle_thread(void *arg)
{
	(void)arg;
	char c;
	while (read(stop_thread[0], &c, 1) < 0 && errno == EINTR)
		;
	return NULL;
}

/* SG-1: threads that never blocked the signal, M0 among them, do not swallow it and do not die of it. */
static void unblocked_main(void *arg)
{
	(void)arg;
	gmp_sleep(GMP_MSEC); /* likely on another thread than M0 now */
	for (int k = 0; k < 20; k++) {
		SigCall c = {.set = set_of(SIGTERM, SIGHUP), .deadline = SOON};
		gmp_g *g = start(call_signal_wait, &c);
		until_waiting(1);
		check_int(kill(getpid(), k % 2 ? SIGTERM : SIGHUP), 0);
		finish(g);
		check_int(c.r, k % 2 ? SIGTERM : SIGHUP);
	}
}
static void unblocked(void **state)
{
	(void)state;
	pthread_t t[3];
	assert_int_equal(pipe(stop_thread), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, idle_thread, NULL), 0);
	run_on_all(unblocked_main, NULL);
	close(stop_thread[1]);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	close(stop_thread[0]);
}

static void child_main(void *arg)
{
	(void)arg;
	sigset_t s = set_of(SIGCHLD, 0);
	SigCall c = {.set = s, .deadline = SOON};
	gmp_g *g = start(call_signal_wait, &c);
	until_waiting(1);
	pid_t pid = fork();
	if (pid == 0)
		_exit(7);
	finish(g);
	check_int(c.r, SIGCHLD);
	int st;
	check_int(waitpid(pid, &st, 0), pid);
	check_int(WEXITSTATUS(st), 7);
}
static void child(void **state) { (void)state, run_on_all(child_main, NULL); }

static void *foreign_signal_wait(void *arg)
{
	call_signal_wait(arg);
	return NULL;
}

static void foreign_signal(void **state)
{
	(void)state;
	SigCall c = {.set = set_of(SIGUSR1, 0), .deadline = gmp_now() + 60 * GMP_SEC};
	pthread_sigmask(SIG_BLOCK, &c.set, NULL);
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, foreign_signal_wait, &c), 0);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	pthread_join(t, NULL);
	assert_int_equal(c.r, SIGUSR1);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void files_main(void *arg)
{
	(void)arg;
	char path[] = "/tmp/gmp-file-XXXXXX", b[20];
	int fd = mkstemp(path);
	check(fd >= 0);
	check_int(gmp_close(fd), 0);
	fd = gmp_open(path, O_RDWR, 0);
	check(fd >= 0);
	check_int(gmp_pwrite(fd, "hello", 5, 100), 5);
	check_int(gmp_fsync(fd), 0);
	check_int(gmp_pread(fd, b, sizeof b, 100), 5);
	check_int(gmp_pread(fd, b, sizeof b, 1000), 0);
	check_int(gmp_write_all(fd, "0123456789", 10, SOON), 10);
	check_int(lseek(fd, 0, SEEK_SET), 0);
	check_int(gmp_read(fd, b, 4), 4);
	check_int(memcmp(b, "0123", 4), 0);
	check_int(gmp_read_full(fd, b, 6, SOON), 6);
	check_int(gmp_wait_fd(fd, GMP_READABLE, SOON), GMP_READABLE);
	check_int(gmp_close(fd), 0);
	check_int(gmp_pread(fd, b, 1, 0), -EBADF);
	check_int(gmp_fsync(-1), -EBADF);
	check_int(gmp_open("/nonexistent/file", O_RDONLY, 0), -ENOENT);
	check_int(gmp_open(NULL, O_RDONLY, 0), -EINVAL);
	int dir = gmp_open("/tmp", O_RDONLY | O_DIRECTORY, 0);
	check_int(gmp_read(dir, b, 1), -EISDIR);
	check_int(gmp_close(dir), 0);
	check_int(unlink(path), 0);
	fd = gmp_open(path, O_CREAT | O_EXCL | O_WRONLY, 0640);
	struct stat st;
	check_int(fstat(fd, &st), 0);
	check_int(st.st_mode & 0137, 0);
	check_int(gmp_close(fd), 0);
	check_int(unlink(path), 0);
}
static void files(void **state) { (void)state, run_on_all(files_main, NULL); }

/* A FIFO's open(2) blocks until the other side comes: the P is not held meanwhile, with one P, too. */
static void fifo_reader(void *arg)
{
	char b[10];
	int fd = gmp_open(arg, O_RDONLY, 0);
	check(fd >= 0);
	check_int(gmp_read_full(fd, b, 5, SOON), 5);
	check_int(gmp_close(fd), 0);
}

static void fifo_main(void *arg)
{
	(void)arg;
	char dir[] = "/tmp/gmp-fifo-XXXXXX", path[64];
	check(mkdtemp(dir) != NULL);
	snprintf(path, sizeof path, "%s/f", dir);
	check_int(mkfifo(path, 0600), 0);
	gmp_g *g = start(fifo_reader, path);
	int fd = gmp_open(path, O_WRONLY, 0);
	check(fd >= 0);
	check_int(gmp_write_all(fd, "hello", 5, SOON), 5);
	finish(g);
	check_int(gmp_close(fd), 0);
	check_int(unlink(path), 0);
	check_int(rmdir(dir), 0);
}
static void fifo(void **state) { (void)state, run_on_all(fifo_main, NULL); }

/* ---- other descriptors ------------------------------------------------------------------------------------------- */

static void pidfd_main(void *arg)
{
	(void)arg;
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(1);
	}
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0) {
		check_int(kill(pid, SIGKILL), 0);
		check_int(waitpid(pid, NULL, 0), pid);
		return;
	}
	check_int(gmp_wait_fd(fd, GMP_READABLE, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	Call c = {.fd = fd, .events = GMP_READABLE, .deadline = SOON};
	gmp_g *g = start(call_wait_fd, &c);
	until_waiting(1);
	check_int(kill(pid, SIGKILL), 0);
	finish(g);
	check_int(c.r, GMP_READABLE);
	check_int(waitpid(pid, NULL, 0), pid);
	check_int(gmp_close(fd), 0);
}
static void pidfd(void **state) { (void)state, run_on_all(pidfd_main, NULL); }

/* Standard descriptors are shared with others: they stay blocking, and can be read with a deadline all the same. */
static void stdin_main(void *arg)
{
	(void)arg;
	int fd[2], saved = dup(0);
	char b[10];
	check_int(pipe(fd), 0);
	check_int(dup2(fd[0], 0), 0);
	check_int(gmp_read_until(0, b, sizeof b, gmp_now() + GMP_MSEC), -ETIMEDOUT);
	Call c = {.fd = 0, .buf = b, .n = sizeof b, .deadline = SOON};
	gmp_g *g = start(call_read, &c);
	until_waiting(1);
	check_int(write(fd[1], "line\n", 5), 5);
	finish(g);
	check_int(c.r, 5);
	check_int(fcntl(fd[0], F_GETFL) & O_NONBLOCK, 0);
	check_int(gmp_close(0), 0);
	check_int(dup2(saved, 0), 0);
	check_int(close(saved) | close(fd[0]) | close(fd[1]), 0);
}
static void standard_input(void **state) { (void)state, run_on_all(stdin_main, NULL); }

/* WK-7: looks that do not wait leave a break to the sleep that comes after them, which it ends; the next one it does not. */
static void break_main(void *arg)
{
	Queue q = {NULL, NULL};
	(void)arg;
	for (int i = 0; i < 3; i++) {
		gmp__netpoll_break();
		check_int(gmp__netpoll(&q, 0), 0);
		check_int(gmp__netpoll(&q, 0), 0);
		int64_t start = gmp_now();
		check_int(gmp__netpoll(&q, 10 * GMP_SEC), 0);
		check(gmp_now() - start < 9 * GMP_SEC);
		start = gmp_now();
		check_int(gmp__netpoll(&q, 5 * GMP_MSEC), 0);
		check(gmp_now() - start >= 5 * GMP_MSEC);
	}
}
static void breaks(void **state) { (void)state, run_alone(break_main, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(signals),
	        cmocka_unit_test(unblocked),
	        cmocka_unit_test(child),
	        cmocka_unit_test(foreign_signal),
	        cmocka_unit_test(files),
	        cmocka_unit_test(fifo),
	        cmocka_unit_test(pidfd),
	        cmocka_unit_test(standard_input),
	        cmocka_unit_test(breaks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
