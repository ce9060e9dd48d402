/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The machine's inside, shared by the files that make it: choice.c (choices), sched.c (who steps),
 * memmodel.c (words and store buffers), cpu.c (interrupts, guest mode), lock.c, mutex.c (what
 * sleeps), epoch.c, phys.c (frames), bytes.c (what is in them), heap.c (other memory), disk.c,
 * pager.c, iommu.c and dma.c (devices), fault.c (what goes wrong, and how often), machine.c (life,
 * report).
 */

#ifndef SIM_MACHINE_PRIV_H
#define SIM_MACHINE_PRIV_H

#include <host_types.h>
#include <host_vm_types.h>
#include <setjmp.h>

#include "sim/machine/fiber.h"
#include "sim/machine/machine.h"

#define NCPUS_MAX (SIM_MAX_CPUS + 1) /* with the service CPU */
#define STORE_BUFFER_MAX 16
#define HELD_MAX 16
#define KICKS_TRACKED 8
#define FREE_LISTS 11
#define DESC_BYTES 128 /* HOST_TABLE_DESC_BYTES; asserted in phys.c */

enum cpu_state {
	CPU_IDLE, /* no program, or it has returned */
	CPU_READY,
	CPU_WAITING, /* until cp_ready */
};

#define DEFERRALS_KEPT 32

struct pending_store {
	uint64_t *ps_word;
	uint64_t ps_value;
	bool ps_release; /* of a lock */
};

struct cpu {
	unsigned int cp_id;
	enum cpu_state cp_state;
	bool cp_online;
	bool cp_irq_on;
	bool cp_irq_pending; /* arrived, not taken */
	bool cp_in_guest;
	enum sim_access cp_next_kind; /* what comes after the point that it is at */
	const void *cp_next;	      /* and the word, or NULL */
	bool cp_relaxing;	      /* its last point was host_relax() ... */
	uint64_t cp_relax_progress;   /* ... and memory was like this then */
	uint32_t cp_kicks;	      /* in flight to here */
	uint32_t cp_kick_hold; /* steps of the interrupts' agent before any of them arrives */
	uint64_t cp_kick_sent[KICKS_TRACKED]; /* when the oldest of them were, as m_kick_clock */

	uint64_t cp_stored;	 /* stores made so far */
	uint64_t cp_sent;	 /* kicks that left for here */
	uint64_t cp_sections;	 /* epoch sections begun */
	uint64_t cp_exit_stored; /* cp_stored at the end of the last of them */
	uint64_t cp_deferrals;
	unsigned int cp_nstores; /* oldest first */
	struct pending_store cp_stores[STORE_BUFFER_MAX];
	unsigned int cp_settled; /* so many of them must arrive before deferred functions run */

	uint32_t cp_epoch_depth;
	uint64_t cp_epoch_begin;  /* clock at the outermost section's begin; 0: none open */
	uint64_t cp_points;	  /* passed; to tell how long something lasted here */
	uint64_t cp_locked_since; /* cp_points when the first of the locks held was taken */
	uint64_t cp_irqs_off_since;
	unsigned int cp_nheld;
	struct host_lock *cp_held[HELD_MAX];
	unsigned int cp_nmutexes;
	struct host_mutex *cp_mutexes[HELD_MAX];
	bool cp_interruptible; /* it sleeps in a way that a signal ends */
	bool cp_signaled;
	uint64_t cp_failures;	      /* faults injected into what this CPU did */
	bool cp_begins;		      /* its program's next choice begins an operation */
	uint64_t cp_operations;	      /* begun by its program */
	uint64_t cp_operation_points; /* cp_points when the last began */
	unsigned int cp_fault_scope;  /* sim_fault_scope() */
	bool cp_killed;

	bool (*cp_ready)(void *arg);
	void *cp_ready_arg;
	const char *cp_what;
	void (*cp_fn)(void *arg);
	void *cp_arg;
	struct fiber cp_fiber;
};

struct agent {
	const struct sim_agent_ops *ag_ops;
	void *ag_arg;
};

struct heap_block;
struct disk_request;
struct pager_page;

/* What was so when an item was deferred: its function waits for these sections and stores. */
struct deferral {
	const struct host_epoch_item *df_item;
	unsigned int df_cpu;
	uint64_t df_number;		 /* of this CPU's */
	uint64_t df_stored;		 /* by it */
	uint64_t df_sections[NCPUS_MAX]; /* the last that had begun on each CPU */
	uint64_t df_exits[NCPUS_MAX];	 /* cp_stored at the end of that one */
};

/* What the bytes of a frame are. Filling one waits until somebody looks. */
enum frame_bytes {
	BYTES_THERE,
	BYTES_ZERO, /* to be zeroed */
	BYTES_POISON,
};

/* How devices in the host's domain reach a frame. */
enum host_reach {
	HOST_MAPPED,
	HOST_STALE, /* unmapped, but not flushed */
	HOST_UNMAPPED,
};

/* The service CPU may sleep for deferred work only, so one per CPU. */
struct disk {
	char *dk_bytes;
	uint8_t *dk_written; /* by slot: whether it has been written at all */
	uint32_t dk_slots;
	unsigned int dk_nrequests;
	struct disk_request *dk_requests[NCPUS_MAX];
	struct sim_agent_ops dk_ops;
};

/* Devices' translations; the host's own domain is in struct sim_frame. */
struct iommu {
	unsigned int im_ndomains;
	struct host_iommu *im_attached[SIM_DEVICES]; /* NULL: the host's own domain */
	uint64_t im_host_missing;		     /* frames that are not HOST_MAPPED */
	uint32_t im_stale_first;		     /* frames from here ... */
	uint32_t im_stale_end;			     /* ... to before here may be HOST_STALE */
	unsigned int im_nflushes;
	struct iommu_flush *im_flushes[NCPUS_MAX];
	struct sim_agent_ops im_flush_ops;
	struct sim_agent_ops im_dma_ops;
	void (*im_hook)(void *arg, unsigned int device, uint64_t gpa, uint64_t hpa, bool write);
	void *im_hook_arg;
};

struct sim_machine {
	/* What each point touches. */
	struct cpu *m_cpu; /* whose fiber runs; NULL in an agent and in the driver */
	uint64_t m_step;
	uint64_t m_slow_at; /* the step at which a point has more to do than to count */
	uint64_t m_hash;
	uint64_t m_progress; /* changes of memory, interrupts: what a spinning CPU waits for */
	unsigned int m_actor;
	bool m_tso;
	unsigned int m_store_buffer;
	char *m_words; /* of all frames */
	uint64_t m_words_bytes;
	char *m_bytes; /* of data frames; as long as m_words */
	char *m_descs;
	uint64_t m_descs_bytes;
	char *m_heap;
	uint64_t m_heap_bytes;
	struct sim_frame *m_frames;
	void (*m_step_hook)(void *arg, const struct sim_step *st);
	void *m_step_hook_arg;
	struct sim_counters m_ct;

	/* Scheduler. */
	const struct sim_policy_ops *m_policy;
	void (*m_touch)(void *arg, uint64_t object, enum sim_touch how); /* of it */
	void *m_policy_arg;
	uint64_t m_decide_at;
	unsigned int m_stalled; /* a CPU that stands still ... */
	uint64_t m_stall_end;	/* ... until this step */
	uint64_t m_stall_steps; /* of all stalls so far, what is left of this one included */
	uint64_t m_audit_at;
	uint64_t m_budget_at;
	uint64_t m_break_at;
	uint64_t m_audit_every;
	void (*m_audit)(void *arg);
	void *m_audit_arg;
	uint64_t m_idle_relaxes; /* since memory last changed */
	uint64_t m_relax_progress;
	uint32_t m_buffered;   /* CPUs with stores in their buffer */
	uint32_t m_kicked;     /* CPUs with interrupts in flight */
	uint64_t m_kick_clock; /* interrupts sent */
	unsigned int m_ncpus;  /* configured; the service CPU is m_cpus[m_ncpus] */
	unsigned int m_nlive;  /* programs that have not returned */
	unsigned int m_nagents;
	struct agent m_agents[SIM_MAX_AGENTS];
	struct sim_agent_ops m_drain_ops;
	struct sim_agent_ops m_kick_ops;
	struct sim_agent_ops m_signal_ops;
	struct sim_agent_ops m_kill_ops;
	struct cpu m_cpus[NCPUS_MAX];
	struct cpu m_driver; /* stands for the CPU in agents and in the driver */
	struct fiber m_main;
	struct fiber m_left; /* the fiber that a run ended in, never to be entered again */

	/* Choices. */
	uint64_t m_happened; /* faults by chance */
	uint64_t m_rng[4];
	size_t m_list_at;
	uint64_t m_offered; /* for the choice of an actor */
	struct sim_choice_record *m_record;
	struct sim_choice_note *m_notes; /* as many */
	size_t m_nrecord;
	size_t m_record_room;

	/* Physical memory. */
	uint64_t m_phys_base;
	uint32_t m_nframes;
	uint32_t m_single_top;		  /* frames below were handed out one by one at some time */
	uint32_t m_run_bottom;		  /* frames from here on, in runs */
	uint32_t m_free_head[FREE_LISTS]; /* by order 0 to 9, 18; frame number + 1 */
	uint32_t m_free_tail[FREE_LISTS];
	uint16_t *m_in_use; /* frames of each 2 MiB */
	uint64_t m_poison;
	uint64_t m_kinds[SIM_FRAME_KIND_COUNT];
	void (*m_write_hook)(void *arg, const struct sim_table_write *w);
	void *m_write_hook_arg;
	void (*m_free_hook)(void *arg, uint64_t hpa, enum sim_frame_kind kind);
	void *m_free_hook_arg;
	void (*m_copy_hook)(void *arg, uint64_t hpa, const void *bytes, size_t len, bool write);
	void *m_copy_hook_arg;

	/* Devices. */
	struct disk m_disk;
	struct iommu m_iommu;

	/* Pagers. */
	unsigned int m_npagers;
	struct pager_page *m_kept_first; /* frames that they keep */
	struct pager_page *m_kept_last;

	/* Heap. */
	uint64_t m_heap_top;
	struct heap_block *m_heap_free;
	uint64_t m_heap_blocks; /* of host_alloc(), not freed */

	/* Epoch. */
	uint64_t m_epoch_clock;
	struct deferral m_deferrals[DEFERRALS_KEPT]; /* the last */
	unsigned int m_deferral_next;
	struct host_epoch_item *m_deferred;
	struct host_epoch_item **m_deferred_end;
	uint64_t m_ndeferred;
	uint64_t m_running_seq; /* of the item whose function runs; 0: none */

	/* Interrupts and hardware. */
	void (*m_irq_handler)(void *arg, unsigned int cpu);
	void *m_irq_handler_arg;
	const struct sim_tlb_ops *m_tlb_ops;
	void *m_tlb_arg;

	/* Faults. */
	unsigned int m_drought; /* so many more tables are not to be had */
	uint64_t m_scopes[SIM_OPERATIONS_MAX];
	struct sim_fault_cell m_fault_cells[SIM_FAULT_COUNT][SIM_OPERATIONS_MAX];

	/* Life. */
	struct sim_config m_cfg;
	bool m_running;	 /* inside sim_machine_run() */
	bool m_catching; /* m_catch is set */
	jmp_buf m_catch;
	struct sim_report m_report; /* of the end, once there is one */
};

/* The machine of this process. */
extern struct sim_machine *sim_the_machine;

/* ---- choice.c ---- */
bool choice_init(struct sim_machine *m);
/* A choice that a policy has made; not while a list is replayed. */
uint32_t choice_made(struct sim_machine *m, enum sim_choice kind, uint32_t n, uint32_t value);
void choice_restart(struct sim_machine *m); /* with the source that m_cfg names */
void choice_fini(struct sim_machine *m);

/* ---- sched.c ---- */
void sched_point_slow(struct sim_machine *m);
void sched_set_slow_at(struct sim_machine *m);
void sched_fiber_start(void *arg); /* a struct cpu */
bool sched_quiet(const struct sim_machine *m);

/*
 * A point that is passed only once ready(arg), if stores leave by themselves (sc_settle); otherwise
 * what follows sees to that itself, and this is point_at().
 */
void sched_point_settled(struct sim_machine *m, enum sim_access kind, const void *addr,
			 bool (*ready)(void *arg), void *arg);

/* ---- memmodel.c ---- */
bool memory_is_drained(void *arg); /* a CPU's store buffer */
void memory_touch_drained(const struct sim_machine *m, const struct cpu *c);
/* A point before something that empties the store buffer of this CPU. */
void memory_point(struct sim_machine *m, enum sim_access kind, const void *addr);
/* A lock's word: taken at once, released by way of the own buffer. */
void memory_take(struct sim_machine *m, uint64_t *w);
void memory_release(struct sim_machine *m, uint64_t *w);
bool memory_has_room(void *arg); /* a CPU, in its store buffer */
void memory_drain_one(struct sim_machine *m, struct cpu *c);
void memory_drain(struct sim_machine *m, struct cpu *c);	       /* all; counted as forced */
uint64_t memory_read(struct sim_machine *m, const uint64_t *w);	       /* through the own buffer */
void memory_write(struct sim_machine *m, uint64_t *w, uint64_t value); /* into the own buffer */
void memory_write_now(struct sim_machine *m, uint64_t *w, uint64_t value, enum sim_write_how how,
		      unsigned int cpu);

/* ---- cpu.c ---- */
void cpu_take_interrupts(struct sim_machine *m, struct cpu *c);
bool cpu_may_take(const struct sim_machine *m, const struct cpu *c); /* unless in guest mode */
void cpu_agents_init(struct sim_machine *m);

/* ---- epoch.c ---- */
void epoch_service(void *arg); /* the service CPU's program; never returns */

/* ---- lock.c ---- */
/* Something that began at the CPU's point `since` ends: keeps the longest, CK-SCHED if too long. */
void lock_check_length(struct sim_machine *m, const struct cpu *c, uint64_t since,
		       uint64_t *longest, const char *what);
/* CK-SCHED unless the caller may wait for others: interrupts on, no lock, no section. */
void lock_check_may_wait(struct sim_machine *m, const char *what);
void lock_check_none_in(struct sim_machine *m, const void *p, uint64_t bytes);

/* ---- mutex.c ---- */
/* The same, and no epoch section, and not in a deferred function: the caller may sleep. */
void mutex_check_may_sleep(struct sim_machine *m, const char *what);
void mutex_check_none_in(const struct cpu *c, const void *p, uint64_t bytes);
void mutex_agent_init(struct sim_machine *m);

/* ---- phys.c, heap.c ---- */
bool phys_init(struct sim_machine *m);
void phys_fini(struct sim_machine *m);
/* The frame of an address that must be in a data frame; CK-FREE. */
struct sim_frame *phys_data_frame(struct sim_machine *m, uint64_t hpa, const char *what);
void phys_set_kind(struct sim_frame *f, enum sim_frame_kind kind);
bool heap_init(struct sim_machine *m);
void heap_fini(struct sim_machine *m);
/* Under AddressSanitizer and Valgrind: opens all of it to be copied, and closes what is free. */
void heap_open(struct sim_machine *m);
void heap_close(struct sim_machine *m);

/* ---- bytes.c ---- */
void bytes_fill(struct sim_machine *m, struct sim_frame *f); /* until then fr_bytes says how */
void bytes_fill_words(void *page, uint64_t first, uint64_t step);

/* ---- disk.c, pager.c, iommu.c, dma.c ---- */
bool disk_init(struct sim_machine *m);
void disk_fini(struct sim_machine *m);
int disk_read_into(const char *page, uint64_t hpa); /* of no slot; as host_swap_read() */
bool pager_shrink(struct sim_machine *m);	    /* gives up what pagers keep; true: something */
void iommu_init(struct sim_machine *m);
void iommu_check_leaks(struct sim_machine *m);
void dma_init(struct sim_machine *m);
/* CK-FREE or CK-IOMMU if a device can reach a frame that is to be freed. */
void iommu_check_free(const struct sim_frame *f, uint64_t hpa);

/* A page of a guest's domain. Those that are mapped are found by a hash of their gpa. */
struct iommu_page {
	uint64_t ip_gpa;
	uint64_t ip_hpa;
	uint32_t ip_next;  /* index + 1 */
	uint8_t ip_prot;   /* PMAP_PROT_R and PMAP_PROT_W */
	bool ip_reachable; /* a device was attached while it was mapped, since the last flush */
};

struct iommu_pages {
	struct iommu_page *is_pages;
	uint32_t is_n;
	uint32_t is_room;
};

struct host_iommu {
	struct iommu_pages io_mapped;
	struct iommu_pages io_stale; /* unmapped, reachable, not flushed */
	uint32_t *io_heads;	     /* io_mapped.is_room of them, a power of two */
	unsigned int io_ndevices;
	uint32_t io_magic;
};

/* CK-IOMMU unless it is a domain that exists. */
void iommu_check_domain(const struct host_iommu *d, const char *what);

/* ---- fault.c ---- */
/* sim_fault() for what happens to another CPU than the one that runs. */
bool fault_at(struct sim_machine *m, enum sim_fault f, unsigned int cpu);
void fault_met_by_all(struct sim_machine *m, enum sim_fault f);
void fault_agent_init(struct sim_machine *m);

/* ---- machine.c ---- */
_Noreturn void machine_end(struct sim_machine *m, enum sim_result result, const char *check,
			   const char *invariant, const char *message);

/* ---- Small things that must be fast ---- */

/* The CPU that this code is taken to run on. */
static inline struct cpu *
self(struct sim_machine *m)
{
	return m->m_cpu != NULL ? m->m_cpu : &m->m_driver;
}

/* A name for what p points to that is the same in every build; 0 if it has none. */
static inline uint64_t
address_id(const struct sim_machine *m, uintptr_t p)
{
	uint64_t off = p - (uintptr_t)m->m_words;

	if (off < m->m_words_bytes)
		return SIM_ID_TABLE | off;
	off = p - (uintptr_t)m->m_heap;
	if (off < m->m_heap_bytes)
		return SIM_ID_ALLOC | off;
	off = p - (uintptr_t)m->m_descs;
	if (off < m->m_descs_bytes)
		return SIM_ID_DESC | off;
	off = p - (uintptr_t)m->m_bytes;
	if (off < m->m_words_bytes)
		return SIM_ID_DATA | off;
	return SIM_ID_OTHER;
}

/* Words hold pointers as well: what enters the trace must not depend on where memory lies. */
static inline uint64_t
stable_value(const struct sim_machine *m, uint64_t id, uint64_t value)
{
	if (id >> 56 == SIM_ID_TABLE >> 56 || id >> 56 == SIM_ID_DATA >> 56)
		return value;
	uint64_t vid = address_id(m, value);
	return vid != SIM_ID_OTHER ? vid : value;
}

static inline void
trace(struct sim_machine *m, enum sim_access kind, uint64_t id, uint64_t value)
{
	uint64_t h = m->m_hash;

	h = (h ^ id ^ ((uint64_t)m->m_actor << 40) ^ ((uint64_t)kind << 48)) *
	    0x9e3779b97f4a7c15ull;
	h = (h ^ (h >> 32) ^ value) * 0xd6e8feb86659fd93ull;
	m->m_hash = h ^ (h >> 29);
	if (__builtin_expect(m->m_step_hook != NULL, 0)) {
		struct sim_step st = {m->m_step, m->m_actor, kind, id, value};
		m->m_step_hook(m->m_step_hook_arg, &st);
	}
}

static inline void
touch(const struct sim_machine *m, uint64_t object, enum sim_touch how)
{
	if (__builtin_expect(m->m_touch != NULL, 0))
		m->m_touch(m->m_policy_arg, object, how);
}

/* The object that a word is: the same in every build and every process. */
static inline uint64_t
word_object(const struct sim_machine *m, const void *word, enum sim_object class)
{
	const uint64_t id = address_id(m, (uintptr_t)word);
	const uint64_t offset = id & (((uint64_t)1 << 50) - 1);

	return SIM_OBJECT(class, id == SIM_ID_OTHER ? (uintptr_t)word : (id >> 56) << 50 | offset);
}

static inline void
touch_word(const struct sim_machine *m, const void *word, enum sim_touch how)
{
	if (__builtin_expect(m->m_touch != NULL, 0))
		m->m_touch(m->m_policy_arg, word_object(m, word, SIM_OBJECT_WORD), how);
}

/* sim_point() without its trace. */
static inline void
point_at(struct sim_machine *m, enum sim_access kind, const void *addr)
{
	struct cpu *c = m->m_cpu;

	if (c == NULL)
		return;
	c->cp_relaxing = false;
	c->cp_next_kind = kind;
	c->cp_next = addr;
	c->cp_points++;
	m->m_ct.ct_points[kind]++;
	if (__builtin_expect(++m->m_step >= m->m_slow_at, 0))
		sched_point_slow(m);
}

static inline void
point(struct sim_machine *m, enum sim_access kind)
{
	point_at(m, kind, NULL);
}

#endif /* SIM_MACHINE_PRIV_H */
