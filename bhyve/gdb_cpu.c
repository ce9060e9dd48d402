/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Stopping vCPUs. A thread in VMM_RUN comes out by a signal, and sees before it runs again that it
 * shall wait. A signal may come just before the call, and would be lost; so it is sent again until
 * all stand.
 *
 * A step is the monitor trap flag where the CPU has one. Elsewhere breakpoints are put wherever the
 * instruction may lead, which Zydis tells, and only that vCPU runs until it meets one.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <Zydis/Zydis.h>

#include "gdb.h"
#include "guest_mem.h"

#define BREAKS_MAX 256
#define INT3 0xcc
#define PAGE 4096u
#define RESEND_NS 20000000
#define EFER_LMA (1ull << 10)

struct breakpoint {
	uint64_t bp_gla;
	uint8_t *bp_at;
	uint8_t bp_byte;
	bool bp_on, bp_once;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct machine *ma;
	int event_fd;
	bool on, stop;
	int step; /* the vCPU that may run nevertheless; -1: none */
	int which;
	bool parked[VMM_MAXCPU], gone[VMM_MAXCPU];
	struct breakpoint breaks[BREAKS_MAX];
} g = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .step = -1};

static void
nothing(int signo)
{
	(void)signo;
}

int
gdb_cpu_init(struct machine *ma, int event_fd, bool stopped)
{
	const struct sigaction action = {.sa_handler = nothing};

	g.ma = ma;
	g.event_fd = event_fd;
	g.stop = stopped;
	g.on = true;
	sigaction(SIGUSR2, &action, NULL);
	for (unsigned int i = 0; i < ma->ma_ncpus; i++) {
		const int error = vm_set_capability(ma->ma_cpus[i].mc_vcpu, VMM_CAP_BPT_EXIT, 1);

		if (error)
			return error;
	}
	return 0;
}

/* ---- Breakpoints ----------------------------------------------------------------------------- */

static uint8_t *
place(int cpu, uint64_t gla)
{
	uint64_t gpa;
	int fault = 0;

	if (vm_gla2gpa_nofault(g.ma->ma_cpus[cpu].mc_vcpu, gla, VMM_PROT_READ, &gpa, &fault) ||
	    fault)
		return NULL;
	return guest_ptr(g.ma->ma_ctx, gpa, 1);
}

static int
insert(int cpu, uint64_t gla, bool once)
{
	uint8_t *const at = place(cpu, gla);

	if (at == NULL)
		return -EFAULT;
	for (unsigned int i = 0; i < BREAKS_MAX; i++) {
		struct breakpoint *const bp = &g.breaks[i];

		if (bp->bp_on && bp->bp_gla == gla)
			return 0;
	}
	for (unsigned int i = 0; i < BREAKS_MAX; i++) {
		struct breakpoint *const bp = &g.breaks[i];

		if (bp->bp_on)
			continue;
		*bp = (struct breakpoint){gla, at, *at, true, once};
		*at = INT3;
		return 0;
	}
	return -ENOSPC;
}

static void
take_away(struct breakpoint *bp)
{
	/* The guest may have put something else there meanwhile. */
	if (bp->bp_on && *bp->bp_at == INT3)
		*bp->bp_at = bp->bp_byte;
	bp->bp_on = false;
}

int
gdb_cpu_break(int cpu, uint64_t gla, bool on)
{
	if (on)
		return insert(cpu, gla, false);
	for (unsigned int i = 0; i < BREAKS_MAX; i++) {
		if (g.breaks[i].bp_on && g.breaks[i].bp_gla == gla)
			take_away(&g.breaks[i]);
	}
	return 0;
}

void
gdb_cpu_break_none(void)
{
	for (unsigned int i = 0; i < BREAKS_MAX; i++)
		take_away(&g.breaks[i]);
}

static bool
is_break(uint64_t gla)
{
	for (unsigned int i = 0; i < BREAKS_MAX; i++) {
		if (g.breaks[i].bp_on && g.breaks[i].bp_gla == gla)
			return true;
	}
	return false;
}

size_t
gdb_cpu_memory(int cpu, uint64_t gla, void *buf, size_t n, bool write)
{
	size_t done = 0;

	while (done < n) {
		const size_t rest = PAGE - (gla + done) % PAGE;
		const size_t part = n - done < rest ? n - done : rest;
		uint8_t *const at = place(cpu, gla + done);

		if (at == NULL)
			break;
		if (write)
			memcpy(at, (uint8_t *)buf + done, part);
		else
			memcpy((uint8_t *)buf + done, at, part);
		done += part;
	}
	return done;
}

/* ---- Stop and go ----------------------------------------------------------------------------- */

void
gdb_check(struct machine_cpu *mc)
{
	if (!g.on)
		return;
	pthread_mutex_lock(&g.lock);
	while (g.on && g.stop && g.step != mc->mc_id) {
		g.parked[mc->mc_id] = true;
		pthread_cond_broadcast(&g.cond);
		pthread_cond_wait(&g.cond, &g.lock);
	}
	g.parked[mc->mc_id] = false;
	pthread_mutex_unlock(&g.lock);
}

void
gdb_gone(struct machine_cpu *mc)
{
	pthread_mutex_lock(&g.lock);
	g.gone[mc->mc_id] = true;
	pthread_cond_broadcast(&g.cond);
	pthread_mutex_unlock(&g.lock);
}

/* Signals whoever does not stand yet; true if all do. Locked. */
static bool
call_out(void)
{
	bool all = true;

	for (unsigned int i = 0; i < g.ma->ma_ncpus; i++) {
		if (g.parked[i] || g.gone[i] || !g.ma->ma_cpus[i].mc_started)
			continue;
		pthread_kill(g.ma->ma_cpus[i].mc_thread, SIGUSR2);
		all = false;
	}
	return all;
}

void
gdb_cpu_stop_all(void)
{
	pthread_mutex_lock(&g.lock);
	g.stop = true;
	g.step = -1;
	while (g.on && !call_out()) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += RESEND_NS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&g.cond, &g.lock, &until);
	}
	for (unsigned int i = 0; i < BREAKS_MAX; i++) {
		if (g.breaks[i].bp_once)
			take_away(&g.breaks[i]);
	}
	pthread_mutex_unlock(&g.lock);
}

void
gdb_cpu_go(void)
{
	pthread_mutex_lock(&g.lock);
	g.stop = false;
	pthread_cond_broadcast(&g.cond);
	pthread_mutex_unlock(&g.lock);
}

int
gdb_cpu_which(void)
{
	int which;

	pthread_mutex_lock(&g.lock);
	which = g.which;
	pthread_mutex_unlock(&g.lock);
	return which;
}

bool
gdb_exit(struct machine_cpu *mc, const struct vmm_exit *exit)
{
	const bool mine = g.on && (exit->code == VMM_EXIT_MTRAP || is_break(exit->rip));

	if (!mine)
		return false;
	if (exit->code == VMM_EXIT_MTRAP)
		vm_set_capability(mc->mc_vcpu, VMM_CAP_MTRAP_EXIT, 0);
	else
		vm_set_register(mc->mc_vcpu, VMM_REG_RIP, exit->rip);
	pthread_mutex_lock(&g.lock);
	g.stop = true;
	g.step = -1;
	g.which = mc->mc_id;
	pthread_mutex_unlock(&g.lock);
	while (write(g.event_fd, "s", 1) < 0 && errno == EINTR)
		;
	return true;
}

/* ---- One step -------------------------------------------------------------------------------- */

/* Where a jump or a call whose target is an operand leads. */
static int
target(int cpu, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op, uint64_t rip,
       uint64_t *gla)
{
	static const enum vmm_reg names[] = {VMM_REG_RAX, VMM_REG_RCX, VMM_REG_RDX, VMM_REG_RBX,
					     VMM_REG_RSP, VMM_REG_RBP, VMM_REG_RSI, VMM_REG_RDI,
					     VMM_REG_R8,  VMM_REG_R9,  VMM_REG_R10, VMM_REG_R11,
					     VMM_REG_R12, VMM_REG_R13, VMM_REG_R14, VMM_REG_R15};
	ZydisRegisterContext context = {.values = {0}};
	uint64_t values[16];

	if (vm_get_register_set(g.ma->ma_cpus[cpu].mc_vcpu, 16, names, values))
		return -EIO;
	for (unsigned int i = 0; i < 16; i++) {
		context.values[ZYDIS_REGISTER_RAX + i] = values[i];
		context.values[ZYDIS_REGISTER_EAX + i] = values[i] & UINT32_MAX;
	}
	context.values[ZYDIS_REGISTER_RIP] = rip;
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		*gla = context.values[op->reg.value];
		return 0;
	}
	if (zi->meta.category == ZYDIS_CATEGORY_RET)
		*gla = values[4];
	else if (!ZYAN_SUCCESS(ZydisCalcAbsoluteAddressEx(zi, op, rip, &context, gla)))
		return -EINVAL;
	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op->imm.is_relative)
		return 0;
	rip = *gla;
	*gla = 0;
	return gdb_cpu_memory(cpu, rip, gla, zi->stack_width / 8u, false) ? 0 : -EFAULT;
}

static int
step_by_breaks(int cpu, struct vcpu *vcpu)
{
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	uint64_t rip, efer, base, gla;
	ZydisDecodedInstruction zi;
	uint32_t limit, access;
	ZydisDecoder decoder;
	uint8_t inst[15];
	size_t n;
	bool is64;
	int error;

	if (vm_get_register(vcpu, VMM_REG_RIP, &rip) ||
	    vm_get_register(vcpu, VMM_REG_EFER, &efer) ||
	    vm_get_desc(vcpu, VMM_REG_CS, &base, &limit, &access))
		return -EIO;
	is64 = efer & EFER_LMA && access & 1u << 13;
	ZydisDecoderInit(&decoder, is64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32,
			 is64 ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
	n = gdb_cpu_memory(cpu, rip, inst, sizeof(inst), false);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, inst, n, &zi, ops)))
		return -EILSEQ;
	error = insert(cpu, rip + zi.length, true);
	if (zi.meta.category == ZYDIS_CATEGORY_RET || zi.meta.category == ZYDIS_CATEGORY_CALL ||
	    zi.meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
	    zi.meta.category == ZYDIS_CATEGORY_COND_BR) {
		error = target(cpu, &zi, &ops[0], rip, &gla);
		if (error == 0)
			error = insert(cpu, gla, true);
	}
	return error;
}

int
gdb_cpu_step(int cpu)
{
	struct vcpu *const vcpu = g.ma->ma_cpus[cpu].mc_vcpu;
	int error;

	if (vm_set_capability(vcpu, VMM_CAP_MTRAP_EXIT, 1)) {
		error = step_by_breaks(cpu, vcpu);
		if (error)
			return error;
	}
	pthread_mutex_lock(&g.lock);
	g.step = cpu;
	pthread_cond_broadcast(&g.cond);
	pthread_mutex_unlock(&g.lock);
	return 0;
}

/* vCPUs go on, and never stop again. */
void
gdb_cpu_off(void)
{
	pthread_mutex_lock(&g.lock);
	g.on = false;
	pthread_cond_broadcast(&g.cond);
	pthread_mutex_unlock(&g.lock);
}
