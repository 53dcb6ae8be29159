/* SPDX-License-Identifier: MIT
 * netpoll.h - the network poller: one PollDesc per descriptor, and the contract of the back ends (epoll, poll).
 * An event source: it returns lists of Gs and never calls the scheduler. Waiting on it, turns and closing: netfd.h.
 *
 * Each direction of a descriptor has a word: IO_NIL; IO_READY, an event that nobody has taken note of yet; a waiting G;
 * or a hook.
 *   NP-1 The waiter, who has the direction's turn, goes NIL -> G and READY -> NIL. Events go anything -> READY,
 *        always by read-modify-write: so an event is either seen by the waiter before it parks, or finds the waiter.
 *   NP-2 Taking a G out of a word does not yet give the right to ready it: claim() of the wait's sequence, kept in
 *        seq[], does (PK-2). Timers and cancellation claim too and leave the word alone: the G cleans up after itself.
 *   NP-3 Word, sequence and claim are read together under evlock by whoever finds a G there; a G that was in a word passes
 *        through evlock before it goes on (settle). So seq[] is that of the G that was found, and no late event hits a
 *        later wait.
 *   NP-4 Who won the claim passes through the G's parklock, which the G holds until its registers are saved (PK-3).
 *   NP-5 Events may be spurious (stale ones of a closed descriptor are mostly kept off by the tag): whoever is woken
 *        tries its system call again.
 *   NP-6 sched.waitersnet is raised before the G can be found and lowered by the G itself when it runs again, so that
 *        it is never too low: neither sleep without a poller nor a deadlock report while a wake-up is under way. */
#ifndef GMP_NETPOLL_H
#define GMP_NETPOLL_H

#include "runtime.h"

enum { IO_R = 0, IO_W = 1 };            /* directions: index of word, seq, drained */
enum { IO_RBIT = 1, IO_WBIT = 2 };      /* the same as a set */
enum { IO_NIL = 0, IO_READY = 1, IO_HOOKBIT = 2 };

/* Flags of a PollDesc, changed by read-modify-write only. */
enum {
	PD_KNOWN = 1,       /* the kind of descriptor has been found out, O_NONBLOCK is set where it may be */
	PD_SOCKET = 2,      /* send(MSG_NOSIGNAL) works */
	PD_TCP = 4,         /* a short count means: drained, or full */
	PD_FILE = 8,        /* cannot be polled: blocking regions */
	PD_POLLFIRST = 16,  /* shared with other processes that expect it to block: poll, then act */
	PD_PIPE = 32,       /* writing to it may raise SIGPIPE */
	PD_HUP = 64,        /* end of stream or error is near: always try */
	PD_URGENT = 128,    /* urgent data stop a read early: a short count means nothing */
	PD_INR = 256,       /* the back end reports the direction (epoll) */
	PD_INW = 512,
};

/* One descriptor; never freed, one cache line. Zero: nothing known. */
typedef struct PollDesc {
	uintptr_t word[2];  /* NP-1 */
	uint32_t seq[2];    /* claim sequence of the G in word[] */
	uint32_t users;     /* turns, closing and references: netfd.c */
	uint32_t tag;       /* generation, against stale events */
	Queue turnq;        /* who waits for a turn, foreign pollers, the closer; under lock */
	uint32_t flags;
	int32_t fd;
	uint8_t lock;
	uint8_t evlock;     /* NP-3; held for a few instructions, by Ms without a P too: always lockbyte */
	uint8_t drained[2]; /* nothing to be had before the next event; by the holder of the turn */
	uint8_t streak[2];  /* operations since the last wait; by the holder of the turn */
	uint8_t spare[2];
} PollDesc;
_Static_assert(sizeof(PollDesc) == 64, "an idle connection's budget: docs/memory");

/* The reader's deadline: net_timer.c. Beside the PollDesc, not in it: most descriptors never need one. */
typedef struct FdTimer {
	Timer t;          /* seq: the descriptor's tag */
	int64_t deadline; /* DT-1 */
} FdTimer;

/* In a word in the place of a G: an event is reported by calling f, out of any M, in no G. */
typedef struct Harvest Harvest;
typedef struct PollHook {
	void (*f)(struct PollHook *h, Harvest *to);
} PollHook;

/* What an event source returns. */
struct Harvest {
	Queue *q;
	uint32_t n;
};

typedef struct NetBackend {
	const char *name;
	int (*init)(void);
	void (*fini)(void); /* forgets everything; also in a forked child */
	/* The events of the directions `dirs` are reported from now on: those that are there already, and (at least) the
	 * next to come. 0; -EPERM: cannot be polled; other errors. */
	int (*arm)(PollDesc *pd, uint32_t dirs);
	void (*forget)(PollDesc *pd); /* is about to be closed */
	void (*poll)(Harvest *h, int64_t timeout);
	void (*wake)(void); /* ends the poll that blocks now, or the next one */
} NetBackend;
extern const NetBackend gmp__netpoll_epoll, gmp__netpoll_poll;

enum { NETPOLL_MAXFD = 1 << 24, NETPOLL_CHUNK = 1 << 10 }; /* a chunk of the table: PollDescs, then their FdTimers */
/* The descriptor's PollDesc; NULL: fd out of range, or no memory. Never blocks. */
PollDesc *gmp__netpoll_desc(int fd);
/* The same if there is one already. */
PollDesc *gmp__netpoll_find(int fd);
/* Of a descriptor that is in the table. */
static inline FdTimer *gmp__netpoll_timer(PollDesc *pd)
{
	uint32_t i = (uint32_t)pd->fd & (NETPOLL_CHUNK - 1);
	return (FdTimer *)(void *)(pd - i + NETPOLL_CHUNK) + i;
}
/* For back ends: events on the descriptor that had this tag. dirs: IO_RBIT, IO_WBIT; flags: PD_HUP, PD_URGENT. */
void gmp__netpoll_event(Harvest *h, int fd, uint32_t tag, uint32_t dirs, uint32_t flags);
/* An event on one direction, whatever the reason. */
void gmp__netpoll_fire(PollDesc *pd, int dir, Harvest *h);
int gmp__netpoll_arm(PollDesc *pd, uint32_t dirs);
void gmp__netpoll_forget(PollDesc *pd);
/* Before a direction's word, in which old was, is used anew: NP-3. */
void gmp__netpoll_settle(PollDesc *pd, int dir, uintptr_t old);

/* Number of forks that led to this process. */
extern hidden uint32_t gmp__netpoll_generation;

/* gp waits here and is to be cancelled; the world is stopped. True: the caller now owes the ready. */
bool gmp__netpoll_cancel(G *gp);

#endif
