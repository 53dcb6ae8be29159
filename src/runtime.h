/* SPDX-License-Identifier: MIT
 * runtime.h - every shared struct of the scheduler: G, M, P, Sched, Sudog, Timer. Read this first.
 *
 * G is a coroutine, M an OS thread, P the right to run Gs and the resources for it. An M runs Gs while it holds a P.
 * The words are those of Go's runtime (proc.go), the mechanism is not: a P is a biased lock.
 *
 * The essay of P ownership stands in p.c, of parking in proc.h, of wake-ups in sched.c. */
#ifndef GMP_RUNTIME_H
#define GMP_RUNTIME_H

#include "atomic.h"
#include "base.h"
#include "debugvars.h"
#include "gmp.h"
#include "list.h"
#include "lock.h"
#include "os.h"
#include "sanitize.h"
#include "stack.h"
#include "throw.h"
#include <errno.h>
#include <signal.h>

typedef struct gmp_g G;
typedef struct M M;
typedef struct P P;
typedef struct Sched Sched;
typedef struct Timer Timer;

/* ---- G ---------------------------------------------------------------------------------------------------------- */

/* State of a G. Written by gstatus() alone.
 *   Gidle      on a free list, or never used. Owns no stack.
 *   Grunnable  on exactly one run queue (or a runnext). Its stack, if it has one yet, is nobody's. Runs no user code.
 *   Grunning   curg of one M, which executes on its stack. The M may have lost its P (long computation).
 *   Gsyscall   the same, inside a declared blocking region: the M has given up its P.
 *   Gwaiting   parked: recorded where its waker will look. A channel peer may write through its Sudog's elem.
 *   Gdead      ended, kept for its joiner. Owns no stack. */
enum { Gidle, Grunnable, Grunning, Gsyscall, Gwaiting, Gdead };

/* Why a G waits. X(name, text) */
#define WAITREASONS(X) \
	X(NONE, "") \
	X(SLEEP, "sleep") \
	X(JOIN, "join") \
	X(CHAN_SEND, "chan send") \
	X(CHAN_RECV, "chan receive") \
	X(CHAN_NIL, "chan operation on NULL") \
	X(SELECT, "select") \
	X(SELECT_NONE, "select (no cases)") \
	X(MUTEX, "mutex lock") \
	X(RWMUTEX_R, "rwmutex rlock") \
	X(RWMUTEX_W, "rwmutex lock") \
	X(COND, "cond wait") \
	X(WAITGROUP, "waitgroup wait") \
	X(SEM, "sem acquire") \
	X(ONCE, "once") \
	X(GROUP, "group wait") \
	X(IO_READ, "IO wait (read)") \
	X(IO_WRITE, "IO wait (write)") \
	X(SIGNAL, "signal wait")
enum {
#define X(name, text) WAIT_##name,
	WAITREASONS(X)
#undef X
		WAIT_COUNT
};

/* G flags. Written by the G itself, or by others under stopworld(). */
enum {
	GF_JOINABLE = 1,   /* was spawned with a handle; never changes */
	GF_CANCELLED = 2,  /* gmp_cancel */
	GF_LOCKED = 4,     /* gmp_lock_thread: runs on one M only */
	GF_FPENV = 8,      /* owns its FP control words */
	GF_FOREIGN = 16,   /* stands for a foreign thread: ready means waking that thread */
	GF_NOCANCEL = 32,  /* the wait it is in does not end by cancellation (lock after cond_wait) */
	GF_VIAG0 = GF_LOCKED | GF_FPENV, /* such a G is switched to and from by g0 only */
};

/* A G (or one case of its select) on a wait queue. The plain kind is embedded in the G. */
typedef struct Sudog {
	Link link;   /* first: a Link * of a wait queue is a Sudog * */
	void *elem;  /* value to send, or where to receive; NULL: drop */
	uintptr_t g; /* the G, plus SG_ bits */
} Sudog;
enum {
	SG_CONTESTED = 1, /* several may end this wait (deadline, other cases): a waker must win claim() first */
	SG_SELECT = 2,    /* one case of a select: the waker reports the Sudog */
	SG_BITS = 3,
};

/* What parking, readying and switching touch comes first: two cache lines of the three or so. */
struct gmp_g {
	Sudog sg;          /* link: its place in the one queue it is on. elem: before the start, the argument */
	uint8_t status;
	uint8_t waitreason;
	uint16_t flags;
	uint32_t claim;    /* sequence << 1 | taken: of the contested wait, see proc.h */
	gmp__gobuf ctx;    /* where it goes on; ret: what its wait returns */
	Stack *stack;      /* bound at the first dispatch */
	void *waitobj;     /* what it waits for */
	Queue *waitq;      /* where its own Sudog is queued; NULL: nowhere */
	uint8_t *waitlock; /* lock byte of that queue: free again once the park has committed */
	uint32_t since;    /* coarse clock (ms) when it parked */
	uint8_t parklock;  /* waitlock of waits on no queue, or on several */
	uint8_t joinlock;  /* guards joiner and the step to Gdead of a joinable G */
	uint8_t detached;  /* a handle existed and was given up; guarded by joinlock */
	uint8_t pad;
	struct GExt *ext;  /* the rare rest, or NULL */
	gmp_fn *fn;
	uint64_t id;
	void *spawnpc;     /* who called spawn */
	G *joiner;
#if SAN_BUILD
	SanFiber san;
	gmp_fn *sanfn;     /* fn and argument, while gmp__san_main stands in their place */
	void *sanarg;
#endif
};
_Static_assert(offsetof(struct gmp_g, sg) == 0, "a Link of a run queue is a G");
_Static_assert(offsetof(gmp__gobuf, m) == 32, "arch/*.S and gmp.h know this layout");
#if !SAN_BUILD
_Static_assert(sizeof(struct gmp_g) <= 160, "a parked coroutine's budget: docs/memory");
#endif

static inline G *link2g(Link *l) { return (G *)(void *)l; }
static inline Sudog *link2sg(Link *l) { return (Sudog *)(void *)l; }
static inline G *sg2g(const Sudog *sg) { return (G *)(sg->g & ~(uintptr_t)SG_BITS); }

#define GMP_MAX_KEYS 128

/* What few Gs need. Allocated on first use, freed when the G ends or its handle goes. */
typedef struct GExt {
	char name[32];
	size_t stack_size;   /* 0: the default class */
	void *args;          /* gmp_spawn_copy's copy */
	struct KeyValues *keys; /* NULL until the first gmp_key_set; local.c */
	M *lockedm;
	uint32_t lockcount;  /* nesting of gmp_lock_thread */
	uint32_t fp[2];      /* control words of a GF_FPENV G while it does not run */
	gmp_group *group;
	Link grouplink;      /* guarded by the group's lock, as member */
	G *member;           /* whose ext this is, while it is on a group's list */
	Note note;           /* GF_FOREIGN: the thread sleeps here */
} GExt;

/* ---- timers ------------------------------------------------------------------------------------------------------ */

/* Runs on g0 or a G's stack of an M that holds a P, in the runtime, no lock held. Must not block. */
typedef void TimerFn(M *m, void *arg, uintptr_t seq);

struct Timer {
	int64_t when, period;
	TimerFn *f;
	void *arg;
	uintptr_t seq;
	P *p;         /* whose timers; stays set once it was added */
	uint32_t id;  /* its number at that P, from 1; 0: not pending. Guarded by the timers' lock */
	uint32_t popped; /* how often it was due (gmp_timer). Guarded by the timers' lock */
};

/* What a P knows of a timer, by id - 1: those of many are moved about without touching one. */
typedef struct TimerRef {
	Timer *t;         /* NULL: the id is free */
	int64_t when;
	uint32_t at;      /* index in the heap, or TIMER_WHEEL + its slot */
	uint32_t prev, next; /* in a slot: ids, 0 none. Of a free id: the next free one */
} TimerRef;
typedef struct TimerEntry { int64_t when; uint32_t id; } TimerEntry;
enum { TIMER_LEVELS = 6, TIMER_LEVEL_BITS = 8, TIMER_SLOTS = TIMER_LEVELS << TIMER_LEVEL_BITS, TIMER_LISTS = 4 };
#define TIMER_WHEEL 0x80000000u
typedef struct Timers {
	uint8_t lock;
	uint32_t n, nheap; /* pending; of these in the heap */
	uint32_t cap;      /* of heap and ref */
	uint32_t free;     /* ids that were given back; 0 none */
	TimerRef *ref;
	TimerEntry *heap;  /* 4-ary, smallest `when` first: up to the unit `edge`. The wheel has what is later (timer.c) */
	uint64_t edge;
	int64_t minwhen;   /* not later than any, or INT64_MAX: none; written under lock, read by anyone */
	uint64_t npopped;  /* so many were due; written under lock, read by anyone */
	uint32_t words;    /* bit w: occupied[w] is not 0 */
	uint64_t occupied[TIMER_SLOTS / 64]; /* bit s: slot[s] is not empty */
	uint32_t moving;   /* TW-4: 1 + the slot that is emptied; 0: none */
	uint32_t slot[TIMER_SLOTS][TIMER_LISTS]; /* ids of the first ones; the list of id is id % TIMER_LISTS */
} Timers;

/* ---- P ----------------------------------------------------------------------------------------------------------- */

enum { Pidle, Prunning, Pdead };

/* A run queue with its length; the length may be read by anyone, as a hint. */
typedef struct RunQ {
	Queue q;
	uint32_t n;
} RunQ;

enum { GFREE_LOCAL = 512, GFREE_BATCH = 255 }; /* most free Gs at a P; so many go to the others then */

/* Everything up to `lock` is plain data of whoever owns the P (PO-1 in p.c). */
struct P {
	_Alignas(FALSE_SHARING) G *runnext; /* readied last: runs next, in the time slice of its waker */
	RunQ runq;         /* Gs that have run before, first in first out */
	RunQ fresh;        /* Gs that never ran, and spawners who wait for theirs (RA-1), last in first out: few live stacks in
	                    * fork-join trees */
	uint32_t ticks;    /* switches until the next visit to g0 (clock, timers, network, global queue); TK-1: never 0 when a G
	                    * is dispatched, it is counted down before it is looked at */
	uint64_t schedtick; /* dispatches: sysmon compares */
	uint32_t ngfree;   /* in gfree, below */
	uint32_t stolen;   /* Gs of the last theft, not judged yet: judge_theft() */
	int64_t stolenat;
	uint64_t stolenended; /* nended then */
	P *stolenfrom;     /* read by anyone */
	int64_t stealpause, stealafter; /* no thefts from busy Ps before stealafter */
	uint64_t nextid, idend, idbatch;
	int64_t now;       /* clock at the last visit to g0; read by anyone */
	int64_t tickedat;  /* at the last tick: findrunnable */
	int64_t slicestart; /* FQ-1 */
	uint64_t freshtick; /* FQ-2: schedtick when it was last asked, and: has one of the fresh queue run since? */
	bool ranfresh;
	int64_t aloneat;   /* SOLO-6: since when all other Ps are idle, at each look; 0: they are not */
	int64_t lookedat;  /* TM-8: when it last looked at everyone's timers */
	int64_t batchat, batchtook; /* TM-7: when timers that had gathered were run (0: all done); how long the last took */
	int64_t freshsince; /* when the fresh queue was last seen empty */
	uint32_t awaitvain, awaitskip; /* gmp__foreign_await: in vain so often; not so many times */
	uint32_t warmstacks; /* so many at the head of runq have the page of their stack in the TLB: prefetch.c */
	uint64_t rand;
	StackCache stacks;
	G *gfree[GFREE_LOCAL + 1]; /* Gidle Gs, the last one that ended at the end (GD-4) */
	uint64_t nspawned, nended, nparks, nreadies, nsteals; /* one writer, racy readers */
	/* RG-1, regroup.c. The first three are read by anyone. */
	uint64_t rate;     /* work_ticks a ms in the last window */
	uint64_t windowticks; /* work_ticks when that ended */
	int64_t windowat;  /* when it did; 0: the P was idle since */
	uint64_t ncontended, contendedseen; /* object locks found taken; at the end of the window */
	bool windowalone;  /* all other Ps have been idle since then */

	/* Hints that thieves write, too. */
	_Alignas(CACHELINE) uint32_t quiet; /* WK-4: HINT_IDLE while wake-ups are left out, else 0 */
	int64_t quietsince, quietuntil;
	int64_t quietfor; /* for how long after the last vain one, 0: they were not vain of late */
	uint64_t calledat; /* its work_ticks when somebody was last woken for it */
	int64_t lockpause, lockafter; /* of this P's runnext: not to be stolen before lockafter */
	int64_t togetheruntil; /* RG-2: nobody is to steal here before that */
	bool lockparked;   /* a G has parked for a mutex here since the last theft */

	_Alignas(CACHELINE) Lock lock; /* foreigners that want this P (PO-2) */
	uint32_t status;   /* guarded by sched.lock */
	M *m;              /* its owner; written under lock */
	P *link;           /* sched.pidle */
	uint64_t wirings;  /* times that an M got it */
	int32_t id;
	/* sysmon's notes */
	uint64_t sysmontick;
	int64_t sysmonwhen, sysmoncpu, sysmoncpuwhen;

	_Alignas(CACHELINE) Timers timers;
	uint32_t stealreq; /* who asks this P for work: RQ-1, steal.c */
	RunQ gift, giftfresh; /* the answer: RQ-2 */
};

/* ---- M ----------------------------------------------------------------------------------------------------------- */

/* m->revoke bits: why entering the runtime is not free. */
enum {
	RV_LOST = 2,   /* the P is gone */
	RV_ATTN = 4,   /* look round at the next scheduling point: time slice over, timer due, steal request */
	RV_FENCE = 8,  /* constant in processes without membarrier: each entry pays a fence */
	RV_ONE = 256,  /* a foreigner holds p->lock and wants the P, or its contents, or everything to stand still. A count:
	                * one who is late may still ask an M that has moved on to another P, whose foreigner asks too */
	RV_REVOKE = -256,
};

/* The two words that the landing of a switch clears: layout known to gmp.h and the arch files. */
typedef struct Landing {
	uint32_t inrt;   /* 1: in the runtime: the M alone touches its P */
	uint8_t dummy;   /* cleared when there is nothing to unlock */
	uint8_t *unlock; /* lock byte under which the former coroutine parked, or a dummy */
} Landing;

struct M {
	_Alignas(FALSE_SHARING) Landing land;
	/* All eight bytes 0: nobody asks for the P, and nobody else is at work (SY-3). gmp.h looks at them in one. */
	uint32_t revoke;
	uint8_t shared;     /* 0: its coroutine may be alone (SOLO-5, solo.c) */
	uint8_t foreign;    /* not a thread of ours: stands for foreign threads, one at a time */
	uint8_t spinning;   /* looks for work, counted in sched.nmspinning */
	uint8_t insyscall;  /* nesting of gmp_blocking_enter */
	P *p;
	G *curg;

	gmp__gobuf g0;      /* the scheduler's own context */
	Landing g0land;     /* its landing: g0 stays in the runtime */
	void (*g0fn)(M *, G *); /* what g0 is to do first with the G that came */
	G *g0arg;

	P *oldp;            /* P it had last */
	G *lockedg;
	Note park;
	M *idlelink;        /* sched.midle */
	M *alllink;         /* sched.allm */
	int32_t id;
	uint8_t exiting;    /* leaves when it gets to idle */
	uint8_t is_m0;
	uint8_t longslice;   /* SM-4; written by sysmon before the M can see RV_LOST, then by the M */
	uint8_t lockedready; /* lockedg was found, this M has a P for it; under sched.lock (LM-1, m.c) */
	pthread_t handle; /* for the join at the end; written by who started it */
	uint32_t started; /* its writer is done with that */
	pthread_t thread; /* the same, written by the thread itself; 0 before */
	uint64_t tid;     /* likewise */
#if SAN_BUILD
	SanFiber san;       /* of g0 */
	Landing sanland;    /* a landing that does nothing */
#endif
};
_Static_assert(offsetof(Landing, inrt) == 0 && offsetof(Landing, unlock) == 8, "gmp.h and the arch files know this");
_Static_assert(offsetof(M, land) == 0, "a resumed context gets its M as the landing");

/* ---- sched ------------------------------------------------------------------------------------------------------- */

#define MAXPROCS 1024

/* hints: one word that the hot paths look at to learn that nothing special is up. */
enum {
	HINT_IDLE = 1,   /* there are idle Ps: new work may want a wake-up */
	HINT_FENCE = 2,  /* no membarrier: a submitter pays the fence */
	HINT_ENDING = 4, /* shutdown: no more spawns */
	HINT_TAIL = 8,   /* GMP_DEBUG=runnext=0: who is readied queues up at the tail */
};

enum { ST_DOWN, ST_UP, ST_FORKED };

struct Sched {
	/* read by everyone, written rarely */
	uint32_t hints;
	uint32_t coarse_ms; /* clock of sysmon and of visits to g0, for ages */
	uint32_t runahead; /* debug variable, UINT32_MAX: never; constant during a run */
	uint8_t solo;      /* one P does all the work: object locks are not needed (SOLO-1, solo.c) */
	uint8_t embedded;  /* gmp_start: the end of the last G does not end the run */
	uint8_t multi;     /* more than one P: spinning makes sense */
	int32_t state;     /* ST_, under lock */
	int32_t procs;
	P *solop;          /* that P, NULL: nobody's at the moment; under lock, read anywhere */
	P *allp[MAXPROCS]; /* never freed; entries beyond procs are Pdead */
	int32_t nallp;     /* entries ever made */
	uint32_t ticksinit;

	_Alignas(FALSE_SHARING) Lock lock; /* guards what follows */
	RunQ runq;         /* the global queue */
	P *pidle;
	uint32_t npidle;
	uint32_t ntransit; /* Ps between an M and the idle list, PO-8 */
	uint8_t stw;       /* the world is stopped or about to be */
	M *midle;
	uint32_t nmidle;
	M *allm;
	M *mgone;          /* whose thread ends or has ended, and is not joined yet (MX-2, m.c) */
	M *mfree;          /* without a thread */
	uint32_t mcount;   /* Ms alive, starting ones included */
	uint32_t mstarting; /* Ms being woken or started: not to be freed yet */
	int32_t mnext;
	int32_t maxm;
	uint32_t nlockedidle; /* Ms that sleep for their locked G */
	struct GBatch *gfull, *gempty, *gopen; /* Gs that Ps had too many of: GD-4 in g.c */
	uint32_t ngopen;   /* left in gopen */
	Queue gfree;       /* free ones that are in no batch */
	uint8_t starting;  /* the main coroutine is not there yet: the end of others is not the end of the run */
	uint8_t done;      /* every M leaves */
	uint8_t deadlocked;
	uint8_t threadwarned;
	int64_t solowait, solonext, solobegan; /* SOLO-6; solonext is read anywhere */
	uint64_t nspawned, nended; /* by threads without a P, and of Ps that are no more */

	_Alignas(FALSE_SHARING) uint32_t nmspinning;
	uint32_t waitersnet; /* Gs parked in the network poller */
	uint32_t polling;    /* 1: an M blocks in netpoll, or is about to (WK-7) */
	int64_t polluntil;   /* its deadline */
	uint8_t pollshort;   /* WK-7: the last sleep in the poller was short; of who polls, like the next two */
	uint32_t pollvain, pollskip;
	int64_t gather;      /* TM-7: 0, or how far apart deadlines are served */
	int64_t gathered;    /* when some were last */
	int64_t gatherat;    /* when gather was last judged, and how many timers had been due by then */
	uint64_t gatherpopped;
	int64_t lastpoll;    /* when the network was last looked at */
	uint32_t sysmonsleep; /* 1: deep asleep */
	Note sysmonnote;
	Note donenote;       /* gmp_stop waits here */
	int32_t nhold;       /* gmp_hold */
	int32_t nstanding;   /* pending timers of descriptors (DT-6, net_timer.c) */
	int32_t nforeign;    /* foreign threads that took part in this run and are alive */
	uint64_t nhandoffs, npolls, nwakes, nforeignreadies;

	_Alignas(FALSE_SHARING) uint32_t barrier; /* BA-1, barrier.c */
	uint64_t nbarriers;

	_Alignas(FALSE_SHARING) uint64_t alonerate; /* hints of regroup.c, under no lock: RG-1 */
	int64_t alonewhen; /* when that was measured */
	int64_t triedat;   /* when somebody last gave way to learn it */
	int64_t spreadpays; /* RG-2: not to be asked before that */
	int64_t apart;     /* for how long nobody was to steal, the last time */
	uint32_t npays;    /* so often in a row it paid to be spread */

	_Alignas(FALSE_SHARING) Lock foreign; /* one foreigner in the runtime at a time (PO-7, p.c) */
	M foreignm;        /* its M */
	uint64_t run;      /* number of the present run */
	uint64_t idgen;
	int64_t starttime;
	gmp_config cfg;
	sigset_t sigmask;  /* of who started the run: what coroutines run under, and programs that they start inherit */
	uint64_t seed;     /* of this run */
};

extern hidden Sched gmp__sched;
#define sched gmp__sched

static inline uint64_t gmp__p_seed(int id) { return sched.seed + (uint64_t)id * 0x9e3779b97f4a7c15u; }

/* ---- who calls what across files; each group under the file that defines it --------------------------------------- */

/* arch/<machine>.S */
void gmp__gostart(void);                     /* a fresh G's first PC */
void gmp__gogo(gmp__gobuf *to) __attribute__((noreturn)); /* go to a context, saving none */
void gmp__fp_save(uint32_t fp[2]);           /* FP control words of the machine */
void gmp__fp_load(const uint32_t fp[2]);

/* switch.c */
intptr_t gmp__switch_c(gmp__gobuf *from, gmp__gobuf *to); /* as an ordinary function */
#if SAN_BUILD
void gmp__san_main(void *g);
void gmp__san_exit(SanFiber *from, gmp__gobuf *to) __attribute__((noreturn));
#endif

/* g.c */
GExt *gmp__gext(G *gp);                      /* NULL: no memory */
void gmp__g_foreach(void (*f)(G *, void *), void *arg); /* every G ever made; any thread, states may change under it */
uint64_t gmp__glive(void);                   /* under sched.lock, exact while all Ps are idle */
void gmp__g_end_run(void);

/* spawn.c */
int gmp__newproc(G **out, const gmp_attr *attr, gmp_fn *fn, void *arg, void *pc, const void *copy, size_t size,
                 gmp_group *grp);
int gmp__newproc_rt(M *m, gmp_fn *fn, void *arg, void *x);
int gmp__newproc_with(gmp_fn *fn, void *arg, void *pc, void *x, void *y);

/* prefetch.c */
enum { COLD_WAITERS = 256, COLD_QUEUE = 2048 }; /* where so many wait for the network, or for this P (pages that a TLB holds): */
void gmp__warm_next(P *p);

/* join.c */
gmp__gobuf *gmp__goexit(void);

/* local.c */
void gmp__g_atexit(G *gp);                   /* a G with a GExt ends, in user mode: destructors of its keys, leaving its group */
void gmp__keys_end(GExt *x);
void gmp__local_fork_child(void); /* who held the lock may not exist in the child */

/* signal.c */
void gmp__signal_fork_child(void); /* likewise */

/* group.c */
void gmp__group_add(gmp_group *grp, G *gp);  /* in the runtime; gp is new */
void gmp__group_remove(gmp_group *grp, G *gp); /* likewise */
void gmp__group_exit(G *gp);
void gmp__group_abandon(G *gp);

/* foreign.c */
M *gmp__foreign_enter(void);                 /* a foreign thread, or anyone that must not use his P */
void gmp__foreign_leave(M *m);
G *gmp__foreign_await(M *m, P *p, int64_t now);
void gmp__foreign_newrun(void);
G *gmp__foreign_g(void);                     /* the calling foreign thread's G */
intptr_t gmp__foreign_sleep(G *gp);

/* barrier.c */
void gmp__barrier(void);

/* p.c */
M *gmp__enter_slow(M *m);
void gmp__acquirep(M *m, P *p);              /* sched.lock held */
P *gmp__releasep(M *m);                      /* sched.lock held */
void gmp__pidleput(P *p);                    /* sched.lock held */
P *gmp__pidleget(void);                      /* sched.lock held */
bool gmp__revoke(P *p, const M *self, int64_t patience); /* true: the P is stopped and p->lock is held */
void gmp__unrevoke(P *p);
void gmp__stopworld(void);
void gmp__startworld(void);
void gmp__safepoint(M *m);                   /* on g0: let a foreigner pass */
int gmp__procresize(int n);

/* solo.c */
void gmp__solo_init(void);
void gmp__solo_clear(void);                  /* sched.lock held, solop's owner stopped */
void gmp__solo_release(P *p);                /* sched.lock held */
void gmp__solo_look(M *m, P *p, int64_t now);
void gmp__solo_end_by_theft(P *p);           /* p is stopped by the caller, or the caller's own on g0 */
bool gmp__solo_intrude(M *m);
void gmp__solo_intrude_g0(M *m);
void gmp__solo_end(void);                    /* sched.foreign held */

/* m.c */
void gmp__startm(P *p, bool spinning);       /* p is idle, off the list and wired to nobody */
void gmp__stopm(M *m);                       /* sleep until given a P; the M has none */
void gmp__handoffp(P *p);
void *gmp__mstart(void *m);
M *gmp__m0_init(void);
void gmp__m_leave(M *m);
void gmp__m_reap(void);                      /* joins threads that have ended */
void gmp__m_exit_all(void);
void gmp__m_free_all(void);
void gmp__stoplockedm(M *m);
void gmp__startlockedm(M *m, G *gp);
enum { M_SLICE_NS = 300 * 1000 };            /* of the kernel's scheduler, for Ms (SM-4, sysmon.c) */

/* sched.c */
void gmp__schedule(M *m);                    /* g0's loop */
void gmp__wakep(void);
bool gmp__anything_queued(void);
void gmp__wakep_hint(M *m, P *p);
int64_t gmp__look_at_clock(P *p);
int64_t gmp__gather_until(int64_t now);
enum { GLOBRUNQ_BATCH = 128 };
G *gmp__globrunqget(P *p, uint32_t max);
void gmp__spin_begin(M *m);
void gmp__ready_slow(M *m, G *gp);           /* without a P: global queue */
void gmp__globrunqput(G *gp);                /* sched.lock held */
void gmp__injectlist(M *m, Queue *q, uint32_t n);
bool gmp__runtimers(M *m, P *p, int64_t now);
void gmp__lookround(M *m, P *p);
void gmp__checkdone(void);                   /* sched.lock held */
void gmp__preemptp(P *p);
void gmp__end_run(void);                     /* sched.lock held: every M leaves at its next look */

/* steal.c */
enum { SEARCH_NONE, SEARCH_VAIN, SEARCH_REFUSED }; /* none; nothing was there; something was, but its owner was in the runtime */
G *gmp__steal_work(M *m, P *p, int64_t now, uint8_t *how);
void gmp__steal_vain(P *p);
void gmp__quiet_for(P *p, int64_t now, int64_t ns);
void gmp__serve_request(P *p);
bool gmp__worth_waking(const P *p, uint64_t ticks, int64_t dt, int64_t now);

/* regroup.c */
void gmp__regroup_init(void);
void gmp__olock_slow(uint8_t *b);
void gmp__regroup(M *m, P *p, int64_t now);

/* timer.c: event source, never calls the scheduler */
int gmp__timer_add(P *p, Timer *t);          /* 0 or -ENOMEM */
bool gmp__timer_remove(Timer *t);            /* true: it was pending */
Timer *gmp__timer_pop(P *p, int64_t now, Timer *copy);
int64_t gmp__timers_min(void);
bool gmp__timers_wake(void);
void gmp__timers_clear(P *p);

/* cancel.c */
void gmp__cancel_locked(M *m, G *gp);        /* world stopped */

/* sysmon.c */
int gmp__sysmon_start(void);
void gmp__sysmon_stop(void);
void gmp__sysmon_wake(void);

/* netpoll.c over netpoll_<backend>.c: event source */
int gmp__netpoll_init(void);
/* Ready Gs to *q. timeout < 0: blocks; 0: polls; else ns. Number of Gs. */
uint32_t gmp__netpoll(Queue *q, int64_t timeout);
void gmp__netpoll_break(void);

/* dump.c, schedtrace.c */
void gmp__schedtrace(bool detail);
void gmp__deadlock_report(void);
void gmp__dump_fatal(int fd);

#endif
