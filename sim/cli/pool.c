/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The pool of worker processes.
 *
 * A worker draws the next job number from a counter in shared memory, announces it on its pipe,
 * runs it, and sends the outcome. The announcement tells the parent which job a worker died of.
 * Another shared word, the limit, is lowered to the number of each job that fails; job numbers are
 * drawn in order, so every job below the limit is already with some worker then, and gets done.
 */

#define _GNU_SOURCE /* pipe2() */

#include "sim/cli/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/machine/machine.h"

#define TICK_MS 200

struct shared {
	uint64_t next;
	uint64_t limit; /* jobs beyond it are not started */
};

enum message_kind { MESSAGE_START, MESSAGE_RESULT };

struct message {
	uint64_t job;
	uint32_t kind;
	int32_t error;
	uint64_t outcome_bytes; /* then the outcome, cut off after its last counter */
	uint64_t nchoices;	/* then these */
	uint64_t nnotes;	/* and these */
};

struct worker {
	pid_t pid; /* 0: none */
	int fd;
	uint64_t job; /* announced and not yet done, or POOL_NO_JOB */
};

/* A result that came before its turn. */
struct early {
	struct early *next;
	uint64_t job;
	struct pool_result result;
};

struct work {
	struct pool *pool;
	struct shared *shared;
	struct worker *workers;
	struct pollfd *polls;
	struct early *early; /* by job */
	uint64_t turn;	     /* the job whose result is handed over next */
	uint64_t known;	     /* results that have come */
	uint64_t last;	     /* as the limit, but known here for certain: for handing over */
};

static volatile sig_atomic_t interrupted;

static void
note_signal(int signal)
{
	interrupted = signal;
}

bool
pool_failed(const struct pool_result *r)
{
	return r->pr_error || r->pr_signal || r->pr_exit || r->pr_outcome.verdict == SIM_VIOLATION;
}

/* ---- In a worker ---------------------------------------------------------------------------- */

static void
send_bytes(int fd, const void *bytes, size_t n)
{
	const char *p = bytes;

	while (n > 0) {
		const ssize_t written = write(fd, p, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			_exit(1); /* nobody listens any more */
		p += written;
		n -= (size_t)written;
	}
}

static void
lower_limit(struct shared *s, uint64_t to)
{
	uint64_t now = __atomic_load_n(&s->limit, __ATOMIC_RELAXED);

	while (now > to && !__atomic_compare_exchange_n(&s->limit, &now, to, false,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static void
do_job(const struct pool *p, struct shared *s, int fd, uint64_t job, struct pool_result *r)
{
	struct message m = {.job = job, .kind = MESSAGE_START};
	struct sim_outcome *out = &r->pr_outcome;

	send_bytes(fd, &m, sizeof(m));
	memset(r, 0, sizeof(*r));
	r->pr_error = p->po_run(p->po_arg, job, out);
	if (pool_failed(r) && !p->po_keep_going)
		lower_limit(s, job);

	m.kind = MESSAGE_RESULT;
	m.error = r->pr_error;
	m.outcome_bytes =
		offsetof(struct sim_outcome, counters) + out->ncounters * sizeof(out->counters[0]);
	m.nchoices = out->choices ? out->nchoices : 0;
	m.nnotes = out->notes ? m.nchoices : 0;
	send_bytes(fd, &m, sizeof(m));
	send_bytes(fd, out, m.outcome_bytes);
	send_bytes(fd, out->choices, m.nchoices * sizeof(*out->choices));
	send_bytes(fd, out->notes, m.nnotes * sizeof(*out->notes));
	free(out->choices);
}

static _Noreturn void
be_worker(const struct pool *p, struct shared *s, int fd, struct pool_result *scratch)
{
	/* The terminal interrupts the whole group; whether to stop is the parent's to say. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		const uint64_t job = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED);

		if (job >= p->po_jobs || job > __atomic_load_n(&s->limit, __ATOMIC_RELAXED))
			break;
		do_job(p, s, fd, job, scratch);
	}
	exit(0); /* with its handlers: coverage and leak checkers report there */
}

/* ---- In the parent -------------------------------------------------------------------------- */

static int
start_worker(struct work *k, unsigned int i)
{
	struct worker *w = &k->workers[i];
	static struct pool_result scratch;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	fflush(NULL);
	w->pid = fork();
	if (w->pid < 0) {
		const int error = errno;

		w->pid = 0;
		close(fds[0]);
		close(fds[1]);
		return -error;
	}
	if (w->pid == 0) {
		close(fds[0]);
		for (unsigned int j = 0; j < k->pool->po_workers; j++) {
			if (j != i && k->workers[j].pid)
				close(k->workers[j].fd);
		}
		be_worker(k->pool, k->shared, fds[1], &scratch);
	}
	close(fds[1]);
	w->fd = fds[0];
	w->job = POOL_NO_JOB;
	return 0;
}

/* Hands over what is in turn, up to the first failure unless all are wanted. */
static void
hand_over(struct work *k)
{
	struct pool *p = k->pool;

	while (k->early && k->early->job == k->turn && k->turn <= k->last) {
		struct early *e = k->early;

		k->early = e->next;
		k->turn++;
		if (pool_failed(&e->result) && !p->po_keep_going)
			k->last = e->job;
		p->po_done(p->po_arg, e->job, &e->result);
		free(e->result.pr_outcome.choices);
		free(e);
	}
}

static void
add_result(struct work *k, struct early *e)
{
	struct early **at = &k->early;

	while (*at && (*at)->job < e->job)
		at = &(*at)->next;
	e->next = *at;
	*at = e;
	k->known++;
	if (pool_failed(&e->result) && !k->pool->po_keep_going)
		lower_limit(k->shared, e->job);
	hand_over(k);
}

static bool
receive_bytes(int fd, void *bytes, size_t n)
{
	char *p = bytes;

	while (n > 0) {
		const ssize_t got = read(fd, p, n);

		if (got < 0 && errno == EINTR && !interrupted)
			continue;
		if (got <= 0)
			return false;
		p += got;
		n -= (size_t)got;
	}
	return true;
}

static bool
receive_result(struct worker *w, const struct message *m, struct pool_result *r)
{
	struct sim_outcome *out = &r->pr_outcome;

	if (m->outcome_bytes > sizeof(*out) || !receive_bytes(w->fd, out, m->outcome_bytes))
		return false;
	r->pr_error = m->error;
	out->choices = NULL; /* the worker's pointer */
	out->nchoices = 0;
	out->notes = NULL;
	if (m->nchoices == 0)
		return true;
	if (!sim_outcome_room(out, m->nchoices) ||
	    !receive_bytes(w->fd, out->choices, m->nchoices * sizeof(*out->choices)))
		return false;
	if (m->nnotes == 0)
		out->notes = NULL;
	/* Their words are literals, which lie where they did: the worker is a fork. */
	return !out->notes || receive_bytes(w->fd, out->notes, m->nnotes * sizeof(*out->notes));
}

/* The worker is gone: for good, or in the middle of a job. Returns 0 or a negative errno. */
static int
bury(struct work *k, unsigned int i)
{
	struct worker *w = &k->workers[i];
	const uint64_t job = w->job;
	struct early *e;
	int status = 0;

	close(w->fd);
	while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
		;
	w->pid = 0;
	if (status == 0 && job == POOL_NO_JOB)
		return 0;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->job = job;
	e->result.pr_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	e->result.pr_exit = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	if (status == 0)
		e->result.pr_exit = -1; /* somebody called exit(0) */
	if (job == POOL_NO_JOB) {
		k->pool->po_done(k->pool->po_arg, POOL_NO_JOB, &e->result);
		free(e);
		return 0;
	}
	add_result(k, e);
	return k->pool->po_keep_going ? start_worker(k, i) : 0;
}

/* One message, or the end, of a worker. */
static int
listen_to(struct work *k, unsigned int i)
{
	struct worker *w = &k->workers[i];
	struct message m;
	struct early *e;

	if (!receive_bytes(w->fd, &m, sizeof(m)))
		return interrupted ? 0 : bury(k, i);
	if (m.kind == MESSAGE_START) {
		w->job = m.job;
		return 0;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->job = m.job;
	if (!receive_result(w, &m, &e->result)) {
		free(e->result.pr_outcome.choices);
		free(e);
		return interrupted ? 0 : bury(k, i);
	}
	w->job = POOL_NO_JOB;
	add_result(k, e);
	return 0;
}

static int
listen_to_all(struct work *k)
{
	const unsigned int n = k->pool->po_workers;

	for (;;) {
		unsigned int alive = 0;

		for (unsigned int i = 0; i < n; i++) {
			k->polls[i].fd = k->workers[i].pid ? k->workers[i].fd : -1;
			k->polls[i].events = POLLIN;
			k->polls[i].revents = 0;
			alive += k->workers[i].pid != 0;
		}
		if (alive == 0 || interrupted)
			return 0;
		if (poll(k->polls, n, TICK_MS) < 0 && errno != EINTR)
			return -errno;
		for (unsigned int i = 0; i < n && !interrupted; i++) {
			const int error = k->polls[i].revents ? listen_to(k, i) : 0;

			if (error)
				return error;
		}
		if (k->pool->po_tick)
			k->pool->po_tick(k->pool->po_arg, k->known);
	}
}

static void
kill_all(struct work *k)
{
	for (unsigned int i = 0; i < k->pool->po_workers; i++) {
		struct worker *w = &k->workers[i];

		if (!w->pid)
			continue;
		kill(w->pid, SIGKILL);
		while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
			;
		close(w->fd);
		w->pid = 0;
	}
	while (k->early) {
		struct early *e = k->early;

		k->early = e->next;
		free(e->result.pr_outcome.choices);
		free(e);
	}
}

static int
start_and_listen(struct work *k)
{
	int error = 0;

	for (unsigned int i = 0; i < k->pool->po_workers && !error; i++)
		error = start_worker(k, i);
	/* With fewer workers than wanted the work gets done too. */
	if (error && k->workers[0].pid == 0)
		return error;
	return listen_to_all(k);
}

int
pool_run(struct pool *p)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	const struct sigaction note = {.sa_handler = note_signal};
	struct sigaction before[3];
	struct work k = {.pool = p, .last = UINT64_MAX};
	int error = -ENOMEM;

	if (p->po_workers > p->po_jobs)
		p->po_workers = p->po_jobs ? (unsigned int)p->po_jobs : 1;
	k.shared = mmap(NULL, sizeof(*k.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (k.shared == MAP_FAILED)
		return -errno;
	k.shared->next = 0;
	k.shared->limit = UINT64_MAX;
	k.workers = calloc(p->po_workers, sizeof(*k.workers));
	k.polls = calloc(p->po_workers, sizeof(*k.polls));

	interrupted = 0;
	for (unsigned int i = 0; i < 3; i++)
		sigaction(signals[i], &note, &before[i]);
	if (k.workers && k.polls)
		error = start_and_listen(&k);
	kill_all(&k);
	for (unsigned int i = 0; i < 3; i++)
		sigaction(signals[i], &before[i], NULL);
	p->po_signal = interrupted;
	free(k.polls);
	free(k.workers);
	munmap(k.shared, sizeof(*k.shared));
	return error;
}
