/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Which backend a word names (net.h). */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net.h"

int
net_fail(struct net *net, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(net->nt_why, sizeof(net->nt_why), format, ap);
	va_end(ap);
	return error;
}

int
net_open(struct net *net, struct conf *conf)
{
	static const struct net_backend *const backends[] = {&net_tap, &net_slirp};
	const char *const word = conf_word(conf);
	int error;

	if (word == NULL)
		return net_fail(net, -EINVAL, "a network device needs tapN or slirp");
	for (unsigned int i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (strncmp(word, backends[i]->nb_name, strlen(backends[i]->nb_name)) != 0)
			continue;
		error = backends[i]->nb_open(net, word, conf);
		if (error != 0)
			return error;
		net->nt_backend = backends[i];
		if (conf_left(conf) == NULL)
			return 0;
		net_fail(net, -EINVAL, "a network device with %s has no option '%s'",
			 backends[i]->nb_name, conf_left(conf));
		backends[i]->nb_close(net);
		net->nt_backend = NULL;
		return -EINVAL;
	}
	return net_fail(net, -EINVAL, "no network is called '%s'; there are tapN and slirp", word);
}
