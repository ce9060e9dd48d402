/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Lines and heat maps. Debian has no small C library that draws SVG; this is what two kinds of
 * picture take. Colors are of Okabe and Ito's palette, which color-blind readers can tell apart.
 */

#include "bench/plot.h"

#include <math.h>
#include <string.h>

#define WIDTH 860
#define HEIGHT 460
#define LEFT 86
#define RIGHT 150
#define TOP 44
#define BOTTOM 56
#define INNER_W (WIDTH - LEFT - RIGHT)
#define INNER_H (HEIGHT - TOP - BOTTOM)
#define TICKS 6

static const char *const colors[PLOT_SERIES_MAX] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
						    "#e69f00", "#56b4e9", "#7f7f7f", "#b8a900"};

struct axis {
	double ax_low;
	double ax_high;
	bool ax_log;
};

static double
place(const struct axis *a, double v)
{
	if (a->ax_log)
		return (log(v) - log(a->ax_low)) / (log(a->ax_high) - log(a->ax_low));
	return (v - a->ax_low) / (a->ax_high - a->ax_low);
}

static double
x_at(const struct axis *a, double v)
{
	return LEFT + INNER_W * place(a, v);
}

static double
y_at(const struct axis *a, double v)
{
	return TOP + INNER_H * (1 - place(a, v));
}

static void
put_text(FILE *to, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '<')
			fputs("&lt;", to);
		else if (*s == '&')
			fputs("&amp;", to);
		else
			fputc(*s, to);
	}
}

/* A number as a label: 1200 as 1.2k. */
static void
put_number(FILE *to, double v)
{
	static const char *const units[] = {"", "k", "M", "G"};
	unsigned int u = 0;

	if (v < 10000 && v == floor(v)) {
		fprintf(to, "%.0f", v);
		return;
	}
	while (v >= 1000 && u < 3) {
		v /= 1000;
		u++;
	}
	fprintf(to, "%.3g%s", v, units[u]);
}

static void
put_head(FILE *to, const char *title, const char *x, const char *y)
{
	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
		"height=\"%d\" role=\"img\">\n"
		"<style>svg{background:#fff;color:#222;font:13px sans-serif}"
		"text{fill:currentColor}.t{font-size:16px;font-weight:600}"
		".g{stroke:currentColor;stroke-opacity:.15}.a{stroke:currentColor}"
		"@media(prefers-color-scheme:dark){svg{background:#16181c;color:#ddd}}</style>\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT);
	fprintf(to, "<text class=\"t\" x=\"%d\" y=\"24\">", LEFT);
	put_text(to, title);
	fprintf(to, "</text>\n<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", LEFT + INNER_W / 2,
		HEIGHT - 14);
	put_text(to, x);
	fprintf(to,
		"</text>\n<text transform=\"translate(18 %d) rotate(-90)\" "
		"text-anchor=\"middle\">",
		TOP + INNER_H / 2);
	put_text(to, y);
	fprintf(to, "</text>\n");
}

static void
put_tick_x(FILE *to, const struct axis *a, double v)
{
	const double x = x_at(a, v);

	fprintf(to,
		"<path class=\"g\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" "
		"text-anchor=\"middle\">",
		x, TOP, TOP + INNER_H, x, TOP + INNER_H + 20);
	put_number(to, v);
	fprintf(to, "</text>\n");
}

static void
put_tick_y(FILE *to, const struct axis *a, double v)
{
	const double y = y_at(a, v);

	fprintf(to,
		"<path class=\"g\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" "
		"text-anchor=\"end\">",
		LEFT, y, LEFT + INNER_W, LEFT - 8, y + 4);
	put_number(to, v);
	fprintf(to, "</text>\n");
}

/* A round step for a linear axis: 1, 2 or 5 times a power of ten. */
static double
step_of(double span)
{
	const double power = pow(10, floor(log10(span / TICKS)));
	const double ratio = span / TICKS / power;

	return power * (ratio <= 1 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10);
}

static void
put_ticks(FILE *to, const struct axis *a, double base,
	  void (*put)(FILE *to, const struct axis *a, double v))
{
	if (!a->ax_log) {
		const double step = step_of(a->ax_high - a->ax_low);

		for (double v = ceil(a->ax_low / step) * step; v <= a->ax_high * 1.0001; v += step)
			put(to, a, v);
		return;
	}
	for (double v = pow(base, ceil(log(a->ax_low) / log(base) - 1e-9));
	     v <= a->ax_high * 1.0001; v *= base)
		put(to, a, v);
}

/* ---- Lines ---------------------------------------------------------------------------------- */

static bool
shown(const struct plot *p, double x, double y)
{
	return isfinite(x) && isfinite(y) && (!p->pl_log_x || x > 0) && (!p->pl_log_y || y > 0);
}

static void
extend(struct axis *a, double v, bool *any)
{
	if (!*any || v < a->ax_low)
		a->ax_low = v;
	if (!*any || v > a->ax_high)
		a->ax_high = v;
	*any = true;
}

/* Room for all points; a logarithmic axis of values ends at powers of ten, a linear one at 0. */
static bool
axes_of(const struct plot *p, struct axis *ax, struct axis *ay)
{
	bool any_x = false;
	bool any_y = false;

	*ax = (struct axis){.ax_log = p->pl_log_x};
	*ay = (struct axis){.ax_log = p->pl_log_y};
	for (unsigned int s = 0; s < p->pl_nseries; s++) {
		const struct plot_series *const l = &p->pl_series[s];

		for (unsigned int i = 0; i < l->ps_n; i++) {
			if (!shown(p, l->ps_x[i], l->ps_y[i]))
				continue;
			extend(ax, l->ps_x[i], &any_x);
			extend(ay, l->ps_y[i], &any_y);
		}
	}
	if (!any_x)
		return false;
	if (p->pl_log_y) {
		ay->ax_low = pow(10, floor(log10(ay->ax_low)));
		ay->ax_high = pow(10, ceil(log10(ay->ax_high)));
	} else {
		ay->ax_low = ay->ax_low < 0 ? ay->ax_low : 0;
	}
	if (ay->ax_high <= ay->ax_low)
		ay->ax_high = p->pl_log_y ? ay->ax_low * 10 : ay->ax_low + 1;
	if (ax->ax_high <= ax->ax_low)
		ax->ax_high = p->pl_log_x ? ax->ax_low * 2 : ax->ax_low + 1;
	return true;
}

static void
put_series(FILE *to, const struct plot *p, unsigned int s, const struct axis *ax,
	   const struct axis *ay)
{
	const struct plot_series *const l = &p->pl_series[s];
	char command = 'M';

	fprintf(to, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s d=\"", colors[s],
		l->ps_limit ? " stroke-dasharray=\"6 4\"" : "");
	for (unsigned int i = 0; i < l->ps_n; i++) {
		if (!shown(p, l->ps_x[i], l->ps_y[i]))
			continue;
		fprintf(to, "%c%.1f %.1f", command, x_at(ax, l->ps_x[i]), y_at(ay, l->ps_y[i]));
		command = 'L';
	}
	fprintf(to, "\"/>\n");
	for (unsigned int i = 0; i < l->ps_n && !l->ps_limit; i++) {
		if (!shown(p, l->ps_x[i], l->ps_y[i]))
			continue;
		fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>",
			x_at(ax, l->ps_x[i]), y_at(ay, l->ps_y[i]), colors[s]);
		put_text(to, l->ps_name);
		fprintf(to, ": %g at %g</title></circle>\n", l->ps_y[i], l->ps_x[i]);
	}
	fprintf(to,
		"<path stroke=\"%s\" stroke-width=\"3\"%s d=\"M%d %dh22\"/><text x=\"%d\" "
		"y=\"%d\">",
		colors[s], l->ps_limit ? " stroke-dasharray=\"6 4\"" : "", LEFT + INNER_W + 14,
		TOP + 10 + (int)s * 22, LEFT + INNER_W + 42, TOP + 14 + (int)s * 22);
	put_text(to, l->ps_name);
	fprintf(to, "</text>\n");
}

void
plot_put(const struct plot *p, FILE *to)
{
	struct axis ax;
	struct axis ay;

	put_head(to, p->pl_title, p->pl_x, p->pl_y);
	if (axes_of(p, &ax, &ay)) {
		put_ticks(to, &ax, 2, put_tick_x);
		put_ticks(to, &ay, 10, put_tick_y);
		for (unsigned int s = p->pl_nseries; s-- > 0;) /* the first on top */
			put_series(to, p, s, &ax, &ay);
	}
	fprintf(to, "<path class=\"a\" fill=\"none\" d=\"M%d %dV%dH%d\"/>\n</svg>\n", LEFT, TOP,
		TOP + INNER_H, LEFT + INNER_W);
}

/* ---- Heat maps ------------------------------------------------------------------------------ */

/* Columns of equal width; a cell is the darker the more lies in it, by the root of its share. */
void
heat_put(const struct heat *h, FILE *to)
{
	const struct axis ay = {
		.ax_low = h->he_low[0], .ax_high = h->he_low[h->he_rows], .ax_log = true};
	const double width = (double)INNER_W / (h->he_columns > 0 ? h->he_columns : 1);

	put_head(to, h->he_title, h->he_x, h->he_y);
	put_ticks(to, &ay, 10, put_tick_y);
	for (unsigned int c = 0; c < h->he_columns; c++) {
		fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">",
			LEFT + width * (c + 0.5), TOP + INNER_H + 20);
		put_text(to, h->he_names[c]);
		fprintf(to, "</text>\n");
		for (unsigned int r = 0; r < h->he_rows; r++) {
			const double share = h->he_share[c * h->he_rows + r];
			const double top = y_at(&ay, h->he_low[r + 1]);

			if (!(share > 0))
				continue;
			fprintf(to,
				"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.2f\" "
				"fill=\"#d55e00\" fill-opacity=\"%.3f\"><title>",
				LEFT + width * c + 2, top, width - 4, y_at(&ay, h->he_low[r]) - top,
				0.06 + 0.94 * sqrt(share));
			put_number(to, h->he_low[r]);
			fprintf(to, " to ");
			put_number(to, h->he_low[r + 1]);
			fprintf(to, ": %.2f %%</title></rect>\n", share * 100);
		}
	}
	fprintf(to, "<path class=\"a\" fill=\"none\" d=\"M%d %dV%dH%d\"/>\n</svg>\n", LEFT, TOP,
		TOP + INNER_H, LEFT + INNER_W);
}

/* ---- Files ---------------------------------------------------------------------------------- */

bool
plot_write(const struct plot *p, const char *path)
{
	FILE *const to = fopen(path, "w");

	if (to == NULL)
		return false;
	plot_put(p, to);
	return fclose(to) == 0;
}

bool
heat_write(const struct heat *h, const char *path)
{
	FILE *const to = fopen(path, "w");

	if (to == NULL)
		return false;
	heat_put(h, to);
	return fclose(to) == 0;
}
