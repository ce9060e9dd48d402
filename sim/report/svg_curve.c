/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * When a failure became likely: the share of runs that failed, by how much of the failing run they
 * had in common, with the interval that each share is known to (Wilson, 1927, at 95 percent), and
 * the jump that was decisive. Points are as far apart as they are many, not as the run is long: a
 * search has many of them where the share rises, often within a hundredth of the run.
 */

#include <inttypes.h>

#include "sim/report/html.h"

#define WIDTH 1200
#define HEIGHT 330
#define LEFT 64
#define RIGHT 24
#define TOP 26
#define BOTTOM 52
#define TICKS 14
#define Z 1.96

struct curve {
	FILE *to;
	const struct html_curve *c;
};

static double
share(const struct html_point *p)
{
	return p->pt_tries != 0 ? (double)p->pt_failed / p->pt_tries : 0;
}

/* Of what is not far above 1, by Newton's method; so the program needs no library for it. */
static double
root(double x)
{
	double r = 1;

	for (unsigned int i = 0; i < 40; i++)
		r = (r + x / r) / 2;
	return x > 0 ? r : 0;
}

/* The interval that a share is known to. */
static void
interval(const struct html_point *p, double *low, double *high)
{
	const double n = p->pt_tries, s = share(p);
	const double middle = (s + Z * Z / (2 * n)) / (1 + Z * Z / n);
	const double half = Z / (1 + Z * Z / n) * root(s * (1 - s) / n + Z * Z / (4 * n * n));

	*low = middle - half > 0 ? middle - half : 0;
	*high = middle + half < 1 ? middle + half : 1;
}

static double
x_of(const struct curve *v, uint32_t i)
{
	return LEFT + (double)(WIDTH - LEFT - RIGHT) * i / (v->c->cu_n > 1 ? v->c->cu_n - 1 : 1);
}

static double
y_of(double s)
{
	return TOP + (HEIGHT - TOP - BOTTOM) * (1 - s);
}

static void
axes(struct curve *v)
{
	const struct html_curve *const c = v->c;

	for (unsigned int i = 0; i <= 4; i++)
		fprintf(v->to,
			"<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"tick y\" x=\"%d\" "
			"y=\"%.1f\">%u %%</text>\n",
			LEFT, y_of(i / 4.0), WIDTH - RIGHT, LEFT - 8, y_of(i / 4.0) + 4, i * 25);
	for (uint32_t i = 0; i < c->cu_n; i += c->cu_n / TICKS + 1)
		fprintf(v->to,
			"<path class=\"grid\" d=\"M%.1f %dV%d\"/><text class=\"tick\" x=\"%.1f\" "
			"y=\"%d\">%" PRIu64 "</text>\n",
			x_of(v, i), TOP, HEIGHT - BOTTOM, x_of(v, i), HEIGHT - BOTTOM + 17,
			c->cu_points[i].pt_x);
	fprintf(v->to, "<text class=\"tick\" x=\"%d\" y=\"%d\">", WIDTH / 2, HEIGHT - 10);
	html_text(v->to, c->cu_x);
	fputs("</text>\n", v->to);
}

static void
jump(struct curve *v)
{
	const struct html_curve *const c = v->c;
	double x0, x1;

	if (c->cu_decisive == 0 || c->cu_decisive >= c->cu_n)
		return;
	x0 = x_of(v, c->cu_decisive - 1);
	x1 = x_of(v, c->cu_decisive);
	fprintf(v->to,
		"<rect class=\"jump\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n"
		"<text class=\"head %s\" x=\"%.1f\" y=\"%d\">decisive</text>\n",
		x0, TOP, x1 - x0 > 3 ? x1 - x0 : 3, HEIGHT - TOP - BOTTOM,
		x0 > WIDTH / 2.0 ? "end" : "", x0 > WIDTH / 2.0 ? x0 - 6 : x1 + 6, TOP + 14);
}

static void
points(struct curve *v)
{
	const struct html_curve *const c = v->c;

	fputs("<path class=\"curve\" d=\"", v->to);
	for (uint32_t i = 0; i < c->cu_n; i++)
		fprintf(v->to, "%c%.1f %.1f", i == 0 ? 'M' : 'L', x_of(v, i),
			y_of(share(&c->cu_points[i])));
	fputs("\"/>\n", v->to);
	for (uint32_t i = 0; i < c->cu_n; i++) {
		const struct html_point *const p = &c->cu_points[i];
		double low = 0, high = 1;

		if (p->pt_tries != 0)
			interval(p, &low, &high);
		fprintf(v->to,
			"<g class=\"point\"><path d=\"M%.1f %.1fV%.1f\"/><circle cx=\"%.1f\" "
			"cy=\"%.1f\" r=\"3.5\"/><title>%" PRIu64 ", up to step %" PRIu64
			": %" PRIu32 " of %" PRIu32 " failed</title></g>\n",
			x_of(v, i), y_of(low), y_of(high), x_of(v, i), y_of(share(p)), p->pt_x,
			p->pt_step, p->pt_failed, p->pt_tries);
	}
}

void
svg_curve(FILE *to, const struct html_curve *c, bool alone)
{
	struct curve v = {.to = to, .c = c};

	if (c->cu_n == 0)
		return;
	if (alone)
		fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", to);
	fprintf(to,
		"<svg class=\"curve\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Share of "
		"runs that failed, by how much they had in common with the failing run\" "
		"xmlns=\"http://www.w3.org/2000/svg\">\n",
		WIDTH, HEIGHT);
	if (alone) {
		fputs("<style>\n", to);
		fputs(html_style, to);
		fputs("</style>\n<rect width=\"100%\" height=\"100%\" fill=\"var(--bg)\"/>\n", to);
	}
	axes(&v);
	jump(&v);
	points(&v);
	fputs("</svg>\n", to);
}

void
html_curve(FILE *to, const struct html_curve *c)
{
	fputs("<section aria-label=\"Why\"><h2 id=\"h-why\">When it became likely</h2>\n", to);
	if (c->cu_text != NULL) {
		fputs("<p><b>Decisive</b>: ", to);
		html_text(to, c->cu_text);
		fputs("</p>\n", to);
	}
	fputs("<figure class=\"wide\">\n", to);
	svg_curve(to, c, false);
	fputs("<figcaption>Runs that began like the failing one and went on by chance: how many "
	      "of them failed. Bars are the intervals that the shares are known to, at 95 "
	      "percent; points are as far apart as they are many.</figcaption></figure>\n"
	      "<details class=\"words\"><summary>The same in "
	      "numbers</summary><div class=\"scroll\"><table><caption class=\"hidden\">Failed runs "
	      "by common part</caption><thead><tr><th scope=\"col\">",
	      to);
	html_text(to, c->cu_x);
	fputs("</th><th scope=\"col\">up to step</th><th scope=\"col\">failed</th><th "
	      "scope=\"col\">of</th><th scope=\"col\">share</th></tr></thead><tbody>\n",
	      to);
	for (uint32_t i = 0; i < c->cu_n; i++) {
		const struct html_point *const p = &c->cu_points[i];

		fprintf(to,
			"<tr%s><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64
			"</td><td class=\"n\">%" PRIu32 "</td><td class=\"n\">%" PRIu32
			"</td><td class=\"n\">%.0f %%</td></tr>\n",
			i == c->cu_decisive ? " class=\"race\"" : "", p->pt_x, p->pt_step,
			p->pt_failed, p->pt_tries, 100 * share(p));
	}
	fputs("</tbody></table></div></details>\n</section>\n", to);
}
