/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What tracing lines say about faults.
 *
 * kvm:kvm_page_fault has the address and a code, which is the exit qualification on Intel and
 * EXITINFO1 on AMD; which of them, the exit before it says (kvm:kvm_exit), or bits that only one of
 * them has. With shadow paging the address is linear, and of no use. A nested page fault of AMD is
 * all in its exit, so a file of exits alone will do; where both are there, they are one fault.
 *
 * Formats: Linux, arch/x86/kvm/trace.h, of versions 4 to 6; ours: kmod/trace.h.
 */

#include "sim/trace/import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/trace/import_line.h"

#define THREADS_MAX 1024
#define MACHINE_BYTES 64

/* Why a thread's guest was left last. */
enum reason { REASON_UNKNOWN, REASON_EPT, REASON_NPF, REASON_EXCEPTION, REASON_OTHER };

struct fault {
	uint64_t fa_time_ns;
	uint64_t fa_gpa;
	uint64_t fa_order;
	uint16_t fa_vcpu;
	uint8_t fa_kind; /* enum trace_kind */
};

struct thread {
	uint64_t th_pid;
	unsigned int th_vcpu;
	bool th_named; /* an event has named its vCPU */
	enum reason th_reason;
	bool th_pending; /* a nested page fault that no kvm_page_fault has told of yet */
	struct fault th_fault;
};

struct import {
	struct import_counts counts;
	struct thread threads[THREADS_MAX];
	unsigned int nthreads;
	unsigned int last;	     /* thread looked up last */
	enum reason vendor;	     /* REASON_EPT or REASON_NPF once an exit has shown it */
	char machine[MACHINE_BYTES]; /* of vmm_* events: the first one's name */
	struct fault *faults;
	size_t nfaults;
	size_t room;
	uint64_t last_ns;
};

struct import *
import_new(void)
{
	return calloc(1, sizeof(struct import));
}

void
import_free(struct import *im)
{
	if (im)
		free(im->faults);
	free(im);
}

const struct import_counts *
import_counts(const struct import *im)
{
	return &im->counts;
}

__attribute__((format(printf, 2, 3))) static int
wrong(struct import *im, const char *fmt, ...)
{
	struct import_counts *const c = &im->counts;
	va_list ap;

	if (c->ic_wrong < IMPORT_WRONG_KEPT) {
		c->ic_first_wrong[c->ic_wrong].iw_line = c->ic_lines;
		va_start(ap, fmt);
		vsnprintf(c->ic_first_wrong[c->ic_wrong].iw_why,
			  sizeof(c->ic_first_wrong[0].iw_why), fmt, ap);
		va_end(ap);
	}
	c->ic_wrong++;
	return 0;
}

/* ---- Threads and faults --------------------------------------------------------------------- */

/* "CPU 3/KVM", as QEMU names its threads. */
static bool
vcpu_of_task(struct import_text task, unsigned int *vcpu)
{
	char name[32], rest[8];

	if (task.it_n >= sizeof(name))
		return false;
	memcpy(name, task.it_at, task.it_n);
	name[task.it_n] = '\0';
	return sscanf(name, "CPU %u/%7s", vcpu, rest) == 2 && strcmp(rest, "KVM") == 0;
}

/* The thread of an event; a new one has the number in its name, or the next. NULL: too many. */
static struct thread *
thread_of(struct import *im, const struct import_event *e)
{
	unsigned int vcpu = 0;
	struct thread *th;

	if (im->nthreads > 0 && im->threads[im->last].th_pid == e->ie_pid)
		return &im->threads[im->last];
	for (unsigned int i = 0; i < im->nthreads; i++) {
		if (im->threads[i].th_pid == e->ie_pid) {
			im->last = i;
			return &im->threads[i];
		}
	}
	if (im->nthreads == THREADS_MAX)
		return NULL;
	th = &im->threads[im->nthreads];
	th->th_pid = e->ie_pid;
	if (!vcpu_of_task(e->ie_task, &vcpu))
		vcpu = im->nthreads;
	th->th_vcpu = vcpu;
	im->last = im->nthreads++;
	return th;
}

/* An event says which vCPU its thread runs. */
static void
name_vcpu(struct import *im, struct thread *th, unsigned int vcpu)
{
	if (th->th_named && th->th_vcpu == vcpu)
		return;
	th->th_named = true;
	th->th_vcpu = vcpu;
	for (unsigned int i = 0; i < im->nthreads; i++) {
		const struct thread *const other = &im->threads[i];

		if (other != th && other->th_named && other->th_vcpu == vcpu)
			im->counts.ic_shared_vcpu = true;
	}
}

static int
keep(struct import *im, struct fault f)
{
	if (im->nfaults == im->room) {
		const size_t room = im->room ? 2 * im->room : 1024;
		struct fault *bigger = realloc(im->faults, room * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		im->faults = bigger;
		im->room = room;
	}
	f.fa_order = im->nfaults;
	im->faults[im->nfaults++] = f;
	im->counts.ic_faults++;
	return 0;
}

/* The guest runs again: what its exit told is all there is. */
static int
settle(struct import *im, struct thread *th)
{
	if (!th->th_pending)
		return 0;
	th->th_pending = false;
	return keep(im, th->th_fault);
}

/* SDM vol. 3C 28.2.1, table 28-7; APM vol. 2 15.25.6. */
static enum trace_kind
kind_of(bool amd, uint64_t code)
{
	if (code & (amd ? 1u << 4 : 1u << 2))
		return TRACE_FETCH;
	return code & 1u << 1 ? TRACE_STORE : TRACE_LOAD;
}

/* ---- kvm:* ---------------------------------------------------------------------------------- */

static void
count_reason(struct import *im, struct import_text name)
{
	struct import_counts *const c = &im->counts;
	struct import_reason *r = c->ic_reasons;

	if (name.it_n >= IMPORT_REASON_BYTES)
		name.it_n = IMPORT_REASON_BYTES - 1;
	for (unsigned int i = 0; i < c->ic_nreasons; i++, r++) {
		if (strlen(r->ir_name) == name.it_n &&
		    memcmp(r->ir_name, name.it_at, name.it_n) == 0)
			break;
	}
	if (r >= c->ic_reasons + IMPORT_REASONS_MAX - 1) { /* there is room for one more: */
		r = c->ic_reasons + IMPORT_REASONS_MAX - 1;
		name = (struct import_text){"others", 6};
	}
	if (r == c->ic_reasons + c->ic_nreasons) {
		memcpy(r->ir_name, name.it_at, name.it_n);
		c->ic_nreasons++;
	}
	r->ir_count++;
}

static int
take_exit(struct import *im, struct thread *th, const struct import_event *e)
{
	struct import_text reason;
	uint64_t code = 0, gpa = 0;
	int error;

	if (!import_between(e->ie_rest, "reason", "rip", &reason))
		return wrong(im, "kvm_exit without a reason");
	error = settle(im, th);
	im->counts.ic_exits++;
	count_reason(im, reason);
	th->th_reason = REASON_OTHER;
	if (import_is(reason, "EPT_VIOLATION") || import_is(reason, "EPT_MISCONFIG"))
		im->vendor = th->th_reason = REASON_EPT;
	else if (import_is(reason, "EXCEPTION_NMI") || import_is(reason, "PF excp"))
		th->th_reason = REASON_EXCEPTION;
	if (error || !import_is(reason, "npf"))
		return error;
	im->vendor = th->th_reason = REASON_NPF;
	/* "info1 A info2 B", formerly "info A B". */
	if (import_hex(e->ie_rest, "info1", &code) && import_hex(e->ie_rest, "info2", &gpa)) {
		th->th_pending = true;
	} else {
		char text[64];
		struct import_text t;
		const char *const end = e->ie_rest.it_at + e->ie_rest.it_n;

		if (!import_between(e->ie_rest, "rip", "info", &t))
			return wrong(im, "kvm_exit of a nested page fault without its address");
		t.it_at += t.it_n;
		snprintf(text, sizeof(text), "%.*s", (int)(end - t.it_at), t.it_at);
		if (sscanf(text, " info %" SCNx64 " %" SCNx64, &code, &gpa) != 2)
			return wrong(im, "kvm_exit of a nested page fault without its address");
		th->th_pending = true;
	}
	th->th_fault = (struct fault){
		.fa_time_ns = e->ie_time_ns,
		.fa_gpa = gpa,
		.fa_vcpu = (uint16_t)th->th_vcpu,
		.fa_kind = (uint8_t)kind_of(true, code),
	};
	return 0;
}

/*
 * Whose code it is: bits 33:32 are AMD's, bit 7 (the linear address is valid) is Intel's; U, bit 2,
 * is set in all of AMD's, but before 5.16 only the low half was printed.
 */
static enum reason
vendor_of(const struct import *im, const struct thread *th, uint64_t code)
{
	if (code >> 32)
		return REASON_NPF;
	if (th->th_reason == REASON_EPT || th->th_reason == REASON_NPF ||
	    th->th_reason == REASON_EXCEPTION)
		return th->th_reason;
	if (code & 1u << 7)
		return REASON_EPT;
	return im->vendor;
}

static int
take_page_fault(struct import *im, struct thread *th, const struct import_event *e)
{
	uint64_t gpa, code;
	enum reason vendor;

	if (!import_hex(e->ie_rest, "address", &gpa) ||
	    !import_hex(e->ie_rest, "error_code", &code))
		return wrong(im, "kvm_page_fault without an address and an error_code");
	vendor = vendor_of(im, th, code);
	if (vendor == REASON_EXCEPTION) {
		im->counts.ic_shadow++;
		return 0;
	}
	if (vendor != REASON_EPT && vendor != REASON_NPF)
		return wrong(im,
			     "kvm_page_fault with code 0x%llx: Intel's or AMD's? No kvm_exit says",
			     (unsigned long long)code);
	/* The exit has told already, and more; but a fault of an emulated access has none. */
	if (th->th_pending && (th->th_fault.fa_gpa ^ gpa) >> TRACE_PAGE_SHIFT == 0)
		return settle(im, th);
	return keep(im, (struct fault){
				.fa_time_ns = e->ie_time_ns,
				.fa_gpa = gpa,
				.fa_vcpu = (uint16_t)th->th_vcpu,
				.fa_kind = (uint8_t)kind_of(vendor == REASON_NPF, code),
			});
}

/* ---- vmm:* ---------------------------------------------------------------------------------- */

/* "NAME vcpu N: gpa 0x1000 rw: 0" */
static int
take_vmm_fault(struct import *im, struct thread *th, const struct import_event *e)
{
	char text[192], name[MACHINE_BYTES], access[4];
	unsigned long long gpa;
	unsigned int vcpu;
	int result;

	snprintf(text, sizeof(text), "%.*s", (int)e->ie_rest.it_n, e->ie_rest.it_at);
	if (sscanf(text, "%63s vcpu %u: gpa 0x%llx %3[rwx]: %d", name, &vcpu, &gpa, access,
		   &result) != 5 ||
	    vcpu >= TRACE_VCPUS_MAX)
		return wrong(im, "vmm_fault that is not \"NAME vcpu N: gpa 0xA rwx: RESULT\"");
	if (!im->machine[0])
		strcpy(im->machine, name);
	if (strcmp(im->machine, name) != 0) {
		im->counts.ic_strange++;
		return 0;
	}
	if (result != 0) {
		im->counts.ic_failed++;
		return 0;
	}
	name_vcpu(im, th, vcpu);
	return keep(im, (struct fault){
				.fa_time_ns = e->ie_time_ns,
				.fa_gpa = gpa,
				.fa_vcpu = (uint16_t)vcpu,
				.fa_kind = strchr(access, 'x')	 ? TRACE_FETCH
					   : strchr(access, 'w') ? TRACE_STORE
								 : TRACE_LOAD,
			});
}

/* ---- Lines ---------------------------------------------------------------------------------- */

static int
take_event(struct import *im, const struct import_event *e)
{
	const bool exit = import_is(e->ie_name, "kvm_exit");
	const bool fault = import_is(e->ie_name, "kvm_page_fault");
	const bool entry = import_is(e->ie_name, "kvm_entry");
	const bool ours = import_is(e->ie_name, "vmm_fault");
	struct thread *th;
	uint64_t vcpu;

	im->counts.ic_events++;
	if (e->ie_time_ns < im->last_ns)
		im->counts.ic_backwards++;
	im->last_ns = e->ie_time_ns;
	if (import_is(e->ie_name, "vmm_exit")) {
		im->counts.ic_exits++;
		return 0;
	}
	if (!exit && !fault && !entry && !ours) {
		im->counts.ic_others++;
		return 0;
	}
	th = thread_of(im, e);
	if (!th)
		return wrong(im, "more than %d threads", THREADS_MAX);
	if (ours)
		return take_vmm_fault(im, th, e);
	if (import_decimal(e->ie_rest, "vcpu", &vcpu)) {
		if (vcpu >= TRACE_VCPUS_MAX)
			return wrong(im, "vCPU %llu; at most %u are possible",
				     (unsigned long long)vcpu, TRACE_VCPUS_MAX);
		name_vcpu(im, th, (unsigned int)vcpu);
	}
	if (th->th_vcpu >= TRACE_VCPUS_MAX)
		return wrong(im, "more than %u vCPUs", TRACE_VCPUS_MAX);
	if (exit)
		return take_exit(im, th, e);
	if (fault)
		return take_page_fault(im, th, e);
	im->counts.ic_others++;
	return settle(im, th);
}

int
import_line(struct import *im, const char *line, size_t nbytes)
{
	struct import_event e;

	im->counts.ic_lines++;
	switch (memchr(line, '\0', nbytes) ? IMPORT_WRONG : import_split(line, nbytes, &e)) {
	case IMPORT_EVENT:
		return take_event(im, &e);
	case IMPORT_COMMENT:
		im->counts.ic_comments++;
		return 0;
	default:
		return wrong(im, "no event");
	}
}

int
import_file(struct import *im, const char *path, char *why, size_t why_bytes)
{
	FILE *const from = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int error = 0;

	if (!from) {
		error = -errno;
		snprintf(why, why_bytes, "%s cannot be read: %s", path, strerror(errno));
		return error;
	}
	while (!error && (n = getline(&line, &room, from)) >= 0)
		error = import_line(im, line, (size_t)(n > 0 && line[n - 1] == '\n' ? n - 1 : n));
	if (error) {
		snprintf(why, why_bytes, "out of memory");
	} else if (ferror(from)) {
		error = errno ? -errno : -EIO;
		snprintf(why, why_bytes, "%s cannot be read: %s", path, strerror(-error));
	}
	free(line);
	if (from != stdin)
		fclose(from);
	return error;
}

/* ---- The trace ------------------------------------------------------------------------------ */

static int
by_time(const void *a, const void *b)
{
	const struct fault *const x = a, *const y = b;

	if (x->fa_time_ns != y->fa_time_ns)
		return x->fa_time_ns < y->fa_time_ns ? -1 : 1;
	return x->fa_order < y->fa_order ? -1 : x->fa_order > y->fa_order;
}

int
import_write(struct import *im, const char *path, const char *name, struct trace_info *info,
	     char *why, size_t why_bytes)
{
	struct trace_writer *w;
	int error = 0;

	for (unsigned int i = 0; i < im->nthreads && !error; i++)
		error = settle(im, &im->threads[i]);
	if (!error && im->nfaults == 0) {
		snprintf(why, why_bytes, "there is no fault of a guest in it");
		return -ENODATA;
	}
	w = error ? NULL : trace_writer_new(name, 1);
	if (!w) {
		snprintf(why, why_bytes, "out of memory");
		return -ENOMEM;
	}
	qsort(im->faults, im->nfaults, sizeof(*im->faults), by_time);
	for (size_t i = 0; i < im->nfaults; i++) {
		const struct fault *const f = &im->faults[i];

		if (!trace_writer_event(w, f->fa_gpa, (enum trace_kind)f->fa_kind, f->fa_vcpu,
					f->fa_time_ns))
			break;
	}
	error = trace_writer_finish(w, path, info, why, why_bytes);
	trace_writer_free(w);
	return error;
}
