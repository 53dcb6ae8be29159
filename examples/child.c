/* SPDX-License-Identifier: MIT
 * child.c - runs a program, passes on what it prints, and waits for its end by a pidfd, all without holding a thread.
 * Usage: child [-t SECONDS] [PROGRAM ARGUMENT...]
 */
#include <gmp.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct job {
	char **argv;
	int64_t limit;
	int status; /* of this program */
};

/* Starts argv[0] with its standard output in a pipe. 0 or a negative errno. No call of the library is in here, so that
 * errno is what the failed call has left there. */
static __attribute__((noinline)) int start(char **argv, pid_t *pid, int *pidfd, int *output)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC))
		return -errno;
	/* Coroutines run on threads that block all signals, and a program would inherit that: nobody could interrupt
	 * it. */
	sigemptyset(&none);
	int err = posix_spawnattr_init(&attr);
	if (!err) {
		err = posix_spawn_file_actions_init(&actions);
		if (!err) {
			posix_spawnattr_setsigmask(&attr, &none);
			posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
			err = posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
			if (!err)
				err = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
			posix_spawn_file_actions_destroy(&actions);
		}
		posix_spawnattr_destroy(&attr);
	}
	close(pipe_fds[1]);
	if (err) {
		close(pipe_fds[0]);
		return -err;
	}
	*pidfd = (int)syscall(SYS_pidfd_open, *pid, 0);
	if (*pidfd < 0) {
		err = errno;
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
		close(pipe_fds[0]);
		return -err;
	}
	*output = pipe_fds[0];
	return 0;
}

static void pass_on(void *arg)
{
	int fd = *(int *)arg;
	char buf[4096];
	ssize_t n;

	while ((n = gmp_read(fd, buf, sizeof buf)) > 0)
		fwrite(buf, 1, (size_t)n, stdout);
	fflush(stdout);
}

static void run(void *arg)
{
	struct job *job = arg;
	pid_t pid = 0;
	int pidfd = -1, output = -1, status = 0;
	gmp_g *reader = NULL;

	int err = start(job->argv, &pid, &pidfd, &output);
	if (err) {
		fprintf(stderr, "child: %s: %s\n", job->argv[0], strerror(-err));
		return;
	}
	err = gmp_spawn_attr(&reader, NULL, pass_on, &output);
	if (err)
		fprintf(stderr, "child: %s\n", strerror(-err));

	/* A pidfd becomes readable when its process ends. */
	if (gmp_wait_fd(pidfd, GMP_READABLE, gmp_now() + job->limit) < 0) {
		fprintf(stderr, "child: not finished in time\n");
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		gmp_wait_fd(pidfd, GMP_READABLE, GMP_FOREVER);
	}
	waitpid(pid, &status, 0); /* does not block any more */
	if (reader &&
		gmp_join_until(reader, gmp_now() + GMP_SEC) == -ETIMEDOUT) { /* a grandchild has the pipe, perhaps */
		gmp_cancel(reader);
		gmp_join(reader);
	}
	gmp_close(output);
	gmp_close(pidfd);
	if (WIFSIGNALED(status))
		printf("child: killed by signal %d\n", WTERMSIG(status));
	else
		printf("child: exit status %d\n", WEXITSTATUS(status));
	job->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	static char *example[] = {"sh", "-c", "echo hello from the child; sleep 1; echo done", NULL};
	struct job job = {.limit = 10 * GMP_SEC, .status = 127};
	int opt;

	while ((opt = getopt(argc, argv, "+t:")) != -1) {
		char *end = NULL;
		long seconds = opt == 't' ? strtol(optarg, &end, 10) : 0;
		if (seconds < 1 || seconds > 86400 || *end) {
			fprintf(stderr, "usage: child [-t SECONDS] [PROGRAM ARGUMENT...]\n");
			return 2;
		}
		job.limit = seconds * GMP_SEC;
	}
	job.argv = optind < argc ? argv + optind : example;
	int err = gmp_run(run, &job, NULL);
	if (err) {
		fprintf(stderr, "gmp_run: %s\n", strerror(-err));
		return 1;
	}
	return job.status;
}
