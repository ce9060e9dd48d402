/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A vCPU's thread: run, serve what ended the run, run again.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "gdb.h"
#include "inout.h"
#include "machine.h"

#define VECTOR_BP 3
#define VECTOR_UD 6
#define VECTOR_GP 13
#define FLAG_DF 0x400ull

typedef unsigned long long ull;

/* Complains about libvmm's last failure, unless the machine is going away anyway. */
static int
failed(const struct machine_cpu *mc)
{
	if (__atomic_load_n(&mc->mc_machine->ma_status, __ATOMIC_ACQUIRE) < 0)
		complain("vCPU %d: %s", mc->mc_id, vmm_errmsg());
	return -1;
}

static uint64_t
width_mask(unsigned int bytes)
{
	return bytes >= 8 ? UINT64_MAX : (1ull << bytes * 8) - 1;
}

/* ---- Ports ----------------------------------------------------------------------------------- */

static int
port(struct machine_cpu *mc, const struct vmm_exit *exit, uint32_t *value)
{
	const struct vmm_exit_inout *const io = &exit->u.inout;
	const int error = inout_access(mc->mc_vcpu, io->port, io->bytes, !io->in, value);

	*value &= (uint32_t)width_mask(io->bytes);
	if (error == -ENOENT && mc->mc_machine->ma_strict_io) {
		complain("the guest %s port 0x%x, where nothing is", io->in ? "reads" : "writes",
			 io->port);
		return -1;
	}
	if (error && error != -ENOENT) {
		complain("port 0x%x: %s", io->port, strerror(-error));
		return -1;
	}
	return 0;
}

static int
port_simple(struct machine_cpu *mc, const struct vmm_exit *exit)
{
	const uint64_t m = width_mask(exit->u.inout.bytes);
	uint32_t value = exit->u.inout.eax & (uint32_t)m;
	uint64_t rax;

	if (port(mc, exit, &value))
		return -1;
	if (!exit->u.inout.in)
		return 0;
	if (vm_get_register(mc->mc_vcpu, VMM_REG_RAX, &rax))
		return failed(mc);
	/* A 32-bit result clears the upper half. */
	rax = exit->u.inout.bytes == 4 ? value : (rax & ~m) | value;
	return vm_set_register(mc->mc_vcpu, VMM_REG_RAX, rax) ? failed(mc) : 0;
}

/* INS and OUTS: an element per exit. */
static int
port_string(struct machine_cpu *mc, const struct vmm_exit *exit)
{
	static const enum vmm_reg names[] = {VMM_REG_RCX, VMM_REG_RSI, VMM_REG_RDI, VMM_REG_RFLAGS};
	const struct vmm_exit_inout *const io = &exit->u.inout;
	const uint64_t m = width_mask(io->addr_bytes ? io->addr_bytes : 8);
	const enum vmm_reg seg = io->in ? VMM_REG_ES : io->seg;
	struct vcpu *const vcpu = mc->mc_vcpu;
	uint64_t regs[4], base, gla, *at, by;
	uint32_t value = 0, limit, access;
	int fault = 0;

	if (vm_get_register_set(vcpu, 4, names, regs) ||
	    vm_get_desc(vcpu, seg, &base, &limit, &access))
		return failed(mc);
	if (io->rep && (regs[0] & m) == 0)
		return 0;
	at = io->in ? &regs[2] : &regs[1];
	gla = base + (*at & m);
	if (!io->in && vm_copyin(vcpu, gla, &value, io->bytes, &fault))
		return failed(mc);
	if (!fault && port(mc, exit, &value))
		return -1;
	if (!fault && io->in && vm_copyout(vcpu, &value, gla, io->bytes, &fault))
		return failed(mc);
	by = regs[3] & FLAG_DF ? -(uint64_t)io->bytes : io->bytes;
	if (!fault) {
		*at = (*at & ~m) | ((*at + by) & m);
		if (io->rep)
			regs[0] = (regs[0] & ~m) | ((regs[0] - 1) & m);
	}
	if (vm_set_register_set(vcpu, 3, names, regs))
		return failed(mc);
	/* It is not over yet, or a fault is due: RIP stays. */
	if ((fault || (io->rep && (regs[0] & m) != 0)) &&
	    vm_set_register(vcpu, VMM_REG_RIP, exit->rip))
		return failed(mc);
	return 0;
}

/* ---- Model-specific registers ---------------------------------------------------------------- */

static int
inject(struct machine_cpu *mc, const struct vmm_exit *exit, unsigned int vector, int64_t code)
{
	if (vm_set_register(mc->mc_vcpu, VMM_REG_RIP, exit->rip) ||
	    vm_inject_exception(mc->mc_vcpu, vector, code))
		return failed(mc);
	return 0;
}

static int
msr(struct machine_cpu *mc, const struct vmm_exit *exit)
{
	static const enum vmm_reg names[] = {VMM_REG_RAX, VMM_REG_RDX};
	static const uint64_t zeros[] = {0, 0};

	if (mc->mc_machine->ma_strict_msr)
		return inject(mc, exit, VECTOR_GP, 0);
	if (exit->code == VMM_EXIT_RDMSR && vm_set_register_set(mc->mc_vcpu, 2, names, zeros))
		return failed(mc);
	return 0;
}

/* ---- The rest -------------------------------------------------------------------------------- */

static int
suspended(struct machine_cpu *mc, uint32_t how)
{
	static const int status[] = {
		[VMM_SUSPEND_NONE] = END_ERROR,
		[VMM_SUSPEND_RESET] = END_REBOOT,
		[VMM_SUSPEND_POWEROFF] = END_POWEROFF,
		[VMM_SUSPEND_HALT] = END_HALT,
		[VMM_SUSPEND_TRIPLEFAULT] = END_TRIPLE_FAULT,
	};

	machine_end(mc->mc_machine, how <= VMM_SUSPEND_TRIPLEFAULT ? status[how] : END_ERROR);
	return 1;
}

static int
paging(struct machine_cpu *mc, const struct vmm_exit *exit)
{
	const struct machine *const ma = mc->mc_machine;
	const struct vmm_exit_paging *const p = &exit->u.paging;

	/* A ROM is not written; it sees the attempt go by. */
	if (p->access & VMM_PROT_WRITE && p->gpa - ma->ma_rom_gpa < ma->ma_rom_bytes)
		return mmio_exit(mc->mc_machine, mc->mc_vcpu, exit);
	complain("vCPU %d at 0x%llx cannot %s guest memory at 0x%llx: %s", mc->mc_id,
		 (ull)exit->rip,
		 p->access & VMM_PROT_EXEC    ? "execute"
		 : p->access & VMM_PROT_WRITE ? "write"
					      : "read",
		 (ull)p->gpa, vm_fault_reason_text(p->reason));
	return -1;
}

/* gdb's, or the guest's own INT3, which it gets as if nothing had been. */
static int
breakpoint(struct machine_cpu *mc, const struct vmm_exit *exit)
{
	if (gdb_exit(mc, exit) || exit->code == VMM_EXIT_MTRAP)
		return 0;
	if (vm_set_register(mc->mc_vcpu, VMM_REG_RIP, exit->rip + exit->inst_bytes) ||
	    vm_inject_exception(mc->mc_vcpu, VECTOR_BP, -1))
		return failed(mc);
	return 0;
}

/* 0: go on; 1: it is over; -1: likewise, by an error. */
static int
serve(struct machine_cpu *mc, const struct vmm_exit *exit)
{
	switch (exit->code) {
	case VMM_EXIT_NONE:
	case VMM_EXIT_HLT: /* on a machine with a platform it waits in the module */
	case VMM_EXIT_TIMER:
		return 0;
	case VMM_EXIT_MTRAP:
	case VMM_EXIT_BPT:
		return breakpoint(mc, exit);
	case VMM_EXIT_INOUT:
		return exit->u.inout.string ? port_string(mc, exit) : port_simple(mc, exit);
	case VMM_EXIT_RDMSR:
	case VMM_EXIT_WRMSR:
		return msr(mc, exit);
	case VMM_EXIT_PAUSE:
		sched_yield();
		return 0;
	case VMM_EXIT_HYPERCALL:
		return inject(mc, exit, VECTOR_UD, -1);
	case VMM_EXIT_MMIO:
		return mmio_exit(mc->mc_machine, mc->mc_vcpu, exit);
	case VMM_EXIT_PAGING:
		return paging(mc, exit);
	case VMM_EXIT_SUSPENDED:
		return suspended(mc, exit->u.how);
	case VMM_EXIT_SHUTDOWN:
		complain("vCPU %d at 0x%llx: triple fault", mc->mc_id, (ull)exit->rip);
		machine_end(mc->mc_machine, END_TRIPLE_FAULT);
		return 1;
	default:
		complain("vCPU %d at 0x%llx: %s, reason 0x%llx, 0x%llx, 0x%llx", mc->mc_id,
			 (ull)exit->rip, vm_exit_name(exit->code), (ull)exit->u.raw.reason,
			 (ull)exit->u.raw.info1, (ull)exit->u.raw.info2);
		return -1;
	}
}

static void
pin(const struct machine_cpu *mc)
{
	cpu_set_t set;

	if (mc->mc_host_cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(mc->mc_host_cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		complain("vCPU %d cannot be pinned to host CPU %d", mc->mc_id, mc->mc_host_cpu);
}

void *
vcpu_loop(void *arg)
{
	struct machine_cpu *const mc = arg;
	struct vmm_exit exit;
	int status = 0;

	pin(mc);
	while (status == 0) {
		int error;

		gdb_check(mc);
		error = vm_run(mc->mc_vcpu, &exit);

		if (error == -EINTR)
			continue;
		status = error ? failed(mc) : serve(mc, &exit);
	}
	gdb_gone(mc);
	if (status < 0)
		machine_end(mc->mc_machine, END_ERROR);
	return NULL;
}
