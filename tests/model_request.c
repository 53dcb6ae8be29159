/* SPDX-License-Identifier: MIT
 * model_request.c - thieves ask for work (steal.c, RQ-1..4) by exhaustive interleaving: Ms, each with a P of its own, run down
 * their queues, answer who asks them, search when they are dry, give up, search again, and end; a foreign thread stops
 * the world. Each G runs once. The functions bear the names of the real ones and follow their steps.
 *
 * Left out: what decides whether to ask (a searcher asks, polls and gives up as it likes), theft by force and how one gets into
 * the runtime (model_pown.c: to enter is one step here), RV_ATTN (an owner comes by sooner or later, or never), who is woken
 * (model_wake.c), the order of queues, loads that are overtaken. */
#define IL_T 4
#define IL_V 14
#define IL_DEPTH 3
#include "interleave.h"

enum { NP = 3 }; /* thread t has P t */
/* GIFT: a bit for each G */
enum { STEALREQ = 0, GIFT = STEALREQ + NP, GIFTN = GIFT + NP, INRT = GIFTN + NP, REVOKE = INRT + NP, WORDS };
_Static_assert(WORDS <= IL_V, "");
enum { ANSWERED = 0x10 };

enum { M_NONE, M_ANSWER_STORE, M_ANSWER_OR, M_ANSWER_RELAXED, M_ADD, M_KEEP_GIFT, M_SERVE_OUTSIDE, M_LONE, M_ALL, M_ASK_BLINDLY,
	M_ASK_STORE, M_ASKED_LAST, M_RECEIVE_ANY, M_CLEAR_FIRST, M_CLEAR_RELAXED, M_NO_WITHDRAW, M_WITHDRAW_STORE,
	M_WITHDRAW_ANY, M_WITHDRAW_OUTSIDE, M_NO_LATE_RECEIVE, M_UNSEEN_RECEIVE, M_FIRST_ONLY, M_NO_PICK, M_SAFEPOINT };
enum { H_POLLED, H_LATE, H_BACK, H_PUT_BACK, H_DECLINED, H_DECLINE_LATE, H_WITHDRAW_DECLINED, H_TAKEN, H_AGAIN, H_OTHER, H_BOTH,
	H_DRY, H_PASSED_ON, H_RETURNED, H_WORLD_THIEF, H_WORLD_OWNER };
static const char *const reach[] = {"a poll finds the answer", "withdraw finds the answer", "a request taken back",
	"taken back while the owner answers", "declined", "taken back while the owner declines",
	"declined while the thief takes it back", "somebody else has asked before", "taken back, asked anew, then answered",
	"an answer after other work was found", "answers of two", "the owner is dry and gone before its answer is taken",
	"a gift of what was a gift", "Gs that come back", "stopworld waits for a searcher with a gift",
	"stopworld waits for an owner that fills one", NULL};

struct S {
	Il il;
	uint8_t ran, global, spawn; /* spawn: by the first G of M0 that runs */
	uint8_t again; /* who has asked P0 anew since it looked: ghost */
	struct {
		uint8_t runq, fresh;
		uint8_t rounds;    /* searches that are left */
		uint8_t req, n;    /* what serve_request has read; gift.n */
		uint8_t asked, any, v, gp, given;
		uint8_t uses;      /* P + 1 whose gift it uses: ghost */
	} m[IL_T];
};
#define ME (s->m[t])

static uint8_t all; /* Gs */
static uint8_t victims; /* Ps that may be asked */
static int nm;

/* ---- what must hold ------------------------------------------------------------------------------------------------ */

static bool under_way(const S *s, int t, int var)
{
	for (int i = 0; i < s->il.nbuf[t]; i++)
		if ((s->il.buf[t][i][0] & ~IL_RELAXED) == var)
			return true;
	return false;
}

/* t begins to use P p's gift, or goes on. */
static void use(S *s, int t, int p)
{
	for (int o = 0; o < nm; o++)
		if (o != t && (s->m[o].uses == p + 1 || under_way(s, o, GIFT + p) || under_way(s, o, GIFTN + p)))
			il_fail("RQ-2: M%d and M%d use P%d's gift", o, t, p);
	ME.uses = (uint8_t)(p + 1);
}

static void run(S *s, uint8_t g)
{
	if (s->ran & g)
		il_fail("a G is run twice");
	s->ran |= g;
}

/* As t sees it, who leaves its search. */
static void left(const S *s, int t)
{
	for (int p = 0; p < nm; p++) {
		uint8_t r = ld(s, t, STEALREQ + p);
		if ((r & ~ANSWERED) == t + 1)
			il_fail("RQ-3: M%d has left its search, its %s", t, r & ANSWERED ? "gift lies" : "request stands");
	}
}

static void invariant(const S *s)
{
	for (int p = 0; p < nm; p++) {
		int who = s->il.v[STEALREQ + p] & ~ANSWERED;
		if (who > nm || who == p + 1 || (!who && s->il.v[STEALREQ + p]))
			il_fail("RQ-1: P%d's stealreq is %d", p, s->il.v[STEALREQ + p]);
		if (who && !s->il.v[INRT + who - 1])
			il_fail("RQ-3: M%d has left the runtime, its request stands", who - 1);
	}
}

static void terminal(const S *s)
{
	for (int t = 0; t < il_threads; t++)
		if (!s->il.done[t])
			il_fail("stuck: %s", il_thread_name[t]);
	if ((s->ran | s->global) != all)
		il_fail("lost: Gs 0x%x", all & ~(s->ran | s->global));
}

/* ---- the owner ------------------------------------------------------------------------------------------------------ */

static int count(int gs) { return __builtin_popcount((unsigned)gs); }

/* Where stores are weak, one that fails is no more than a load. */
static bool cas(S *s, int t, int var, int from, int to)
{
	if (il_weak && ld(s, t, var) != from)
		return false;
	if (*rmw(s, t, var) != from)
		return false;
	*rmw(s, t, var) = (uint8_t)to;
	return true;
}

/* From the lowest on: the oldest. */
static uint8_t take_half(uint8_t *src)
{
	uint8_t got = 0;
	for (int n = (count(*src) + 1) / 2; n > 0; n--) {
		uint8_t g = (uint8_t)(*src & -*src);
		*src = (uint8_t)(*src & ~g);
		got |= g;
	}
	return got;
}

static uint8_t picknext(S *s, int t)
{
	uint8_t g = 0;
	if (ME.runq)
		g = (uint8_t)(ME.runq & -ME.runq);
	else if (ME.fresh)
		g = (uint8_t)(1 << (31 - __builtin_clz(ME.fresh)));
	ME.runq = (uint8_t)(ME.runq & ~g);
	ME.fresh = (uint8_t)(ME.fresh & ~g);
	return g;
}

static bool answer(S *s, int t)
{
	if (MUT(M_ANSWER_STORE)) {
		st(s, t, STEALREQ + t, ME.req | ANSWERED);
		return true;
	}
	if (MUT(M_ANSWER_OR)) {
		*rmw(s, t, STEALREQ + t) |= ANSWERED;
		return true;
	}
	if (MUT(M_ANSWER_RELAXED) && s->il.v[STEALREQ + t] == ME.req) { /* the gift is still on its way */
		s->il.v[STEALREQ + t] |= ANSWERED;
		return true;
	}
	return cas(s, t, STEALREQ + t, ME.req, ME.req | ANSWERED);
}

static int serve_request(S *s, int t, int d)
{
	BEGIN;
	STEP("serve: load stealreq");
	ME.req = ld(s, t, STEALREQ + t);
	if (!ME.req || (ME.req & ANSWERED && !MUT(M_ADD))) {
		ME.req = 0;
		RETURN;
	}
	if (t == 0)
		s->again = 0;
	if (count(ME.runq | ME.fresh) < (MUT(M_LONE) ? 1 : 2)) {
		STEP("serve: decline");
		if (cas(s, t, STEALREQ + t, ME.req, 0))
			REACHED(H_DECLINED);
		else
			REACHED(H_DECLINE_LATE);
		ME.req = 0;
		RETURN;
	}
	STEP("serve: take_half, fresh");
	use(s, t, t);
	ME.n = take_half(&ME.fresh);
	st_rlx(s, t, GIFTN + t, ld(s, t, GIFTN + t) + count(ME.n));
	st_rlx(s, t, GIFT + t, ld(s, t, GIFT + t) | ME.n);
	STEP("serve: take_half, runq");
	use(s, t, t);
	if (ld(s, t, GIFT + t) & ME.given)
		REACHED(H_PASSED_ON);
	ME.n = !ME.n || count(ME.runq) > 1 || MUT(M_ALL) ? take_half(&ME.runq) : 0;
	st_rlx(s, t, GIFTN + t, ld(s, t, GIFTN + t) + count(ME.n));
	st_rlx(s, t, GIFT + t, ld(s, t, GIFT + t) | ME.n);
	if (ME.n & ME.given)
		REACHED(H_PASSED_ON);
	if (ld(s, t, GIFTN + t) + count(ME.runq | ME.fresh) < 2)
		il_fail("RQ-4: a lone G is given away");
	ME.n = 0;
	STEP("serve: answer");
	if (answer(s, t)) {
		if (t == 0 && s->again == (ME.req & ~ANSWERED))
			REACHED(H_AGAIN);
		ME.uses = ME.req = 0;
		RETURN;
	}
	REACHED(H_PUT_BACK);
	ME.req = 0;
	if (!MUT(M_KEEP_GIFT)) {
		STEP("serve: put back");
		use(s, t, t);
		ME.runq |= ld(s, t, GIFT + t);
		st_rlx(s, t, GIFT + t, 0);
		st_rlx(s, t, GIFTN + t, 0);
	}
	ME.uses = 0;
	END;
}

/* ---- the thief ------------------------------------------------------------------------------------------------------ */

static bool answered(const S *s, int t)
{
	uint8_t r = ld(s, t, STEALREQ + ME.v);
	return MUT(M_RECEIVE_ANY) ? (r & ANSWERED) != 0 : r == ((t + 1) | ANSWERED);
}

/* receive(), after its look. */
static int take(S *s, int t, int d)
{
	BEGIN;
	if (MUT(M_CLEAR_FIRST)) {
		STEP("receive: stealreq = 0, too early");
		st(s, t, STEALREQ + ME.v, 0);
	}
	STEP("receive: load gift.n");
	use(s, t, ME.v);
	ME.n = ld(s, t, GIFTN + ME.v);
	STEP("receive: runq_append");
	use(s, t, ME.v);
	if (ME.n == 0 || ME.n != count(ld(s, t, GIFT + ME.v)))
		il_fail("RQ-2: gift.n is %d, of %d", ME.n, count(ld(s, t, GIFT + ME.v)));
	ME.given |= ld(s, t, GIFT + ME.v);
	ME.runq |= ld(s, t, GIFT + ME.v);
	if (s->il.done[ME.v])
		REACHED(H_DRY);
	if (t == 0)
		REACHED(H_RETURNED);
	st_rlx(s, t, GIFT + ME.v, 0);
	st_rlx(s, t, GIFTN + ME.v, 0);
	ME.n = ME.uses = 0;
	if (!MUT(M_CLEAR_FIRST)) {
		STEP("receive: stealreq = 0");
		(MUT(M_CLEAR_RELAXED) ? st_rlx : st)(s, t, STEALREQ + ME.v, 0);
	}
	END;
}

static int search(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		if (MUT(M_SAFEPOINT) && ME.asked) {
			STEP("search: safepoint");
			if (ld(s, t, REVOKE)) {
				st(s, t, INRT + t, 0);
				AWAIT("search: enter", !*rmw(s, t, REVOKE));
				*rmw(s, t, INRT + t) = 1;
			}
		}
		STEP("search: time is up");
		int c = il_choose(2 + 2 * nm);
		ME.v = (uint8_t)(c / 2 - 1);
		if (c == 0)
			RETURN;
		if (c == 1) {
			il_label = "search: globrunqget";
			ME.gp = (uint8_t)(s->global & -s->global);
			s->global = (uint8_t)(s->global & ~ME.gp);
			if (!ME.gp)
				continue;
			RETURN;
		}
		if (ME.v == t || !(victims >> ME.v & 1)) {
			continue;
		} else if (c & 1) {
			il_label = "search: poll for the answer";
			if (!answered(s, t))
				continue;
			REACHED(H_POLLED);
			CALL(take);
			ME.gp = picknext(s, t);
			RETURN;
		} else {
			il_label = "search: ask";
			if (MUT(M_ASK_BLINDLY)) {
				st(s, t, STEALREQ + ME.v, t + 1);
				ME.asked = 1;
				continue;
			}
			if (MUT(M_ASK_STORE)) {
				if (ld(s, t, STEALREQ + ME.v))
					continue;
				STEP("search: ask, store");
				st(s, t, STEALREQ + ME.v, t + 1);
				ME.asked = 1;
				continue;
			}
			bool ok = cas(s, t, STEALREQ + ME.v, 0, t + 1);
			if (ok && ME.v == 0)
				s->again = (uint8_t)(t + 1);
			if (!ok && (s->il.v[STEALREQ + ME.v] & ~ANSWERED) != t + 1)
				REACHED(H_TAKEN);
			ME.asked = MUT(M_ASKED_LAST) ? ok : ME.asked | ok;
		}
	}
	END;
}

static int withdraw(S *s, int t, int d)
{
	BEGIN;
	for (ME.v = 0; ME.v < nm; ME.v++) {
		STEP("withdraw: load stealreq");
		ME.req = ld(s, t, STEALREQ + ME.v);
		if (!ME.req || ((ME.req & ~ANSWERED) != t + 1 && !MUT(M_WITHDRAW_ANY)))
			continue;
		STEP("withdraw: take it back");
		if (MUT(M_WITHDRAW_STORE)) {
			st(s, t, STEALREQ + ME.v, 0);
			continue;
		}
		if (cas(s, t, STEALREQ + ME.v, MUT(M_WITHDRAW_ANY) ? ME.req : t + 1, 0)) {
			REACHED(H_BACK);
			continue;
		}
		if (MUT(M_NO_LATE_RECEIVE))
			continue;
		STEP("withdraw: receive");
		if (!answered(s, t) && !MUT(M_UNSEEN_RECEIVE)) {
			REACHED(H_WITHDRAW_DECLINED);
			continue;
		}
		REACHED(ME.any ? H_BOTH : ME.gp ? H_OTHER : H_LATE);
		CALL(take);
		ME.any = 1;
		if (MUT(M_FIRST_ONLY))
			break;
	}
	ME.req = 0;
	END;
}

/* ---- threads and runs ----------------------------------------------------------------------------------------------- */

/* findrunnable, and what runs then */
static int mthread(S *s, int t, int d)
{
	BEGIN;
	for (;;) {
		AWAIT("enter", !*rmw(s, t, REVOKE));
		*rmw(s, t, INRT + t) = 1;
		if (!MUT(M_SERVE_OUTSIDE))
			CALL(serve_request);
		ME.gp = picknext(s, t);
		if (!ME.gp && ME.rounds) {
			ME.rounds--;
			CALL(search);
			ME.v = 0;
			if (ME.asked && !MUT(M_NO_WITHDRAW) && !MUT(M_WITHDRAW_OUTSIDE))
				CALL(withdraw);
			if (ME.any && !ME.gp && !MUT(M_NO_PICK))
				ME.gp = picknext(s, t);
			ME.v = ME.any = 0;
			if (!MUT(M_WITHDRAW_OUTSIDE)) {
				ME.asked = 0;
				left(s, t);
			}
		}
		STEP("leave");
		if (!ME.gp && (ME.runq | ME.fresh))
			il_fail("RQ-3: M%d goes idle with Gs that it was given", t);
		for (int o = 0; o < nm && !ME.gp; o++)
			if (s->m[o].uses == o + 1 && s->m[o].req && !(s->m[o].runq | s->m[o].fresh) && !s->il.v[STEALREQ + o])
				il_fail("RQ-4: who goes idle sees no queue, though not all was given");
		st(s, t, INRT + t, 0);
		if (MUT(M_SERVE_OUTSIDE))
			CALL(serve_request);
		if (MUT(M_WITHDRAW_OUTSIDE) && ME.asked) {
			CALL(withdraw);
			ME.v = ME.any = ME.asked = 0;
		}
		if (!ME.gp && !ME.rounds)
			break;
		run(s, ME.gp);
		if (t == 0 && ME.gp) {
			ME.fresh |= s->spawn;
			s->spawn = 0;
		}
		ME.gp = 0;
	}
	ME.given = 0;
	END;
}

static bool nobody_inside(const S *s)
{
	for (int t = 0; t < nm; t++)
		if (s->il.v[INRT + t]) {
			if (ld(s, t, INRT + t) && ME.uses)
				REACHED(ME.uses == t + 1 ? H_WORLD_OWNER : H_WORLD_THIEF);
			return false;
		}
	return true;
}

static int foreigner(S *s, int t, int d)
{
	BEGIN;
	STEP("stopworld");
	*rmw(s, t, REVOKE) = 1;
	AWAIT("nobody is inside", nobody_inside(s));
	for (int p = 0; p < nm; p++) {
		bool gift = s->il.v[GIFT + p] || s->il.v[GIFTN + p];
		for (int o = 0; o < nm; o++)
			gift |= s->m[o].uses == p + 1 || under_way(s, o, GIFT + p) || under_way(s, o, GIFTN + p);
		if (gift || s->il.v[STEALREQ + p])
			il_fail("RQ-3: the world stands, P%d's %s", p, gift ? "gift is under way" : "request too");
	}
	STEP("startworld");
	*rmw(s, t, REVOKE) = 0;
	END;
}

/* The last `thieves` Ms search so often; those before them have Gs in both queues. */
static void begin(S *s, int owners, int runq, int fresh, int thieves, int rounds)
{
	static const char *const names[] = {"M0", "M1", "M2"};
	nm = owners + thieves;
	victims = (uint8_t)((1 << owners) - 1);
	int g = 0;
	for (int t = 0; t < nm; t++) {
		il_thread(names[t], mthread);
		if (t >= owners) {
			ME.rounds = (uint8_t)rounds;
			continue;
		}
		ME.runq = (uint8_t)(((1 << runq) - 1) << g);
		g += runq;
		ME.fresh = (uint8_t)(((1 << fresh) - 1) << g);
		g += fresh;
	}
	all = (uint8_t)((1 << g) - 1);
}
static void one(S *s) { begin(s, 1, 2, 1, 1, 2); }
static void mixed(S *s) { begin(s, 1, 1, 1, 1, 1); }
static void one_weak(S *s)
{
	one(s);
	il_weak = true;
}
static void other(S *s)
{
	begin(s, 1, 1, 2, 1, 2);
	s->global = (uint8_t)(all + 1);
	all |= s->global;
}
static void owners(S *s) { begin(s, 2, 1, 1, 1, 1); }
static void again(S *s) { begin(s, 1, 1, 1, 2, 2); }
static void spawning(S *s)
{
	begin(s, 1, 2, 1, 2, 1);
	s->spawn = (uint8_t)(3 << count(all));
	all |= s->spawn;
}
static void spawning_weak(S *s)
{
	spawning(s);
	il_weak = true;
}
static void mutual(S *s)
{
	begin(s, 1, 4, 1, 2, 1);
	victims = 7;
}
static void back(S *s)
{
	begin(s, 1, 4, 1, 1, 1);
	victims = 3;
	s->m[0].rounds = 1;
}
static void stop(S *s)
{
	one(s);
	il_thread("foreigner", foreigner);
}
static void stop_weak(S *s)
{
	stop(s);
	il_weak = true;
}
static void stop_two(S *s)
{
	begin(s, 1, 1, 1, 2, 1);
	il_thread("foreigner", foreigner);
}
static void stop_two_weak(S *s)
{
	stop_two(s);
	il_weak = true;
}

static const IlRun runs[] = {
	{"a thief", one, 0, NULL},
	{"a thief, weak stores", one_weak, 0, NULL},
	{"a thief, one G in each queue", mixed, 0, NULL},
	{"a thief that finds other work", other, 0, NULL},
	{"a thief of two", owners, 0, NULL},
	{"two thieves, who search again", again, 0, NULL},
	{"two thieves, and new Gs", spawning, 0, NULL},
	{"two thieves, and new Gs, weak stores", spawning_weak, 0, NULL},
	{"two thieves, who ask each other too", mutual, 0, NULL},
	{"two who ask each other", back, 0, NULL},
	{"a thief, stopworld", stop, 0, NULL},
	{"a thief, stopworld, weak stores", stop_weak, 0, NULL},
	{"two thieves, stopworld", stop_two, 0, NULL},
	{"two thieves, stopworld, weak stores", stop_two_weak, 0, NULL},

	{"RQ-1 the owner answers by a plain store", one, M_ANSWER_STORE, "RQ-3"},
	{"RQ-1 it answers whatever stands there by then", one, M_ANSWER_OR, "RQ-1"},
	{"RQ-1 it answers outside of the runtime", stop, M_SERVE_OUTSIDE, "RQ-3: the world stands"},
	{"RQ-1 a thief asks by a plain store", spawning, M_ASK_BLINDLY, "RQ-2"},
	{"RQ-1 the same, after a look", spawning, M_ASK_STORE, "RQ-2"},
	{"RQ-1 a request is taken back by a plain store", one, M_WITHDRAW_STORE, "lost"},
	{"RQ-1 whatever stands there is taken back", one, M_WITHDRAW_ANY, "lost"},
	{"RQ-2 the owner adds to what it has answered", spawning, M_ADD, "RQ-2"},
	{"RQ-2 its answer is no release", one_weak, M_ANSWER_RELAXED, "RQ-2"},
	{"RQ-2 it keeps in the gift what it was not asked for in the end", one, M_KEEP_GIFT, "lost"},
	{"RQ-2 a thief takes another's gift", spawning, M_RECEIVE_ANY, "RQ-2"},
	{"RQ-2 stealreq is cleared before the gift is taken", spawning, M_CLEAR_FIRST, "RQ-2"},
	{"RQ-2 it is cleared without release", spawning_weak, M_CLEAR_RELAXED, "RQ-2"},
	{"RQ-2 what cannot be taken back is taken for answered", one, M_UNSEEN_RECEIVE, "RQ-2"},
	{"RQ-3 a thief leaves and takes nothing back", one, M_NO_WITHDRAW, "RQ-3"},
	{"RQ-3 it forgets that it has asked when it asks in vain", one, M_ASKED_LAST, "RQ-3"},
	{"RQ-3 it takes back one request of two", owners, M_FIRST_ONLY, "RQ-3"},
	{"RQ-3 it takes back outside of the runtime", one, M_WITHDRAW_OUTSIDE, "RQ-3"},
	{"RQ-3 it lets a foreigner pass while it searches", stop, M_SAFEPOINT, "RQ-3"},
	{"RQ-3 it leaves a late answer where it is", one, M_NO_LATE_RECEIVE, "RQ-3"},
	{"RQ-3 it goes idle with a late answer", one, M_NO_PICK, "RQ-3"},
	{"RQ-4 a lone G is given away", one, M_LONE, "RQ-4"},
	{"RQ-4 half of each queue is all, rounded up", mixed, M_ALL, "RQ-4"},
};

int main(int argc, char **argv)
{
	static const IlModel model = {"model_request", sizeof(S), invariant, terminal, reach, runs, sizeof runs / sizeof *runs};
	return il_main(&model, argc, argv);
}
