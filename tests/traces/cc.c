/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What the compiler compiled while cc.trace.zst was recorded. */

static void
swap(long *a, long *b)
{
	const long t = *a;

	*a = *b;
	*b = t;
}

static void
sift_down(long *heap, unsigned long root, unsigned long n)
{
	for (unsigned long child; (child = 2 * root + 1) < n; root = child) {
		if (child + 1 < n && heap[child] < heap[child + 1])
			child++;
		if (heap[root] >= heap[child])
			return;
		swap(&heap[root], &heap[child]);
	}
}

void
heap_sort(long *keys, unsigned long n)
{
	for (unsigned long i = n / 2; i-- > 0;)
		sift_down(keys, i, n);
	for (unsigned long i = n; i-- > 1;) {
		swap(&keys[0], &keys[i]);
		sift_down(keys, 0, i);
	}
}
