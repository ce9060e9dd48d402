/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated machine: CPUs, memory, store buffers, interrupts, and one source of choices.
 *
 * A machine is deterministic: everything that could go one way or another (which CPU steps next,
 * when a store leaves its buffer, when an interrupt arrives, which allocation fails) is a numbered
 * choice taken from one source, so a run is (configuration, seed) or (configuration, list of
 * choices).
 *
 * Who acts. Each CPU is a fiber that runs the program given to sim_spawn(). Hardware that acts by
 * itself (store buffers, interrupts in flight, page walkers that speculate) is an agent: the
 * scheduler picks among the fibers that can run and the agents that are enabled. A fiber gives up
 * control only at scheduling points, which lie before each access to anything that another could
 * see; an agent's step is atomic. One further CPU, the service CPU (number = the configured
 * count), runs what was deferred to the end of an epoch.
 *
 * Contexts. "In a fiber": called by a CPU's program or an interrupt handler on it. "In an agent":
 * in one of its callbacks. "In the driver": outside sim_machine_run(), or in sim_machine_call();
 * there scheduling points do nothing, stores are visible at once, and the code is taken to be on
 * CPU 0. Unless said otherwise a function here works in all three.
 *
 * There is one machine at a time in a process.
 */

#ifndef SIM_MACHINE_H
#define SIM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_MAX_CPUS 31 /* HOST_MAX_CPUS less the service CPU */
#define SIM_MAX_AGENTS 32
#define SIM_DEVICES 8 /* that do DMA: 0 .. 7 */
#define SIM_PAGE_SIZE 4096u
#define SIM_TABLE_WORDS 512u

struct sim_machine;
struct host_lock;
struct host_epoch_item;

/* ---- Choices ------------------------------------------------------------------------------- */

/* What a choice decides. Numbers are part of replay files: append only. */
enum sim_choice {
	SIM_CHOICE_ACTOR,    /* who steps next; 0 is the CPU that is running, if it can go on */
	SIM_CHOICE_RUN,	     /* for how many points a CPU runs before the next such choice */
	SIM_CHOICE_AGENT,    /* which of an agent's enabled steps */
	SIM_CHOICE_FAULT,    /* whether an injected fault happens: 0 no, 1 yes */
	SIM_CHOICE_EPOCH,    /* which of the deferred items that are due */
	SIM_CHOICE_HW,	     /* hardware: which matching translation, how far to walk ... */
	SIM_CHOICE_WORKLOAD, /* what a program does next */
	SIM_CHOICE_COUNT,
};

/*
 * One choice as recorded, in three words. A choice among one is none, and is not recorded.
 */
struct sim_choice_record {
	uint32_t cr_kind; /* enum sim_choice */
	uint32_t cr_n;
	uint32_t cr_value; /* below cr_n */
};

/*
 * What a recording tells of a choice beside its three words: for people, and for tools that take a
 * run apart. It does not decide anything.
 */
struct sim_choice_note {
	uint64_t cn_step;
	uint64_t cn_offered;   /* SIM_CHOICE_ACTOR: who could step, SIM_OFFER_*; else 0 */
	const char *cn_word;   /* a literal: what was chosen, if it has a name; or NULL */
	uint32_t cn_operation; /* of a CPU that chose: operations that it has begun, */
	uint32_t cn_points;    /* points that it has passed since the last one, */
	uint32_t cn_passed;    /* and all in all */
	uint8_t cn_actor;      /* who chose: as in struct sim_step */
	bool cn_begins;	       /* with it an operation of that CPU's program begins */
};

/* The set of actors that are offered; the service CPU has the number after the last. */
#define SIM_OFFER_CPU(i) ((uint64_t)1 << (i))
#define SIM_OFFER_AGENT(i) ((uint64_t)1 << (32 + (i)))

/*
 * Who is meant by the k-th alternative of a choice of the actor: the CPU that runs, if it can go
 * on, then the others by number, then the agents by number. As in struct sim_step.
 */
unsigned int sim_offered_actor(uint64_t offered, unsigned int running, uint32_t k);

/* Takes a choice in [0, n), n at least 1; by chance all alternatives are equally likely. */
uint32_t sim_choose(enum sim_choice kind, uint32_t n);

/* The same with odds: alternative i has weight weights[i]; at least one is not zero. */
uint32_t sim_choose_weighted(enum sim_choice kind, uint32_t n, const uint32_t *weights);

/* A choice of 0 or 1; 1 with a probability of ppm in a million. ppm 0 is no choice. */
bool sim_choose_chance(enum sim_choice kind, uint32_t ppm);

/*
 * A 64-bit value from one choice among 2^32 - 1, expanded by a hash: data to write, and the like.
 */
uint64_t sim_choose_value(enum sim_choice kind);

/* A name for messages and reports. */
const char *sim_choice_name(enum sim_choice kind);

/*
 * The CPU's program begins its next operation: the choice that follows belongs to it already. Then
 * that choice's meaning, in a word; a literal. Both are for recordings only; no points.
 */
void sim_operation(void);
void sim_choice_word(const char *word);

/* Operations that a CPU's program has begun; points that it has passed since the last of them. */
uint64_t sim_operations(unsigned int cpu, uint64_t *points);

/* For sc_call: who chooses (as in struct sim_step), and who is offered if it is about the actor. */
unsigned int sim_actor(void);
uint64_t sim_offered(void);

/* For sc_call: let the machine draw it, by its odds. No choice has so many alternatives. */
#define SIM_CHOICE_DRAW UINT32_MAX

/* For sc_call: the run is over, as if its steps were spent. */
_Noreturn void sim_stop(const char *why);

/* ---- Scheduling points --------------------------------------------------------------------- */

enum sim_access {
	SIM_LOAD,
	SIM_LOAD_ACQUIRE,
	SIM_STORE,
	SIM_STORE_RELEASE,
	SIM_RMW, /* locked: xchg, cas, fetch_* */
	SIM_FENCE,
	SIM_LOCK,
	SIM_UNLOCK,
	SIM_EPOCH_ENTER,
	SIM_EPOCH_EXIT,
	SIM_DEFER,
	SIM_ALLOC,
	SIM_FREE,
	SIM_KICK,
	SIM_RELAX,
	SIM_INVALIDATE, /* INVLPG, INVEPT and the like, by a fiber */
	SIM_IRQ,	/* interrupts switched on or off, handler begins or ends */
	SIM_GUEST,	/* guest entry, exit, instruction */
	SIM_HW,		/* one step of hardware that acts for this CPU (a page walk) */
	SIM_USER,	/* a program's own */
	SIM_IO,		/* a request to the disk or the IOMMU; what devices do */
	SIM_ACCESS_COUNT,
};

const char *sim_access_name(enum sim_access kind);

/*
 * Scheduling point of the fiber that runs: others may act before it returns, and an interrupt that
 * is pending is taken if interrupts are on. addr, which may be NULL, is what will be touched; only
 * what it belongs to (a frame, an allocation) enters the trace, never its value. Does nothing in
 * an agent or in the driver.
 */
void sim_point(enum sim_access kind, const void *addr);

/*
 * Blocks the fiber until ready(arg), polled by the scheduler between steps; it must only look.
 * Interrupts are taken meanwhile if they are on. `what` names it in a deadlock's message. If
 * everybody waits and no agent can help, that is a violation (CK-SCHED). In the driver: ready(arg)
 * must hold already.
 */
void sim_wait_until(const char *what, bool (*ready)(void *arg), void *arg);

/* Whether any CPU holds a spin lock: what it guards may be in the middle of a change. */
bool sim_locks_held(void);

/* Feeds an event of the caller's into the trace: deterministic values only, no addresses. */
void sim_trace(enum sim_access kind, uint64_t id, uint64_t value);

/* Points passed and agent steps made so far, over all CPUs. */
uint64_t sim_step_count(void);

/* How many of these were made while some CPU stood still (sc_stalls). */
uint64_t sim_stalled_steps(void);

/*
 * Calls fn outside of the machine's time, for oracles: no scheduling points, memory as it is, past
 * the store buffer of this CPU. fn must only look.
 */
void sim_aside(void (*fn)(void *arg), void *arg);

/* ---- Violations ---------------------------------------------------------------------------- */

/* Ends the run: check as "CK-TLB", invariant as "I14" ("" if none), and a sentence. */
_Noreturn void sim_violation(const char *check, const char *invariant, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- CPUs, interrupts, guest mode ---------------------------------------------------------- */

/* The CPU whose fiber runs (0 in the driver); configured CPUs, service CPU not counted. */
unsigned int sim_cpu(void);
unsigned int sim_cpu_count(void);

/* Scheduling points that a CPU has passed. */
uint64_t sim_cpu_points(unsigned int cpu);

/* True in a fiber, outside any agent's step. */
bool sim_in_fiber(void);

/* An offline CPU gets no interrupts; its fiber may run (it is the code that brings it back). */
bool sim_cpu_online(unsigned int cpu);
void sim_cpu_set_online(unsigned int cpu, bool online); /* offline: what is in flight is lost */

/*
 * Interrupts of this CPU; on at first. Both are points, on the safe side of the change: an
 * interrupt may still arrive right before they are off, and is taken at once when they are on.
 */
void sim_irq_disable(void);
void sim_irq_enable(void);
bool sim_irq_enabled(void);

/* Sends an interrupt; it arrives when the scheduler says so. host_kick(), without the point. */
void sim_kick(unsigned int cpu);

/* An interrupt has arrived at that CPU and waits to be taken. */
bool sim_cpu_kick_pending(unsigned int cpu);
bool sim_cpu_in_guest(unsigned int cpu);

/* Called on the CPU that takes an interrupt, interrupts off, in its fiber. */
void sim_set_irq_handler(void (*handler)(void *arg, unsigned int cpu), void *arg);

/*
 * VM entry; interrupts off, no lock, no epoch section (else CK-SCHED). Drains the store buffer.
 * False if an interrupt was pending: the guest exited before its first instruction.
 *
 *	if (sim_guest_enter())
 *		while (sim_guest_point(gpa) && ...)
 *			hw_access(...);
 *	sim_guest_exit();
 */
bool sim_guest_enter(void);

/*
 * Boundary between two guest instructions: a point. False if an interrupt forces the exit. After
 * true nothing else happens before the caller's next point.
 */
bool sim_guest_point(uint64_t gpa);

/* VM exit, of whatever cause; allowed after sim_guest_enter() returned false. */
void sim_guest_exit(void);

/* ---- Agents -------------------------------------------------------------------------------- */

struct sim_offer;

struct sim_agent_ops {
	const char *ag_name;
	uint32_t ag_weight; /* odds against a CPU's, which is SIM_CPU_WEIGHT; 0: never */

	/* The number of different steps it could make now. Must be cheap and change nothing. */
	unsigned int (*ag_enabled)(void *arg);

	/* Makes step `which`, below what enabled returned. Scheduling points do nothing inside. */
	void (*ag_step)(void *arg, unsigned int which);

	bool ag_helps; /* its steps may unblock a CPU: while it is enabled there is no deadlock */

	/* Fills in of_lane, of_kind and of_id of step `which`; NULL: nothing is known. */
	void (*ag_about)(void *arg, unsigned int which, struct sim_offer *of);
};

#define SIM_CPU_WEIGHT 16

/* For the life of the machine; in the order of the calls, which therefore must not vary. */
void sim_agent_add(const struct sim_agent_ops *ops, void *arg);

/* ---- Policies ------------------------------------------------------------------------------ */

/* Somebody who could step next. Each step that an agent could make is an offer of its own. */
struct sim_offer {
	bool of_agent;
	bool of_running;    /* the CPU that is running: picking it is no switch */
	bool of_spins;	    /* a CPU whose loop would look again at what has not changed */
	uint8_t of_index;   /* CPU (sim_cpu_count(): the service CPU), or number of the agent */
	uint16_t of_which;  /* of the agent's steps; its numbers shift as steps are made */
	uint8_t of_lane;    /* of an agent: whose buffer, whose interrupts ...: does not shift */
	bool of_helps;	    /* a CPU, or an agent that may unblock one */
	uint32_t of_weight; /* odds that the random scheduler would give it (an agent as a whole) */

	/*
	 * What it will do next: a CPU stands right before its access. of_id as in struct sim_step.
	 * Of an agent: SIM_STORE and the word that leaves the buffer; SIM_KICK and the CPU; SIM_HW
	 * and the CPU for speculation; else SIM_HW and 0.
	 */
	enum sim_access of_kind;
	uint64_t of_id;
	const char *of_name; /* of the agent; NULL */
};

#define SIM_OFFERS_MAX 256

/*
 * What a step touches, so that it can be told which steps commute: two that only read an object do,
 * and so do two that touch none in common. Whatever one step leaves for another to find is an
 * object: a word (by its address), or one of the classes below with a number.
 *
 * Not all that one step leaves can be found too early. What is released before it can be acquired
 * (a store, by the buffer that holds it) orders the two without a race between them. A lock is
 * taken, and released; the race is between those who take it.
 */
enum sim_touch {
	SIM_TOUCH_READ,
	SIM_TOUCH_WRITE,
	SIM_TOUCH_TAKE,
	SIM_TOUCH_RELEASE,
	SIM_TOUCH_ACQUIRE,
};

enum sim_object {
	SIM_OBJECT_WORD,     /* | address */
	SIM_OBJECT_FRAME,    /* | frame number: allocated or not */
	SIM_OBJECT_DATA,     /* | frame number: its bytes */
	SIM_OBJECT_MEMORY,   /* the allocators: 0 frames, 1 heap */
	SIM_OBJECT_STORED,   /* | CPU << 32 | number of the store: is in the buffer */
	SIM_OBJECT_DRAINED,  /* ... has left it */
	SIM_OBJECT_IRQ,	     /* | CPU: what has arrived there */
	SIM_OBJECT_KICK,     /* | CPU: what is in flight to there */
	SIM_OBJECT_SENT,     /* | CPU << 32 | number of the kick */
	SIM_OBJECT_EPOCH,    /* | CPU << 32 | number of the section: over */
	SIM_OBJECT_CLOCK,    /* of epochs */
	SIM_OBJECT_DEFERRED, /* | number of the item */
	SIM_OBJECT_FAULT,    /* | enum sim_fault: how many of its kind were asked for */
	SIM_OBJECT_CPU,	     /* | CPU: online, signaled */
	SIM_OBJECT_TLB,	     /* | CPU: what its hardware has cached */
	SIM_OBJECT_LIVE,     /* | CPU: the context that its hardware speculates for */
	SIM_OBJECT_DEVICE,   /* | a device's number */
	SIM_OBJECT_GHOST,    /* | address: what an oracle knows */
};
#define SIM_OBJECT_SHIFT 58
#define SIM_OBJECT(class, number) ((uint64_t)(class) << SIM_OBJECT_SHIFT | (number))

/* For the hardware and the oracles; nothing without a policy that listens. */
void sim_touch(uint64_t object, enum sim_touch how);
void sim_touch_ghost(const void *ghost); /* SIM_TOUCH_WRITE */

/*
 * Decides instead of chance who steps next. With a policy every point is a decision, and run
 * lengths are none (sc_run_lengths becomes 1). What it picks is recorded like any choice of an
 * actor, so a replay of the list, with sc_run_lengths = 1, needs no policy; and while the source is
 * a list the policy is not asked.
 *
 * po_pick returns an index below n (at least 1); offers are the CPUs that can go on, the running
 * one first, then agents. po_touch, unless NULL, hears what the step under way touches. Both must
 * only look at the machine.
 */
struct sim_policy_ops {
	uint32_t (*po_pick)(void *arg, const struct sim_offer *offers, uint32_t n);
	void (*po_touch)(void *arg, uint64_t object, enum sim_touch how);
};

/* A CPU that would go on, but for stores of its own that have not left the buffer yet. */
bool sim_cpu_settles(unsigned int cpu);

/* Before sim_machine_run(); NULL: by chance. For the life of the machine. */
void sim_set_policy(const struct sim_policy_ops *ops, void *arg);

/* ---- Physical memory ----------------------------------------------------------------------- */

/*
 * Frames of 4 KiB at host-physical addresses [sim_phys_base(), sim_phys_limit()). A table frame has
 * its 512 words, a data frame its 4096 bytes; the two lie in different places of the program's
 * memory, so a stale pointer to the one never reaches the other.
 *
 * A freed table frame is filled with words that decode as a present mapping with all rights to the
 * canary frame in every format and at every level, so that a use after free shows. A freed data
 * frame is filled with SIM_PAGE_POISON, and so is one that host_page_alloc() hands out.
 */
enum sim_frame_kind {
	SIM_FRAME_FREE,
	SIM_FRAME_TABLE,
	SIM_FRAME_DATA,
	SIM_FRAME_QUARANTINE, /* freed, and held back from reuse */
	SIM_FRAME_CANARY,
	SIM_FRAME_KEPT, /* a page was put, and the pager keeps the frame for a while */
	SIM_FRAME_BAD,	/* freed, and never to be used again */
	SIM_FRAME_KIND_COUNT,
};

struct sim_frame {
	uint64_t fr_owner; /* the caller's; 0 after allocation */
	uint32_t fr_life;  /* how often it has been allocated */
	uint32_t fr_next;  /* private: free list */
	uint16_t fr_iommu; /* private: guests' domains and IOTLBs that name it */
	uint8_t fr_io;	   /* private: requests of the disk that name it */
	uint8_t fr_host;   /* private: in the host's domain, enum host_reach */
	uint8_t fr_bytes;  /* private: what its bytes are, enum frame_bytes */
	uint8_t fr_kind;   /* enum sim_frame_kind */
	bool fr_pager;	   /* private: of a page of a pager */
	bool fr_bad;	   /* the hardware reported it: a load is a machine check */
};

/* Every aligned word of a data frame that nobody has written yet; nobody writes it by chance. */
#define SIM_PAGE_POISON UINT64_C(0xdeadda7ab7dbdb5b)

uint64_t sim_phys_base(void);
uint64_t sim_phys_limit(void);
uint64_t sim_canary(void); /* hpa of the canary frame */

/*
 * 2^order frames, contiguous and aligned to their size (order 0 to 9, or 18); the address of the
 * first, or 0 if there are none. Data frames hold 0, table frames are zero (order 0 only).
 */
uint64_t sim_frame_alloc(enum sim_frame_kind kind, unsigned int order);

/* Frees frames, also one by one those of a run. CK-FREE if one is not a table or data frame. */
void sim_frame_free(uint64_t hpa, unsigned int order);

/* The frame of an address, or NULL outside memory. The caller may write fr_owner. */
struct sim_frame *sim_frame_at(uint64_t hpa);
uint64_t sim_frame_count(enum sim_frame_kind kind);

/*
 * What a hardware walker does to an 8-byte aligned word of a table: coherent, atomic, past all
 * store buffers; no point by itself. CK-FREE if the frame is free or poisoned, CK-WALK if it is no
 * table. sim_phys_peek() is for oracles: no check, no trace; false if the address is not in a
 * table frame.
 */
uint64_t sim_phys_load(uint64_t hpa);
bool sim_phys_cas(uint64_t hpa, uint64_t *old, uint64_t new);
bool sim_phys_peek(uint64_t hpa, uint64_t *value);
bool sim_phys_look(uint64_t hpa, uint64_t *value); /* which no search need know of */

/*
 * A word of a data frame, by anyone who reached it: a guest, a device. hpa is a multiple of 8. Past
 * all store buffers, no point. CK-FREE if it is not in a data frame.
 */
uint64_t sim_data_load(uint64_t hpa);
void sim_data_store(uint64_t hpa, uint64_t value);

/*
 * The bytes at hpa, up to the end of its frame, for oracles: no point, no check, no trace; valid
 * until the next step. NULL outside memory; poison if the frame is not a data frame.
 */
void *sim_frame_bytes(uint64_t hpa);

/* ---- Memory of programs ------------------------------------------------------------------- */

/*
 * Zeroed, 64-byte aligned memory that ends with the machine, whether freed or not, and never fails
 * by injection. What host words and pointers in them refer to should lie here, so that the trace
 * can name it independently of the build. Not a point.
 */
void *sim_alloc(size_t bytes);
void sim_free(void *p, size_t bytes);

/* ---- Hooks for oracles --------------------------------------------------------------------- */

enum sim_write_how { SIM_WRITE_PLAIN, SIM_WRITE_LOCKED, SIM_WRITE_PRIVATE };

/* A write by the core to a word of a table frame, at the moment when it becomes visible. */
struct sim_table_write {
	uint64_t tw_hpa; /* of the word */
	uint64_t tw_old; /* what memory held, not what the writer believes */
	uint64_t tw_new;
	enum sim_write_how tw_how; /* store, locked operation, host_fill_private() */
	unsigned int tw_cpu;
};
void sim_set_write_hook(void (*hook)(void *arg, const struct sim_table_write *w), void *arg);

/* Before a frame (each one of a run) is freed. */
void sim_set_free_hook(void (*hook)(void *arg, uint64_t hpa, enum sim_frame_kind kind), void *arg);

/*
 * Between steps, no sooner than `every` steps after the last time; not in the middle of anything.
 */
void sim_set_audit_hook(void (*hook)(void *arg), void *arg, uint64_t every);

/* Each step as it enters the trace: for reports. Slow. */
struct sim_step {
	uint64_t st_step;
	unsigned int st_actor; /* CPU, or SIM_ACTOR_AGENT + index, or SIM_ACTOR_DRIVER */
	enum sim_access st_kind;
	uint64_t st_id; /* what was touched: SIM_ID_* class | offset */
	uint64_t st_value;
};
#define SIM_ACTOR_AGENT 64u
#define SIM_ACTOR_DRIVER 255u
#define SIM_ID_TABLE ((uint64_t)1 << 56) /* | hpa of the word, less sim_phys_base() */
#define SIM_ID_DESC ((uint64_t)2 << 56)	 /* | frame number * descriptor size + offset */
#define SIM_ID_ALLOC ((uint64_t)3 << 56) /* | offset in the heap of host_alloc() */
#define SIM_ID_PHYS ((uint64_t)4 << 56)	 /* | hpa - base, touched by hardware */
#define SIM_ID_GPA ((uint64_t)5 << 56)	 /* | gpa */
#define SIM_ID_DATA ((uint64_t)6 << 56)	 /* | hpa - base, in a data frame, by the host */
#define SIM_ID_OTHER ((uint64_t)0)
void sim_set_step_hook(void (*hook)(void *arg, const struct sim_step *st), void *arg);

/* What host_invlpg() and host_flush_tlb() do; CK-API while there is none. */
struct sim_tlb_ops {
	void (*to_invlpg)(void *arg, unsigned int cpu, uint64_t va, uint64_t npages);
	void (*to_flush)(void *arg, unsigned int cpu, bool global);
};
void sim_set_tlb_ops(const struct sim_tlb_ops *ops, void *arg);

/* ---- Faults -------------------------------------------------------------------------------- */

enum sim_fault {
	SIM_FAULT_TABLE_ALLOC,	  /* host_table_alloc() finds none */
	SIM_FAULT_ALLOC,	  /* host_alloc() finds none */
	SIM_FAULT_SPURIOUS_KICK,  /* an interrupt that nobody sent; by an agent */
	SIM_FAULT_ENTRY,	  /* a VM entry fails (the program asks) */
	SIM_FAULT_SPURIOUS_EXIT,  /* a guest exits without cause (the program asks) */
	SIM_FAULT_SPURIOUS_FAULT, /* a nested page fault without cause (the program asks) */
	SIM_FAULT_INTERRUPT,	  /* a thread is signaled where it may wait interruptibly */
	SIM_FAULT_PAGE_ALLOC,	  /* host_page_alloc() finds none */
	SIM_FAULT_SWAP_READ,	  /* a request of the disk fails */
	SIM_FAULT_SWAP_WRITE,
	SIM_FAULT_IOMMU,	 /* host_iommu_create(), map() or attach() has no memory */
	SIM_FAULT_RESERVE,	 /* no table is to be had for so long that reserves run out */
	SIM_FAULT_KICK_DELAY,	 /* an interrupt is long in coming */
	SIM_FAULT_KICK_REORDER,	 /* n: one arrives before another that was sent earlier */
	SIM_FAULT_KICK_COALESCE, /* n: one meets a pending one: they are taken as one */
	SIM_FAULT_KICK_OFFLINE,	 /* n: one is sent to a CPU that is offline, or goes offline */
	SIM_FAULT_STUCK_GUEST,	 /* a vCPU never exits by itself (the program asks) */
	SIM_FAULT_SWAP_SHORT,	 /* a request of the disk fails when a part of it is done */
	SIM_FAULT_SWAP_LATE,	 /* one takes long */
	SIM_FAULT_FLUSH_LATE,	 /* a flush of the IOMMU takes long */
	SIM_FAULT_DMA,		 /* n: a device accesses a guest's memory */
	SIM_FAULT_POISON,	 /* a frame turns out to be bad (the program asks) */
	SIM_FAULT_SPECULATION,	 /* n: hardware caches what nobody accessed (the hardware asks) */
	SIM_FAULT_EVICTION,	 /* n: it forgets what it had cached */
	SIM_FAULT_DELAYED_STORE, /* n: a store reaches memory when its CPU has gone on */
	SIM_FAULT_MIGRATION,	 /* n: a vCPU goes on elsewhere (the program asks) */
	SIM_FAULT_OFFLINE,	 /* n: a CPU goes offline and comes back (the program asks) */
	SIM_FAULT_STALL,	 /* n: a CPU stands still, wherever it is (sc_stalls) */
	SIM_FAULT_GENERATION,	 /* a clock of shootdowns begins near its wrap (the program asks) */
	SIM_FAULT_DESTROY,	 /* n: a space is destroyed in the middle of everything */
	SIM_FAULT_KILL,		 /* a thread is killed, wherever it is */
	SIM_FAULT_HOSTILE,	 /* n: a call with arguments that mean harm */
	SIM_FAULT_COUNT,
};

const char *sim_fault_name(enum sim_fault f);

/* Whether that fault happens here and now: a choice by its probability, and by the n-th failure. */
bool sim_fault(enum sim_fault f);

/*
 * Those marked n above are nature's: no choice of their own decides on them, only what the machine
 * does anyway. Whoever does it says that it could have happened to a CPU, and whether it did.
 */
void sim_fault_met(enum sim_fault f, unsigned int cpu, bool happened);

/* Whether sc_fault_off says that a kind of nature's must not happen. */
bool sim_fault_off(enum sim_fault f);

/*
 * What a CPU is doing, for the table of faults by operations: a number of the caller's, 0 for
 * nothing in particular; and how often that was begun, and met by a fault.
 */
#define SIM_OPERATIONS_MAX 64

struct sim_fault_cell {
	uint32_t fc_asked; /* it could have happened */
	uint32_t fc_hit;
};

void sim_fault_scope(unsigned int operation);
uint64_t sim_fault_scopes(unsigned int operation);
struct sim_fault_cell sim_fault_cell(enum sim_fault f, unsigned int operation);

/*
 * True, once, on a CPU whose thread was killed (SIM_FAULT_KILL), when what it did is over: it has
 * taken the signal, and whatever belongs to its process must go.
 */
bool sim_killed(void);

/* How many faults of all kinds have happened to a CPU so far. */
uint64_t sim_cpu_failures(unsigned int cpu);

/* ---- Barriers ------------------------------------------------------------------------------ */

/* All of `parties` fibers arrive, then all go on; reusable. Zero it, then set parties. */
struct sim_barrier {
	uint32_t ba_parties;
	uint32_t ba_arrived;
	uint64_t ba_round;
};
void sim_barrier_wait(struct sim_barrier *b);

/* ---- A machine's life ---------------------------------------------------------------------- */

enum sim_memory_model { SIM_TSO, SIM_SC };
enum sim_source { SIM_SOURCE_SEED, SIM_SOURCE_LIST, SIM_SOURCE_CALL };

struct sim_config {
	unsigned int sc_cpus; /* 1 .. SIM_MAX_CPUS */
	enum sim_memory_model sc_memory_model;
	unsigned int sc_store_buffer; /* entries per CPU, 1 .. 16; 0: 8 */
	uint64_t sc_steps;	      /* hard limit; 0: 100 million */
	uint64_t sc_longest; /* CK-SCHED: points with a lock held or interrupts off; 0: any */
	bool sc_stalls;	     /* a CPU stands still for long, now and then */
	/*
	 * What empties the store buffer first waits until it has emptied itself, instead of
	 * emptying it: every store then leaves by a step of its own. An interrupt in flight takes
	 * in what is sent after it. The same runs otherwise; for searches.
	 */
	bool sc_settle;
	unsigned int sc_run_lengths; /* 1: decide at every point; n: runs of 1, 2, 4 ... 2^(n-1) */

	uint32_t sc_frames;    /* rounded up to a multiple of 512; 0: 4096 */
	uint64_t sc_phys_base; /* address of the first, a multiple of 2 MiB above 0; 0: 1 GiB */
	bool sc_quarantine;    /* freed frames are reused as late as possible, not at once */

	uint32_t sc_swap_slots; /* pages of the swap device; 0: none */
	bool sc_iommu;		/* there is one */
	bool sc_pager;		/* there are some, which use the disk's time, but no slots */

	/*
	 * Probabilities in a million; then: fail the n-th (from 1), and whether all after it too.
	 */
	uint32_t sc_fault_ppm[SIM_FAULT_COUNT];
	uint64_t sc_fault_nth[SIM_FAULT_COUNT];
	bool sc_fault_persist[SIM_FAULT_COUNT];
	bool sc_fault_off[SIM_FAULT_COUNT]; /* nature's: must not happen */
	uint64_t sc_fault_budget;	    /* by chance, of all kinds together; 0: no limit */

	/* Odds of the machine's own agents, against SIM_CPU_WEIGHT; 0: default. */
	uint32_t sc_drain_weight;
	uint32_t sc_kick_weight;
	uint32_t sc_disk_weight;
	uint32_t sc_iommu_weight; /* it completes a flush */
	uint32_t sc_dma_weight;	  /* devices make an access, while there is a hook */

	enum sim_source sc_source;
	uint64_t sc_seed; /* also with a list: sim_choose_value() and the like never need more */
	uint64_t sc_draw_seed; /* of the generator; 0: sc_seed */
	const struct sim_choice_record *sc_list;
	const struct sim_choice_note *sc_list_notes; /* as long, or NULL: then they must fit, too */
	size_t sc_list_len;
	bool sc_list_lenient; /* take modulo, and 0 when it is used up, instead of diverging */
	uint32_t (*sc_call)(void *arg, enum sim_choice kind, uint32_t n);
	void *sc_call_arg;
	bool sc_record;	      /* keep the list of choices made, and their notes */
	uint64_t sc_break_at; /* sim_breakpoint() is called at this step; 0: never */
};

enum sim_result {
	SIM_RUN_PASSED,
	SIM_RUN_VIOLATED,
	SIM_RUN_BUDGET,	  /* stopped by sc_steps */
	SIM_RUN_DIVERGED, /* the recorded choices do not fit this run */
};

struct sim_counters {
	uint64_t ct_points[SIM_ACCESS_COUNT];
	uint64_t ct_decisions; /* choices of the next actor */
	uint64_t ct_switches;  /* from one fiber to another */
	uint64_t ct_agent_steps;
	uint64_t ct_choices;
	uint64_t ct_drains;	   /* stores that left a buffer by themselves */
	uint64_t ct_drains_forced; /* by a locked operation, a fence, an interrupt, a full buffer */
	uint64_t ct_forwards;	   /* loads served by the CPU's own buffer */
	uint64_t ct_kicks_sent;	   /* offline and own CPU not counted */
	uint64_t ct_kicks_arrived;
	uint64_t ct_kicks_lost; /* the CPU went offline meanwhile */
	uint64_t ct_interrupts; /* taken by a handler */
	uint64_t ct_guest_entries;
	uint64_t ct_guest_forced; /* exits forced by an interrupt */
	uint64_t ct_lock_waits;
	uint64_t ct_longest_locked;   /* points of one CPU with a lock held */
	uint64_t ct_longest_irqs_off; /* points of one CPU with interrupts off, outside guests */
	uint64_t ct_deferred;
	uint64_t ct_deferred_run;
	uint64_t ct_frames_alloc[SIM_FRAME_KIND_COUNT];
	uint64_t ct_frames_freed[SIM_FRAME_KIND_COUNT];
	uint64_t ct_mutex_waits;
	uint64_t ct_event_waits;
	uint64_t ct_interrupted;      /* waits that ended with -EINTR */
	uint64_t ct_swap_requests[2]; /* completed, failed ones too: reads, writes */
	uint64_t ct_swap_pages[2];
	uint64_t ct_pager_got;	   /* pages */
	uint64_t ct_pager_doubles; /* of these, got already */
	uint64_t ct_pager_runs;
	uint64_t ct_pager_put[2]; /* clean, dirty */
	uint64_t ct_pager_reclaimed;
	uint64_t ct_pager_read;	  /* from the disk */
	uint64_t ct_iommu_mapped; /* pages, in guests' domains */
	uint64_t ct_iommu_flushes;
	uint64_t ct_dma[2];    /* accesses by devices: reads, writes */
	uint64_t ct_dma_stale; /* of these, through what was unmapped and not flushed */
	uint64_t ct_fault_asked[SIM_FAULT_COUNT];
	uint64_t ct_faults[SIM_FAULT_COUNT];
};

struct sim_report {
	enum sim_result sr_result;
	char sr_check[16];
	char sr_invariant[8];
	char sr_message[512];
	unsigned int sr_cpu; /* or SIM_ACTOR_* */
	uint64_t sr_step;
	uint64_t sr_hash; /* of the trace */
	struct sim_counters sr_counters;
};

/* Sets every field to its default: 2 CPUs, TSO, seed 1. */
void sim_config_init(struct sim_config *cfg);

/*
 * A machine as configured; it becomes the machine of this process. NULL, with a sentence in why[],
 * if the configuration makes no sense or memory is short, or there is a machine already.
 */
struct sim_machine *sim_machine_create(const struct sim_config *cfg, char *why, size_t why_bytes);
void sim_machine_destroy(struct sim_machine *m);

/*
 * Gives a CPU its program for the next run; -EINVAL if there is no such CPU, -EBUSY if it has one.
 */
int sim_spawn(struct sim_machine *m, unsigned int cpu, void (*fn)(void *arg), void *arg);

/*
 * Runs until every program has returned and all that was deferred, stored or sent has arrived; or
 * to the first violation. May be called again with new programs after a pass. The report tells of
 * all runs and calls so far.
 */
enum sim_result sim_machine_run(struct sim_machine *m, struct sim_report *report);

/*
 * Runs fn in the driver's context, catching violations: to set up before a run, to look after it.
 */
enum sim_result sim_machine_call(struct sim_machine *m, void (*fn)(void *arg), void *arg,
				 struct sim_report *report);

/*
 * After everything was torn down: CK-LEAK if a frame, an allocation, or a deferred item is left.
 */
enum sim_result sim_machine_check_leaks(struct sim_machine *m, struct sim_report *report);

/* The choices made so far, if recorded; valid until the machine's next run or end. */
const struct sim_choice_record *sim_machine_choices(struct sim_machine *m, size_t *n);
const struct sim_choice_note *sim_machine_notes(struct sim_machine *m);

/* Name of an agent, by the number that actors have in struct sim_step less SIM_ACTOR_AGENT. */
const char *sim_agent_name(unsigned int i);

/*
 * A hash of what the machine looks like now: table frames and their words, data frames and their
 * bytes, store buffers, interrupts. Equal in every build.
 */
uint64_t sim_machine_state_hash(const struct sim_machine *m);

/* Does nothing; where debuggers stop. Called when the step is reached, before it is made. */
void sim_breakpoint(uint64_t step);

/* ---- Behind the host contract (sim/host/host_impl.h) --------------------------------------- */

/*
 * The services of pmap/host.h, each a scheduling point except sim_count(). A store may reach its
 * word later, so a word that goes away (on a stack) must be fenced before it does.
 */
uint64_t sim_word_load(const uint64_t *w, enum sim_access kind);
void sim_word_store(uint64_t *w, uint64_t value, enum sim_access kind);
uint64_t sim_word_xchg(uint64_t *w, uint64_t value);
bool sim_word_cas(uint64_t *w, uint64_t *old, uint64_t new);
uint64_t sim_word_fetch_and(uint64_t *w, uint64_t mask);
uint64_t sim_word_fetch_or(uint64_t *w, uint64_t bits);
uint64_t sim_word_fetch_add(uint64_t *w, uint64_t addend);
void sim_fence(void);
void sim_fill_private(uint64_t *words, unsigned int n, uint64_t first, uint64_t step);
void sim_count(uint64_t *w, uint64_t addend);

void sim_host_kick(unsigned int cpu);
void sim_relax(void);
void sim_invlpg(uint64_t va, uint64_t npages);
void sim_flush_tlb(bool global);

void sim_lock_init(struct host_lock *l, unsigned int rank);
void sim_lock(struct host_lock *l);
void sim_unlock(struct host_lock *l);
bool sim_lock_held(const struct host_lock *l);

void sim_epoch_enter(void);
void sim_epoch_exit(void);
bool sim_epoch_held(void);
void sim_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item));
void sim_epoch_drain(void);

bool sim_table_alloc(uint64_t *hpa);
void sim_table_free(uint64_t hpa);
uint64_t *sim_table_words(uint64_t hpa);
uint64_t sim_table_hpa(const uint64_t *words);
void *sim_table_desc(uint64_t hpa);
void *sim_host_alloc(size_t bytes);
void sim_host_free(void *p, size_t bytes);

_Noreturn void sim_assert_failed(const char *expr, const char *file, int line);

#endif /* SIM_MACHINE_H */
