/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Tracepoints, events/vmm/ in tracefs. Those of guests name their machine; those of the core name
 * nested page tables by the address of the root, as EPTP and nCR3 do.
 *
 * The form is that of Linux's trace headers: it is read several times, with other meanings of the
 * macros each time.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM vmm

#if !defined(KMOD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KMOD_TRACE_H

#include <linux/tracepoint.h>

/* clang-format off */

/* An exit. reason: VT-x, the basic exit reason; SVM, EXITCODE. */
TRACE_EVENT(vmm_exit,
	TP_PROTO(const char *vm, unsigned int vcpu, u64 reason, u64 rip),
	TP_ARGS(vm, vcpu, reason, rip),
	TP_STRUCT__entry(
		__string(vm, vm)
		__field(unsigned int, vcpu)
		__field(u64, reason)
		__field(u64, rip)
	),
	TP_fast_assign(
		__assign_str(vm, vm);
		__entry->vcpu = vcpu;
		__entry->reason = reason;
		__entry->rip = rip;
	),
	TP_printk("%s vcpu %u: reason 0x%llx at rip 0x%llx", __get_str(vm), __entry->vcpu,
		  __entry->reason, __entry->rip)
);

/* A fault of the nested tables, after it was handled. access: 1 read, 2 write, 4 fetch. */
TRACE_EVENT(vmm_fault,
	TP_PROTO(const char *vm, unsigned int vcpu, u64 gpa, unsigned int access, int result),
	TP_ARGS(vm, vcpu, gpa, access, result),
	TP_STRUCT__entry(
		__string(vm, vm)
		__field(unsigned int, vcpu)
		__field(u64, gpa)
		__field(unsigned int, access)
		__field(int, result)
	),
	TP_fast_assign(
		__assign_str(vm, vm);
		__entry->vcpu = vcpu;
		__entry->gpa = gpa;
		__entry->access = access;
		__entry->result = result;
	),
	TP_printk("%s vcpu %u: gpa 0x%llx %s%s%s: %d", __get_str(vm), __entry->vcpu, __entry->gpa,
		  __entry->access & 1 ? "r" : "", __entry->access & 2 ? "w" : "",
		  __entry->access & 4 ? "x" : "", __entry->result)
);

/* A shootdown: from the first look at which CPUs must flush to the last one that has. */
DECLARE_EVENT_CLASS(vmm_inv,
	TP_PROTO(u64 root, u64 generation),
	TP_ARGS(root, generation),
	TP_STRUCT__entry(
		__field(u64, root)
		__field(u64, generation)
	),
	TP_fast_assign(
		__entry->root = root;
		__entry->generation = generation;
	),
	TP_printk("root 0x%llx generation %llu", __entry->root, __entry->generation)
);
DEFINE_EVENT(vmm_inv, vmm_inv_begin, TP_PROTO(u64 root, u64 generation), TP_ARGS(root, generation));
DEFINE_EVENT(vmm_inv, vmm_inv_end, TP_PROTO(u64 root, u64 generation), TP_ARGS(root, generation));

/* Mappings joined in place. level 1: 2 MiB, 2: 1 GiB. */
TRACE_EVENT(vmm_promote,
	TP_PROTO(u64 root, u64 gpa, unsigned int level),
	TP_ARGS(root, gpa, level),
	TP_STRUCT__entry(
		__field(u64, root)
		__field(u64, gpa)
		__field(unsigned int, level)
	),
	TP_fast_assign(
		__entry->root = root;
		__entry->gpa = gpa;
		__entry->level = level;
	),
	TP_printk("root 0x%llx gpa 0x%llx level %u", __entry->root, __entry->gpa, __entry->level)
);

/* One call of pageout: pages wanted, pages that left memory. */
TRACE_EVENT(vmm_pageout,
	TP_PROTO(u64 wanted, u64 freed),
	TP_ARGS(wanted, freed),
	TP_STRUCT__entry(
		__field(u64, wanted)
		__field(u64, freed)
	),
	TP_fast_assign(
		__entry->wanted = wanted;
		__entry->freed = freed;
	),
	TP_printk("wanted %llu freed %llu", __entry->wanted, __entry->freed)
);

/* clang-format on */

#endif /* KMOD_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH kmod
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
